"""A dispatcher with everything around it under control: clock, workers, and the threads that run batches."""

from __future__ import annotations

from collections.abc import Callable

from tests.kit.server.fakes import FakeClock, FakeObserver, FakePool, FakeWork

from gradwire_server.config.table import ServerConfig
from gradwire_server.scheduling.dispatch import Dispatcher
from gradwire_server.scheduling.job import Job


class DispatchBench:
    """What the dispatcher wants run on some thread lands in `launched`; a test runs it when it likes."""

    def __init__(self, workers: int = 1, **options: float) -> None:
        fields = {"workers": workers, "max_queued_seconds": 1e9, **options}
        self.config = ServerConfig(**fields)  # type: ignore[arg-type]
        self.clock = FakeClock()
        self.pool = FakePool(workers)
        self.work = FakeWork()
        self.works: dict[object, FakeWork] = {}
        self.launched: list[Callable[[], None]] = []
        self.settled: list[Job[bytes]] = []
        self.done: list[Job[bytes]] = []
        self.observer = FakeObserver()
        self.dispatcher = Dispatcher(
            self.config, pool=self.pool, clock=self.clock, launch=self.launched.append, observer=self.observer
        )
        self.pool.on_idle = self.dispatcher.on_idle

    def job(self, payload: bytes = b"x", *, rows: int = 1, key: object = "key", deadline: float = 1e9) -> Job[bytes]:
        job = Job(
            work=self.works.get(key, self.work),
            payload=payload,
            rows=rows,
            nbytes=8,
            deadline=deadline,
            key=key,
            solo=False,
            tenant="",
            settle=lambda: self.settled.append(job),
        )
        return job

    def start(self, payload: bytes = b"x", **fields: object) -> Job[bytes]:
        job = self.job(payload, **fields)  # type: ignore[arg-type]
        self.dispatcher.start(job, lambda: self.done.append(job))
        return job

    def run_launched(self) -> None:
        while self.launched:
            self.launched.pop(0)()

    def check_settled(self) -> None:
        """Every job that is done was settled once and told once."""
        assert len(self.settled) == len(set(self.settled))
        assert set(self.done) <= set(self.settled)
        assert len(self.done) == len(set(self.done))
