"""Workers that die: under a task, between tasks, idle, many of them, and under load."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.kit.server.children import PATIENCE, Bell, MakePool, linux_only, worker_of
from tests.kit.server.tasks import (
    a_task,
    numbers,
    outputs_of,
)

from gradwire_server.processes.child_process import WorkerLost


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "fault"), (signal.SIGABRT, "fault"), (signal.SIGUSR1, "killed")],
)
def test_a_worker_that_dies_under_a_task_is_replaced_and_the_cause_told(
    make_pool: MakePool, bell: Bell, number: signal.Signals, cause: str
) -> None:
    pool = make_pool(2)
    worker = worker_of(pool, bell, short=False)
    os.kill(worker.pid, signal.SIGSTOP)
    killer = threading.Thread(target=kill_when_asked, args=(worker.pid, number))
    killer.start()
    with pytest.raises(WorkerLost) as caught:
        worker.run(a_task(numbers(1)), PATIENCE)
    killer.join()
    assert (caught.value.cause, caught.value.signal) == (cause, number)
    pool.release(worker)
    bell.wait_for(lambda: pool.states()["idle"] == 2)
    assert bell.restarts == [cause]


def kill_when_asked(pid: int, number: signal.Signals) -> None:
    """Kill a stopped process, after something was sent to it or before: both must do."""
    os.kill(pid, number)
    if number != signal.SIGKILL:
        os.kill(pid, signal.SIGCONT)


def test_an_idle_worker_that_dies_is_replaced(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(2)
    first = worker_of(pool, bell)
    pool.release(first)
    os.kill(first.pid, signal.SIGKILL)
    bell.wait_for(lambda: bell.restarts == ["killed"] and pool.states()["idle"] == 2)
    workers = [worker_of(pool, bell) for _ in range(2)]
    assert first not in workers
    for worker in workers:
        outputs_of(worker, a_task(numbers(1)))
        pool.release(worker)


def test_a_worker_that_dies_between_its_answer_and_its_release_is_not_lent_again(
    make_pool: MakePool, bell: Bell
) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    result = worker.run(a_task(numbers(1)), PATIENCE)
    os.kill(worker.pid, signal.SIGKILL)
    bell.wait_for(lambda: bell.restarts == ["killed"])
    assert len(result.outputs[0]) == 24  # still readable
    pool.release(worker)
    another = worker_of(pool, bell)
    assert another is not worker
    outputs_of(another, a_task(numbers(1)))
    pool.release(another)


@linux_only
def test_many_deaths_leave_no_descriptor_mapping_thread_or_process(make_pool: MakePool, bell: Bell) -> None:
    def held() -> tuple[int, int, int, int]:
        maps = Path("/proc/self/maps").read_text().count("gradwire-arena")
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        started = children.read_text() if children.exists() else ""
        return len(os.listdir("/proc/self/fd")), maps, threading.active_count(), len(started.split())

    pool = make_pool(1)
    outputs_of(first := worker_of(pool, bell), a_task(numbers(100_000)))
    pool.release(first)
    before = held()
    for turn in range(6):
        worker = worker_of(pool, bell)
        if turn % 2:
            outputs_of(worker, a_task(numbers(100_000)))
            pool.release(worker)
            os.kill(worker.pid, signal.SIGKILL)
        else:
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(WorkerLost):
                worker.run(a_task(numbers(100_000)), PATIENCE)
            pool.release(worker)
        bell.wait_for(lambda turn=turn: len(bell.restarts) > turn and pool.states()["idle"] == 1)
    after = held()  # fewer where something of an earlier test ended in the meantime
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)


def test_tasks_survive_deaths_under_load_if_they_are_run_again(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(2)
    deaths, wrong, causes = 8, [], set()
    enough = threading.Event()

    def run(seed: int) -> None:
        turn = 0
        while not enough.is_set():
            turn += 1
            x = numbers(1 + turn % 50, seed=1000 * seed + turn)
            while True:
                worker = worker_of(pool, bell)
                try:
                    (found,) = outputs_of(worker, a_task(x))
                    break
                except WorkerLost as lost:
                    causes.add(lost.cause)
                finally:
                    pool.release(worker)
            if not np.array_equal(found, -x):
                wrong.append((seed, turn))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for death in range(deaths):
        worker = worker_of(pool, bell)
        pid = worker.pid
        pool.release(worker)
        os.kill(pid, signal.SIGKILL)
        bell.wait_for(lambda death=death: len(bell.restarts) > death)
    enough.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert causes <= {"killed"}
    assert bell.restarts == ["killed"] * deaths
    bell.wait_for(lambda: pool.states() == {"idle": 2, "busy": 0, "starting": 0})
