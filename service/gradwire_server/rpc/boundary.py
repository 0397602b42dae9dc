"""What surrounds every handler: a request id, counters, a log line for what failed, and errors that leak nothing.

Every call passes here, those of health and reflection too. A Refusal becomes its status; any other exception becomes
INTERNAL with a fixed text, and a traceback in the log. Where too many calls are being served already, the call is
refused before its message is read, by threads kept for that.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

import grpc

from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.logs import REQUEST, RequestIdentity, acceptable_request_id, acceptable_traceparent
from gradwire_server.observe.metrics import MethodMetrics, Metrics
from gradwire_server.refusal import over_limit
from gradwire_server.rpc.refusals import log_refusal, refusal_of
from gradwire_server.rpc.status import REQUEST_ID_KEY, UNKNOWN_METHOD, code_name, name_of, rpc_status
from gradwire_server.rpc.threads import HandlerThreads

_TRACEPARENT_KEY: Final = "traceparent"
_REFUSING_THREADS: Final = 4
_KINDS: Final = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_log = logging.getLogger(__name__)


class Boundary(grpc.ServerInterceptor):
    """The interceptor. `threads` know when they have too many calls in hand; `new_request_id()` makes an id."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        new_request_id: Callable[[], str],
        threads: HandlerThreads,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._new_request_id = new_request_id
        self._threads = threads
        self._limit = config.limit("max_queued_requests")
        self._handlers: dict[str, Handler] = {}
        self._unknown = metrics.method("unknown", "unknown", "unknown")
        self._refusing = ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix="refusing")
        self._full: dict[str, Handler] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of a call, surrounded; made once for each method. Runs on gRPC's own thread: must be quick."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            bare = continuation(handler_call_details)
            if bare is None:
                self._unknown.started()
                self._unknown.handled(UNKNOWN_METHOD, 0.0)
                return None
            handler = self._handlers[method] = self._surrounded(method, bare)
        if self._threads.are_full and method in self._full:
            return self._full[method]
        return handler

    def close(self) -> None:
        """End the threads that refuse."""
        self._refusing.shutdown(wait=False)

    def _surrounded(self, method: str, handler: Handler) -> Handler:
        _, service, name = method.split("/", 2)
        kind = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        counters = self._metrics.method(kind, service, name)
        behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        if handler.response_streaming:
            wrapped: Callable[..., Any] = functools.partial(self._serve_stream, counters, behavior)
        else:
            wrapped = functools.partial(self._serve, counters, behavior)
        threads = getattr(behavior, "experimental_thread_pool", None)
        if threads is not None:
            wrapped.experimental_thread_pool = threads  # type: ignore[attr-defined]
        else:
            self._full[method] = self._refusing_handler(counters)
        make = {
            "unary": grpc.unary_unary_rpc_method_handler,
            "server_stream": grpc.unary_stream_rpc_method_handler,
            "client_stream": grpc.stream_unary_rpc_method_handler,
            "bidi_stream": grpc.stream_stream_rpc_method_handler,
        }[kind]
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _refusing_handler(self, counters: MethodMetrics) -> Handler:
        """A handler that refuses at once. It is one of streams, whatever the method: those do not wait for a
        message."""

        def refuse(requests: object, context: grpc.ServicerContext) -> Iterator[bytes]:
            raise over_limit(
                "QUEUE_FULL",
                "calls being served",
                self._limit,
                self._threads.calls,
                advice="try again later, or use another replica",
                retry_after=1.0,
            )

        wrapped = functools.partial(self._serve_stream, counters, refuse)
        wrapped.experimental_thread_pool = self._refusing  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(wrapped)

    def _serve(
        self, counters: MethodMetrics, behavior: Callable[..., Any], request: Any, context: grpc.ServicerContext
    ) -> Any:
        started = self._clock()
        counters.started()
        request_id = self._identify(context)
        try:
            response = behavior(request, context)
        except Exception as error:
            refusal = refusal_of(error, _log)
            counters.handled(code_name(refusal.reason), self._clock() - started)
            log_refusal(_log, refusal)
            context.abort_with_status(rpc_status(refusal, request_id))
        counters.handled(name_of(context.code()), self._clock() - started)  # type: ignore[attr-defined]
        return response

    def _serve_stream(
        self, counters: MethodMetrics, behavior: Callable[..., Any], request: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        started = self._clock()
        counters.started()
        request_id = self._identify(context)
        code = code_name("CANCELLED")
        refusal = None
        try:
            yield from behavior(request, context)
            code = name_of(context.code())  # type: ignore[attr-defined]
        except Exception as error:
            refusal = refusal_of(error, _log)
            code = code_name(refusal.reason)
        finally:
            counters.handled(code, self._clock() - started)
        if refusal is not None:
            log_refusal(_log, refusal)
            context.abort_with_status(rpc_status(refusal, request_id))

    def _identify(self, context: grpc.ServicerContext) -> str:
        """The request's id: the client's, or a new one. It goes into the log and back with the answer."""
        request_id = traceparent = ""
        for key, value in context.invocation_metadata():
            if key == REQUEST_ID_KEY and isinstance(value, str) and acceptable_request_id(value):
                request_id = value
            elif key == _TRACEPARENT_KEY and isinstance(value, str) and acceptable_traceparent(value):
                traceparent = value
        request_id = request_id or self._new_request_id()
        REQUEST.set(RequestIdentity(request_id, traceparent))
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        return request_id
