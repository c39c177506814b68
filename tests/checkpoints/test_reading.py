"""Checkpoint files are harmless to open, and what is wrong with one is said."""

import builtins
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.logging import HistoryBuffer

from mmpose_lite.checkpoints import reading
from mmpose_lite.checkpoints.download import DownloadError
from mmpose_lite.checkpoints.plain import from_plain, to_plain
from mmpose_lite.checkpoints.reading import UntrustedCheckpointError, load_checkpoint_file, torchvision_url
from mmpose_lite.checkpoints.weights import extract_state_dict
from mmpose_lite.checkpoints.writing import save_checkpoint_atomic


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
    name = reading._LEGACY_MAGIC.decode('latin1')
    with tarfile.open(path, 'w', format=tarfile.USTAR_FORMAT, encoding='latin1') as archive:
        archive.addfile(tarfile.TarInfo(name))
    assert path.read_bytes().startswith(reading._LEGACY_MAGIC)
    with pytest.raises(ValueError, match='a pickle that torch'):
        load_checkpoint_file(path)


def test_what_the_path_may_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_checkpoint_file(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        load_checkpoint_file(tmp_path)
    with pytest.raises(ValueError, match=r"must be a file or start with torchvision://, .*got 'ftp://x/y\.pth'"):
        load_checkpoint_file('ftp://x/y.pth')
    with pytest.raises(ValueError, match=r"no weights called 'resnet50\.v9'.*resnet50\.imagenet1k_v2"):
        load_checkpoint_file('torchvision://resnet50.v9')
    with pytest.raises(ValueError, match="no weights called 'resnet19'; it has resnet18"):
        load_checkpoint_file('torchvision://resnet19')


def test_names_of_torchvision_weights() -> None:
    assert torchvision_url('resnet50') == torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url
    assert torchvision_url('resnet50.imagenet1k_v2') == torchvision.models.ResNet50_Weights.IMAGENET1K_V2.url


@pytest.mark.parametrize('name', ['resnet18', 'resnet18.imagenet1k_v1'])
def test_torchvisions_own_downloads_are_used(torchvision_file: Callable[..., None], name: str) -> None:
    torchvision_file('resnet18-f37072fd.pth', {'fc.bias': torch.ones(3)})
    assert load_checkpoint_file(f'torchvision://{name}')['fc.bias'].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ('path', 'file'),
    [('https://example.org/a/model-0123abcd.pth', 'model-0123abcd.pth'), ('torchvision://resnet18', 'resnet18-f37072fd.pth')],
)
def test_addresses_are_downloaded_to_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchvision_file: Callable[..., None], path: str, file: str
) -> None:
    monkeypatch.setenv('MMPOSE_LITE_CACHE', str(tmp_path))
    with pytest.raises(DownloadError, match=rf'{file} is not in {tmp_path}, and nothing may be downloaded'):
        load_checkpoint_file(path)


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
