"""What a config hands down, and what is said about a wrong one."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmpose_lite.engine.config import ConfigError, check_crops, check_ignored, hand_down, load_config, metric_configs, takes
from mmpose_lite.registry import DATASETS, METRICS, MODELS, ArgumentError

MODEL = """
model = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='ResNet', depth=18),
    head=dict(type='HeatmapHead', in_channels=512, loss=dict(type='KeypointMSELoss', {loss})))
"""
DATA = """
meta = 'lsp14'
data_root = 'data/lsp'
train_dataloader = dict(batch_size=2, dataset=dict(type='CocoKeypointDataset', ann_file='train.json'))
val_dataloader = dict(dataset=dict(type='CocoKeypointDataset', ann_file='val.json', data_root='elsewhere'))
val_evaluator = [dict(type='CocoMetric'), dict(type='PCKAccuracy')]
"""


def coco(**options: Any) -> dict[str, Any]:
    return dict(type='CocoKeypointDataset', ann_file='a.json', **options)


def given(**cfg: Any) -> Config:
    """Return a config after `hand_down`."""
    config = Config(cfg)
    hand_down(config)
    return config


def write(folder: Path, text: str, name: str = 'config.py') -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_file_with_inherited_values(tmp_path: Path) -> None:
    cfg = load_config(write(tmp_path, MODEL.format(loss='') + DATA))
    assert cfg.model.meta == cfg.train_dataloader.dataset.meta == cfg.val_dataloader.dataset.meta == 'lsp14'
    assert 'data_root' not in cfg.model  # it takes none
    assert cfg.train_dataloader.dataset.data_root == 'data/lsp'
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere'
    coco_metric, pck = cfg.val_evaluator
    assert coco_metric.ann_file == 'val.json'
    assert coco_metric.data_root == 'elsewhere'  # as its split
    assert set(pck) == {'type'}


def test_one_option_moves_the_data_or_changes_the_keypoints(tmp_path: Path) -> None:
    config = write(tmp_path, MODEL.format(loss='') + DATA)
    cfg = load_config(config, {'data_root': '/data', 'meta': 'coco17', 'train_dataloader.dataset.indices': 7})
    assert cfg.train_dataloader.dataset.to_dict() == coco(meta='coco17', data_root='/data', indices=7) | dict(
        ann_file='train.json'
    )
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere'
    assert cfg.model.meta == 'coco17'
    cfg = load_config(config, {'meta': dict(keypoints=3)})  # in place of the file's, which is a name
    assert cfg.model.meta.to_dict() == cfg.train_dataloader.dataset.meta.to_dict() == dict(keypoints=3)


def test_own_values_are_kept_and_none_is_no_value() -> None:
    cfg = given(
        meta='lsp14',
        data_root='top',
        model=dict(type='TopdownPoseEstimator', meta='coco17'),
        train_dataloader=dict(dataset=coco(meta=dict(keypoints=3), data_root='')),
        test_dataloader=dict(dataset=coco(meta=None)),
        test_evaluator=dict(type='CocoMetric', ann_file='own.json'),
    )
    assert cfg.model.meta == 'coco17'
    assert cfg.train_dataloader.dataset.meta == dict(keypoints=3)
    assert cfg.train_dataloader.dataset.data_root == ''
    assert cfg.test_dataloader.dataset.meta == 'lsp14'
    assert cfg.test_evaluator.ann_file == 'own.json'
    assert cfg.test_evaluator.data_root == 'top'


def test_nothing_to_hand_down() -> None:
    cfg = given(train_dataloader=dict(dataset=coco()), val_dataloader=None, model=dict(type='TopdownPoseEstimator'))
    assert cfg.train_dataloader.dataset == coco()
    assert list(cfg.model) == ['type']
    assert given(work_dir='x').to_dict() == dict(work_dir='x')


def test_joined_datasets_each_get_the_values_and_metrics_those_of_the_first() -> None:
    parts = [coco(data_root='first'), dict(type='ConcatDataset', datasets=[coco(), coco(meta='coco17')])]
    cfg = given(
        **dict(meta='lsp14', data_root='top'),
        val_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=parts))),
        val_evaluator=[dict(type='CocoMetric')],
    )
    joined = cfg.val_dataloader.dataset.dataset
    assert set(joined) == {'type', 'datasets'}
    first, second = joined.datasets
    assert (first.data_root, first.meta) == ('first', 'lsp14')
    assert [(part.data_root, part.meta) for part in second.datasets] == [('top', 'lsp14'), ('top', 'coco17')]
    assert (cfg.val_evaluator[0].data_root, cfg.val_evaluator[0].ann_file) == ('first', 'a.json')


@pytest.mark.parametrize(
    'evaluator',
    [
        dict(type='CocoMetric'),
        [dict(type='CocoMetric')],
        dict(type='Evaluator', metrics=[dict(type='CocoMetric')]),
        dict(metrics=dict(type='CocoMetric')),
    ],
)
def test_the_forms_of_an_evaluator(evaluator: Any) -> None:
    cfg = given(val_dataloader=dict(dataset=coco()), val_evaluator=evaluator)
    (metric,) = metric_configs(cfg.val_evaluator)
    assert metric.ann_file == 'a.json'
    assert metric_configs(None) == []


CROP = dict(type='TopdownAffine', input_size=(48, 64))
UDP_CROP = {**CROP, 'use_udp': True}


@pytest.mark.parametrize(
    ('codec', 'steps', 'message'),
    [
        (dict(type='HeatmapCodec', variant='udp'), [CROP], r"needs use_udp=True, as the codec has variant='udp'"),
        (dict(type='HeatmapCodec', variant='udp'), [UDP_CROP], None),
        (dict(type='HeatmapCodec', variant='udp'), [{**CROP, 'use_udp': False}], None),  # said on purpose
        (dict(type='HeatmapCodec', variant='dark'), [UDP_CROP], r'`use_udp` must be False, as the codec \(HeatmapCodec\)'),
        (dict(type='SimCCCodec'), [UDP_CROP], r'`use_udp` must be False, as the codec \(SimCCCodec\)'),
        (dict(type='HeatmapCodec'), [CROP, {**CROP, 'use_udp': False}], None),
        (dict(type='CodecOfMyOwn'), [UDP_CROP, CROP], None),
        (None, [UDP_CROP, CROP], None),
    ],
)
@pytest.mark.parametrize('place', ['train', 'joined', 'hook', 'default hook'])
def test_crops_fit_the_codec(codec: dict | None, steps: list[dict], message: str | None, place: str) -> None:
    pipeline = [dict(type='LoadImage'), *steps]
    switch = dict(type='PipelineSwitchHook', switch_epoch=-1, switch_pipeline=pipeline)
    where, data = {
        'train': ('train_dataloader.dataset.pipeline', dict(train_dataloader=dict(dataset=coco(pipeline=pipeline)))),
        'joined': (
            'test_dataloader.dataset.datasets[1].pipeline',
            dict(test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[coco(), coco(pipeline=pipeline)]))),
        ),
        'hook': ('custom_hooks[0].switch_pipeline', dict(custom_hooks=[switch])),
        'default hook': ('default_hooks.switch.switch_pipeline', dict(default_hooks=dict(switch=switch, timer=None))),
    }[place]
    cfg = Config(dict(model=dict(type='TopdownPoseEstimator', head=dict(type='HeatmapHead', codec=codec)), **data))
    if message is None:
        check_crops(cfg)
        return
    with pytest.raises(ConfigError, match=rf'^config key `{re.escape(where)}\[1\]`: TopdownAffine.* {message}'):
        check_crops(cfg)


def test_a_config_with_crops_of_another_kind_is_not_read(tmp_path: Path) -> None:
    text = MODEL.replace('loss=', "codec=dict(type='HeatmapCodec', variant='udp'), loss=").format(loss='') + DATA
    path = write(tmp_path, text.replace("ann_file='val.json'", f"ann_file='val.json', pipeline=[{CROP}]"))
    with pytest.raises(ConfigError, match=r'val_dataloader\.dataset\.pipeline\[0\].*needs use_udp=True'):
        load_config(path)
    assert load_config(path, {'model.head.codec.variant': 'dark'}).val_dataloader.dataset.pipeline == [CROP]


@pytest.mark.parametrize('step', ['SNIPResize', 'SNIPERChip'])
@pytest.mark.parametrize('place', ['plain', 'mix', 'hook'])
def test_assigners_look_at_what_is_to_be_ignored(step: str, place: str) -> None:
    steps = [dict(type='LoadImage'), dict(type=step)]
    where, data = {
        'plain': ('train_dataloader.dataset.pipeline', dict(train_dataloader=dict(dataset=coco(pipeline=steps)))),
        'mix': (
            'train_dataloader.dataset.pipeline',
            dict(train_dataloader=dict(dataset=dict(type='MultiImageMixDataset', dataset=coco(), pipeline=steps))),
        ),
        'hook': ('custom_hooks[0].switch_pipeline', dict(custom_hooks=[dict(type='PipelineSwitchHook', switch_pipeline=steps)])),
    }[place]

    def model(*options: dict) -> dict:
        first, *others = (dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, **args) for args in options)
        return dict(model=dict(type='TwoStageDetector', rpn_head=dict(assigner=first), roi_head=dict(assigner=others)))

    looks = dict(ignore_iof_thr=0.5)
    message = rf'^config key `model.roi_head.assigner\[1\]`: MaxIoUAssigner needs .* {step} \(`{re.escape(where)}\[1\]`\) leaves'
    with pytest.raises(ConfigError, match=message):
        check_ignored(Config(dict(**model(looks, looks, {}), **data)))
    for fine in (model(looks, looks), model(looks, dict(ignore_iof_thr=-1)), dict(model=dict(type='SingleStageDetector'))):
        check_ignored(Config(dict(**fine, **data)))
    tested = dict(val_dataloader=dict(dataset=coco(pipeline=steps)), train_dataloader=dict(dataset=coco(pipeline=steps[:1])))
    check_ignored(Config(dict(**model({}), **tested)))


def test_a_config_that_learns_ignored_objects_as_background_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, MODEL.format(loss='') + DATA)
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)
    options = {'model.assigner': assigner, 'train_dataloader.dataset.pipeline': [dict(type='SNIPResize')]}
    with pytest.raises(ConfigError, match=r'config key `model.assigner`: MaxIoUAssigner needs `ignore_iof_thr`'):
        load_config(path, options)


def test_takes() -> None:
    assert takes(DATASETS, coco(), 'meta')
    assert not takes(DATASETS, coco(), 'metas')
    assert takes(MODELS, dict(type=MODELS.find('TopdownPoseEstimator')), 'meta')
    assert not takes(METRICS, dict(type='PCKAccuracy'), 'ann_file')


def test_bases_and_modules_beside_the_config_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 'VALUE = 3', 'module_beside_the_config.py')
    write(tmp_path, "a = 1\ncustom_imports = dict(imports=['module_beside_the_config'])", 'base.py')
    write(tmp_path, "_base_ = './base.py'\nb = 2")
    monkeypatch.chdir(tmp_path)
    cfg = load_config('config.py', {'a': 5})
    assert (cfg.a, cfg.b) == (5, 2)
    folder = tmp_path / 'experiments'
    folder.mkdir()
    write(folder, 'VALUE = 3', 'module_beside_the_base.py')
    write(folder, "custom_imports = dict(imports=['module_beside_the_base'])", 'base.py')
    cfg = load_config(write(tmp_path, "_base_ = 'experiments/base.py'", 'outer.py'))
    assert cfg.import_folders == [str(folder)]


def test_the_copy_of_a_config_finds_its_modules(tmp_path: Path) -> None:
    """As work dirs have one, in another process; in a package, too."""
    folder, copy = tmp_path / 'here', tmp_path / 'there' / 'config.py'
    for path in (folder / 'my_parts', copy.parent):
        path.mkdir(parents=True)
    (folder / 'my_bare_parts').mkdir()
    write(folder / 'my_parts', '', '__init__.py')
    write(folder / 'my_parts', '', 'deep.py')
    write(folder, '', 'my_lone_part.py')
    imports = ['my_parts.deep', 'my_parts', 'my_bare_parts', 'my_lone_part', 'torch.nn', 'sys']
    cfg = load_config(write(folder, f'custom_imports = dict(imports={imports})'))
    assert cfg.import_folders == [str(folder)]
    copy.write_text(cfg.pretty_text)
    code = f'from mmpose_lite.engine.config import load_config; print(load_config({str(copy)!r}).import_folders)'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert out.stdout == f'[{str(folder)!r}]\n'


@pytest.mark.parametrize(
    ('imports', 'message'),
    [
        ("dict(imports=['absent_module'])", r"there is no module 'absent_module' \('absent_module' is to be imported\)"),
        ("dict(imports=['good_module.py'])", r"there is no module 'good_module\.py' .*`my_net\.py` is written 'my_net'"),
        (
            "dict(imports='needy_module')",
            r"'needy_module' cannot be imported: .*No module named 'what_it_needs' \[.*needy_module\.py:2\]",
        ),
        ("dict(imports=['torn_module'])", r"'torn_module' cannot be imported: SyntaxError: .* \[.*torn_module\.py:1\]"),
        ("dict(imports=['wrong_module'])", r"'wrong_module' cannot be imported: ZeroDivisionError: .* \[.*wrong_module\.py:2\]"),
        ("['good_module']", r"must be dict\(imports=\['module', ...\]\), got \['good_module'\]"),
        ("dict(import_=['good_module'])", r"must be dict\(imports=\['module', ...\]\), got \{'import_'"),
    ],
)
def test_modules_that_cannot_be_imported(tmp_path: Path, imports: str, message: str) -> None:
    write(tmp_path, '', 'good_module.py')
    write(tmp_path, '\nimport what_it_needs', 'needy_module.py')
    write(tmp_path, 'a = (', 'torn_module.py')
    write(tmp_path, '\na = 1 / 0', 'wrong_module.py')
    with pytest.raises(ConfigError, match=f'^config key `custom_imports`: .*{message}'):
        load_config(write(tmp_path, f'custom_imports = {imports}'))
    if 'needy' in imports:
        load_config(write(tmp_path, "custom_imports = dict(imports=['needy_module'], allow_failed_imports=True)"))


def test_an_option_can_import_a_module(tmp_path: Path) -> None:
    write(tmp_path, "raise ValueError('it was imported')", 'module_of_an_option.py')
    with pytest.raises(ConfigError, match='it was imported'):
        load_config(write(tmp_path, 'a = 1'), {'custom_imports.imports': ['module_of_an_option']})


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('modle.backbone.depth', r"--cfg-options modle\.backbone\.depth: '.*config\.py' has no key `modle`; did you mean model"),
        ('data_rot', 'has no key `data_rot`; did you mean data_root'),
        ('xyzzy', r'has no key `xyzzy`\.$'),
    ],
)
def test_misspelt_options(tmp_path: Path, option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, DATA), {option: 1})


@pytest.mark.parametrize(
    ('name', 'key'), [('optim_wraper', 'optim_wrapper'), ('modle', 'model'), ('test_evaluater', 'test_evaluator')]
)
def test_misspelt_keys(tmp_path: Path, name: str, key: str) -> None:
    path = tmp_path / 'x.py'
    path.write_text(f'{name} = dict()\ncodec = dict()\nnum_epochs = 3\n')
    with pytest.raises(ConfigError, match=f'nothing reads the key `{name}`; did you mean `{key}`'):
        load_config(path)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        *((key, 5, 'must be a dict, got 5') for key in ('env_cfg', 'model', 'train_dataloader', 'log_processor', 'visualizer')),
        ('auto_scale_lr', [], r'must be a dict, got \[\]'),
        ('work_dir', 20240101, 'must be a text, got 20240101'),
        ('load_from', 5, 'must be a text, got 5'),
        ('custom_hooks', 'x', "must be a list, got 'x'"),
        ('param_scheduler', 5, 'must be a list, or a dict, got 5'),
        ('resume', 'a.pth', "must be True, False or 'auto', got 'a.pth'; a checkpoint is named by `load_from`"),
    ],
)
def test_values_of_another_kind(tmp_path: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f'^config key `{key}`: {message}'):
        load_config(write(tmp_path, 'num_epochs = 3'), {key: value})


def test_options_that_the_runner_reads_need_not_be_in_the_file(tmp_path: Path) -> None:
    cfg = load_config(write(tmp_path, 'of_my_hook = 3'), {'randomness.seed': 2, 'of_my_hook': 4})
    assert (cfg.randomness.seed, cfg.of_my_hook) == (2, 4)


def test_an_option_of_a_variable_would_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, 'num_epochs = 3\ntrain_cfg = dict(max_epochs=num_epochs)', 'base.py')
    config = write(tmp_path, "_base_ = 'base.py'\nsize = (3, 4)\nwork_dir = f'{{{{_base_.num_epochs}}}}'\nmodel = dict(s=[size])")
    for option, made in (('num_epochs', 'train_cfg'), ('size', 'model')):
        with pytest.raises(ConfigError, match=rf"{option}: `{option}` is a variable, from which '.*config\.py' makes `{made}`"):
            load_config(config, {option: 4})
    assert load_config(config, {'size': (5, 6)}, reads=['size'])['size'] == (5, 6)
    assert load_config(config, {'train_cfg.max_epochs': 4}).train_cfg.max_epochs == 4


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    config = write(tmp_path, "steps = [dict(type='A')]\nname = 'x'")
    assert load_config(config, {'steps.0.type': 'B'}).steps[0].type == 'B'
    with pytest.raises(ConfigError, match=r"--cfg-options steps\.3\.type='B' does not fit '.*config\.py': .*3.*by its number"):
        load_config(config, {'name': 'y', 'steps.3.type': 'B'})
    assert load_config(config, {'steps': [], 'name': {'_delete_': True, 'a': 1}, 'name.a': 2})['name'] == {'a': 2}


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path, '', 'resnet50.py')
    with pytest.raises(ConfigError, match=r"resnet5\.py' does not exist\. Near names in .*: resnet50\.py\.$"):
        load_config(tmp_path / 'resnet5.py')
    with pytest.raises(ConfigError, match=r"absent\.py' does not exist\.$"):
        load_config(tmp_path / 'no' / 'absent.py')
    write(tmp_path, '', 'weights.pth')
    with pytest.raises(ConfigError, match=r"weights\.pth' must end in \.py; commands take the config first"):
        load_config(tmp_path / 'weights.pth')
    with pytest.raises(ConfigError, match='is a folder'):
        load_config(tmp_path)  # a folder


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('b = 1\na = (', r', line 2, cannot be read: SyntaxError'),
        ('a = 1 / 0', r', line 1, cannot be read: ZeroDivisionError: division by zero'),
        ('def f():\n    return b\n\n\na = f()', r", line 2, cannot be read: NameError: name 'b' is not defined"),
        ("_base_ = './absent.py'", r", line 1, cannot be read: `_base_` names '.*absent\.py', which does not exist"),
        ("_base_ = './config.py'", r', line 1, cannot be read: .* which has this file for a base'),
        ('_base_ = 5', r', line 1, cannot be read: `_base_` must be the path of a file, .* got 5$'),
        ("_base_ = 'mmpose_lite::quickstart.py'", r', line 1, cannot be read: `_base_` must be the path of a file, absolute or'),
        ('a = "\udcff"', r' cannot be read: .*utf-8'),
    ],
)
@pytest.mark.parametrize('is_base', [False, True])
def test_faulty_files(tmp_path: Path, text: str, message: str, is_base: bool) -> None:
    """The file is named that has the fault, and its line."""
    faulty, base = tmp_path / 'config.py', ''
    faulty.write_text(text, errors='surrogateescape')
    if is_base:
        write(tmp_path, "_base_ = ['./empty.py', './config.py']", 'between.py')
        write(tmp_path, '', 'empty.py')
        base = r" \(a base of '.*outer\.py'\)"
    path = write(tmp_path, "_base_ = './between.py'", 'outer.py') if is_base else faulty
    with pytest.raises(ConfigError, match=rf"^config '{re.escape(str(faulty))}'{base}{message}"):
        load_config(path)


def test_a_base_that_mmengine_computes(tmp_path: Path) -> None:
    config = write(tmp_path, "_base_ = ['ba' + 'se.py']")
    with pytest.raises(ConfigError, match=r"config '.*config\.py' cannot be read: FileNotFoundError: .*base\.py"):
        load_config(config)
    write(tmp_path, 'a = 1', 'base.py')
    assert load_config(config).a == 1


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(model=dict(type='TopdownEstimator')), '^config key `model`: no model is called `TopdownEstimator`; nearest'),
        (dict(train_dataloader=dict(dataset=dict(type='CocoDataset'))), '^config key `train_dataloader.dataset`: no dataset is'),
        (
            dict(val_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[coco(), dict(type='Nothing')]))),
            r'^config key `val_dataloader\.dataset\.datasets\[1\]`: no dataset is called `Nothing`',
        ),
        (
            dict(test_dataloader=dict(dataset=dict(ann_file='x'))),
            r'`test_dataloader\.dataset`: a dataset config needs the key `type`',
        ),
        (dict(test_dataloader=dict(batch_size=1)), '^config key `test_dataloader`: needs the key `dataset`'),
        (
            dict(val_dataloader=dict(dataset=coco()), val_evaluator=[dict(type='CocoMetric'), dict(type='CocoMetrik')]),
            r'^config key `val_evaluator\[1\]`: no metric is called `CocoMetrik`; nearest names: `CocoMetric`',
        ),
    ],
)
def test_unknown_parts_are_named_with_their_key(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        given(meta='lsp14', **cfg)


def test_a_misspelt_argument_deep_in_the_model_is_named_with_its_path(tmp_path: Path) -> None:
    from mmpose_lite.apis import init_model

    config = write(tmp_path, "meta = 'coco17'\n" + MODEL.format(loss='use_target_wieght=True'))
    message = (
        r'config key `model\.head\.loss`: KeypointMSELoss has no argument `use_target_wieght`; did you mean `use_target_weight`'
    )
    with pytest.raises(ArgumentError, match=message):
        init_model(str(config))
