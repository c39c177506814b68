"""Checkpoint files: whole after a kill, plain inside, harmless to open; weights: never half loaded in silence."""

import builtins
import enum
import io
import os
import pickle
import random
import subprocess
import sys
import textwrap
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmpose_lite.engine import checkpoint as checkpoint_module
from mmpose_lite.engine.checkpoint import (
    UntrustedCheckpointError,
    capture_rng_state,
    extract_state_dict,
    from_plain,
    load_checkpoint_file,
    load_state,
    restore_rng_state,
    save_checkpoint_atomic,
    to_plain,
)
from mmpose_lite.structures import KeypointMeta

posix = pytest.mark.skipif(os.name != 'posix', reason='needs fork, kill and resource limits')


# ----------------------------------------------------------------------------------------------------------- plain types
class Colour(str, enum.Enum):
    RED = 'red'


def test_to_plain_converts_every_known_kind() -> None:
    plain = to_plain(
        OrderedDict(
            scalar=np.float64(0.5),
            flag=np.bool_(True),
            name=np.str_('x'),
            colour=Colour.RED,
            path=Path('a', 'b'),
            shape=torch.Size([2, 3]),
            reverse=np.arange(4)[::-1],
            big_endian=np.array(1.5, dtype='>f4'),
            words=np.array(['a', 'bc']),
            parameter=nn.Parameter(torch.ones(2)),
            nested=[{1: (None, True, 2, 'y')}],
        )
    )
    assert type(plain) is dict
    assert (plain['scalar'], plain['flag'], plain['name'], plain['colour']) == (0.5, True, 'x', 'red')
    assert [type(plain[key]) for key in ('scalar', 'flag', 'name', 'colour', 'path', 'shape')] == [
        float,
        bool,
        str,
        str,
        str,
        tuple,
    ]
    assert plain['path'] == os.path.join('a', 'b')
    assert plain['reverse'].tolist() == [3, 2, 1, 0]
    assert plain['big_endian'].shape == ()
    assert plain['big_endian'].item() == 1.5
    assert plain['words'] == ['a', 'bc']
    assert type(plain['parameter']) is torch.Tensor
    assert plain['nested'] == [{1: (None, True, 2, 'y')}]


def test_history_buffer_survives_the_way_to_plain_and_back() -> None:
    buffer = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 2], max_length=10)
    plain = to_plain({'log_scalars': {'train/loss': buffer}})
    assert set(plain['log_scalars']['train/loss']) == {'log_history', 'count_history', 'max_length'}
    back = from_plain(plain)['log_scalars']['train/loss']
    assert isinstance(back, HistoryBuffer)
    assert back.mean() == 9 / 4
    assert back.max_length == 10
    back.update(3.0)
    assert plain['log_scalars']['train/loss']['log_history'].tolist() == [1, 2, 6]  # not the same memory


@pytest.mark.parametrize(
    ('state', 'path'),
    [
        ({'message_hub': {'log_scalars': {'train/loss': object()}}}, r'`message_hub\.log_scalars\.train/loss`.*builtins\.object'),
        ({'param_schedulers': [{}, {'anneal_func': len}]}, r'`param_schedulers\[1\]\.anneal_func`'),
        ({'a': np.array([None])}, r'`a`.*numpy\.ndarray'),
        ({'a': np.complex64(1j)}, r'`a`.*complex'),
        ({'a': {(1, b'x'): 0}}, 'bytes'),
        (object(), 'the checkpoint itself'),
    ],
)
def test_to_plain_names_the_key_path_of_what_it_refuses(state: object, path: str) -> None:
    with pytest.raises(TypeError, match=path):
        to_plain(state)


