"""Downloads from a server on this machine that hangs, breaks off, corrupts, redirects and sends pages."""

import errno
import hashlib
import multiprocessing
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmpose_lite.checkpoints.download import DownloadError, cache_folder, cached_path, download, hash_in_name
from tests.checkpoints.file_server import FileServer, serve

CONTENT = np.random.default_rng(0).bytes(250_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f'model-{SHA256[:8]}_20220920.pth'
TIMEOUT = 0.5  # s; where no time-out is meant, the machine may be busy for longer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.delenv('MMPOSE_LITE_OFFLINE')
    for name in ('http_proxy', 'https_proxy', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serve(CONTENT) as running:
        yield running


def fetch(server: FileServer, folder: Path, *kinds: str, name: str = NAME, **args: object) -> Path:
    timeout = TIMEOUT if {'hang', 'stall'} & set(kinds) else 60.0
    return download([server.url(f'{kind}/{name}') for kind in kinds], folder=folder, timeout=timeout, **args)


def kinds(server: FileServer) -> list[str]:
    return [path.split('/')[1] for path, _ in server.requests]


def files(folder: Path) -> set[str]:
    """What is in the folder, but for the lock, which stays."""
    return {path.name for path in folder.rglob('*') if path.is_file() and path.suffix != '.lock'}


@pytest.mark.parametrize(
    ('name', 'digits'),
    [
        ('hrnet_w32-36af842e.pth', '36af842e'),
        ('td-hm_cpm_8xb64-210e_coco-256x192-0e978875_20220920.pth', '0e978875'),
        ('mask_rcnn_r50_fpn_2x_coco_bbox_mAP-0.392__segm_mAP-0.354_20200505_003907-3e542a40.pth', '3e542a40'),
        ('se-resnet50_batch256_imagenet_20200804-ae206104.pth', 'ae206104'),
        ('resnet50-11ad3fa6.pth', '11ad3fa6'),
        ('mae_pretrain_vit_small_20230913.pth', ''),
        ('model-20230913.pth', ''),
        ('model.pth', ''),
        ('model-0123abc.pth', ''),
    ],
)
def test_the_hash_in_a_published_name(name: str, digits: str) -> None:
    assert hash_in_name(name) == digits


def test_a_file_is_fetched_once(server: FileServer, tmp_path: Path) -> None:
    path = fetch(server, tmp_path / 'new', 'good')
    assert path == tmp_path / 'new' / NAME
    assert path.read_bytes() == CONTENT
    assert fetch(server, tmp_path / 'new', 'good') == path
    assert kinds(server) == ['good']
    assert files(tmp_path) == {NAME}


FAILURES = pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('hang', r'time-out: nothing came for 0\.5 s'),
        ('stall', r'time-out: nothing came for 0\.5 s'),
        ('status', 'HTTP status 503 Service Unavailable'),
        ('corrupt', rf'it sent another file, whose sha256 begins with \w{{8}}, not with {SHA256[:8]}'),
        ('empty', 'it sent nothing'),
        ('page', 'it sent a web page, not the file'),
        ('html', 'it sent a web page, not the file'),
        ('to/status', 'HTTP status 503 Service Unavailable'),
    ],
)


@FAILURES
def test_the_next_address_follows(server: FileServer, tmp_path: Path, kind: str, reason: str) -> None:
    assert fetch(server, tmp_path, kind, 'whole').read_bytes() == CONTENT
    assert kinds(server)[-1] == 'whole'
    assert files(tmp_path) == {NAME}


@FAILURES
def test_each_address_is_listed_with_what_was_wrong(server: FileServer, tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=rf'{NAME} could not be downloaded:\n') as caught:
        fetch(server, tmp_path, kind, 'status')
    text = str(caught.value)
    assert re.search(rf'\n  {server.url(f"{kind}/{NAME}")}: {reason}\n', text)
    assert f'\n  {server.url(f"status/{NAME}")}: HTTP status 503' in text
    assert f'download {server.url(f"{kind}/{NAME}")}, and put it at {tmp_path / NAME}' in text
    assert NAME not in files(tmp_path)


