"""EvaluateStream: many evaluations on one call, answered as they are done.

A thread of the stream's own reads items, admits them and hands them to the dispatcher; the call's thread sends what is
done. An item is open from when the reader has it until its answer has been sent. The reader waits while as many items,
or as many bytes of items, are open as a stream may have: so the server does not read from a client that does not read.

A bad item fails alone, in its own answer; only bytes that are no item at all end the stream. The call's thread wakes at
the deadlines of open items. When the server drains, items that have not begun are answered SERVER_DRAINING, and so are
all that come later; when nothing is open the stream ends with the same reason.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from gradwire.wire.requests import SlicedStreamItem, join, slice_evaluate, slice_stream_item
from gradwire.wire.responses import stream_error, stream_result_parts
from gradwire.wire.status import encode_error
from gradwire_server.admission.admission import Admission
from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import Refusal, draining, over_limit
from gradwire_server.rpc.refusals import log_refusal, refusal_of, sliced
from gradwire_server.rpc.status import OK, code_name, status_details
from gradwire_server.scheduling.dispatch import Dispatcher
from gradwire_server.scheduling.job import AnyJob

_log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 1.0  # how often a stream with nothing due looks whether it should end


class StreamCall(Protocol):
    """What a stream needs of the call's context: `on_end` is called when the call is over, however it ends."""

    remaining: float | None

    def on_end(self, callback: Callable[[], None]) -> bool: ...


class _Open:
    """An open item: its job once it is admitted, its answer once there is one."""

    __slots__ = ("answer", "arrived", "id", "job", "mode", "nbytes")

    def __init__(self, id: int, nbytes: int, arrived: float) -> None:
        self.id = id
        self.nbytes = nbytes
        self.arrived = arrived
        self.mode = "unknown"
        self.job: AnyJob | None = None
        self.answer: bytes | None = None


class Streams:
    """All streams of the server: bounds their number, and drains them."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        admission: Admission,
        dispatcher: Dispatcher,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.config = config
        self.admission = admission
        self.dispatcher = dispatcher
        self.metrics = metrics
        self.clock = clock
        self._lock = threading.Lock()
        self._open: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._open)

    def serve(self, tenant: str, items: Iterator[bytes], call: StreamCall) -> Iterator[bytes]:
        """The answers to a call's items."""
        self.admission.check_phase()
        stream = Stream(self, tenant, items, call)
        with self._lock:
            if len(self._open) >= self.config.max_streams:
                raise over_limit(
                    "QUEUE_FULL",
                    "streams open",
                    self.config.limit("max_streams"),
                    len(self._open) + 1,
                    advice="close one, or use another replica",
                    retry_after=1.0,
                )
            self._open.add(stream)
        try:
            yield from stream.answers()
        finally:
            with self._lock:
                self._open.discard(stream)
            stream.end()

    def drain(self) -> None:
        """Answer everything that has not begun, and end the streams when the rest is answered."""
        with self._lock:
            streams = list(self._open)
        for stream in streams:
            stream.drain()


