"""The HTTP port: /metrics for Prometheus, /healthz and /readyz for probes. Plain text, GET and HEAD only.

The probes are answered by what serves RPCs: each asks the server over gRPC, so that a front that hangs is not "alive"
because another thread still answers HTTP. At most `_CONNECTIONS` connections are served at once, each for at most
`_SECONDS` without traffic; more are closed at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from gradwire_server.observe.metrics import CONTENT_TYPE

_SECONDS: Final = 5.0
_CONNECTIONS: Final = 32
_TEXT: Final = "text/plain; charset=utf-8"


class HttpServer:
    """Serves until `close`. `is_alive` and `is_ready` may take about a second; OSError where the port is taken."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        exposition: Callable[[], bytes],
        is_alive: Callable[[], bool],
        is_ready: Callable[[], bool],
    ) -> None:
        pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, CONTENT_TYPE, exposition()),
            "/healthz": lambda: _probe(is_alive()),
            "/readyz": lambda: _probe(is_ready()),
        }
        self._server = _Server((host, port), _handler(pages))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)

    @property
    def address(self) -> str:
        """HOST:PORT as bound."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def close(self) -> None:
        """Serve no longer."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2 * _CONNECTIONS
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is the client's affair."""


def _handler(pages: dict[str, Callable[[], tuple[int, str, bytes]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS
        server_version = "gradwire"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            page = pages.get(self.path.partition("?")[0])
            code, kind, body = page() if page is not None else (404, _TEXT, b"/metrics /healthz /readyz\n")
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds; they are not logged."""

    return Handler


def _probe(is_well: bool) -> tuple[int, str, bytes]:
    return (200, _TEXT, b"ok\n") if is_well else (503, _TEXT, b"not serving\n")
