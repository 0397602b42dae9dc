"""Programs become plans here, once each, in processes that can be ended at their limits.

Each preparing process has a thread of its own, which starts it, gives it one program after the other, ends it at the
time limit and starts another. Calls for the same program and layout share one preparation; it goes on when a caller
gives up, unless it has not begun and nobody waits for it any longer. Nothing is kept afterwards: the front's store
remembers what was prepared, and what was refused.

Bounds: `waiting_programs` preparations that have not begun, `waiting_requests` calls that wait; beyond, QUEUE_FULL at
once. Worst case of a call: its own timeout. Worst case of a program: three attempts, if processes are killed from
outside, each within the time limit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict

from gradwire_engine.program import Layout, Limits
from gradwire_server.ipc.failures import Failure, limit_details
from gradwire_server.ipc.frames import ChannelClosed, Frame, Kind
from gradwire_server.ipc.messages import PreparedProgram, PrepareRefused, WorkerLost
from gradwire_server.ipc.preparation import pack_request, unpack_prepared
from gradwire_server.processes.child_process import ChildProcess, StartFailed

ATTEMPTS = 3
"""How often a preparation is begun when its process is lost to something that is not its own fault."""

_RETRY_AFTER_SECONDS = 1.0
_CLOSING_SECONDS = 1.0

_log = logging.getLogger(__name__)

_Key = tuple[str, Layout]


class _Preparation:
    """One program in one layout, and those who wait for it. Guarded by the lock of `Preparing`, but for `done`."""

    def __init__(self, key: _Key, program: bytes) -> None:
        self.key = key
        self.program = program
        self.waiters = 0
        self.done = threading.Event()
        self.outcome: PreparedProgram | PrepareRefused | None = None


class Preparing:
    """`processes` preparing processes and what waits for them. All methods may be called from any thread.

    `time_limit` in seconds and `memory_bytes` bound one preparation. `on_restart(cause)` is called when a process was
    lost, as in `WorkerPool`.
    """

    def __init__(
        self,
        *,
        processes: int = 2,
        time_limit: float = 30.0,
        memory_bytes: int = 2 << 30,
        waiting_programs: int = 64,
        waiting_requests: int = 256,
        program_limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_restart: Callable[[str], None] = lambda cause: None,
        start_timeout: float = 30.0,
        module: str = "gradwire_server.child.preparer",
    ) -> None:
        self._time_limit = time_limit
        self._memory_bytes = memory_bytes
        self._waiting_programs = waiting_programs
        self._waiting_requests = waiting_requests
        self._arguments = (str(memory_bytes), json.dumps(asdict(program_limits or Limits())))
        self._clock = clock
        self._on_restart = on_restart
        self._start_timeout = start_timeout
        self._module = module

        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._queue: deque[_Preparation] = deque()
        self._unfinished: dict[_Key, _Preparation] = {}
        self._waiting = 0
        self._processes: set[ChildProcess] = set()
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"preparing-{number}", daemon=True) for number in range(processes)
        ]

    def start(self) -> None:
        """Start the processes in the background; programs may come at once, and wait for the first that is ready."""
        for thread in self._threads:
            thread.start()

    def prepare(
        self, program: bytes, layout: Layout, timeout: float, *, program_id: str | None = None
    ) -> PreparedProgram:
        """The program in this layout; blocks for at most `timeout` seconds, then TimeoutError.

        `program_id` is what identifies the bytes, if the caller has hashed them already. PrepareRefused where the
        program is refused, goes over a limit, or there is no room to wait.
        """
        key = (program_id or hashlib.sha256(program).hexdigest(), layout)
        with self._lock:
            preparation = self._join(key, program)
        try:
            if not preparation.done.wait(timeout):
                raise TimeoutError(f"the program was not prepared within {timeout:g} s")
        finally:
            with self._lock:
                preparation.waiters -= 1
                self._waiting -= 1
        outcome = preparation.outcome
        if isinstance(outcome, PreparedProgram):
            return outcome
        raise _copy(outcome)

    def _join(self, key: _Key, program: bytes) -> _Preparation:
        """The preparation that the caller waits for from now on; a new one, if there is room."""
        if self._is_closing:
            raise _closing()
        if self._waiting >= self._waiting_requests:
            raise _full("waiting-requests", self._waiting_requests, "requests")
        preparation = self._unfinished.get(key)
        if preparation is None:
            if len(self._queue) >= self._waiting_programs:
                raise _full("waiting-programs", self._waiting_programs, "programs")
            preparation = self._unfinished[key] = _Preparation(key, program)
            self._queue.append(preparation)
            self._arrived.notify()
        preparation.waiters += 1
        self._waiting += 1
        return preparation

    def states(self) -> dict[str, int]:
        """How many programs are "waiting" and "preparing", and how many "requests" wait for them."""
        with self._lock:
            waiting = len(self._queue)
            return {"waiting": waiting, "preparing": len(self._unfinished) - waiting, "requests": self._waiting}

    def pids(self) -> tuple[int, ...]:
        """The ids of the processes that run."""
        with self._lock:
            return tuple([process.pid for process in self._processes])

    def close(self) -> None:
        """End the processes, and wait for it; calls that still wait get SERVER_DRAINING."""
        with self._lock:
            self._is_closing = True
            self._arrived.notify_all()
            for process in self._processes:
                process.kill("killed")
            waiting = list(self._queue)
            self._queue.clear()
        for preparation in waiting:
            self._finish(preparation, _closing())
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    # The threads of the processes

    def _serve(self) -> None:
        process = self._started()
        while (preparation := self._next()) is not None:
            outcome: PreparedProgram | PrepareRefused = _lost("it could not be started")
            for _ in range(ATTEMPTS):
                process = process or self._started()
                if process is None:
                    continue
                try:
                    outcome = self._run(process, preparation)
                    break
                except WorkerLost as lost:
                    self._discard(process, lost.cause)
                    process = None
                    outcome = self._outcome_of(lost)
                    # its own fault is final; a signal from outside is not
                    if lost.cause in ("time_limit", "memory_limit") or self._is_closing:
                        break
                except Exception:
                    _log.exception("a preparation failed")
                    self._discard(process, "fault")
                    process = None
                    outcome = PrepareRefused("INTERNAL", "internal error")
                    break
            self._finish(preparation, outcome)
            process = process or self._started()
        if process is not None:
            self._discard(process, None)

    def _next(self) -> _Preparation | None:
        """The preparation that has waited longest and that somebody still waits for; None when closing."""
        with self._arrived:
            while not self._is_closing:
                while self._queue:
                    preparation = self._queue.popleft()
                    if preparation.waiters:
                        return preparation
                    del self._unfinished[preparation.key]
                self._arrived.wait()
        return None

    def _started(self) -> ChildProcess | None:
        """A process that is ready; None, and a line in the log, where there is none to be had."""
        if self._is_closing:
            return None
        process = None
        try:
            process = ChildProcess(self._module, self._arguments)
            with self._lock:
                self._processes.add(process)
                if self._is_closing:
                    process.kill("killed")
            process.ready(self._start_timeout)
        except (StartFailed, OSError) as failure:
            if process is not None:
                self._discard(process, None)
            if not self._is_closing:
                _log.error("a preparing process did not start: %s", failure)
                self._on_restart("start")
            return None
        return process

    def _discard(self, process: ChildProcess, cause: str | None) -> None:
        with self._lock:
            self._processes.discard(process)
        process.close(_CLOSING_SECONDS if cause is None else 0.0)
        if cause is not None and not self._is_closing:
            _log.warning("preparing process %d was lost: %s", process.pid, cause)
            self._on_restart(cause)

    def _run(self, process: ChildProcess, preparation: _Preparation) -> PreparedProgram | PrepareRefused:
        started = self._clock()
        try:
            process.channel.settimeout(self._time_limit)
            process.channel.send(Kind.PREPARE, payload=pack_request(preparation.program, preparation.key[1]))
            reply = process.channel.receive()
            return self._read(reply, self._clock() - started)
        except TimeoutError:
            process.kill("time_limit")
        except ChannelClosed:
            pass
        raise process.lost()

    @staticmethod
    def _read(reply: Frame, seconds: float) -> PreparedProgram | PrepareRefused:
        if reply.kind == Kind.PREPARED:
            return unpack_prepared(reply.payload, seconds)
        if reply.kind == Kind.FAILED:
            failed = Failure.unpack(reply.payload)
            return PrepareRefused(
                failed.reason, failed.message, path=failed.path, details=failed.details, log=failed.log
            )
        raise ChannelClosed(f"unexpected frame {reply.kind}")

    def _outcome_of(self, lost: WorkerLost) -> PrepareRefused:
        match lost.cause:
            case "time_limit":
                return PrepareRefused(
                    "PREPARE_TIME_LIMIT",
                    f"preparing the program takes longer than the {self._time_limit:g} s it may; send a smaller one",
                    details=limit_details(name="prepare-timeout", limit=self._time_limit, unit="seconds"),
                )
            case "memory_limit":
                return PrepareRefused(
                    "PREPARE_MEMORY_LIMIT",
                    f"preparing the program needs more than the {self._memory_bytes:,} bytes it may use; "
                    "send a smaller one",
                    details=limit_details(name="prepare-memory", limit=self._memory_bytes, unit="bytes"),
                )
            case _:
                return _closing() if self._is_closing else _lost(str(lost))

    def _finish(self, preparation: _Preparation, outcome: PreparedProgram | PrepareRefused) -> None:
        with self._lock:
            self._unfinished.pop(preparation.key, None)
        preparation.outcome = outcome
        preparation.done.set()


def _copy(outcome: PrepareRefused | None) -> PrepareRefused:
    """An exception of the caller's own: several threads may raise the same refusal."""
    assert outcome is not None
    return PrepareRefused(
        outcome.reason,
        outcome.message,
        path=outcome.path,
        details=outcome.details,
        log=outcome.log,
        retry_after=outcome.retry_after,
    )


def _full(name: str, limit: int, unit: str) -> PrepareRefused:
    return PrepareRefused(
        "QUEUE_FULL",
        f"{limit} {unit} wait for programs to be prepared, as many as {name} allows; try again later",
        details=limit_details(name=name, value=limit, limit=limit, unit=unit),
        retry_after=_RETRY_AFTER_SECONDS,
    )


def _closing() -> PrepareRefused:
    return PrepareRefused("SERVER_DRAINING", "the server is shutting down; use another one")


def _lost(why: str) -> PrepareRefused:
    return PrepareRefused("WORKER_LOST", "the process that prepared the program was lost, each time", log=why)
