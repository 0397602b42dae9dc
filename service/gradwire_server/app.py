"""The server put together: the only module that knows all the others.

`Server` builds everything from a `ServerConfig`, serves, and drains. Order of the start: the ports first (a port in use
is known before any process runs), then workers, then "ready". Order of the end: health says NOT_SERVING, new requests
are refused, what was accepted is answered, then everything is closed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from gradwire._version import __version__
from gradwire.wire.service import SERVICE
from gradwire_server.admission.admission import Admission, Phase
from gradwire_server.config.table import ServerConfig
from gradwire_server.config.texts import read_host_and_port
from gradwire_server.ipc.messages import WorkerLimits
from gradwire_server.observe.http import HttpServer
from gradwire_server.observe.metrics import Metrics
from gradwire_server.processes.child_process import StartFailed
from gradwire_server.processes.limited_jobs import JobLimits
from gradwire_server.processes.preparers import Preparers
from gradwire_server.processes.worker_pool import WorkerPool
from gradwire_server.rpc.addresses import StartError, reachable
from gradwire_server.rpc.grpc_server import GrpcServer
from gradwire_server.rpc.health import FrontProbe, Health
from gradwire_server.rpc.servicer import GradientServicer
from gradwire_server.rpc.streams import Streams
from gradwire_server.scheduling.dispatch import Dispatcher

_STOP_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Server:
    """One server. `start` returns when it takes requests; `drain` ends it in order, `close` at once."""

    def __init__(self, config: ServerConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self.metrics = Metrics(__version__)
        self._build_processes()
        self._build_front()
        self._build_rpc()
        self._http: HttpServer | None = None
        self._probe: FrontProbe | None = None

    # Putting it together

    def _build_processes(self) -> None:
        config = self._config
        self.pool = WorkerPool(
            config.workers,
            WorkerLimits(memory_bytes=config.worker_memory, arena_bytes=config.worker_arena),
            config.program_limits,
            clock=self._clock,
            on_idle=lambda: self.dispatcher.on_idle(),
            on_restart=self._on_restart,
        )
        self.preparers = Preparers(
            config.preparers,
            JobLimits(
                time=config.limit("prepare_timeout"),
                memory=config.limit("prepare_memory"),
                waiting_jobs=config.limit("waiting_programs"),
                waiting_callers=config.limit("waiting_requests"),
            ),
            config.program_limits,
            clock=self._clock,
            on_restart=self.metrics.worker_restarted,
        )

    def _build_front(self) -> None:
        config, clock = self._config, self._clock
        self.admission = Admission(
            config,
            clock=clock,
            preparing=self.preparers,
            metrics=self.metrics,
            forget_constant=self.pool.forget_constant,
        )
        self._leaders = ThreadPoolExecutor(2 * config.workers, thread_name_prefix="leader")
        self.dispatcher = Dispatcher(
            config, pool=self.pool, clock=clock, launch=self._leaders.submit, observer=self.metrics
        )
        self.metrics.read_pending = lambda: (self.admission.ledger.requests, self.dispatcher.queued_seconds)
        self.metrics.read_program_cache = lambda: self.admission.programs.nbytes
        self.metrics.read_workers = self.pool.states

    def _build_rpc(self) -> None:
        config, clock = self._config, self._clock
        self.health = Health(self._is_ready)
        self.streams = Streams(
            config, admission=self.admission, dispatcher=self.dispatcher, metrics=self.metrics, clock=clock
        )
        servicer = GradientServicer(
            config,
            admission=self.admission,
            dispatcher=self.dispatcher,
            streams=self.streams,
            metrics=self.metrics,
            clock=clock,
            worker_states=self.pool.states,
        )
        self._grpc = GrpcServer(config, servicer=servicer, health=self.health, metrics=self.metrics, clock=clock)

    # What the pool tells

    def _on_restart(self, cause: str) -> None:
        self.metrics.worker_restarted(cause)
        self.health.changed()

    def _is_ready(self) -> bool:
        states = self.pool.states()
        return self.admission.phase is Phase.SERVING and states["idle"] + states["busy"] > 0

    # Its life

    @property
    def grpc_address(self) -> str:
        """Where gRPC is served, empty before `start`."""
        return self._grpc.address

    @property
    def http_address(self) -> str:
        """Where HTTP is served, "-" if nowhere."""
        return "-" if self._http is None else self._http.address

    def start(self) -> None:
        """Serve; returns when requests are taken. StartError, and nothing left behind, where that is not possible."""
        try:
            self._probe = FrontProbe(reachable(self._grpc.bind()))
            if self._config.http_listen:
                self._http = self._bind_http(self._probe)
                self._http.start()
            self._grpc.start()
            self.preparers.start()
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
        host, port = read_host_and_port(self._config.http_listen)
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
        self._grpc.stop(max(_STOP_SECONDS, left))
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
        self._grpc.stop(0)
        self.preparers.close()
        self.pool.close()
        self._leaders.shutdown(wait=False)
        self._grpc.close()
