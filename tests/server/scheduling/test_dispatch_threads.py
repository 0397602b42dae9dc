"""Callers that wait on threads of their own, and lead each other's batches. They wait for events, never for time."""

from __future__ import annotations

import threading

import pytest
from tests.kit.server.dispatching import DispatchBench
from tests.kit.server.fakes import failed

from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job


class Callers:
    """Threads that each run a job, and what came of it."""

    def __init__(self, bench: DispatchBench) -> None:
        self._bench = bench
        self._threads: list[threading.Thread] = []
        self.outcomes: dict[bytes, bytes | Refusal] = {}

    def call(self, payload: bytes, waits: threading.Event | None = None, **fields: object) -> Job[bytes]:
        job = self._bench.job(payload, **fields)  # type: ignore[arg-type]

        def run() -> None:
            try:
                outcome: bytes | Refusal = self._bench.dispatcher.run(job, waits.set if waits else lambda: None)
            except Refusal as refusal:
                outcome = refusal
            self.outcomes[payload] = outcome

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        return job

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def hold(bench: DispatchBench) -> tuple[threading.Event, threading.Event]:
    """The first task that runs says so, and waits to be let go."""
    begun, go = threading.Event(), threading.Event()

    def before(task: list[bytes]) -> None:
        if not begun.is_set():
            begun.set()
            assert go.wait(60)

    bench.pool.before = before
    return begun, go


def call_while_busy(bench: DispatchBench, callers: Callers, payloads: list[bytes], **fields: object) -> threading.Event:
    """One caller holds the worker, the others wait; the event that lets it go."""
    begun, go = hold(bench)
    callers.call(b"first")
    assert begun.wait(60)
    for payload in payloads:
        waits = threading.Event()
        callers.call(payload, waits, **fields)
        assert waits.wait(60)
    return go


def test_a_caller_runs_its_own_request_on_an_idle_worker() -> None:
    bench = DispatchBench()
    assert bench.dispatcher.run(bench.job(b"a")) == b"answer to a"
    assert bench.launched == []


def test_one_of_those_who_wait_leads_the_batch_and_all_get_their_own_answers() -> None:
    bench = DispatchBench()
    callers = Callers(bench)
    payloads = [b"%d" % number for number in range(8)]
    go = call_while_busy(bench, callers, payloads)
    assert bench.dispatcher.queued_requests == 8
    go.set()
    callers.join()
    assert bench.pool.tasks == [[b"first"], payloads]
    assert callers.outcomes == {payload: b"answer to " + payload for payload in [b"first", *payloads]}
    assert bench.launched == []
    assert len(bench.settled) == 9


def test_a_caller_gives_up_at_its_deadline_while_the_worker_is_busy() -> None:
    bench = DispatchBench()
    callers = Callers(bench)
    go = call_while_busy(bench, callers, [])
    job = bench.job(b"late", deadline=bench.clock() - 1)
    with pytest.raises(Refusal, match="EXPIRED_IN_QUEUE"):
        bench.dispatcher.run(job)
    assert not go.is_set()
    go.set()
    callers.join()
    assert bench.pool.tasks == [[b"first"]]


def test_callers_whose_batch_fails_run_again_each_by_itself() -> None:
    bench = DispatchBench()
    callers = Callers(bench)
    bench.pool.poison[b"bad"] = failed()
    go = call_while_busy(bench, callers, [b"a", b"bad", b"c"])
    go.set()
    callers.join()
    assert callers.outcomes[b"a"] == b"answer to a"
    assert callers.outcomes[b"c"] == b"answer to c"
    assert isinstance(callers.outcomes[b"bad"], Refusal)
    assert len(bench.settled) == 4


def test_a_cancelled_caller_returns_at_once() -> None:
    bench = DispatchBench()
    callers = Callers(bench)
    go = call_while_busy(bench, callers, [])
    waits = threading.Event()
    job = callers.call(b"cancelled", waits)
    assert waits.wait(60)
    bench.dispatcher.cancel(job)
    go.set()
    callers.join()
    refusal = callers.outcomes[b"cancelled"]
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "CANCELLED"


def test_many_callers_on_few_workers_lose_nothing() -> None:
    bench = DispatchBench(workers=3)
    callers = Callers(bench)
    payloads = [b"%d" % number for number in range(200)]
    for number, payload in enumerate(payloads):
        callers.call(payload, key=number % 7)
    callers.join()
    assert callers.outcomes == {payload: b"answer to " + payload for payload in payloads}
    assert sorted(name for task in bench.pool.tasks for name in task) == sorted(payloads)
    assert len(bench.settled) == len(set(bench.settled)) == 200
    assert len(bench.pool.idle) == 3
