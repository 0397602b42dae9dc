"""For tests with real children: their limits, and what a supervisor reports of them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest

from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.messages import WorkerLimits
from gradwire_server.processes.lent_worker import LentWorker
from gradwire_server.processes.limited_jobs import JobLimits
from gradwire_server.processes.preparers import Preparers
from gradwire_server.processes.worker_pool import WorkerPool

PATIENCE = 60.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, or at limits that Linux enforces")

MakePool = Callable[..., WorkerPool]
"""(size, **limits) -> a pool that has started, and is closed after the test."""

MakePreparers = Callable[..., Preparers]
"""(**options and limits) -> one preparer that has been started, and is closed after the test."""


def worker_limits(**changes: int) -> WorkerLimits:
    """Those of the default configuration, but for the changes."""
    config = ServerConfig()
    return WorkerLimits(**{"memory_bytes": config.worker_memory, "arena_bytes": config.worker_arena, **changes})


def prepare_limits(**changes: float) -> JobLimits:
    """Those of the default configuration, but for the changes."""
    config = ServerConfig()
    names = {
        "time": "prepare_timeout",
        "memory": "prepare_memory",
        "waiting_jobs": "waiting_programs",
        "waiting_callers": "waiting_requests",
    }
    limits = {field: config.limit(option) for field, option in names.items()}
    for field, value in changes.items():
        limits[field] = limits[field]._replace(value=value)
    return JobLimits(**limits)


class Bell:
    """Counts what the pool reports, and waits for it."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self.idle = 0
        self.restarts: list[str] = []

    def on_idle(self) -> None:
        with self._rung:
            self.idle += 1
            self._rung.notify_all()

    def on_restart(self, cause: str) -> None:
        with self._rung:
            self.restarts.append(cause)
            self._rung.notify_all()

    def wait_for(self, condition: object) -> None:
        with self._rung:
            assert self._rung.wait_for(condition, PATIENCE)


def worker_of(pool: WorkerPool, bell: Bell, *, short: bool = True) -> LentWorker:
    """The next worker that is idle."""
    found: list[LentWorker] = []

    def acquired() -> bool:
        worker = pool.acquire(short=short)
        found.extend([worker] if worker else [])
        return bool(found)

    bell.wait_for(acquired)
    return found[0]