# --------------------------------------------------------------------------------------------------------------- writing
def test_what_is_written_is_read_back_by_plain_torch(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'epoch_1.pth'
    save_checkpoint_atomic({'epoch': np.int64(3), 'log': HistoryBuffer([1.0], [1]), 'w': nn.Parameter(torch.ones(2))}, path)
    assert [file.name for file in path.parent.iterdir()] == ['epoch_1.pth']
    loaded = torch.load(path, weights_only=True)  # no allow-list: nothing but plain types is inside
    assert loaded['epoch'] == 3
    assert from_plain(load_checkpoint_file(path))['log'].current() == 1.0


def test_refused_state_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'last.pth'
    save_checkpoint_atomic({'epoch': 1}, path)
    with pytest.raises(TypeError, match='`epoch`'):
        save_checkpoint_atomic({'epoch': object()}, path)
    assert load_checkpoint_file(path) == {'epoch': 1}


@posix
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    script = """
        import os, pathlib, random, signal, sys, time
        import torch
        from mmpose_lite.engine.checkpoint import load_checkpoint_file, save_checkpoint_atomic

        path = pathlib.Path(sys.argv[1])
        random.seed(0)
        step, left_behind = 0, 0
        save_checkpoint_atomic({'step': 0, 'w': torch.zeros(50_000)}, path)
        for _ in range(25):
            pid = os.fork()
            if pid == 0:
                while True:
                    step += 1
                    save_checkpoint_atomic({'step': step, 'w': torch.full((50_000,), float(step))}, path)
            time.sleep(random.uniform(0.0, 0.06))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            left_behind += len(list(path.parent.glob('.*.writing')))
            loaded = load_checkpoint_file(path)
            assert loaded['step'] >= step, (loaded['step'], step)
            step = loaded['step']
            assert (loaded['w'] == step).all()
        assert step > 0 and left_behind > 0, (step, left_behind)  # kills did fall into writes
        save_checkpoint_atomic({'step': -1}, path)
        assert [file.name for file in path.parent.iterdir()] == [path.name], 'stale temporaries'
    """
    command = [sys.executable, '-c', textwrap.dedent(script), str(tmp_path / 'last.pth')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_temporaries_of_running_processes_are_kept(tmp_path: Path) -> None:
    theirs = tmp_path / f'.epoch_9.pth.{os.getppid()}.writing'
    theirs.touch()
    unrelated = tmp_path / '.notes.writing'
    unrelated.touch()
    save_checkpoint_atomic({'epoch': 1}, tmp_path / 'epoch_1.pth')
    assert theirs.exists()
    assert unrelated.exists()


@posix
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    import resource
    import signal

    path = tmp_path / 'last.pth'
    save_checkpoint_atomic({'epoch': 1}, path)
    old_limits, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old_limits[1]))  # the kernel refuses bytes beyond, as a full disk does
    try:
        with pytest.raises(RuntimeError, match=r'last\.pth could not be written.* MB are free in .*untouched') as caught:
            save_checkpoint_atomic({'w': torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert isinstance(caught.value.__cause__, OSError | RuntimeError)
    assert [file.name for file in tmp_path.iterdir()] == ['last.pth']
    assert load_checkpoint_file(path) == {'epoch': 1}


def test_an_interrupt_removes_the_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(state: object, file: io.BufferedWriter) -> None:
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module.torch, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint_atomic({'epoch': 1}, tmp_path / 'last.pth')
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------------- reading
def test_a_published_checkpoint_is_read_without_trust(shared: Path) -> None:
    checkpoint = load_checkpoint_file(shared / 'parity/checkpoints/mmpose_resnet18thin_lspet.pth')
    assert checkpoint['meta']['dataset_meta']['num_keypoints'] == 14
    state_dict = extract_state_dict(checkpoint)
    assert 'backbone.conv1.weight' in state_dict
    assert 'head.final_layer.weight' in state_dict
    buffer = from_plain(checkpoint['message_hub'])['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert np.isfinite(buffer.mean())
    assert to_plain(checkpoint)['meta']['epoch'] == 2  # so that a resumed run can write it again


@pytest.fixture
def numpy_tree() -> dict:
    """What an mmengine checkpoint holds beside tensors."""
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    return dict(
        buffer=buffer,
        scalars=[np.float32(0.25), np.int64(7), np.bool_(False), np.str_('word')],
        array=np.arange(6, dtype=np.int16).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        big_endian=np.arange(3, dtype='>i4'),
        empty=np.zeros((0, 4), dtype=np.float32),
        zero_dim=np.array(3.5),
        words=np.array(['nose', 'eye']),
    )


@pytest.mark.parametrize('module', [b'numpy.core.multiarray', b'numpy._core.multiarray'], ids=['numpy1', 'numpy2'])
@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_numpy_and_history_come_as_plain_types(tmp_path: Path, numpy_tree: dict, module: bytes, zipped: bool) -> None:
    path = tmp_path / 'mmengine.pth'
    own = np.array(0).__reduce__()[0].__module__.encode()
    _save_renamed(numpy_tree, path, own + b'\n', module + b'\n', zipped=zipped)
    tree = load_checkpoint_file(path)
    assert tree['scalars'] == [0.25, 7, False, 'word']
    assert [type(value) for value in tree['scalars']] == [float, int, bool, str]
    for key in ('array', 'fortran', 'big_endian', 'empty', 'zero_dim'):
        assert isinstance(tree[key], torch.Tensor)
        np.testing.assert_array_equal(tree[key].numpy(), numpy_tree[key])
    assert tree['array'].dtype == torch.int16
    assert tree['words'] == ['nose', 'eye']
    assert tree['buffer']['log_history'].tolist() == [1.0, 2.0]
    assert to_plain(numpy_tree).keys() == tree.keys()


def _save_renamed(tree: object, path: Path, old: bytes, new: bytes, *, zipped: bool) -> None:
    """Save `tree` as the other generation of NumPy would name its functions."""
    buffer = io.BytesIO()
    torch.save(tree, buffer, _use_new_zipfile_serialization=zipped)
    if not zipped:
        path.write_bytes(buffer.getvalue().replace(old, new))
        return
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(old, new) if name.endswith('data.pkl') else content)


class Payload:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


def _run_payload(marker: str) -> str:
    Path(marker).write_text('ran')
    return 'ran'


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize(
    ('function', 'template', 'named'),
    [
        (os.system, 'touch {}', r'(posix|nt)\.system'),
        (builtins.eval, 'open({!r}, "w")', 'eval'),
        (_run_payload, '{}', '_run_payload'),
    ],
    ids=['os.system', 'eval', 'own function'],
)
def test_a_malicious_pickle_is_refused_and_does_not_run(
    tmp_path: Path, function: object, template: str, named: str, zipped: bool
) -> None:
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    state = {'state_dict': {'w': torch.ones(1)}, 'meta': Payload(function, template.format(str(marker)))}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedCheckpointError, match=rf'evil\.pth.*`\S*{named}`.*trust=True') as caught:
        load_checkpoint_file(path)
    assert isinstance(caught.value, RuntimeError)
    assert not marker.exists()
    assert load_checkpoint_file(path, trust=True)['state_dict']['w'].tolist() == [1.0]  # the payload is real
    assert marker.exists()


@pytest.mark.parametrize(
    'payload',
    [
        Payload(getattr, torch.Tensor, 'data_ptr'),
        Payload(getattr, HistoryBuffer, '__init__'),
        Payload(getattr, Payload(getattr, HistoryBuffer, 'min'), '__globals__'),
        Payload(bytes, 10),
        np.array([object], dtype=object),
        Payload(np.dtype, 'O'),
        Payload(np.memmap, 'file'),
    ],
    ids=['getattr tensor', 'getattr init', 'getattr globals', 'bytes', 'object array', 'object dtype', 'memmap'],
)
def test_the_allow_list_lends_nothing_else(tmp_path: Path, payload: object) -> None:
    torch.save({'meta': payload}, tmp_path / 'evil.pth')
    with pytest.raises(UntrustedCheckpointError, match=r'evil\.pth'):
        load_checkpoint_file(tmp_path / 'evil.pth')


def test_a_file_cannot_replace_methods_of_history_buffer(tmp_path: Path) -> None:
    buffer = HistoryBuffer([1.0], [1])
    buffer._statistics_methods = {'mean': HistoryBuffer.max}
    torch.save(buffer, tmp_path / 'evil.pth')
    load_checkpoint_file(tmp_path / 'evil.pth')
    assert HistoryBuffer._statistics_methods['mean'] is HistoryBuffer.mean


def test_the_allow_list_of_torch_is_as_before(tmp_path: Path) -> None:
    def listed() -> set:
        return {str(entry) for entry in torch.serialization.get_safe_globals()}

    torch.save({'buffer': HistoryBuffer([1.0], [1])}, tmp_path / 'a.pth')
    torch.save({'meta': Payload(os.getcwd)}, tmp_path / 'b.pth')
    torch.serialization.add_safe_globals([HistoryBuffer])  # by someone else, for their own purpose
    try:
        before = listed()
        assert load_checkpoint_file(tmp_path / 'a.pth')['buffer']['max_length'] == 1_000_000
        with pytest.raises(UntrustedCheckpointError):
            load_checkpoint_file(tmp_path / 'b.pth')
        assert listed() == before
    finally:
        torch.serialization.clear_safe_globals()


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.parametrize('keep', [0.02, 0.5, 0.95])
def test_a_truncated_file_is_named_with_its_size(tmp_path: Path, zipped: bool, keep: float) -> None:
    path = tmp_path / 'part.pth'
    torch.save({'w': torch.zeros(1000), 'b': [1] * 100}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()[: int(path.stat().st_size * keep)]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'part\.pth \({len(content):,} bytes\) is not a whole checkpoint'):
        load_checkpoint_file(path)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'empty'),
        (b'\n<!DOCTYPE html><html><body>404</body></html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'git lfs pull'),
        (b'\x89PNG\r\n\x1a\n' + bytes(100), 'which torch.save does not write'),
        (pickle.dumps({'w': 1}), 'a pickle that torch.save did not write'),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / 'model.pth').write_bytes(content)
    with pytest.raises(ValueError, match=rf'model\.pth \({len(content)} bytes\).*{reason}'):
        load_checkpoint_file(tmp_path / 'model.pth', trust=True)


