"""Fetching a file: whole and with the right hash, once on a machine, from the first address that works."""

import errno
import hashlib
import http.client
import logging
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from mmpose_lite.checkpoints.writing import HOST
from mmpose_lite.errors import RunError
from mmpose_lite.version import __version__

CACHE_VARIABLE = 'MMPOSE_LITE_CACHE'
OFFLINE_VARIABLE = 'MMPOSE_LITE_OFFLINE'
_CHUNK = 1 << 20  # bytes
_SCHEMES = ('https', 'http')
# hrnet_w32-36af842e.pth, td-hm_res50-04af38ce_20220923.pth; what stands before a dash can be a date, and is no hash then
_HASH = re.compile(r'-(?!20\d{6}\b)([0-9a-f]{8,64})(?:_20\d{6})?\.[a-z]+$')
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # of file systems, such as Lustre without flock
_PAGE = re.compile(rb'\s*<(!doctype|html|\?xml)', re.IGNORECASE)


class DownloadError(RunError):
    """None of the addresses gave the file, or it is not there and nothing may be downloaded."""


class _AddressError(Exception):
    """Why one address did not give the file."""


def cache_folder() -> Path:
    """Return the folder of downloaded files: $MMPOSE_LITE_CACHE, or ~/.cache/mmpose_lite."""
    return Path(os.environ.get(CACHE_VARIABLE) or '~/.cache/mmpose_lite').expanduser()


def hash_in_name(name: str) -> str:
    """Return the first digits of the sha256 that a published file has in its name, or ''."""
    match = _HASH.search(name)
    return match[1] if match else ''


def is_page(start: bytes) -> bool:
    """Return whether a file that begins so is a web page."""
    return _PAGE.match(start) is not None


def cached_path(url: str, *, sha256: str | None = None, folder: Path | None = None) -> Path:
    """Return where `download` keeps a file: under its own name, or, without a hash to tell it by, in a folder of its address."""
    folder = cache_folder() if folder is None else folder
    name = _file_name(url)
    if hash_in_name(name) if sha256 is None else sha256:
        return folder / name
    return folder / hashlib.sha256(url.encode()).hexdigest()[:16] / name


def download(
    urls: str | Sequence[str],
    *,
    sha256: str | None = None,
    folder: Path | None = None,
    offline: bool | None = None,
    timeout: float = 20.0,
) -> Path:
    """Return a file of the cache, fetched first if it is not there.

    The addresses are tried in turn: the next one follows on a time-out, a TLS or HTTP error, a connection that breaks off, a web
    page instead of a file, or a wrong hash. What has arrived of a file with a hash is kept and gone on with, at the next address
    or the next call. The file takes its name when it is whole. Processes that want the same file wait for the one that fetches
    it; where the file system has no locks, each fetches it for itself.

    Args:
        urls: http(s) addresses of one file; its name is that of the first.
        sha256: first digits of the file's sha256, at least 8; None takes them from the name; '' if they are not known: then only
            the length that the server tells is checked, and nothing is resumed.
        folder: where the file is kept; None for `cache_folder()`.
        offline: only look into the folder; None asks the environment variable MMPOSE_LITE_OFFLINE.
        timeout: seconds without an answer or without a byte.

    Raises:
        ValueError: an address is not http(s), has no file name, or the hash is no such hash.
        DownloadError: no address gave the file (each is listed with the reason), or it is not there and `offline` is on.
    """
    urls = (urls,) if isinstance(urls, str) else tuple(urls)
    _check_arguments(urls, sha256)
    target = cached_path(urls[0], sha256=sha256, folder=folder)
    sha256 = hash_in_name(target.name) if sha256 is None else sha256
    if offline is None:
        offline = os.environ.get(OFFLINE_VARIABLE, '').lower() not in ('', '0', 'false', 'no')
    if target.is_file():
        digest = _digest(target) if sha256 else ''
        if digest.startswith(sha256):
            return target
        damage = f'{target} is damaged: its sha256 begins with {digest[:8]}, not with {sha256}'
        if offline:
            raise DownloadError(f'{damage}, and nothing may be downloaded (offline). {_by_hand(urls[0], target)}')
        print_log(f'{damage}; it is downloaded again.', logger='current', level=logging.WARNING)
    elif offline:
        raise DownloadError(
            f'{target.name} is not in {target.parent}, and nothing may be downloaded (offline). {_by_hand(urls[0], target)}'
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target) as is_alone:
            if not (target.is_file() and _digest(target).startswith(sha256)):  # another process may have been quicker
                part = target.with_name(f'.{target.name}.part' if is_alone else f'.{target.name}.{HOST}.{os.getpid()}.part')
                _fetch(urls, target, part, sha256, timeout)
    except OSError as error:  # of the disk: those of the network have become _AddressError
        raise DownloadError(
            f'{target} cannot be written: {error}. {CACHE_VARIABLE} names another folder for downloaded files.'
        ) from error
    return target


def _check_arguments(urls: Sequence[str], sha256: str | None) -> None:
    if not urls:
        raise ValueError('download: `urls` must be one address or more, got none.')
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname or _file_name(url) in ('', '.', '..'):
            raise ValueError(f'download: `urls` must be http(s) addresses of a file, got {url!r}.')
    if sha256 and not re.fullmatch('[0-9a-f]{8,64}', sha256):
        raise ValueError(f'download: `sha256` must be 8 to 64 digits of 0-9 and a-f, or "", got {sha256!r}.')


