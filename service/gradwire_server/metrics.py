"""What the server counts, by the names that dashboards and alerts rely on. The only module that knows Prometheus.

Counted in the front; workers send their timings with their results. Labels are closed sets (a mode, a code, a reason, a
state, a method that exists), so that no client can make series. ``gradwire_*`` count evaluations, items of streams
included; ``grpc_server_*`` count calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

MODES: Final = ("value", "forward", "reverse", "mixed", "unknown")
"""What an evaluation asks for; "unknown" where the program is not known."""

_SECONDS: Final = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_ROWS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)


class _States(Collector):
    """A gauge with one series a state, read when it is asked for."""

    def __init__(self, name: str, help: str, read: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._help = help
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._help, labels=["state"])
        for state, count in self._read().items():
            family.add_metric([state], count)
        yield family


class MethodMetrics:
    """The counters of one RPC method, looked up once."""

    def __init__(self, metrics: Metrics, labels: tuple[str, str, str]) -> None:
        self._handled_family = metrics.rpc_handled
        self._labels = labels
        self._started = metrics.rpc_started.labels(*labels)
        self._seconds = metrics.rpc_seconds.labels(*labels)
        self._handled: dict[str, Counter] = {}

    def started(self) -> None:
        """A call has begun."""
        self._started.inc()

    def handled(self, code: str, seconds: float) -> None:
        """A call has ended with this code."""
        counter = self._handled.get(code)
        if counter is None:
            counter = self._handled[code] = self._handled_family.labels(*self._labels, code)
        counter.inc()
        self._seconds.observe(seconds)


class Metrics:
    """All metrics, in a registry of their own. What is a state rather than an event is read through `observe_*`."""

    def __init__(self, version: str) -> None:
        # A creation time beside every series doubles what is scraped, and nobody reads it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        method = ["grpc_type", "grpc_service", "grpc_method"]
        self.rpc_started = self._counter("grpc_server_started", "Calls begun.", method)
        self.rpc_handled = self._counter("grpc_server_handled", "Calls ended.", [*method, "grpc_code"])
        self.rpc_seconds = self._histogram("grpc_server_handling_seconds", "Duration of calls.", _SECONDS, method)

        self._requests = self._counter("gradwire_requests", "Evaluations answered, well or not.", ["mode", "code"])
        self._rejected = self._counter("gradwire_rejected", "Evaluations refused, by reason.", ["reason"])
        self._evaluations = self._counter("gradwire_evaluations", "Examples (rows) evaluated.", ["mode"])
        self._batches = self._counter("gradwire_batches", "Batches run.", ["mode"])
        self._batch_requests = self._histogram("gradwire_batch_requests", "Requests merged in a batch.", _REQUESTS)
        self._batch_rows = self._histogram("gradwire_batch_rows", "Rows of a batch.", _ROWS)
        self._queue_seconds = self._histogram("gradwire_queue_seconds", "From admission to computation.", _SECONDS)
        self._compute_seconds = self._histogram("gradwire_compute_seconds", "Computation of a batch.", _SECONDS)
        self._compile_seconds = self._histogram("gradwire_compile_seconds", "Preparing a program.", _SECONDS)
        self._hits = self._counter("gradwire_program_cache_hits", "Evaluations whose program was prepared.")
        self._misses = self._counter("gradwire_program_cache_misses", "Evaluations whose program was not.")
        self._evictions = self._counter("gradwire_program_cache_evictions", "Prepared programs dropped for room.")
        self._restarts = self._counter("gradwire_worker_restarts", "Workers lost and replaced.", ["reason"])
        build = Gauge("gradwire_build_info", "The version that runs.", ["version"], registry=self.registry)
        build.labels(version).set(1)
        self._requests_by = {(mode, "OK"): self._requests.labels(mode, "OK") for mode in MODES}
        self._by_mode = {mode: (self._evaluations.labels(mode), self._batches.labels(mode)) for mode in MODES}

    def _counter(self, name: str, help: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, help, list(labels), registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: Iterable[float], labels: Iterable[str] = ()) -> Histogram:
        return Histogram(name, help, list(labels), buckets=list(buckets), registry=self.registry)

    def method(self, kind: str, service: str, name: str) -> MethodMetrics:
        """The counters of one method; `kind` is "unary" or "bidi_stream" and so on."""
        return MethodMetrics(self, (kind, service, name))

    def answered(self, mode: str, code: str) -> None:
        """An evaluation, or an item of a stream, has its answer."""
        counter = self._requests_by.get((mode, code))
        (counter or self._requests.labels(mode, code)).inc()

    def rejected(self, reason: str) -> None:
        """An evaluation was refused."""
        self._rejected.labels(reason).inc()

    def batch(self, mode: str, requests: int, rows: int, compute_seconds: float) -> None:
        """A batch has run."""
        evaluations, batches = self._by_mode[mode]
        evaluations.inc(rows)
        batches.inc()
        self._batch_requests.observe(requests)
        self._batch_rows.observe(rows)
        self._compute_seconds.observe(compute_seconds)

    def queued(self, seconds: float) -> None:
        """A request has waited so long for its computation to begin."""
        self._queue_seconds.observe(seconds)

    def prepared(self, seconds: float) -> None:
        """A program was prepared."""
        self._compile_seconds.observe(seconds)

    def program_found(self, *, hit: bool) -> None:
        """An evaluation's program was prepared already, or not."""
        (self._hits if hit else self._misses).inc()

    def program_evicted(self) -> None:
        """A prepared program was dropped to make room."""
        self._evictions.inc()

    def worker_restarted(self, reason: str) -> None:
        """A worker, or a preparing process, was lost."""
        self._restarts.labels(reason).inc()

    def observe_pending(self, requests: Callable[[], float], seconds: Callable[[], float]) -> None:
        """Where to read what is admitted and not yet answered, and the predicted seconds queued."""
        self._gauge("gradwire_pending_requests", "Requests admitted and not yet answered.", requests)
        self._gauge("gradwire_pending_seconds", "Predicted worker-seconds queued.", seconds)

    def observe_program_cache(self, nbytes: Callable[[], float]) -> None:
        """Where to read how much the prepared programs take."""
        self._gauge("gradwire_program_cache_bytes", "Bytes of prepared programs kept.", nbytes)

    def observe_workers(self, states: Callable[[], Mapping[str, int]]) -> None:
        """Where to read how many workers are in which state."""
        self.registry.register(_States("gradwire_workers", "Worker processes.", states))

    def _gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        Gauge(name, help, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self.registry)
