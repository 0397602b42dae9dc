"""A number of children of one kind: started, watched, lent, ended, and replaced when they are lost.

One thread, the keeper, starts all children, watches them with one poll, and starts another for each that is lost. It
alone starts and ends them, since a child is bound to the thread that started it.

Invariants: a child is starting, idle or lent. A lost child is never lent again; it is ended at once if it was idle, and
otherwise when it is given back, so that what it left behind can be read until then. Worst case of a loss: a child is
missing for as long as a process takes to start (about 0.3 s). Where starts fail, the next one waits: 0.1 s at first,
twice as long after each failure in a row, 5 s at most.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from gradwire_server.processes.child_process import ChildProcess, StartFailed

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0

_READY_SECONDS: Final = 1.0  # for the rest of a message that has begun to arrive
_ENDING_SECONDS: Final = 1.0  # for an idle child to end by itself
_CLOSING_SECONDS: Final = 5.0  # for those who hold a child to give it back

_log = logging.getLogger(__name__)

Child = TypeVar("Child", bound=ChildProcess)


class Poll(Protocol):
    """What a `select.poll` does."""

    def register(self, descriptor: int, events: int, /) -> None: ...

    def modify(self, descriptor: int, events: int, /) -> None: ...

    def unregister(self, descriptor: int, /) -> None: ...

    def poll(self, milliseconds: float | None, /) -> list[tuple[int, int]]: ...


class Supervisor(Generic[Child]):
    """`size` children that `start` starts. All methods may be called from any thread, `close` from no callback.

    `on_idle()` is called whenever a child may have become available, and `on_restart(cause)` for every child that was
    lost, with the cause as in `WorkerLost`, or "start" for one that ended before it was ready. Both are called from
    whichever thread it happens in, and must not block. `on_return(child)` is called when a child is given back and
    before it is idle, with the lock held.
    """

    def __init__(
        self,
        size: int,
        start: Callable[[], Child],
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        on_idle: Callable[[], None] = lambda: None,
        on_restart: Callable[[str], None] = lambda cause: None,
        on_return: Callable[[Child], None] = lambda child: None,
        start_timeout: float = 30.0,
        make_poll: Callable[[], Poll] = select.poll,
    ) -> None:
        if size < 1:
            raise ValueError(f"got {size} children, expected at least 1")
        self.size = size
        self._start_child = start
        self._name = name
        self._clock = clock
        self._on_idle = on_idle
        self._on_restart = on_restart
        self._on_return = on_return
        self._start_timeout = start_timeout

        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle: list[Child] = []
        self._lent: set[Child] = set()
        self._returned: list[Child] = []
        self._failed_starts = 0
        self._first_failure: StartFailed | None = None
        self._is_started = False
        self._is_closing = False
        self._is_closed = False

        # The keeper's own: no other thread touches these.
        self._poll = make_poll()
        self._starting: dict[int, tuple[Child, float]] = {}
        self._watched: dict[int, Child] = {}
        self._due = [clock()] * size
        self._keeper = threading.Thread(target=self._keep, name=f"{name}-keeper", daemon=True)

    def start(self) -> None:
        """Begin to start the children, all at once; returns at once."""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._poll.register(self._wake_read, select.POLLIN)
        self._is_started = True
        self._keeper.start()

    def wait_until_ready(self) -> None:
        """Wait until every child is ready. StartFailed, and nothing left, if one does not start."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._idle) + len(self._lent) == self.size or self._first_failure or self._is_closing
            )
            failure = self._first_failure
        if failure is not None:
            self.close()
            raise failure

    def close(self) -> None:
        """End all children, and wait for it; who uses one loses it. Does nothing the second time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._is_started and not self._is_closed:
                self._wake()
        if self._is_started:
            self._keeper.join()

    # For those who use the children

    def lend(self, choose: Callable[[Sequence[Child]], int | None]) -> Child | None:
        """The idle child at the index that `choose` names, to be given back; None where none is idle, or named.

        `choose` is called with the lock held, so what it notes down about its choice is in order.
        """
        with self._lock:
            if not self._idle or self._is_closing:
                return None
            index = choose(self._idle)
            if index is None:
                return None
            child = self._idle.pop(index)
            self._lent.add(child)
            return child

    def give_back(self, child: Child) -> None:
        """The child is lent no longer, lost or not."""
        with self._changed:
            self._lent.remove(child)
            is_ours = self._is_closed
            if child.is_lost or self._is_closing:
                if not is_ours:
                    self._returned.append(child)
                    self._wake()
            else:
                self._on_return(child)
                self._idle.append(child)
            self._changed.notify_all()
        if is_ours:
            child.end()
        self._tell_idle()

    def visit(self, idle: Callable[[Child], None], lent: Callable[[Child], None]) -> None:
        """Do something with each idle and each lent child; with the lock held, so it must not block."""
        with self._lock:
            for child in self._idle:
                idle(child)
            for child in self._lent:
                lent(child)

    def states(self) -> dict[str, int]:
        """How many children are "idle", "busy" (lent) and "starting" (or will be)."""
        with self._lock:
            idle, busy = len(self._idle), len(self._lent)
        return {"idle": idle, "busy": busy, "starting": self.size - idle - busy}

    def pids(self) -> tuple[int, ...]:
        """The process ids of the children that are ready."""
        with self._lock:
            return tuple([child.pid for child in (*self._idle, *self._lent)])

    @property
    def failed_starts(self) -> int:
        """How many starts have failed in a row, while no child is ready; 0 as long as one is."""
        with self._lock:
            return 0 if self._idle or self._lent else self._failed_starts

    def _wake(self) -> None:
        """Have the keeper look; with the lock held. A full pipe means that it will look anyway."""
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return

    def _tell_idle(self) -> None:
        try:
            self._on_idle()
        except Exception:
            _log.exception("on_idle failed")

    # The keeper

    def _keep(self) -> None:
        try:
            while not self._is_closing:
                self._start_due()
                for descriptor, _ in self._poll.poll(self._milliseconds()):
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
            try:
                child = self._start_child()
            except OSError as error:
                self._start_failed(StartFailed(f"cannot start a process: {error}"))
                continue
            self._starting[child.fileno] = (child, now + self._start_timeout)
            self._poll.register(child.fileno, select.POLLIN)

    def _milliseconds(self) -> float | None:
        """How long there is nothing to do unless something happens."""
        times = [*self._due, *[deadline for _, deadline in self._starting.values()]]
        return max(0.0, (min(times) - self._clock()) * 1000 + 1) if times else None

    def _look_at(self, descriptor: int) -> None:
        if descriptor == self._wake_read:
            os.read(self._wake_read, 4096)
        elif descriptor in self._starting:
            self._became_ready(descriptor)
        elif descriptor in self._watched:
            self._was_lost(self._watched[descriptor])

    def _became_ready(self, descriptor: int) -> None:
        """Its first message has come, or its end."""
        child, _ = self._starting.pop(descriptor)
        try:
            child.ready(_READY_SECONDS)
        except StartFailed as failure:
            self._poll.unregister(descriptor)
            child.end()
            self._start_failed(failure)
            return
        self._poll.modify(descriptor, 0)  # from now on it only reports that the other end has closed
        self._watched[descriptor] = child
        with self._changed:
            self._failed_starts = 0
            self._idle.append(child)
            self._changed.notify_all()
        self._tell_idle()

    def _give_up_late_starts(self) -> None:
        now = self._clock()
        for descriptor, (child, deadline) in list(self._starting.items()):
            if now >= deadline:
                child.kill("time_limit")
                self._became_ready(descriptor)

    def _start_failed(self, failure: StartFailed) -> None:
        _log.error("a %s did not start: %s", self._name, failure)
        with self._changed:
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._failed_starts, 10))
            self._failed_starts += 1
            self._first_failure = self._first_failure or failure
            self._changed.notify_all()
        self._due.append(self._clock() + delay)
        self._on_restart("start")

    def _was_lost(self, child: Child) -> None:
        """Its stream has ended: start another. The process is ended here if it was idle, else once it is given back."""
        self._poll.unregister(child.fileno)
        del self._watched[child.fileno]
        cause = child.lost().cause
        with self._lock:
            is_ours = child in self._idle
            if is_ours:
                self._idle.remove(child)
        if is_ours:
            child.end()
        self._due.append(self._clock())
        _log.warning("%s %d was lost: %s", self._name, child.pid, cause)
        self._on_restart(cause)

    def _end_returned(self) -> None:
        with self._lock:
            returned, self._returned = self._returned, []
        for child in returned:
            if child.fileno in self._watched:
                self._was_lost(child)
            child.end()

    def _end_all(self) -> None:
        """Let idle children end by themselves, kill the others, and wait for those who hold one to give it back."""
        with self._changed:
            self._is_closing = True  # also where the keeper ends because of a fault: no child is lent any more
            self._changed.notify_all()
            idle, self._idle = self._idle, []
            lent = list(self._lent)
        for child in lent:
            child.kill("killed")
            child.lost()
        for child in idle:
            child.hang_up()
        for child, _ in self._starting.values():
            child.kill("killed")
            child.end()
        for child in idle:
            child.end(_ENDING_SECONDS)
        with self._changed:
            self._changed.wait_for(lambda: not self._lent, _CLOSING_SECONDS)
            returned, self._returned = self._returned, []
            self._is_closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)
        for child in returned:
            child.end()
