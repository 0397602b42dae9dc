"""gRPC's server with all that is ours in it: handlers, interceptor, threads, options, and the address it listens at.

Calls in hand are bounded by what may queue, wait for programs or stream, and some more that run or are being answered.
There are more threads than calls allowed, since a call that finds no thread waits without bound.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc

from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.metrics import Metrics
from gradwire_server.rpc.addresses import bind
from gradwire_server.rpc.boundary import Boundary
from gradwire_server.rpc.health import Health, reflection_handlers
from gradwire_server.rpc.servicer import GradientServicer
from gradwire_server.rpc.threads import HandlerThreads

_SPARE_CALLS: Final = 256  # calls in hand besides those that queue: running, being answered
_SPARE_THREADS: Final = 32
_LEAST_PING_MILLISECONDS: Final = 10_000


class GrpcServer:
    """Serves the RPCs, health and reflection from `start` to `stop`; `close` gives back what it holds besides."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        servicer: GradientServicer,
        health: Health,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        calls = config.max_queued_requests + config.waiting_requests + config.max_streams + _SPARE_CALLS
        self._threads = HandlerThreads(calls + _SPARE_THREADS, calls_allowed=calls)
        self._boundary = Boundary(
            config, metrics=metrics, clock=clock, new_request_id=_request_ids(), threads=self._threads
        )
        self._server = grpc.server(
            self._threads,  # type: ignore[arg-type]  # all that grpc needs of an executor
            handlers=[servicer.handlers(), health.handlers(), reflection_handlers()],
            interceptors=[self._boundary],
            options=_options(config),
        )
        self.address = ""

    def bind(self) -> str:
        """Take the address that the configuration names; as it was bound. StartError where that is not possible."""
        self.address = bind(self._server, self._config.listen)
        return self.address

    def start(self) -> None:
        """Serve from now on."""
        self._server.start()

    def stop(self, grace: float) -> None:
        """Take no new calls, and wait until those that run are done; after `grace` seconds they are cancelled."""
        self._server.stop(grace).wait()

    def close(self) -> None:
        """After `stop`: end the threads, and remove the socket's file."""
        self._boundary.close()
        self._threads.shutdown(wait=False)
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)


def _request_ids() -> Callable[[], str]:
    """Ids that no other process makes: a random part, then a number."""
    prefix, numbers = secrets.token_hex(8), itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        ("grpc.max_connection_age_ms", int(config.max_connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", int((config.default_timeout + config.task_timeout) * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _LEAST_PING_MILLISECONDS),
    ]
