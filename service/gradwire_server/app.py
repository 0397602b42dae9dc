"""The server put together: the only module that knows all the others.

`Server` builds everything from a `ServerConfig`, serves, and drains; `main` is the command line. Order of the start:
the ports first (a port in use is known before any process runs), then workers, then "ready". Order of the end: health
says NOT_SERVING, new requests are refused, what was accepted is answered, then everything is closed.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from gradwire._version import __version__
from gradwire_engine.program import Layout, Limits
from gradwire_server.admission.admission import Admission, Ledger, Phase
from gradwire_server.admission.explain import Explanation
from gradwire_server.admission.ready_program import Evaluation, EvaluationLimits
from gradwire_server.admission.store import Constants, Programs
from gradwire_server.config.table import (
    OPTIONS,
    ConfigError,
    ServerConfig,
    flag,
    read_options,
    resolve,
    shown_value,
    variable,
)
from gradwire_server.ipc.messages import PreparedProgram, WorkerLimits
from gradwire_server.machine import available_memory, available_processors, raise_descriptor_limit
from gradwire_server.observe.http import HttpServer
from gradwire_server.observe.logs import set_up
from gradwire_server.observe.metrics import Metrics
from gradwire_server.processes.child_process import StartFailed
from gradwire_server.processes.limited_jobs import JobLimits
from gradwire_server.processes.preparers import Preparers
from gradwire_server.processes.worker_pool import WorkerPool
from gradwire_server.refusal import Refusal, over_limit
from gradwire_server.rpc.addresses import StartError, bind, host_and_port, reachable
from gradwire_server.rpc.boundary import Boundary
from gradwire_server.rpc.health import SERVICE, FrontProbe, Health, reflection_handlers
from gradwire_server.rpc.servicer import GradientServicer
from gradwire_server.rpc.streams import Streams
from gradwire_server.rpc.threads import HandlerThreads
from gradwire_server.scheduling.dispatch import Dispatcher
from gradwire_server.scheduling.job import Job
from gradwire_server.scheduling.queues import QueueFull, QueueLimits, Queues
from gradwire_server.stopping import Stop

_SPARE_CALLS: Final = 256  # calls in hand besides those that queue: running, being answered
_SPARE_THREADS: Final = 32
_STOP_SECONDS: Final = 5.0
_ORPHAN_SECONDS: Final = 1.0  # how long work may take when the parent that wanted it is gone

_log = logging.getLogger(__name__)


class Server:
    """One server. `start` returns when it takes requests; `drain` ends it in order, `close` at once."""

    def __init__(self, config: ServerConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self.metrics = Metrics(__version__)
        self._build_processes()
        self._build_front()
        self._http: HttpServer | None = None
        self._probe: FrontProbe | None = None
        self.grpc_address = ""

    # Putting it together

    def _build_processes(self) -> None:
        config = self._config
        program_limits = Limits(
            bytes=config.max_program_bytes,
            nodes=config.max_program_nodes,
            rank=config.max_rank,
            nesting=config.max_nesting,
            transforms=config.max_transforms,
            snapshot_bytes=config.snapshot_bytes,
        )
        self.pool = WorkerPool(
            config.workers,
            WorkerLimits(memory_bytes=config.worker_memory, arena_bytes=config.worker_arena),
            program_limits,
            clock=self._clock,
            on_idle=lambda: self.dispatcher.on_idle(),
            on_restart=self._on_restart,
        )
        self.preparing = Preparers(
            config.preparers,
            JobLimits(
                time=config.limit("prepare_timeout"),
                memory=config.limit("prepare_memory"),
                waiting_jobs=config.limit("waiting_programs"),
                waiting_callers=config.limit("waiting_requests"),
            ),
            program_limits,
            clock=self._clock,
            on_restart=self.metrics.worker_restarted,
        )

    def _build_front(self) -> None:
        config = self._config
        programs: Programs[Evaluation] = Programs(
            max_bytes=config.program_store_bytes,
            max_count=config.max_programs,
            tenant_share=config.tenant_share,
            refusal_seconds=config.refusal_seconds,
            clock=self._clock,
            on_evict=self.metrics.program_evicted,
        )
        constants = Constants(
            max_bytes=config.constant_store_bytes,
            max_count=config.max_constants,
            tenant_share=config.tenant_share,
            on_evict=self.pool.forget_constant,
        )
        limits = EvaluationLimits(
            message=config.limit("max_message_bytes"),
            flops=config.limit("max_request_flops"),
            worker_memory=config.limit("worker_memory"),
        )

        def evaluation(prepared: PreparedProgram, layout: Layout) -> Evaluation:
            return Evaluation(
                prepared,
                layout,
                limits=limits,
                flops_per_second=config.flops_per_second,
                server_version=__version__,
            )

        self.admission = Admission(
            clock=self._clock,
            default_timeout=config.default_timeout,
            programs=programs,
            constants=constants,
            preparing=self.preparing,
            ledger=Ledger(config.limit("max_admitted_bytes")),
            metrics=self.metrics,
            evaluation=evaluation,
        )
        self._leaders = ThreadPoolExecutor(2 * config.workers, thread_name_prefix="leader")
        self.dispatcher = Dispatcher(
            queues=self._queues(),
            pool=self.pool,
            workers=config.workers,
            clock=self._clock,
            task_timeout=config.limit("task_timeout"),
            worker_memory=config.limit("worker_memory"),
            short_seconds=config.short_seconds,
            queue_delay=config.max_queue_delay,
            launch=self._leaders.submit,
            refuse_full=self._queue_full,
            settle=self.admission.release,
            observer=self.metrics,
        )
        self.streams = Streams(
            admission=self.admission,
            dispatcher=self.dispatcher,
            metrics=self.metrics,
            clock=self._clock,
            max_streams=config.limit("max_streams"),
            max_items=config.limit("max_stream_items"),
            max_bytes=config.limit("max_stream_bytes"),
        )
        self.health = Health(self._is_ready)
        self.metrics.read_pending = lambda: (self.admission.ledger.requests, self.dispatcher.queued_seconds)
        self.metrics.read_program_cache = lambda: programs.nbytes
        self.metrics.read_workers = self.pool.states
        self._build_grpc()

    def _queues(self) -> Queues[Job]:
        config = self._config
        return Queues(
            QueueLimits(
                max_requests=config.max_queued_requests,
                max_seconds=config.max_queued_seconds * config.workers,
                max_batch_bytes=config.max_batch_bytes,
                max_batch_seconds=config.max_batch_seconds,
                short_seconds=config.short_seconds,
            )
        )

    def _queue_full(self, full: QueueFull, retry_after: float) -> Refusal:
        limit = self._config.limit(f"max_queued_{full.what}")
        value = full.value / (self._config.workers if full.what == "seconds" else 1)
        return over_limit(
            "QUEUE_FULL",
            f"{full.what} queued" + (" per worker" if full.what == "seconds" else ""),
            limit,
            value,
            advice="try again later, or use another replica",
            retry_after=retry_after,
        )

    def _build_grpc(self) -> None:
        config = self._config
        servicer = GradientServicer(
            admission=self.admission,
            dispatcher=self.dispatcher,
            streams=self.streams,
            explanation=Explanation(
                max_values=config.max_explain_values,
                max_response_bytes=config.max_message_bytes,
                flops_per_second=config.flops_per_second,
            ),
            metrics=self.metrics,
            clock=self._clock,
            version=__version__,
            limits=config.limits(),
            worker_states=self.pool.states,
        )
        calls = config.max_queued_requests + config.waiting_requests + config.max_streams + _SPARE_CALLS
        self._threads = HandlerThreads(calls + _SPARE_THREADS, "handler")
        self._boundary = Boundary(
            metrics=self.metrics,
            clock=self._clock,
            new_request_id=_request_ids(),
            threads=self._threads,
            limit=calls,
            named_limit=config.limit("max_queued_requests"),
        )
        self._grpc = grpc.server(
            self._threads,  # type: ignore[arg-type]  # all that grpc needs of an executor
            handlers=[servicer.handlers(), self.health.handlers(), reflection_handlers()],
            interceptors=[self._boundary],
            options=_grpc_options(config),
        )

    # What the pool tells

    def _on_restart(self, cause: str) -> None:
        self.metrics.worker_restarted(cause)
        self.health.changed()

    def _is_ready(self) -> bool:
        states = self.pool.states()
        return self.admission.phase is Phase.SERVING and states["idle"] + states["busy"] > 0

    # Its life

    @property
    def http_address(self) -> str:
        """Where HTTP is served, "-" if nowhere."""
        return "-" if self._http is None else self._http.address

    def start(self) -> None:
        """Serve; returns when requests are taken. StartError, and nothing left behind, where that is not possible."""
        try:
            self.grpc_address = bind(self._grpc, self._config.listen)
            self._probe = FrontProbe(reachable(self.grpc_address))
            if self._config.http_listen:
                self._http = self._bind_http(self._probe)
                self._http.start()
            self._grpc.start()
            self.preparing.start()
            self.pool.start()
        except StartFailed as error:
            self.close()
            raise StartError(f"the workers do not start: {error}") from None
        except BaseException:
            self.close()
            raise
        self.admission.phase = Phase.SERVING
        self.health.changed()

    def _bind_http(self, probe: FrontProbe) -> HttpServer:
        host, port = host_and_port(self._config.http_listen, "--http-listen")
        try:
            return HttpServer(
                host,
                port,
                exposition=self.metrics.exposition,
                is_alive=lambda: probe.is_serving(""),
                is_ready=lambda: probe.is_serving(SERVICE),
            )
        except OSError as error:
            raise StartError(f"cannot serve HTTP at {self._config.http_listen}: {error.strerror or error}") from None

    def drain(self, timeout: float) -> bool:
        """End in order; False if what was accepted was not done in time."""
        self.admission.phase = Phase.DRAINING
        self.health.changed()
        self.streams.drain()
        started = self._clock()
        is_done = self.admission.ledger.wait_until_empty(timeout)
        if not is_done:
            _log.error("%d requests were not done within %g s", self.admission.ledger.requests, timeout)
        left = timeout - (self._clock() - started)  # for answers on their way, and for what waits to be prepared
        self._grpc.stop(max(_STOP_SECONDS, left)).wait()
        self.close()
        return is_done

    def close(self) -> None:
        """End now: calls that run are cancelled, workers killed."""
        self.admission.phase = Phase.DRAINING
        self.health.close()
        if self._http is not None:
            self._http.close()
        if self._probe is not None:
            self._probe.close()
        self._grpc.stop(0).wait()
        self.preparing.close()
        self.pool.close()
        self._boundary.close()
        self._leaders.shutdown(wait=False)
        self._threads.shutdown(wait=False)
        if self.grpc_address.startswith("unix:"):
            Path(self.grpc_address[5:]).unlink(missing_ok=True)


def _request_ids() -> Callable[[], str]:
    """Ids that no other process makes: a random part, then a number."""
    prefix, numbers = secrets.token_hex(8), itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def _grpc_options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        ("grpc.max_connection_age_ms", int(config.max_connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", int((config.default_timeout + config.task_timeout) * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]


# The command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradwire serve",
        description="Serve gradients over gRPC. Every option has an environment variable; options win over them.",
        allow_abbrev=False,
    )
    defaults = ServerConfig()
    for name, option in OPTIONS.items():
        shown = "" if name == "workers" else f" [{shown_value(getattr(defaults, name), option.unit)}]"
        text = f"{option.help}{shown} ({variable(name)})"
        parser.add_argument(flag(name), dest=name, metavar="VALUE", help=text.replace("%", "%%"))
    parser.add_argument("--parent-fd", type=int, metavar="FD", help="end when this inherited descriptor is closed")
    return parser


def configuration(arguments: Mapping[str, str | None], environment: Mapping[str, str]) -> ServerConfig:
    """The configuration of this process, on this machine; ConfigError where it cannot be."""
    given = {name: text for name, text in arguments.items() if text is not None}
    return resolve(
        read_options(given, environment),
        processors=available_processors(),
        memory=available_memory(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`gradwire serve`: serve until SIGTERM, SIGINT or the end of the parent; the exit status."""
    arguments = vars(_parser().parse_args(argv))
    parent = arguments.pop("parent_fd")
    try:
        config = configuration(arguments, os.environ)
        host_and_port(config.http_listen or ":0", "--http-listen")
        if not config.listen.startswith("unix:"):
            host_and_port(config.listen, "--listen")
    except ConfigError as error:
        return _complain(str(error), 2)
    return _serve(config, parent)


def _serve(config: ServerConfig, parent: int | None) -> int:
    handler = set_up(config.log_level, sys.stderr)
    raise_descriptor_limit()
    stop = Stop()
    stop.on_signals()
    if parent is not None:
        stop.on_end_of(parent)
    server = Server(config)
    try:
        server.start()
    except StartError as error:
        return _complain(str(error), 1)
    gc.collect()
    gc.freeze()
    sys.stdout.write(f"gradwire {__version__} ready grpc={server.grpc_address} http={server.http_address}\n")
    sys.stdout.flush()
    reason = stop.wait()
    _log.info("draining: %s", reason)
    is_done = server.drain(_ORPHAN_SECONDS if stop.is_orphan else config.drain_timeout)
    _log.info("ended")
    logging.getLogger().removeHandler(handler)
    return 0 if is_done or stop.is_orphan else 1


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"gradwire serve: error: {message}\n")
    return status