def test_a_foreign_zip_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'model.pth', 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    with pytest.raises(ValueError, match='is not a whole checkpoint'):
        load_checkpoint_file(tmp_path / 'model.pth')


def test_a_tar_behind_the_legacy_magic_is_refused(tmp_path: Path) -> None:
    """torch < 2.6 reads such files with a plain pickle, weights_only or not."""
    import tarfile

    path = tmp_path / 'model.pth'
    name = checkpoint_module._LEGACY_MAGIC.decode('latin1')
    with tarfile.open(path, 'w', format=tarfile.USTAR_FORMAT, encoding='latin1') as archive:
        archive.addfile(tarfile.TarInfo(name))
    assert path.read_bytes().startswith(checkpoint_module._LEGACY_MAGIC)
    with pytest.raises(ValueError, match='a pickle that torch'):
        load_checkpoint_file(path)


def test_paths_that_are_no_local_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='must be a local file, got https://'):
        load_checkpoint_file('https://example.org/model.pth')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_checkpoint_file(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        load_checkpoint_file(tmp_path)
    with pytest.raises(ValueError, match=r"no weights called 'resnet50\.v9'.*resnet50\.imagenet1k_v2"):
        load_checkpoint_file('torchvision://resnet50.v9')
    with pytest.raises(ValueError, match="no weights called 'resnet19'"):
        load_checkpoint_file('torchvision://resnet19')


@pytest.mark.parametrize('name', ['resnet18', 'resnet18.imagenet1k_v1'])
def test_torchvision_weights_come_from_the_hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    folder.mkdir(parents=True)
    torch.save({'fc.bias': torch.ones(3)}, folder / 'resnet18-f37072fd.pth')
    assert load_checkpoint_file(f'torchvision://{name}')['fc.bias'].tolist() == [1, 1, 1]


def test_safetensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip('safetensors.torch')
    safetensors.save_file({'w': torch.arange(3.0)}, str(tmp_path / 'm.safetensors'))
    assert load_checkpoint_file(tmp_path / 'm.safetensors')['w'].tolist() == [0, 1, 2]
    (tmp_path / 'm.safetensors').write_bytes(b'broken')
    with pytest.raises(ValueError, match=r'm\.safetensors \(6 bytes\)'):
        load_checkpoint_file(tmp_path / 'm.safetensors')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_missing_gpu_is_not_a_damaged_file(tmp_path: Path) -> None:
    save_checkpoint_atomic({'w': torch.ones(1)}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='torch sees no GPU'):
        load_checkpoint_file(tmp_path / 'a.pth', map_location='cuda:0')


# --------------------------------------------------------------------------------------------------------------- weights
class TinyPose(nn.Module):
    """Backbone of 7 tensors (6 without num_batches_tracked), head of 4."""

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.meta = KeypointMeta.load({'keypoints': num_keypoints})
        self.data_preprocessor = nn.BatchNorm1d(1)
        self.backbone = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4)))
        deconv, final_layer = nn.ConvTranspose2d(4, 4, 2), nn.Conv2d(4, num_keypoints, 1)
        self.head = nn.Sequential(OrderedDict(deconv=deconv, final_layer=final_layer))