def _file_name(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition('/')[2]  # in this order, or a name could hold a slash


def _by_hand(url: str, target: Path) -> str:
    return f'On a machine that can, download {url}, and put it at {target}.'


def _digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


# --------------------------------------------------------------------------------------------------------- several processes
@contextmanager
def _locked(target: Path) -> Iterator[bool]:
    """Hold the lock of a file, and yield whether there are locks. The system takes it back from a process, however it ends."""
    with target.with_name(f'.{target.name}.lock').open('a') as file:
        has_locks = True
        try:
            _lock(file, target.name)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            has_locks = False
            said = f'{target.parent} has no locks ({error.strerror}): every process that wants {target.name} now downloads it.'
            print_log(said, logger='current', level=logging.WARNING)
        yield has_locks


def _lock(file: IO[str], name: str) -> None:
    if os.name == 'posix':
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_log(f'Waiting for the process that downloads {name}.', logger='current')
            fcntl.flock(file, fcntl.LOCK_EX)
    else:
        import msvcrt

        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
            except OSError:  # after ten seconds
                continue


# ------------------------------------------------------------------------------------------------------------ several addresses
def _fetch(urls: Sequence[str], target: Path, part: Path, sha256: str, timeout: float) -> None:
    """Go round the addresses until one gives the file, as long as a round brings bytes that can be gone on with."""
    reasons: dict[str, str] = {}
    while True:
        before = _size(part)
        for url in urls:
            try:
                _fetch_from(url, part, sha256, timeout)
            except _AddressError as error:
                reasons[url] = str(error)
                print_log(f'{url}: {error}', logger='current', level=logging.WARNING)
            else:
                os.replace(part, target)
                return
        if not sha256 or _size(part) <= before:
            break
    lines = ''.join(f'\n  {url}: {reason}' for url, reason in reasons.items())
    raise DownloadError(f'{target.name} could not be downloaded:{lines}\n{_by_hand(urls[0], target)}')


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch_from(url: str, part: Path, sha256: str, timeout: float) -> None:
    """Bring `part` to its end from one address, and check it; a part that turns out to be wrong is begun anew."""
    if not sha256:
        part.unlink(missing_ok=True)
    resumed = _size(part) > 0
    _receive(url, part, timeout)
    digest = _digest(part) if sha256 else ''
    if digest.startswith(sha256):
        return
    part.unlink()
    if not resumed:
        raise _AddressError(f'it sent another file, whose sha256 begins with {digest[:8]}, not with {sha256}')
    _fetch_from(url, part, sha256, timeout)


def _receive(url: str, part: Path, timeout: float) -> None:
    """Append to `part` what is missing; a server that cannot send the end of a file sends all of it."""
    offset = _size(part)
    response = _open(url, offset, timeout)
    if response is None:
        return
    with response:
        chunks = _chunks(response, timeout)
        first = next(chunks, b'')
        is_rest = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if response.headers.get_content_type() == 'text/html' or (not is_rest and is_page(first)):
            raise _AddressError('it sent a web page, not the file')
        if not (first or is_rest):
            raise _AddressError('it sent nothing')
        start, length = (offset if is_rest else 0), _length(response.headers)
        if is_rest:
            sent = response.headers.get('Content-Range', '')
            if not sent.startswith(f'bytes {offset}-'):
                raise _AddressError(f'asked for the bytes from {offset}, it sent {sent!r}')
            total = sent.rpartition('/')[2]  # or *; the range itself may end before that
            length = int(total) - offset if total.isdecimal() else length
        received = 0
        with part.open('ab' if is_rest else 'wb') as file, _progress(part.name, start, length) as advance:
            while first:
                file.write(first)
                received += len(first)
                advance(len(first))
                first = next(chunks, b'')
            file.flush()
            os.fsync(file.fileno())
        if length is not None and received < length:
            raise _AddressError(f'the connection broke off after {start + received:,} of {start + length:,} bytes')


def _open(url: str, offset: int, timeout: float) -> Any:
    """Return the answer to a request for the bytes from `offset`, or None if the server has no more bytes than that."""
    headers = {'User-Agent': f'mmpose_lite/{__version__}', 'Accept-Encoding': 'identity'}
    if offset:
        headers['Range'] = f'bytes={offset}-'
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                return None
            raise _AddressError(f'HTTP status {error.code} {error.reason}') from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _AddressError(_reason(error, timeout)) from error


def _chunks(response: Any, timeout: float) -> Iterator[bytes]:
    try:
        while chunk := response.read1(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _AddressError(_reason(error, timeout)) from error


def _length(headers: Message) -> int | None:
    text = headers.get('Content-Length', '')
    return int(text) if text.isdecimal() else None


def _reason(error: Exception, timeout: float) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f'time-out: nothing came for {timeout:g} s'
    if isinstance(cause, ssl.SSLError):
        return f'TLS: {cause}'
    if isinstance(cause, ConnectionRefusedError):
        return 'nobody answers there (connection refused)'
    if isinstance(cause, http.client.IncompleteRead | ConnectionError):
        return f'the connection broke off ({type(cause).__name__})'
    return f'{type(cause).__name__}: {cause}' if isinstance(cause, Exception) else str(cause)


@contextmanager
def _progress(name: str, start: int, length: int | None) -> Iterator[Any]:
    """Show a bar on the terminal of the main process, and yield what moves it on by so many bytes."""
    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not is_main_process()) as progress:
        task = progress.add_task(
            name.removeprefix('.').removesuffix('.part'), completed=start, total=None if length is None else start + length
        )
        yield lambda number: progress.advance(task, number)
