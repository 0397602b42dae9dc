"""Many callers at once, also while workers are being killed: everyone gets their own answers."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.kit.server.exposition import parsed
from tests.kit.server.live import GRADIENT, Client, Live, slow_program
from tests.kit.server.processes import ServerProcess

CALLERS = 64
TWO_MILLISECONDS = slow_program(96, 4096)


@pytest.fixture
def live() -> Iterator[Live]:
    live = Live()
    yield live
    live.close()


class Callers:
    """Threads that each call with values of their own, and check every answer."""

    def __init__(self, client: Client, program: bytes, arity: int) -> None:
        self._client = client
        self._program = program
        self._arity = arity
        self._enough = threading.Event()
        self.failures: list[BaseException] = []
        self.calls = [0] * CALLERS
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]

    def _call(self, number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            while not self._enough.is_set():
                self._check(rng, number)
                self.calls[number] += 1
        except BaseException as failure:
            self.failures.append(failure)

    def _check(self, rng: np.random.Generator, number: int) -> None:
        rows = int(rng.integers(1, 4))
        x = number + rng.random(rows)
        y = rng.random(rows)
        answer = self._client.evaluate(*(x, y)[: self._arity], program=self._program, rows=rows)
        expected = [x] if self._arity == 1 else [np.sin(x) + x * y, np.cos(x) + y, x]
        for found, wanted in zip(answer.outputs, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def scraped(address: str) -> dict[Any, float]:
    """The metrics of a server, as Prometheus reads them."""
    with urllib.request.urlopen(address, timeout=60) as response:
        return parsed(response.read())


def large_batches(metrics: dict[Any, float]) -> float:
    """How many batches had more than four requests."""
    return metrics["gradwire_batch_requests_count", ()] - metrics["gradwire_batch_requests_bucket", (("le", "4.0"),)]


def test_everyone_gets_their_own_rows_and_batches_merge() -> None:
    """The server is a process of its own: in one with 64 callers, they would be what everyone waits for.

    How many requests a batch has, and how much work seems to wait, depends on the machine; that batches become large,
    and that nobody gets what is another's, does not.
    """
    options = "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--max-queued-seconds", "600"
    with ServerProcess(*options) as server:
        addresses = server.ready()
        client = Client(addresses["grpc"])
        client.evaluate([1.0], program=TWO_MILLISECONDS, rows=1)
        metrics = f"http://{addresses['http']}/metrics"
        with Callers(client, TWO_MILLISECONDS, 1) as callers:
            Live.wait_until(lambda: min(callers.calls) >= 10 or bool(callers.failures))
            Live.wait_until(lambda: large_batches(scraped(metrics)) > 0 or bool(callers.failures))
        found = scraped(metrics)
        client.close()
        server.process.terminate()
        assert server.wait()[0] == 0
        assert not callers.failures
        assert found["gradwire_batch_requests_sum", ()] == sum(callers.calls) + 1
        assert found["gradwire_requests_total", (("code", "OK"), ("mode", "value"))] == sum(callers.calls) + 1
        assert (found["gradwire_pending_requests", ()], found["gradwire_pending_seconds", ()]) == (0, 0)


def worker_processes() -> list[int]:
    """Our children that are workers."""
    found = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"gradwire_server.child.worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(900)  # twenty workers are started, one after the other
def test_workers_killed_under_load_lose_nothing(live: Live) -> None:
    live.client.evaluate([1.0], [1.0], program=GRADIENT, rows=1)
    rng = random.Random(0)
    with Callers(live.client, GRADIENT, 2) as callers:
        descriptors = len(os.listdir("/proc/self/fd"))
        for kills in range(20):
            before = sum(callers.calls)
            live.wait_until(lambda before=before: sum(callers.calls) > before + 20 or bool(callers.failures))
            os.kill(rng.choice(worker_processes()), signal.SIGKILL)
            live.wait_until(lambda kills=kills: live.counted("gradwire_worker_restarts_total") == kills + 1)
            live.wait_until(lambda: live.counted("gradwire_workers", state="starting") == 0)
    assert not callers.failures
    assert live.counted("gradwire_requests_total") == sum(callers.calls) + 1
    assert live.counted("gradwire_rejected_total") == 0
    assert len(worker_processes()) == 2
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