def test_extract_finds_the_state_dict_and_strips_wrappers() -> None:
    weight = torch.ones(1)
    for checkpoint in (
        {'state_dict': {'a.b': weight}},
        {'model': {'module.a.b': weight}},
        {'_orig_mod.module.a._orig_mod.b': weight},
    ):
        assert extract_state_dict(checkpoint) == {'a.b': weight}
    assert extract_state_dict({'x.b': weight, 'epoch': 3}, revise_keys=[(r'^x\.', 'a.'), ('b$', 'c')]) == {'a.c': weight}


def test_extract_takes_the_averaged_weights_of_mmengine() -> None:
    """EMAHook swaps before it saves: `state_dict` is the average, `ema_state_dict` the raw weights."""
    from mmengine.hooks import EMAHook

    model = nn.Linear(1, 1, bias=False)
    hook = EMAHook(momentum=0.5)
    hook.before_run(SimpleNamespace(model=model))
    model.weight.data.fill_(7.0)
    hook.ema_model.module.weight.data.fill_(5.0)
    checkpoint = {'state_dict': model.state_dict()}
    hook.before_save_checkpoint(SimpleNamespace(), checkpoint)
    assert extract_state_dict(checkpoint)['weight'].item() == 5.0


@pytest.mark.parametrize('checkpoint', [{'epoch': 1}, {'state_dict': {}}, torch.ones(1), [1]])
def test_extract_refuses_what_holds_no_tensors(checkpoint: object) -> None:
    with pytest.raises(ValueError, match='must hold tensors by name'):
        extract_state_dict(checkpoint)


