"""Health, as orchestrators and balancers ask for it: grpc.health.v1, and a probe that asks over gRPC.

"" is SERVING while the server runs; the service's name is SERVING while it takes requests and has workers to run them.
`Check` never waits for anything: it has threads of its own. `Watch` holds a thread of those for as long as it is open;
beyond `MAX_WATCHES` it is UNIMPLEMENTED, which clients take for healthy.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from gradwire.wire.service import SERVICE
from gradwire_server.refusal import Refusal

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
MAX_WATCHES: Final = 256
_CHECK_THREADS: Final = 8
_WATCH_SECONDS: Final = 1.0  # how often a watch looks whether its client is still there
_REFLECTION_THREADS: Final = 8
_PROBE_SECONDS: Final = 0.8  # below the second that probes commonly have

_SERVING: Final[int] = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final[int] = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN: Final[int] = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The statuses, and the handlers that report them. `is_ready()` is asked for the service's own."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._changed = threading.Condition()
        self._watches = 0
        self._is_closed = False
        self._threads = ThreadPoolExecutor(MAX_WATCHES + _CHECK_THREADS, thread_name_prefix="health")

    def changed(self) -> None:
        """Readiness may have changed: tell those who watch."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the watches."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._threads.shutdown(wait=False)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The handlers of grpc.health.v1."""
        return grpc.method_handlers_generic_handler(
            HEALTH_SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(on_threads(self._check, self._threads)),
                "Watch": grpc.unary_stream_rpc_method_handler(on_threads(self._watch, self._threads)),
            },
        )

    def _check(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        service = _service_of(data)
        status = self._status(service)
        if status == _SERVICE_UNKNOWN:
            raise Refusal("SERVICE_NOT_FOUND", f"there is no service {service[:100]!r} here")
        return _response(status)

    def _watch(self, data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        service = _service_of(data)
        with self._changed:
            if self._watches >= MAX_WATCHES:
                raise Refusal("TOO_MANY_WATCHES", f"{MAX_WATCHES} watches are open, as many as there may be; use Check")
            self._watches += 1
        try:
            reported = None
            while context.is_active() and not self._is_closed:
                status = self._status(service)
                if status != reported:
                    reported = status
                    yield _response(status)
                with self._changed:
                    if self._status(service) == reported and not self._is_closed:
                        self._changed.wait(_WATCH_SECONDS)
        finally:
            with self._changed:
                self._watches -= 1

    def _status(self, service: str) -> int:
        if service not in ("", SERVICE, HEALTH_SERVICE):
            return _SERVICE_UNKNOWN
        return _NOT_SERVING if service == SERVICE and not self._is_ready() else _SERVING


class FrontProbe:
    """Asks the server itself, over gRPC: what a front that hangs cannot answer. `target` is an address it serves."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
        self._call: Callable[..., bytes] = self._channel.unary_unary(f"/{HEALTH_SERVICE}/Check")

    def is_serving(self, service: str) -> bool:
        """Whether the server says so, in time."""
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        try:
            answer = self._call(request, timeout=_PROBE_SECONDS)
        except grpc.RpcError:
            return False
        return bool(health_pb2.HealthCheckResponse.FromString(answer).status == _SERVING)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def reflection_handlers() -> grpc.GenericRpcHandler:
    """The handlers of server reflection, on threads of their own: a client may keep the stream open for hours."""
    servicer = reflection.ReflectionServicer([SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME])
    threads = ThreadPoolExecutor(_REFLECTION_THREADS, thread_name_prefix="reflection")
    return grpc.method_handlers_generic_handler(
        reflection.SERVICE_NAME,
        {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                on_threads(servicer.ServerReflectionInfo, threads),
                request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
                response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        },
    )


def on_threads(behavior: Callable[..., Any], threads: ThreadPoolExecutor) -> Callable[..., Any]:
    """The behavior, to be run by these threads and not by those that serve requests."""
    wrapped = functools.partial(behavior)
    wrapped.experimental_thread_pool = threads  # type: ignore[attr-defined]  # how grpc lets a handler choose
    return wrapped


def _service_of(data: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError:
        raise Refusal("MALFORMED_REQUEST", "these bytes are no HealthCheckRequest") from None


def _response(status: int) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())