def test_tls_and_absent_servers(server: FileServer, tmp_path: Path) -> None:
    tls = server.url(f'good/{NAME}').replace('http:', 'https:')
    with socket.create_server(('127.0.0.1', 0)) as closed:
        nobody = f'http://127.0.0.1:{closed.getsockname()[1]}/{NAME}'
    with pytest.raises(DownloadError) as caught:
        download([tls, nobody], folder=tmp_path)
    assert re.search(rf'{tls}: TLS: ', str(caught.value))
    assert re.search(rf'{nobody}: nobody answers there', str(caught.value))
    assert download([tls, nobody, server.url(f'good/{NAME}')], folder=tmp_path).read_bytes() == CONTENT


def test_redirects_are_followed(server: FileServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, 'to/to/good').read_bytes() == CONTENT


def ranges(server: FileServer) -> list[str]:
    return [wanted.removeprefix('bytes=') for _, wanted in server.requests]


def test_it_goes_on_as_long_as_bytes_arrive(server: FileServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, 'cut').read_bytes() == CONTENT
    assert ranges(server) == ['', '100000-', '200000-']


def test_it_goes_on_at_the_next_address(server: FileServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, 'cut', 'to/good').read_bytes() == CONTENT
    assert ranges(server) == ['', '100000-', '100000-']


def test_it_goes_on_at_the_next_call(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match='time-out'):
        fetch(server, tmp_path, 'stall')
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT
    assert ranges(server)[-1] == '125000-'


@pytest.mark.parametrize('kind', ['whole', 'old'])
def test_a_server_without_ranges_begins_anew(server: FileServer, tmp_path: Path, kind: str) -> None:
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path, 'status', kind).read_bytes() == CONTENT
    assert ranges(server) == ['1000-', '1000-']


def test_a_server_that_sends_a_part_of_the_range(server: FileServer, tmp_path: Path) -> None:
    """As proxies do: nothing of it is lost."""
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path, 'parts').read_bytes() == CONTENT
    assert ranges(server) == ['1000-', '101000-', '201000-']


def test_a_server_that_answers_with_another_range(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match=r"asked for the bytes from 1000, it sent 'bytes 0-9/250000'"):
        fetch(server, tmp_path, 'lie')
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT


def test_a_page_does_not_cost_what_has_arrived(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path, 'page', 'html', 'good').read_bytes() == CONTENT
    assert ranges(server)[-1] == '1000-'


def test_a_wrong_part_is_begun_anew(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / f'.{NAME}.part').write_bytes(b'x' * 1000)
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT
    assert ranges(server) == ['1000-', '']


@pytest.mark.parametrize('more', [b'', b'too much'])
def test_a_part_that_is_no_part(server: FileServer, tmp_path: Path, more: bytes) -> None:
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT + more)
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT
    assert ranges(server) == ([f'{len(CONTENT)}-'] if not more else [f'{len(CONTENT + more)}-', ''])


# ------------------------------------------------------------------------------------------------------------ without a hash
def test_without_a_hash_nothing_is_resumed(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match='broke off after 100,000 of 250,000'):
        fetch(server, tmp_path, 'cut', name='model.pth')
    assert fetch(server, tmp_path, 'cut', 'good', name='model.pth').read_bytes() == CONTENT
    assert ranges(server) == ['', '', '']


def test_without_a_hash_files_of_one_name_stay_apart(server: FileServer, tmp_path: Path) -> None:
    first, second = (fetch(server, tmp_path, kind, name='model.pth') for kind in ('good', 'whole'))
    assert first != second
    assert first.name == second.name == 'model.pth'
    assert fetch(server, tmp_path, 'good', name='model.pth') == first
    assert kinds(server) == ['good', 'whole']


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    for url in ('https://example.org/a/..%2F..%2Fmodel-0123abcd.pth', 'https://example.org/..%2F..%2Fmodel.pth'):
        path = cached_path(url, folder=tmp_path)
        assert path.resolve().is_relative_to(tmp_path)
        assert path.name.startswith('model')