def test_extract_refuses_two_tensors_of_one_name() -> None:
    with pytest.raises(ValueError, match='two tensors of the checkpoint are called `a`'):
        extract_state_dict({'a': torch.ones(1), 'module.a': torch.ones(1)})


def test_everything_fits() -> None:
    source, model = TinyPose(5), TinyPose(5)
    nn.init.constant_(source.data_preprocessor.weight, 9.0)
    report = load_state(model, source.state_dict(), strict=True)
    assert report.line() == 'backbone 7/7, head 4/4'
    assert report.complete
    assert torch.equal(model.head.final_layer.weight, source.head.final_layer.weight)
    assert model.data_preprocessor.weight.item() == 1.0  # belongs to the config


def test_another_number_of_keypoints_keeps_the_last_layer() -> None:
    source, model = TinyPose(17), TinyPose(14)
    before = model.head.final_layer.weight.clone()
    report = load_state(model, source.state_dict())
    assert report.line() == 'backbone 7/7, head 2/4: 14 != 17 keypoints, final_layer re-initialised'
    assert torch.equal(model.head.final_layer.weight, before)
    assert torch.equal(model.head.deconv.weight, source.head.deconv.weight)
    model.meta = None
    assert (
        'head 2/4: shape [14, 4, 1, 1] != [17, 4, 1, 1], final_layer re-initialised'
        in load_state(model, source.state_dict()).line()
    )
    with pytest.raises(ValueError, match='`strict` demands'):
        load_state(model, source.state_dict(), strict=True)


