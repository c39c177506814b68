"""tools/check_dataset.py and tools/convert_dataset.py as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from scipy.io import savemat

from mmpose_lite.apis.check import check_config
from mmpose_lite.apis.train import DataError, check_before_training
from mmpose_lite.datasets.converters import convert_lsp
from mmpose_lite.engine.config import ConfigError, hand_down
from tests.coco_folder import META, person, write_coco


def call(repo: Path, tool: str, *args: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(repo / 'tools' / tool), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An LSP of three people, converted, and a config that names it."""
    joints = np.array([[30, 80], [30, 60], [30, 45], [40, 45], [40, 60], [40, 80], [22, 45], [22, 35]], dtype=float)
    joints = np.concatenate([joints, [[28, 25], [42, 25], [48, 35], [48, 45], [35, 20], [35, 10]]])
    joints = np.concatenate([joints, np.zeros((14, 1))], axis=1)
    savemat(tmp_path / 'joints.mat', dict(joints=np.stack([joints.T] * 3, axis=-1)))
    (tmp_path / 'images').mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / f'images/im{i + 1:04d}.jpg'), np.full((100, 80, 3), 50 * i, np.uint8))
    convert_lsp(tmp_path / 'joints.mat', tmp_path / 'images', tmp_path, num_train=2)
    (tmp_path / 'config.py').write_text(
        f"""
meta = 'lsp14'
data_root = {str(tmp_path)!r}
train_dataloader = dict(dataset=dict(
    type='CocoKeypointDataset', ann_file='person_keypoints_train.json', data_prefix=dict(img='images/')))
val_dataloader = dict(dataset=dict(
    type='CocoKeypointDataset', ann_file='person_keypoints_val.json', data_prefix=dict(img='images/')))
test_dataloader = val_dataloader
"""
    )
    return tmp_path


def edit(path: Path, key: str, value: object) -> None:
    content = json.loads(path.read_text())
    content['annotations'][0][key] = value
    path.write_text(json.dumps(content))


def test_clean_data(repo: Path, folder: Path) -> None:
    done = call(repo, 'check_dataset.py', folder / 'config.py', '--json', folder / 'report.json')
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('no defects found') == 2
    reports = json.loads((folder / 'report.json').read_text())
    assert {name: report['num_instances'] for name, report in reports.items()} == {'train': 2, 'val, test': 1}


def test_defects_exit_1(repo: Path, folder: Path) -> None:
    edit(folder / 'person_keypoints_val.json', 'bbox', [0, 0, 0, 0])
    done = call(repo, 'check_dataset.py', folder / 'config.py', '--split', 'val', '--fast')
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'bad-bbox' in done.stdout
    assert call(repo, 'check_dataset.py', folder / 'config.py', '--split', 'train').returncode == 0


def test_unreadable_json_exits_1(repo: Path, folder: Path) -> None:
    (folder / 'person_keypoints_val.json').write_text('{"images": ')
    done = call(repo, 'check_dataset.py', folder / 'config.py')
    assert done.returncode == 1
    assert 'no valid JSON at line 1' in done.stderr
    assert 'Traceback' not in done.stderr


def test_warnings_exit_1_unless_allowed(repo: Path, folder: Path) -> None:
    edit(folder / 'person_keypoints_val.json', 'num_keypoints', 3)
    done = call(repo, 'check_dataset.py', folder / 'config.py')
    assert done.returncode == 1
    assert 'num-keypoints' in done.stdout
    assert call(repo, 'check_dataset.py', folder / 'config.py', '--allow-warnings').returncode == 0


def test_wrong_calls_exit_2(repo: Path, folder: Path) -> None:
    calls = [
        ('none.py',),
        (folder / 'config.py', '--split', 'vall'),
        (folder / 'config.py', '--cfg-options', 'train_dataloader.dataset.ann_file=none.json'),
        (folder / 'config.py', '--cfg-options', 'val_dataloader=None', '--split', 'val'),
    ]
    for args in calls:
        done = call(repo, 'check_dataset.py', *args)
        assert done.returncode == 2, (args, done.stdout, done.stderr)
        assert 'Traceback' not in done.stderr


def test_convert(repo: Path, folder: Path) -> None:
    paths = ['--joints', folder / 'joints.mat', '--images', folder / 'images', '--out', folder / 'o']
    done = call(repo, 'convert_dataset.py', 'lsp', *paths, '--num-train', 2)
    assert done.returncode == 0, done.stderr
    for split in ('train', 'val'):
        name = f'person_keypoints_{split}.json'
        assert f'wrote {folder / "o" / name}' in done.stdout
        assert (folder / 'o' / name).read_text() == (folder / name).read_text()


def test_convert_errors(repo: Path, folder: Path) -> None:
    (folder / 'images/im0002.jpg').unlink()
    paths = ['--joints', folder / 'joints.mat', '--images', folder / 'images', '--out', folder / 'o']
    done = call(repo, 'convert_dataset.py', 'lsp', *paths)
    assert done.returncode == 2
    assert '1 of 3 images are missing' in done.stderr
    assert not (folder / 'o').exists()
    assert call(repo, 'convert_dataset.py', 'lsp').returncode == 2
    assert call(repo, 'convert_dataset.py', 'none').returncode == 2


