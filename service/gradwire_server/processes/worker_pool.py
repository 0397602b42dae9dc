"""The pool: N worker processes that are lent to threads, and replaced when they die.

A thread acquires a worker, runs tasks on it itself, and releases it; nothing here queues or blocks on work. One thread
of the pool's own, the keeper, starts processes, watches all of them, and starts another for each that dies; it alone
starts and ends them, since a child is bound to the thread that started it.

Invariants: a worker is starting, idle or busy (lent); a lost worker is never lent again, and its arena is dropped with
it. With two workers or more one is kept for short tasks: work that is not short is refused while all but one worker
run such work already. Worst case of a death: one task fails with WorkerLost, and a worker is missing for as long as a
process takes to start (about 0.3 s); where processes die before they are ready, starts are spaced out, up to 5 s apart.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

from gradwire_engine.program import Limits
from gradwire_server.ipc.arena import Arena
from gradwire_server.ipc.messages import WorkerLimits
from gradwire_server.processes.child_process import ChildProcess, StartFailed
from gradwire_server.processes.lent_worker import WorkerProcess

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_CLOSING_SECONDS = 5.0

_log = logging.getLogger(__name__)


class _Starting(NamedTuple):
    process: ChildProcess
    arena: Arena
    deadline: float


class WorkerPool:
    """`size` worker processes. All methods may be called from any thread, `close` from none of the pool's callbacks.

    `on_idle()` is called whenever a worker may have become available, and `on_restart(cause)` for every worker that was
    lost, with the cause as in `WorkerLost`, or "start" for one that ended before it was ready. Both are called from
    whichever thread it happens in, and must not block.
    """

    def __init__(
        self,
        size: int,
        *,
        limits: WorkerLimits | None = None,
        program_limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_idle: Callable[[], None] = lambda: None,
        on_restart: Callable[[str], None] = lambda cause: None,
        start_timeout: float = 30.0,
        module: str = "gradwire_server.child.worker",
    ) -> None:
        if size < 1:
            raise ValueError(f"got {size} workers, expected at least 1")
        self.size = size
        self._limits = limits or WorkerLimits()
        self._program_limits = program_limits or Limits()
        self._clock = clock
        self._on_idle = on_idle
        self._on_restart = on_restart
        self._start_timeout = start_timeout
        self._module = module

        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle: list[WorkerProcess] = []
        self._busy: dict[WorkerProcess, bool] = {}
        self._returned: list[WorkerProcess] = []
        self._failure: StartFailed | None = None
        self._is_started = False
        self._is_closing = False
        self._is_closed = False

        # The keeper's own: no other thread touches these.
        self._poll = select.poll()
        self._starting: dict[int, _Starting] = {}
        self._watched: dict[int, WorkerProcess] = {}
        self._due = [0.0] * size
        self._failed_starts = 0
        self._keeper = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)

    # For the threads that run tasks

    def start(self) -> None:
        """Start all workers at once and wait until they are ready. StartFailed, and nothing left, if one does not."""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._poll.register(self._wake_read, select.POLLIN)
        self._keeper.start()
        self._is_started = True
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._idle) + len(self._busy) == self.size or self._failure or self._is_closing
            )
            failure = self._failure
        if failure is not None:
            self.close()
            raise failure

    def acquire(self, *, short: bool, plan_id: str = "") -> WorkerProcess | None:
        """An idle worker, or None at once; one that holds `plan_id` already, if there is one. To be released."""
        with self._lock:
            if not self._idle or self._is_closing or not (short or self._has_room_for_long()):
                return None
            chosen = len(self._idle) - 1
            for index, worker in enumerate(self._idle):
                if worker.holds_plan(plan_id):
                    chosen = index
            worker = self._idle.pop(chosen)
            self._busy[worker] = not short
            return worker

    def _has_room_for_long(self) -> bool:
        return self.size == 1 or sum(self._busy.values()) + 1 < self.size

    def release(self, worker: WorkerProcess) -> None:
        """Give a worker back, lost or not; results that lie in its arena are invalid from now on."""
        if not worker.is_lost:
            worker.rest()
        with self._lock:
            del self._busy[worker]
            is_ours = self._is_closed
            if is_ours:
                pass
            elif worker.is_lost or self._is_closing:
                self._returned.append(worker)
                self._wake()
            else:
                worker.flush()
                self._idle.append(worker)
            self._changed.notify_all()
        if is_ours:
            worker.end()
        self._call_on_idle()

    def forget_constant(self, digest: bytes) -> None:
        """No task will use this constant again: workers unmap it, idle ones now, busy ones when they are released."""
        with self._lock:
            for worker in (*self._idle, *self._busy):
                worker.forget_constant(digest)
            for worker in self._idle:
                worker.flush()

    def states(self) -> dict[str, int]:
        """How many workers are "idle", "busy" and "starting"."""
        with self._lock:
            idle, busy = len(self._idle), len(self._busy)
        return {"idle": idle, "busy": busy, "starting": self.size - idle - busy}

    def close(self) -> None:
        """End all workers, and wait for it; tasks that still run end with WorkerLost. Does nothing the second time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._is_started and not self._is_closed:
                self._wake()
        if self._is_started:
            self._keeper.join()

    def _wake(self) -> None:
        """Have the keeper look; with the lock held. A full pipe means that it will look anyway."""
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return

    def _call_on_idle(self) -> None:
        try:
            self._on_idle()
        except Exception:
            _log.exception("on_idle failed")

    # The keeper

    def _keep(self) -> None:
        try:
            while not self._is_closing:
                self._start_due()
                for descriptor, _ in self._poll.poll(self._poll_milliseconds()):
                    self._look_at(descriptor)
                self._give_up_late_starts()
                self._end_returned()
        finally:
            self._end_all()

    def _start_due(self) -> None:
        now = self._clock()
        late = [due for due in self._due if due <= now]
        self._due = [due for due in self._due if due > now]
        for _ in late:
            self._start_one(now)

    def _start_one(self, now: float) -> None:
        limits = self._limits
        try:
            arena = Arena(limits.arena_bytes, limits.arena_keep_bytes)
            try:
                arguments = (arena.fileno, limits.arena_bytes, limits.memory_bytes)
                program_limits = json.dumps(asdict(self._program_limits))
                process = ChildProcess(self._module, [*map(str, arguments), program_limits], (arena.fileno,))
            except BaseException:
                arena.close()
                raise
        except OSError as error:
            self._start_failed(StartFailed(f"cannot start a process: {error}"))
            return
        descriptor = process.channel.fileno()
        self._starting[descriptor] = _Starting(process, arena, now + self._start_timeout)
        self._poll.register(descriptor, select.POLLIN)

    def _poll_milliseconds(self) -> float | None:
        times = [*self._due, *[one.deadline for one in self._starting.values()]]
        return max(0.0, (min(times) - self._clock()) * 1000 + 1) if times else None

    def _look_at(self, descriptor: int) -> None:
        if descriptor == self._wake_read:
            os.read(self._wake_read, 4096)
        elif descriptor in self._starting:
            self._became_ready(descriptor)
        elif descriptor in self._watched:
            self._was_lost(self._watched[descriptor])

    def _became_ready(self, descriptor: int) -> None:
        process, arena, _ = self._starting.pop(descriptor)
        try:
            process.ready(timeout=1.0)
        except StartFailed as failure:
            self._poll.unregister(descriptor)
            process.close()
            arena.close()
            self._start_failed(failure)
            return
        worker = WorkerProcess(process, arena, self._limits)
        self._poll.modify(descriptor, 0)  # from now on it only reports that the other end has closed
        self._watched[descriptor] = worker
        self._failed_starts = 0
        with self._changed:
            self._idle.append(worker)
            self._changed.notify_all()
        self._call_on_idle()

    def _give_up_late_starts(self) -> None:
        now = self._clock()
        for descriptor, (process, _, deadline) in list(self._starting.items()):
            if now >= deadline:
                process.kill("time_limit")
                self._became_ready(descriptor)

    def _start_failed(self, failure: StartFailed) -> None:
        _log.error("a worker did not start: %s", failure)
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._failed_starts, 10))
        self._failed_starts += 1
        self._due.append(self._clock() + delay)
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()
        self._on_restart("start")

    def _was_lost(self, worker: WorkerProcess) -> None:
        """Its stream has ended: start another. The process is ended here if it was idle, else once it is released."""
        self._poll.unregister(worker.fileno)
        del self._watched[worker.fileno]
        cause = worker.lost().cause
        with self._lock:
            is_ours = worker in self._idle
            if is_ours:
                self._idle.remove(worker)
        if is_ours:
            worker.end()
        self._due.append(self._clock())
        _log.warning("worker %d was lost: %s", worker.pid, cause)
        self._on_restart(cause)

    def _end_returned(self) -> None:
        with self._lock:
            returned, self._returned = self._returned, []
        for worker in returned:
            if worker.fileno in self._watched:
                self._was_lost(worker)
            worker.end()

    def _end_all(self) -> None:
        """Idle workers end by themselves, busy ones are killed; waits until those who hold them have released them."""
        with self._changed:
            self._is_closing = True  # also where the keeper ends because of a fault: no worker is lent any more
            self._changed.notify_all()
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for worker in busy:
            worker.kill("killed")
            worker.lost()
        for worker in idle:
            worker.hang_up()
        for process, arena, _ in self._starting.values():
            process.kill("killed")
            process.close()
            arena.close()
        for worker in idle:
            worker.end(grace=1.0)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _CLOSING_SECONDS)
            returned, self._returned = self._returned, []
            self._is_closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)
        for worker in returned:
            worker.end()
