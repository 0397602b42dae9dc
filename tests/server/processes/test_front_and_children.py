"""What children share with the front, and what not: signals, modules, its end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from tests.kit.server.children import PATIENCE, Bell, MakePool, linux_only, worker_of
from tests.kit.server.tasks import (
    a_task,
    an_explain_task,
    numbers,
    outputs_of,
)

from gradwire_server.child.limits import child_environment
from gradwire_server.processes.lent_worker import LentWorker


def test_stop_signals_are_for_the_front_alone(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    x = numbers(2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker.pid, number)
        np.testing.assert_array_equal(outputs_of(worker, a_task(x))[0], -x)
    pool.release(worker)
    assert bell.restarts == []


@linux_only
def test_a_worker_never_loads_grpc(worker: LentWorker) -> None:
    outputs_of(worker, a_task(numbers(1)))
    worker.run(an_explain_task(1.0, 2.0), PATIENCE)
    maps = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "cygrpc" not in maps
    assert "numpy" in maps  # it does show what is loaded


FRONT = """
import os, signal, sys, threading
from gradwire_engine.program import Layout, Limits
from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.messages import WorkerLimits
from gradwire_server.processes.limited_jobs import JobLimits
from gradwire_server.processes.worker_pool import WorkerPool
from gradwire_server.processes.preparers import Preparers
from gradwire_server.refusal import Refusal
config = ServerConfig()
pool = WorkerPool(3, WorkerLimits(memory_bytes=1 << 30, arena_bytes=1 << 20), Limits())
pool.start()
workers = [pool.acquire(short=True) for _ in range(3)]
os.kill(workers[0].pid, signal.SIGSTOP)
preparers = Preparers(
    1,
    JobLimits(
        time=config.limit("prepare_timeout"),
        memory=config.limit("prepare_memory"),
        waiting_jobs=config.limit("waiting_programs"),
        waiting_callers=config.limit("waiting_requests"),
    ),
    Limits(),
)
preparers.start()
try:
    preparers.prepare(b"", Layout(), 60.0)
except Refusal:
    print(*[worker.pid for worker in workers], *preparers.pids(), flush=True)
sys.stdin.read()
"""


@linux_only
def test_workers_end_when_the_front_is_killed_even_those_that_are_stopped() -> None:
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment()
    )
    assert front.stdout is not None
    pids = [int(word) for word in front.stdout.readline().split()]
    assert len(pids) == 4
    ends = [os.pidfd_open(pid) for pid in pids]
    front.kill()
    front.communicate()
    for end in ends:
        assert select.select([end], [], [], PATIENCE)[0]
        os.close(end)
