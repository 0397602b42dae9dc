"""Pools for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.kit.server.children import Bell, MakePool, MakePreparers, prepare_limits, worker_limits

from gradwire_engine.program import Limits
from gradwire_server.processes.lent_worker import LentWorker
from gradwire_server.processes.preparers import Preparers
from gradwire_server.processes.worker_pool import WorkerPool


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def make_pool(bell: Bell) -> Iterator[MakePool]:
    pools = []

    def make(size: int, **limits: int) -> WorkerPool:
        pool = WorkerPool(size, worker_limits(**limits), Limits(), on_idle=bell.on_idle, on_restart=bell.on_restart)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[WorkerPool]:
    """Two workers, for tests that kill none."""
    pool = WorkerPool(2, worker_limits(), Limits())
    pool.start()
    yield pool
    assert pool.states() == {"idle": 2, "busy": 0, "starting": 0}
    pool.close()


@pytest.fixture
def worker(shared_pool: WorkerPool) -> Iterator[LentWorker]:
    found = shared_pool.acquire(short=True)
    assert found is not None
    yield found
    shared_pool.release(found)


@pytest.fixture
def make_preparers() -> Iterator[MakePreparers]:
    made = []

    def make(
        *,
        program_limits: Limits | None = None,
        on_restart: Callable[[str], None] = lambda cause: None,
        module: str = "gradwire_server.child.preparer",
        **limits: float,
    ) -> Preparers:
        preparers = Preparers(
            1, prepare_limits(**limits), program_limits or Limits(), on_restart=on_restart, module=module
        )
        made.append(preparers)
        preparers.start()
        return preparers

    yield make
    for preparers in made:
        preparers.close()