def test_a_hash_may_be_given(server: FileServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, 'corrupt', 'good', name='model.pth', sha256=SHA256) == tmp_path / 'model.pth'
    assert fetch(server, tmp_path, 'corrupt', sha256='').read_bytes() == CONTENT[::-1]  # nothing to know it by


# -------------------------------------------------------------------------------------------------------------- the folder
def test_offline_names_the_file_and_the_address(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = rf'{NAME} is not in {tmp_path}, .*offline.* download {server.url("good")}/{NAME}, and put it at {tmp_path}/{NAME}'
    with pytest.raises(DownloadError, match=message):
        fetch(server, tmp_path, 'good', offline=True)
    monkeypatch.setenv('MMPOSE_LITE_OFFLINE', '1')
    with pytest.raises(DownloadError, match=message):
        fetch(server, tmp_path, 'good')
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(server, tmp_path, 'good') == tmp_path / NAME
    assert server.requests == []


def test_a_damaged_file_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=rf'{NAME} is damaged: its sha256 begins with .*put it at'):
        fetch(server, tmp_path, 'good', offline=True)
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT


def test_the_cache_folder_is_named_by_a_variable(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('MMPOSE_LITE_CACHE', raising=False)
    assert cache_folder() == Path.home() / '.cache' / 'mmpose_lite'
    monkeypatch.setenv('MMPOSE_LITE_CACHE', str(tmp_path / 'mine'))
    assert download(server.url(f'good/{NAME}')) == tmp_path / 'mine' / NAME


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(DownloadError, match=rf'{NAME} cannot be written: .*MMPOSE_LITE_CACHE names another folder'):
        fetch(server, tmp_path / 'file', 'good')


# ------------------------------------------------------------------------------------------------------------- processes
posix = pytest.mark.skipif(os.name != 'posix', reason='needs fork')


def in_a_process(url: str, folder: Path) -> multiprocessing.Process:
    """Start a process that downloads; a time-out belongs to other tests."""
    process = multiprocessing.get_context('fork').Process(target=download, args=(url,), kwargs=dict(folder=folder, timeout=60))
    process.start()
    return process


@posix
def test_of_several_processes_one_fetches(server: FileServer, tmp_path: Path) -> None:
    processes = [in_a_process(server.url(f'slow/{NAME}'), tmp_path) for _ in range(4)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert kinds(server) == ['slow']
    assert (tmp_path / NAME).read_bytes() == CONTENT


@posix
def test_a_file_system_without_locks(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without flock: nobody waits, and nobody writes into the part of another."""

    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr('fcntl.flock', flock)
    (tmp_path / f'.{NAME}.part').write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT
    assert ranges(server) == ['']
    assert (tmp_path / f'.{NAME}.part').read_bytes() == CONTENT[:1000]
    assert files(tmp_path) == {NAME, f'.{NAME}.part'}


@posix
def test_other_faults_of_locks_are_told(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr('fcntl.flock', flock)
    with pytest.raises(DownloadError, match='cannot be written'):
        fetch(server, tmp_path, 'good')


@posix
def test_a_killed_process_holds_nobody_up(server: FileServer, tmp_path: Path) -> None:
    process = in_a_process(server.url(f'stall/{NAME}'), tmp_path)
    part = tmp_path / f'.{NAME}.part'
    while not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.kill()
    process.join()
    assert fetch(server, tmp_path, 'good').read_bytes() == CONTENT
    assert ranges(server)[-1] != ''


@pytest.mark.parametrize(
    ('urls', 'args', 'message'),
    [
        ((), {}, 'must be one address or more'),
        ('file:///etc/passwd', {}, r"must be http\(s\) addresses of a file, got 'file:///etc/passwd'"),
        ('https://example.org/', {}, 'addresses of a file'),
        ('https://example.org/a/..', {}, 'addresses of a file'),
        ('https://example.org/a.pth', dict(sha256='0123'), "`sha256` must be 8 to 64 digits .*got '0123'"),
    ],
)
def test_wrong_calls(urls: object, args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        download(urls, **args)
