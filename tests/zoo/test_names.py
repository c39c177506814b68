"""What a name means, and models by name."""

from pathlib import Path

import pytest
import torch

from mmpose_lite.apis.infer import init_model
from mmpose_lite.checkpoints.download import DownloadError
from mmpose_lite.errors import ConfigError
from mmpose_lite.zoo.names import find_checkpoint, find_config, find_entry, shipped_configs
from tests.checkpoints.file_server import FileServer
from tests.thin_zoo import old_weights


def test_every_shipped_config_has_a_name_of_its_own(repo: Path) -> None:
    files = [path for path in (repo / 'configs').rglob('*.py') if '_base_' not in path.parts]
    assert sorted(shipped_configs().values()) == sorted(files)


def test_a_model_by_name(thin_zoo: FileServer, tmp_path: Path) -> None:
    model = init_model('tiny', pretrained=True)
    theirs = old_weights(tmp_path / 'configs/pose/tiny.py')
    assert torch.equal(model.backbone.layer4[1].conv2.weight, theirs['backbone.layer4.1.conv2.weight'])
    assert torch.equal(model.head.deconv_layers[0].weight, theirs['keypoint_head.deconv_layers.0.weight'])
    assert torch.equal(model.head.conv_layers[0].weight, theirs['keypoint_head.final_layer.0.weight'])
    assert torch.equal(model.head.final_layer.weight, theirs['keypoint_head.final_layer.3.weight'])
    assert [path.split('/')[1] for path, _ in thin_zoo.requests] == ['status', 'good']

    again = init_model('tiny', 'tiny_again')
    assert torch.equal(again.head.final_layer.weight, model.head.final_layer.weight)
    assert len(thin_zoo.requests) == 2  # it is one file

    initial = init_model('tiny')
    assert not torch.equal(initial.head.final_layer.weight, model.head.final_layer.weight)


def test_offline(thin_zoo: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMPOSE_LITE_OFFLINE', '1')
    with pytest.raises(DownloadError, match=rf'tiny-\w{{8}}_20220920\.pth is not in {tmp_path}/cache'):
        init_model('tiny', pretrained=True)
    assert thin_zoo.requests == []


def test_configs_by_name(thin_zoo: FileServer, tmp_path: Path) -> None:
    folder = tmp_path / 'configs' / 'pose'
    assert find_config('tiny') == find_config('tiny_again') == folder / 'tiny.py'
    assert find_config('other') == folder / 'other.py'
    for path in (folder / 'tiny.py', 'gone.py', 'configs/gone', Path('a') / 'b'):
        assert find_config(path) == Path(path)
    with pytest.raises(ConfigError, match=r"'other\.py' does not exist; the config of that name is 'other'"):
        find_config('other.py')
    with pytest.raises(ConfigError, match=r"'tinny' is neither a file nor the name of a config\. Near names: tiny"):
        find_config('tinny')
    with pytest.raises(ConfigError, match=r"'people' is neither.*tools/zoo\.py list"):  # a base is no config
        find_config('people')


def test_a_file_goes_before_a_name(tmp_path: Path, thin_zoo: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('tiny').touch()
    assert find_config('tiny') == Path('tiny')
    assert find_checkpoint('tiny') == 'tiny'


def test_checkpoints_by_name(thin_zoo: FileServer) -> None:
    assert find_checkpoint('tiny') == find_entry('tiny').path
    for given in ('gone.pth', 'work_dirs/gone', 'torchvision://resnet18', 'https://example.org/a.pth', Path('a') / 'b'):
        assert find_checkpoint(given) == given
    with pytest.raises(ConfigError, match=r"no published weights called 'tinny'\. Near names: tiny"):
        find_checkpoint('tinny')
    with pytest.raises(ConfigError, match=r"called 'other', and none for that config\."):
        find_checkpoint('other')


def test_weights_of_a_config_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'rtmpose_m_coco_384x288'; for this config there are rtmpose_m_aic_coco_384x288\."):
        find_entry('rtmpose_m_coco_384x288')