def config(folder: Path, **dataloaders: object) -> Config:
    cfg = Config(dict(meta='lsp14', data_root=str(folder), **dataloaders))
    hand_down(cfg)
    return cfg


def dataset(split: str) -> dict:
    return dict(type='CocoKeypointDataset', ann_file=f'person_keypoints_{split}.json', data_prefix=dict(img='images/'))


def test_shared_images(folder: Path) -> None:
    both = dict(dataset=dict(type='ConcatDataset', datasets=[dataset('train'), dataset('val')]))
    reports = check_config(config(folder, train_dataloader=both, val_dataloader=dict(dataset=dataset('val'))))
    assert [[f.code for f in report.findings] for report in reports.values()] == [[], ['shared-image']]
    assert list(reports) == ['train', 'train, val']
    wrapped = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset('train')))
    reports = check_config(
        config(folder, train_dataloader=wrapped, val_dataloader=dict(dataset=dataset('val'))), ['val', 'train']
    )
    assert all(not report.findings for report in reports.values())


def test_every_file_has_its_report(tmp_path: Path) -> None:
    for number, name in enumerate(('a', 'b', 'c')):
        write_coco(tmp_path / name, [person(1, 1, area=number)], num_images=1)
    parts = [dict(type='CocoKeypointDataset', ann_file='people.json', data_root=str(tmp_path / n), meta=META) for n in 'abc']
    reports = check_config(Config(dict(train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=parts)))))
    assert list(reports) == ['train', *(f'train ({tmp_path / name / "people.json"})' for name in 'bc')]
    assert [report.ok for report in reports.values()] == [False, True, True]


def test_configs_that_name_no_data(folder: Path) -> None:
    with pytest.raises(ConfigError, match='has no `val_dataloader`'):
        check_config(config(folder, train_dataloader=dict(dataset=dataset('train'))), ['val'])
    with pytest.raises(ConfigError, match=r'`splits` must be some of .* got \[\]'):
        check_config(config(folder))
    with pytest.raises(ConfigError, match=r"`splits` must be some of .* got \['vall'\]"):
        check_config(config(folder), ['vall'])
    with pytest.raises(ConfigError, match=r'`train_dataloader.dataset` must be a dict with `type`'):
        check_config(Config(dict(train_dataloader=dict(batch_size=2))))
    with pytest.raises(ConfigError, match=r'`train_dataloader.dataset.ann_file` names .* does not exist'):
        check_config(config(folder, train_dataloader=dict(dataset=dataset('none'))))
    with pytest.raises(ConfigError, match=r"`train_dataloader.dataset.meta`: .* 'lsp15'"):
        check_config(config(folder, train_dataloader=dict(dataset=dict(dataset('train'), meta='lsp15'))))


def test_training_tells_of_warnings_and_stops_at_errors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr('mmpose_lite.apis.train.print_log', lambda text, *_: said.append(text))
    cfg = config(folder, train_dataloader=dict(dataset=dataset('train')))
    content = json.loads((folder / 'person_keypoints_train.json').read_text())
    content['annotations'].pop()
    (folder / 'person_keypoints_train.json').write_text(json.dumps(content))
    check_before_training(cfg)
    assert said == [], 'an image without people costs time only'
    edit(folder / 'person_keypoints_train.json', 'num_keypoints', 3)
    check_before_training(cfg)
    assert said == ['The train data may have defects: num-keypoints (1). tools/check_dataset.py says which and what to do.']
    edit(folder / 'person_keypoints_train.json', 'area', 0)
    with pytest.raises(DataError, match='bad-area'):
        check_before_training(cfg)


def test_dataset_that_makes_its_file(tmp_path: Path) -> None:
    people = dict(type='SyntheticPeopleDataset', num_train=3, num_val=2, data_root=str(tmp_path / 'people'))
    loaders = {f'{split}_dataloader': dict(dataset=dict(people, split=split)) for split in ('train', 'val')}
    reports = check_config(Config(loaders))
    assert [report.num_images for report in reports.values()] == [3, 2]
    assert all(report.ok for report in reports.values()), [report.table() for report in reports.values()]


def test_bottom_up_data(folder: Path, tmp_path: Path) -> None:
    loader = dict(dataset=dict(dataset('train'), data_mode='bottomup'))
    assert not check_config(config(folder, train_dataloader=loader))['train'].findings
    edit(folder / 'person_keypoints_train.json', 'keypoints', [0] * 42)
    edit(folder / 'person_keypoints_train.json', 'num_keypoints', 0)
    edit(folder / 'person_keypoints_train.json', 'segmentation', dict(size=[8, 8], counts=[64]))
    (finding,) = check_config(config(folder, train_dataloader=loader))['train'].findings
    assert (finding.code, finding.count) == ('segmentation', 1)
    assert 'is 8 x 8 (w x h), its image 80 x 100' in finding.example
    people = dict(type='SyntheticPeopleDataset', data_mode='bottomup', num_train=3, num_val=2, data_root=str(tmp_path / 'people'))
    reports = check_config(Config(dict(train_dataloader=dict(dataset=dict(people, split='train')))))
    assert reports['train'].ok
