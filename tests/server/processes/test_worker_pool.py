"""Which worker is lent, and how the pool begins and ends."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
from tests.kit.server.children import PATIENCE, Bell, MakePool, linux_only, worker_limits, worker_of
from tests.kit.server.tasks import (
    a_graph,
    a_task,
    numbers,
    outputs_of,
)

from gradwire_engine.program import Limits
from gradwire_server.processes.child_process import StartFailed, WorkerLost
from gradwire_server.processes.worker_pool import WorkerPool


def test_a_worker_that_holds_the_plan_is_preferred(shared_pool: WorkerPool) -> None:
    first, second = (shared_pool.acquire(short=True) for _ in range(2))
    assert first is not None
    assert second is not None
    first.run(a_task(numbers(1), 1234.5), PATIENCE)
    for order in ((first, second), (second, first)):
        for one in order:
            shared_pool.release(one)
        assert shared_pool.acquire(short=True, plan_id=a_graph(1234.5).hash) is first
        assert shared_pool.acquire(short=True) is second
    shared_pool.release(first)
    shared_pool.release(second)


def test_rows_of_tasks_that_run_at_the_same_time_never_meet(shared_pool: WorkerPool) -> None:
    wrong: list[int] = []
    together = threading.Barrier(2)

    def run(seed: int) -> None:
        worker = shared_pool.acquire(short=True)
        assert worker is not None
        together.wait(PATIENCE)
        for turn in range(60):
            x = numbers(1 + 97 * (turn % 40), seed=1000 * seed + turn)
            if not np.array_equal(outputs_of(worker, a_task(x, pieces=1 + turn % 5))[0], -x):
                wrong.append(turn)
        shared_pool.release(worker)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_worker_is_kept_for_short_tasks(make_pool: MakePool) -> None:
    pool = make_pool(3)
    long = [pool.acquire(short=False), pool.acquire(short=False)]
    assert all(long)
    assert pool.acquire(short=False) is None
    short = pool.acquire(short=True)
    assert short is not None
    assert pool.acquire(short=True) is None
    assert pool.states() == {"idle": 0, "busy": 3, "starting": 0}
    pool.release(long.pop())
    pool.release(short)
    again = pool.acquire(short=False)
    assert again is not None
    assert pool.acquire(short=False) is None
    pool.release(again)
    pool.release(long.pop())
    assert pool.states() == {"idle": 3, "busy": 0, "starting": 0}


def test_a_single_worker_takes_long_tasks(make_pool: MakePool) -> None:
    pool = make_pool(1)
    worker = pool.acquire(short=False)
    assert worker is not None
    pool.release(worker)


def test_closing_ends_tasks_that_still_run(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    os.kill(worker.pid, signal.SIGSTOP)
    lost: list[str] = []

    def run() -> None:
        try:
            worker.run(a_task(numbers(1)), PATIENCE)
        except WorkerLost as error:
            lost.append(error.cause)
        pool.release(worker)

    thread = threading.Thread(target=run)
    thread.start()
    pool.close()
    thread.join()
    assert lost == ["killed"]
    assert bell.restarts == []


def test_a_pool_that_was_never_started_can_be_closed() -> None:
    WorkerPool(1, worker_limits(), Limits()).close()


def test_workers_that_cannot_start_are_an_error_that_leaves_nothing() -> None:
    before = len(os.listdir("/dev/fd"))
    for options in ({"module": "gradwire_server.no_such_module"}, {"module": "this"}, {"start_timeout": 0.0}):
        pool = WorkerPool(2, worker_limits(), Limits(), **options)
        with pytest.raises(StartFailed, match="ready"):
            pool.start()
        assert pool.acquire(short=True) is None
    assert len(os.listdir("/dev/fd")) == before


@linux_only
def test_a_closed_pool_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    pool = WorkerPool(2, worker_limits(), Limits())
    pool.start()
    worker = pool.acquire(short=True)
    assert worker is not None
    pids = [worker.pid]
    pool.release(worker)
    pool.close()
    pool.close()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert pool.acquire(short=True) is None