class Stream:
    """One call. `_open` and `_bytes` are guarded by the lock; the call's thread alone sends."""

    def __init__(self, streams: Streams, tenant: str, items: Iterator[bytes], call: StreamCall) -> None:
        self._streams = streams
        self._tenant = tenant
        self._items = items
        self._call = call
        self._deadline = None if call.remaining is None else streams.clock() + call.remaining
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._open: dict[int, _Open] = {}
        self._bytes = 0
        self._done: SimpleQueue[_Open | None] = SimpleQueue()
        self._failure: Refusal | None = None
        self._is_read = False
        self._is_ended = False
        context = contextvars.copy_context()  # the reader logs under the call's identity, too
        self._reader = threading.Thread(target=context.run, args=(self._read,), name="stream-reader", daemon=True)

    # The call's thread

    def answers(self) -> Iterator[bytes]:
        """Each item's answer when it is done, until the client has said all and all is answered."""
        if not self._call.on_end(self.end):
            return
        self._reader.start()
        while not self._is_finished():
            item = self._next_done()
            if item is None:
                self._tick()
                continue
            yield self._answer(item)
            with self._lock:
                if self._open.get(item.id) is item:
                    del self._open[item.id]
                self._bytes -= item.nbytes
                self._room.notify()
        if self._failure is not None:
            raise self._failure
        if self._streams.admission.is_draining and not self._is_ended:
            raise draining()

    def _is_finished(self) -> bool:
        with self._lock:
            if self._is_ended:
                return True
            nothing_left = not self._open and not self._bytes and self._done.empty()
            return nothing_left and (self._is_read or self._streams.admission.is_draining)

    def _next_done(self) -> _Open | None:
        """An item that is done; None when something else is to be looked at."""
        with contextlib.suppress(Empty):
            return self._done.get_nowait()
        with self._lock:
            due = [self._streams.dispatcher.wake_at(item.job) for item in self._open.values() if item.job is not None]
        wait = min([_IDLE_SECONDS, *[time - self._streams.clock() for time in due]])
        try:
            return self._done.get(timeout=max(0.0, wait))
        except Empty:
            return None

    def _tick(self) -> None:
        now = self._streams.clock()
        with self._lock:
            jobs = [item.job for item in self._open.values() if item.job is not None]
        for job in jobs:
            if job.outcome is None and self._streams.dispatcher.wake_at(job) <= now:
                self._streams.dispatcher.tick(job)

    def _answer(self, item: _Open) -> bytes:
        if item.answer is not None:
            return item.answer
        assert item.job is not None
        outcome = item.job.outcome
        assert outcome is not None
        if isinstance(outcome, Refusal):
            return self._refused(item, outcome)
        self._streams.metrics.answered(item.mode, OK)
        return outcome

    def _refused(self, item: _Open, refusal: Refusal) -> bytes:
        self._streams.metrics.answered(item.mode, code_name(refusal.reason))
        self._streams.metrics.rejected(refusal.reason)
        log_refusal(_log, refusal)
        return stream_error(item.id, encode_error(status_details(refusal)))

    # Any thread

    def drain(self) -> None:
        """Answer what has not begun."""
        with self._lock:
            jobs = [item.job for item in self._open.values() if item.job is not None]
        for job in jobs:
            self._streams.dispatcher.withdraw(job, draining())
        self._done.put(None)

    def end(self) -> None:
        """The call is over: nobody wants the answers. Ends the reader, too."""
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
            jobs = [item.job for item in self._open.values() if item.job is not None]
            self._room.notify()
        for job in jobs:
            self._streams.dispatcher.cancel(job)
        self._done.put(None)

    # The reader

    def _read(self) -> None:
        try:
            while self._wait_for_room() and (data := self._next_item()) is not None:
                self._accept(data)
        except Refusal as refusal:
            self._failure = refusal
        finally:
            with self._lock:
                self._is_read = True
            self._done.put(None)

    def _next_item(self) -> bytes | None:
        """The next item's bytes; None when there are no more."""
        try:
            return next(self._items, None)
        except Exception:  # whatever gRPC raises where the call was cancelled or its connection lost
            self.end()
            return None

    def _wait_for_room(self) -> bool:
        """Wait until another item may be read; False where the call is over."""
        with self._lock:
            self._room.wait_for(lambda: self._is_ended or self._has_room())
            return not self._is_ended

    def _has_room(self) -> bool:
        config = self._streams.config
        return len(self._open) < config.max_stream_items and self._bytes < config.max_stream_bytes

    def _accept(self, data: bytes) -> None:
        """Admit one item, or answer why not."""
        request = sliced(slice_stream_item, data)
        item = _Open(request.id, len(data), self._streams.clock())
        with self._lock:
            is_duplicate = request.id in self._open
            if not is_duplicate:
                self._open[request.id] = item
            self._bytes += item.nbytes
        try:
            if is_duplicate:
                raise Refusal("DUPLICATE_STREAM_ID", f"item {request.id} is open on this stream; choose another id")
            self._start(item, request)
        except Exception as error:
            item.answer = self._refused(item, refusal_of(error, _log))
            self._done.put(item)

    def _start(self, item: _Open, request: SlicedStreamItem) -> None:
        if request.kind == "blob":
            raise Refusal("UNSUPPORTED_BLOB", "this server takes no blobs; send the constant inline")
        if not request.kind:
            raise Refusal("MALFORMED_REQUEST", f"item {request.id} is empty; expected evaluate")
        admission = self._streams.admission
        evaluate = sliced(slice_evaluate, request.data, request.start, request.end)
        remaining = None if self._deadline is None else self._deadline - item.arrived
        deadline = admission.deadline(item.arrived, remaining, evaluate.options)
        job = admission.admit(self._tenant, evaluate, deadline, functools.partial(setattr, item, "mode"))
        job.finish = lambda parts: join(stream_result_parts(item.id, parts))
        with self._lock:
            item.job = job
        self._streams.dispatcher.start(job, functools.partial(self._done.put, item))
        if self._is_ended:
            self._streams.dispatcher.cancel(job)
        elif admission.is_draining:
            self._streams.dispatcher.withdraw(job, draining())