def test_only_heads_speak_of_keypoints() -> None:
    """The backbone's convolution has 4 channels, by chance as many as there are keypoints."""
    state_dict = TinyPose(4).state_dict()
    state_dict['backbone.conv.weight'] = torch.ones(6, 3, 1, 1)
    line = load_state(TinyPose(4), state_dict).line()
    assert line == 'backbone 6/7: shape [4, 3, 1, 1] != [6, 3, 1, 1], conv re-initialised, head 4/4'


def test_missing_and_unexpected_are_named_and_batch_counters_are_not_counted() -> None:
    state_dict = TinyPose(5).state_dict()
    del state_dict['backbone.bn.num_batches_tracked'], state_dict['head.deconv.bias']
    state_dict['neck.weight'] = torch.ones(1)
    report = load_state(TinyPose(5), state_dict)
    assert report.missing == ('head.deconv.bias',)
    assert report.unexpected == ('neck.weight',)
    assert report.line() == 'backbone 6/6, head 3/4: 1 missing (head.deconv.bias), 1 unexpected (neck.weight)'


def test_too_little_is_an_error_and_changes_nothing() -> None:
    model = TinyPose(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = {'backbone.conv.weight': torch.zeros(4, 3, 1, 1), 'other.weight': torch.ones(1)}
    with pytest.raises(
        ValueError, match=r'only 1 of 10 .*`min_match` = 0\.5.*backbone 1/6.*head 0/4.*unexpected \(other\.weight\)'
    ):
        load_state(model, source)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert load_state(model, source, min_match=0.0).num_loaded == 1
    with pytest.raises(ValueError, match=r'`min_match` must be in \[0, 1\], got 2'):
        load_state(model, source, min_match=2)


@pytest.mark.parametrize('direction', ['without', 'with'])
def test_a_prefix_too_many_or_too_few_is_hinted_and_the_hint_works(direction: str) -> None:
    whole = TinyPose(5)
    bare, full = whole.backbone, {f'backbone.{name}': value for name, value in whole.backbone.state_dict().items()}
    model, state_dict = (bare, full) if direction == 'without' else (whole, bare.state_dict())
    with pytest.raises(ValueError, match=rf'match {direction} the prefix `backbone\.`: revise_keys=') as caught:
        load_state(model, state_dict)
    rules = eval(str(caught.value).rpartition('revise_keys=')[2])
    assert load_state(model, extract_state_dict(state_dict, revise_keys=rules)).num_loaded == 7


def test_the_layout_of_mmpose_0_points_to_the_converter() -> None:
    old = {name.replace('head.', 'keypoint_head.'): value for name, value in TinyPose(5).state_dict().items()}
    report = load_state(TinyPose(5), old)
    assert report.parts == {'backbone': (7, 7), 'head': (0, 4)}
    assert 'tools/convert_checkpoint.py' in report.line()
    assert '\n' not in report.line()


# ---------------------------------------------------------------------------------------------------------- random state
def _draw() -> list[float]:
    draws = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]  # noqa: NPY002
    if torch.cuda.is_available():
        draws += [torch.rand(1, device=f'cuda:{index}').item() for index in range(torch.cuda.device_count())]
    return draws


def test_random_state_survives_a_file(tmp_path: Path) -> None:
    _draw()  # leaves half of a gauss pair in Python's and NumPy's generators
    save_checkpoint_atomic({'rng': capture_rng_state()}, tmp_path / 'rng.pth')
    expected = _draw()
    assert _draw() != expected
    restore_rng_state(torch.load(tmp_path / 'rng.pth', weights_only=True)['rng'])
    assert _draw() == expected
