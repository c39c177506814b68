"""A web server on this machine that serves one file well, and in the ways in which servers fail."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WITH_RANGES = ('good', 'slow', 'cut', 'stall')


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `content`; the first part of a path says how.

    /good/  supports ranges                      /hang/     never answers         /stall/  half of it, then nothing
    /whole/ ignores ranges                       /status/   HTTP status 503       /cut/    at most `step` bytes, then it hangs up
    /page/  a login page, not called so          /html/     the end of one        /corrupt/ as long, but another file
    /to/X/  redirects to /X/                     /lie/      a range other than the one asked for
    /old/   no length, and no ranges             /slow/    waits a little         /empty/ a file without a byte
    /parts/ of a range at most `step` bytes

    Attributes:
        requests: (path, Range header) of each request.
        step: bytes that /cut/ and /parts/ send.
    """

    daemon_threads = True

    def __init__(self, content: bytes, *, step: int) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.content, self.step = content, step
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        """Return the address of a path such as 'good/model.pth'."""
        return f'http://127.0.0.1:{self.server_address[1]}/{path}'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the tests hang up on purpose."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        wanted = self.headers.get('Range', '')
        self.server.requests.append((self.path, wanted))
        kind = self.path.split('/')[1]
        content = self.server.content
        start = (
            int(wanted.removeprefix('bytes=').rstrip('-'))
            if wanted and kind not in ('whole', 'old', 'corrupt', 'page', 'html')
            else 0
        )
        if kind == 'slow':
            time.sleep(0.3)
        if kind == 'hang':
            self.server.closing.wait(5)
        elif kind == 'status':
            self.send_error(503)
        elif kind == 'to':
            self.send_response(302)
            self.send_header('Location', self.server.url(self.path.removeprefix('/to/')))
            self.end_headers()
        elif kind in ('page', 'html'):
            page = b'<!DOCTYPE html><html><body>Please log in</body></html>'
            if kind == 'page':
                self._send(page)
            else:
                self._send(page.partition(b'<body>')[2], content_type='text/html; charset=utf-8')
        elif kind == 'empty':
            self._send(b'')
        elif kind == 'corrupt':
            self._send(content[::-1])
        elif kind == 'lie':
            self._send(content[:10], content_range=f'bytes 0-9/{len(content)}')
        elif kind == 'old':
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)
        elif start >= len(content):
            self.send_error(416)
        else:
            rest = content[start : start + self.server.step] if kind == 'parts' and start else content[start:]
            content_range = f'bytes {start}-{start + len(rest) - 1}/{len(content)}' if start else ''
            sent = {'cut': self.server.step, 'stall': len(content) // 2 - start}.get(kind, len(rest))
            self._send(rest, content_range=content_range, num_bytes=max(sent, 0))
            if kind == 'stall':
                self.server.closing.wait(5)

    def _send(
        self,
        content: bytes,
        *,
        content_type: str = 'application/octet-stream',
        content_range: str = '',
        num_bytes: int | None = None,
    ) -> None:
        self.send_response(206 if content_range else 200)
        self.send_header('Content-Type', content_type)
        self.send_header('Content-Length', str(len(content)))
        if content_range:
            self.send_header('Content-Range', content_range)
        self.end_headers()
        self.wfile.write(content[:num_bytes])
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serve(content: bytes, *, step: int = 100_000) -> Iterator[FileServer]:
    """Run a `FileServer` in a thread."""
    server = FileServer(content, step=step)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
