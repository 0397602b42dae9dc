"""The threads that serve calls. Made when they are needed, up to a bound; the one idle last is used first.

grpc takes anything with a `submit` for its thread pool. This one does less than `concurrent.futures` does for a call
(no future, no lock of its own for each), and its last idle thread is the one whose stack is still in the cache. It also
knows how many calls it has in hand, so that the boundary can refuse too many.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_log = logging.getLogger(__name__)


class Submitted:
    """A call in hand: all that grpc asks of it is to be told when it is done."""

    __slots__ = ("_callbacks", "_function", "_is_done")

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._callbacks: list[Callable[[Submitted], object]] = []
        self._is_done = False

    def add_done_callback(self, callback: Callable[[Submitted], object]) -> None:
        """Have `callback` called once, when the call is done, or now."""
        self._callbacks.append(callback)
        if self._is_done:
            self._call_back()

    def run(self) -> None:
        """Run it, on the calling thread."""
        try:
            self._function()
        except Exception:
            _log.exception("a call failed outside its handler")
        finally:
            self._is_done = True
            self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread was quicker
                return
            callback(self)


class HandlerThreads:
    """At most `threads` of them, for `calls_allowed` calls in hand; `calls` is how many run or wait for a thread."""

    def __init__(self, threads: int, *, calls_allowed: int, name: str = "handler") -> None:
        self._most = threads
        self._calls_allowed = calls_allowed
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Submitted | None]] = []
        self._waiting: deque[Submitted] = deque()
        self._count = 0
        self._is_closed = False
        self.calls = 0

    @property
    def are_full(self) -> bool:
        """Whether as many calls are in hand as may be."""
        return self.calls >= self._calls_allowed

    def submit(self, function: Callable[..., object], /, *arguments: Any) -> Submitted:
        """Run a function on one of the threads."""
        call = Submitted(lambda: function(*arguments))
        with self._lock:
            if self._is_closed:
                raise RuntimeError("no calls are taken any longer")
            self.calls += 1
            inbox = self._idle.pop() if self._idle else None
            if inbox is None and self._count == self._most:
                self._waiting.append(call)
                return call
            if inbox is None:
                self._count += 1
        if inbox is None:
            self._start_thread(call)
        else:
            inbox.put(call)
        return call

    def _start_thread(self, call: Submitted) -> None:
        """Run the call on a new thread; where the system has none to give, on the next that is free."""
        inbox: SimpleQueue[Submitted | None] = SimpleQueue()
        inbox.put(call)
        try:
            threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
        except RuntimeError:
            _log.error("no new thread; %d are serving calls", self._count - 1)
            with self._lock:
                self._count -= 1
                self._waiting.append(call)

    def shutdown(self, wait: bool = False) -> None:
        """Take no more calls; idle threads end now, others when their call is done. There is nothing to wait for."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def _serve(self, inbox: SimpleQueue[Submitted | None]) -> None:
        call = inbox.get()
        while call is not None:
            call.run()
            with self._lock:
                self.calls -= 1
                call = self._waiting.popleft() if self._waiting else None
                if call is None:
                    if self._is_closed:
                        return
                    self._idle.append(inbox)
            if call is None:
                call = inbox.get()
