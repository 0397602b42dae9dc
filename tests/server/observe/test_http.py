"""The HTTP port."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from gradwire_server.observe import http as module
from gradwire_server.observe.http import HttpServer


class Bench:
    def __init__(self) -> None:
        self.is_alive = self.is_ready = True
        self.server = HttpServer(
            "127.0.0.1",
            0,
            exposition=lambda: b"metric 1\n",
            is_alive=lambda: self.is_alive,
            is_ready=lambda: self.is_ready,
        )
        self.server.start()

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes, str]:
        request = urllib.request.Request(f"http://{self.server.address}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read(), response.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers["Content-Type"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.server.close()


def test_metrics_are_served_as_prometheus_wants_them(bench: Bench) -> None:
    status, body, kind = bench.get("/metrics?x=1")
    assert (status, body) == (200, b"metric 1\n")
    assert kind.startswith("text/plain; version=0.0.4")


def test_probes_say_what_the_front_says(bench: Bench) -> None:
    assert (bench.get("/healthz")[0], bench.get("/readyz")[0]) == (200, 200)
    bench.is_ready = False
    assert (bench.get("/healthz")[:2], bench.get("/readyz")[:2]) == ((200, b"ok\n"), (503, b"not serving\n"))
    bench.is_alive = False
    assert bench.get("/healthz")[0] == 503


def test_other_pages_do_not_exist(bench: Bench) -> None:
    status, body, _ = bench.get("/etc/passwd")
    assert (status, body) == (404, b"/metrics /healthz /readyz\n")
    assert bench.get("/metrics", method="DELETE")[0] == 501


def test_head_has_no_body(bench: Bench) -> None:
    assert bench.get("/healthz", method="HEAD")[:2] == (200, b"")


def test_connections_are_bounded_and_probes_come_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = bench.server.address.split(":")
    idle = [socket.create_connection((host, int(port)), timeout=60) for _ in range(module._CONNECTIONS)]
    extra = socket.create_connection((host, int(port)), timeout=60)
    assert extra.recv(1) == b""
    extra.close()
    for one in idle:
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""
        one.close()
    assert bench.get("/healthz")[0] == 200


def test_a_port_in_use_is_an_os_error(bench: Bench) -> None:
    host, port = bench.server.address.split(":")
    with pytest.raises(OSError, match="in use"):
        HttpServer(host, int(port), exposition=bytes, is_alive=bool, is_ready=bool)
