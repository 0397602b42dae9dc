"""Jobs that run in children which can be ended at their limits: each once, whoever asks for it, however many do.

A job is a request, sent to a child, and the result that it answers. Callers who ask for the same key at the same time
share one job; it goes on when a caller gives up, unless it has not begun and nobody waits for it any longer. Nothing is
kept afterwards: whoever asks remembers results and refusals.

A supervisor keeps the children; for each there is a thread here, which gives an idle child the next job, waits, and
ends the child at the time limit. Bounds: jobs that have not begun, and callers that wait; beyond, QUEUE_FULL at once.
Worst case of a call: its own timeout. Worst case of a job: three attempts, if children are killed from outside, each
within the time limit. Where children cannot be started, jobs are refused with WORKER_LOST after three failed starts,
and at once from then on, until one can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gradwire_server.config.option import Limit
from gradwire_server.ipc.frames import ChannelClosed
from gradwire_server.ipc.messages import Message, OutOfMemory, read, send
from gradwire_server.processes.child_process import ChildProcess, WorkerLost
from gradwire_server.processes.supervisor import Supervisor
from gradwire_server.refusal import Refusal, draining, internal

ATTEMPTS: Final = 3
"""How often a job is begun when its child is lost to something that is not the job's fault; and how many failed starts
in a row mean that there will be no child soon."""

_RETRY_AFTER_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLimits:
    """The limits of one kind of job: seconds and bytes that one may take, and how many of what may wait."""

    time: Limit
    memory: Limit
    waiting_jobs: Limit
    waiting_callers: Limit


@dataclass(frozen=True, kw_only=True, slots=True)
class JobWords:
    """How refusals speak of one kind of job.

    `reason` begins the reasons of what goes over a limit; the others complete "… takes longer than it may", "so many
    programs wait …" and "… was lost, each time".
    """

    reason: str
    doing: str
    waiting: str
    process: str


class _Job(Generic[Request, Result]):
    """One request, and those who wait for its outcome. Guarded by the lock of `LimitedJobs`, but for `done`."""

    def __init__(self, key: Hashable, request: Request) -> None:
        self.key = key
        self.request = request
        self.waiters = 0
        self.losses = 0
        self.done = threading.Event()
        self.outcome: Result | Refusal | None = None


class LimitedJobs(Generic[Request, Result]):
    """`size` children that `start_child` starts, and what waits for them. All methods may be called from any thread.

    A child answers a request with a message of the class `result`, with a Refusal, or with OutOfMemory.
    `on_restart(cause)` is called when a child was lost, as in `Supervisor`.
    """

    def __init__(
        self,
        size: int,
        start_child: Callable[[], ChildProcess],
        *,
        result: type[Result],
        limits: JobLimits,
        words: JobWords,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        on_restart: Callable[[str], None] = lambda cause: None,
        start_timeout: float = 30.0,
    ) -> None:
        self._result = result
        self._limits = limits
        self._words = words
        self._on_restart = on_restart
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[_Job[Request, Result]] = deque()
        self._unfinished: dict[Hashable, _Job[Request, Result]] = {}
        self._callers = 0
        self._is_closing = False
        self._children: Supervisor[ChildProcess] = Supervisor(
            size,
            start_child,
            name=name,
            clock=clock,
            on_idle=self._look_again,
            on_restart=self._restarted,
            start_timeout=start_timeout,
        )
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True) for number in range(size)
        ]

    def start(self) -> None:
        """Start the children in the background; requests may come at once, and wait for the first that is ready."""
        self._children.start()
        for thread in self._threads:
            thread.start()

    def run(self, key: Hashable, request: Request, timeout: float) -> Result:
        """The result for a request; blocks for at most `timeout` seconds, then TimeoutError.

        Requests with equal keys are the same job. Refusal where the child refuses it, where it goes over a limit, or
        where there is no room to wait.
        """
        with self._lock:
            job = self._join(key, request)
        try:
            if not job.done.wait(timeout):
                raise TimeoutError(f"{self._words.doing} was not done within {timeout:g} s")
        finally:
            with self._lock:
                job.waiters -= 1
                self._callers -= 1
        if isinstance(job.outcome, Refusal):
            raise job.outcome.copy()
        assert job.outcome is not None
        return job.outcome

    def _join(self, key: Hashable, request: Request) -> _Job[Request, Result]:
        """The job that the caller waits for from now on; a new one, if there is room."""
        if self._is_closing:
            raise draining()
        if self._callers >= self._limits.waiting_callers.value:
            raise self._full(self._limits.waiting_callers)
        job = self._unfinished.get(key)
        if job is None:
            if len(self._queue) >= self._limits.waiting_jobs.value:
                raise self._full(self._limits.waiting_jobs)
            job = self._unfinished[key] = _Job(key, request)
            self._queue.append(job)
            self._changed.notify()
        job.waiters += 1
        self._callers += 1
        return job

    def states(self) -> dict[str, int]:
        """How many jobs are "waiting" and "running", and how many "callers" wait for them."""
        with self._lock:
            waiting = len(self._queue)
            return {"waiting": waiting, "running": len(self._unfinished) - waiting, "callers": self._callers}

    def pids(self) -> Sequence[int]:
        """The process ids of the children that are ready."""
        return self._children.pids()

    def close(self) -> None:
        """End the children, and wait for it; calls that still wait get SERVER_DRAINING."""
        with self._lock:
            self._is_closing = True
            self._changed.notify_all()
            while self._queue:
                self._finish(self._queue.popleft(), draining())
        self._children.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    # What the supervisor tells

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _restarted(self, cause: str) -> None:
        self._look_again()
        self._on_restart(cause)

    # The threads that wait for children

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            child, job = work
            outcome = self._outcome(child, job)
            self._children.give_back(child)
            with self._lock:
                if isinstance(outcome, WorkerLost):
                    self._lose(job, outcome)
                else:
                    self._finish(job, outcome)

    def _next(self) -> tuple[ChildProcess, _Job[Request, Result]] | None:
        """An idle child, and the job that has waited longest and that somebody still waits for; None when closing."""
        with self._changed:
            while not self._is_closing:
                while self._queue and not self._queue[0].waiters:
                    del self._unfinished[self._queue.popleft().key]
                if self._queue:
                    child = self._children.lend(_last)
                    if child is not None:
                        return child, self._queue.popleft()
                    if self._children.failed_starts >= ATTEMPTS:
                        self._finish(self._queue.popleft(), self._lost("it could not be started"))
                        continue
                self._changed.wait()
        return None

    def _outcome(self, child: ChildProcess, job: _Job[Request, Result]) -> Result | Refusal | WorkerLost:
        """What the child answers; WorkerLost where it does not."""
        try:
            child.channel.settimeout(self._limits.time.value)
            send(child.channel, job.request)
            reply = read(child.channel.receive())
        except TimeoutError:
            child.kill("time_limit")
            return child.lost()
        except ChannelClosed:
            return child.lost()
        except Exception:
            _log.exception("a job failed")
            child.kill("fault")
            child.lost()
            return internal()
        if isinstance(reply, (self._result, Refusal)):
            return reply
        if isinstance(reply, OutOfMemory):
            return self._over_memory()
        child.kill("fault")
        return child.lost()

    def _lose(self, job: _Job[Request, Result], lost: WorkerLost) -> None:
        """The job's child was lost: that is final if it was the job's own fault. With the lock held."""
        job.losses += 1
        if lost.cause == "time_limit":
            self._finish(job, self._over_time())
        elif lost.cause == "memory_limit":
            self._finish(job, self._over_memory())
        elif self._is_closing:
            self._finish(job, draining())
        elif job.losses == ATTEMPTS:
            self._finish(job, self._lost(str(lost)))
        else:
            self._queue.appendleft(job)
            self._changed.notify()

    def _finish(self, job: _Job[Request, Result], outcome: Result | Refusal) -> None:
        """With the lock held."""
        self._unfinished.pop(job.key, None)
        job.outcome = outcome
        job.done.set()

    # What is refused

    def _over_time(self) -> Refusal:
        words, limit = self._words, self._limits.time
        return Refusal(
            f"{words.reason}_TIME_LIMIT",
            f"{words.doing} takes longer than the {limit.value:g} s it may; send a smaller one",
            details=limit.details(),
        )

    def _over_memory(self) -> Refusal:
        words, limit = self._words, self._limits.memory
        return Refusal(
            f"{words.reason}_MEMORY_LIMIT",
            f"{words.doing} needs more than the {int(limit.value):,} bytes it may use; send a smaller one",
            details=limit.details(),
        )

    def _full(self, limit: Limit) -> Refusal:
        waiting = f"{int(limit.value)} {limit.unit} wait {self._words.waiting}"
        return Refusal(
            "QUEUE_FULL",
            f"{waiting}, as many as {limit.name} allows; try again later",
            details=limit.details(limit.value),
            retry_after=_RETRY_AFTER_SECONDS,
        )

    def _lost(self, why: str) -> Refusal:
        return Refusal("WORKER_LOST", f"{self._words.process} was lost, each time", log=why)


def _last(idle: Sequence[ChildProcess]) -> int:
    return len(idle) - 1
