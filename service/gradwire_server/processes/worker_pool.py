"""The pool: N worker processes that are lent to threads, and replaced when they die.

A thread acquires a worker, runs tasks on it itself, and releases it; nothing here queues or blocks on work. The
supervisor starts, watches and ends the workers; the pool says which one is lent.

With two workers or more one is kept for short tasks: work that is not short is refused while all but one worker run
such work already. Worst case of a death: one task fails with WorkerLost, and a worker is missing until the supervisor
has another.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from gradwire_engine.program import Limits
from gradwire_server.ipc.messages import WorkerLimits
from gradwire_server.processes.lent_worker import LentWorker
from gradwire_server.processes.supervisor import Supervisor


class WorkerPool:
    """`size` worker processes. All methods may be called from any thread, `close` from none of the pool's callbacks.

    `on_idle()` and `on_restart(cause)` are the supervisor's: it calls the first whenever a worker may have become
    available, the second for every worker that was lost. Neither may block.
    """

    def __init__(
        self,
        size: int,
        limits: WorkerLimits,
        program_limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_idle: Callable[[], None] = lambda: None,
        on_restart: Callable[[str], None] = lambda cause: None,
        start_timeout: float = 30.0,
        module: str = "gradwire_server.child.worker",
    ) -> None:
        self.size = size
        self._long: set[LentWorker] = set()
        self._workers = Supervisor(
            size,
            functools.partial(LentWorker, module, limits, program_limits),
            name="worker",
            clock=clock,
            on_idle=on_idle,
            on_restart=on_restart,
            on_return=LentWorker.flush,
            start_timeout=start_timeout,
        )

    def start(self) -> None:
        """Start all workers at once and wait until they are ready. StartFailed, and nothing left, if one does not."""
        self._workers.start()
        self._workers.wait_until_ready()

    def acquire(self, *, short: bool, plan_id: str = "") -> LentWorker | None:
        """An idle worker, or None at once; one that holds `plan_id` already, if there is one. To be released."""
        return self._workers.lend(functools.partial(self._chosen, short, plan_id))

    def _chosen(self, short: bool, plan_id: str, idle: Sequence[LentWorker]) -> int | None:
        if not (short or self._has_room_for_long()):
            return None
        chosen = len(idle) - 1
        for index, worker in enumerate(idle):
            if worker.holds_plan(plan_id):
                chosen = index
        if not short:
            self._long.add(idle[chosen])
        return chosen

    def _has_room_for_long(self) -> bool:
        return self.size == 1 or len(self._long) + 1 < self.size

    def release(self, worker: LentWorker) -> None:
        """Give a worker back, lost or not; results that lie in its arena are invalid from now on."""
        if not worker.is_lost:
            worker.rest()
        self._long.discard(worker)
        self._workers.give_back(worker)

    def forget_constant(self, digest: bytes) -> None:
        """No task will use this constant again: workers unmap it, idle ones now, busy ones when they are released."""

        def forget(worker: LentWorker) -> None:
            worker.forget_constant(digest)

        def forget_now(worker: LentWorker) -> None:
            worker.forget_constant(digest)
            worker.flush()

        self._workers.visit(forget_now, forget)

    def states(self) -> dict[str, int]:
        """How many workers are "idle", "busy" and "starting"."""
        return self._workers.states()

    def close(self) -> None:
        """End all workers, and wait for it; tasks that still run end with WorkerLost. Does nothing the second time."""
        self._workers.close()
