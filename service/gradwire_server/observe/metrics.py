"""What the server counts, by the names that dashboards and alerts rely on. The only module that knows Prometheus.

Counted in the front; workers send their timings with their results. Labels are closed sets (a mode, a code, a reason, a
state, a method that exists), so that no client can make series. ``gradwire_*`` count evaluations, items of streams
included; ``grpc_server_*`` count calls.

A request is counted in a few places while it is served, so counting is plain arithmetic under one lock; Prometheus'
own objects are made when somebody reads.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_ROWS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)

_RPC_LABELS: Final = ["grpc_type", "grpc_service", "grpc_method"]

Labels = tuple[str, ...]


class _Histogram:
    """Counts by bucket, and their sum. Not synchronised."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Labels = ()) -> None:
        """As a series of the family, with cumulated buckets."""
        total = 0
        buckets = []
        for bound, count in zip((*[str(float(bound)) for bound in self._bounds], "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)


class MethodMetrics:
    """The counters of one RPC method."""

    def __init__(self, lock: threading.Lock, labels: Labels) -> None:
        self._lock = lock
        self.labels = labels
        self.begun = 0
        self.ended: Counter[str] = Counter()
        self.seconds = _Histogram(_SECONDS)

    def started(self) -> None:
        """A call has begun."""
        with self._lock:
            self.begun += 1

    def handled(self, code: str, seconds: float) -> None:
        """A call has ended with this code."""
        with self._lock:
            self.ended[code] += 1
            self.seconds.observe(seconds)


class Metrics(Collector):
    """All metrics, in a registry of their own. What is a state rather than an event is read through `read_*`."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._lock = threading.Lock()
        self._methods: list[MethodMetrics] = []
        self._requests: Counter[Labels] = Counter()
        self._rejected: Counter[Labels] = Counter()
        self._evaluations: Counter[Labels] = Counter()
        self._batches: Counter[Labels] = Counter()
        self._restarts: Counter[Labels] = Counter()
        self._cache: Counter[str] = Counter()
        self._batch_requests = _Histogram(_REQUESTS)
        self._batch_rows = _Histogram(_ROWS)
        self._queue_seconds = _Histogram(_SECONDS)
        self._compute_seconds = _Histogram(_SECONDS)
        self._compile_seconds = _Histogram(_SECONDS)
        self.read_pending: Callable[[], tuple[float, float]] = lambda: (0, 0.0)
        self.read_program_cache: Callable[[], float] = lambda: 0
        self.read_workers: Callable[[], Mapping[str, int]] = dict
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    # Events

    def method(self, kind: str, service: str, name: str) -> MethodMetrics:
        """The counters of one method; `kind` is "unary", "bidi_stream" and so on."""
        method = MethodMetrics(self._lock, (kind, service, name))
        with self._lock:
            self._methods.append(method)
        return method

    def answered(self, mode: str, code: str) -> None:
        """An evaluation, or an item of a stream, has its answer."""
        with self._lock:
            self._requests[mode, code] += 1

    def rejected(self, reason: str) -> None:
        """An evaluation was refused, or failed."""
        with self._lock:
            self._rejected[(reason,)] += 1

    def batch(self, mode: str, rows: int, compute_seconds: float, queue_seconds: Sequence[float]) -> None:
        """A batch has run; each of its requests had waited so long."""
        with self._lock:
            self._evaluations[(mode,)] += rows
            self._batches[(mode,)] += 1
            self._batch_requests.observe(len(queue_seconds))
            self._batch_rows.observe(rows)
            self._compute_seconds.observe(compute_seconds)
            for seconds in queue_seconds:
                self._queue_seconds.observe(seconds)

    def program_found(self, *, hit: bool) -> None:
        """An evaluation's program was prepared already, or not."""
        with self._lock:
            self._cache["hits" if hit else "misses"] += 1

    def program_evicted(self) -> None:
        """A prepared program was dropped to make room."""
        with self._lock:
            self._cache["evictions"] += 1

    def prepared(self, seconds: float) -> None:
        """A program was prepared."""
        with self._lock:
            self._compile_seconds.observe(seconds)

    def worker_restarted(self, reason: str) -> None:
        """A worker, or a preparing process, was lost."""
        with self._lock:
            self._restarts[(reason,)] += 1

    # Reading

    def exposition(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """Every family, as it is now."""
        states = [*self._states()]
        with self._lock:
            return [*self._calls(), *self._counts(), *self._distributions(), *states]

    def _calls(self) -> Iterable[Metric]:
        started = CounterMetricFamily("grpc_server_started", "Calls begun.", labels=_RPC_LABELS)
        handled = CounterMetricFamily("grpc_server_handled", "Calls ended.", labels=[*_RPC_LABELS, "grpc_code"])
        seconds = HistogramMetricFamily("grpc_server_handling_seconds", "Duration of calls.", labels=_RPC_LABELS)
        for method in self._methods:
            started.add_metric(method.labels, method.begun)
            method.seconds.add_to(seconds, method.labels)
            for code, count in method.ended.items():
                handled.add_metric((*method.labels, code), count)
        return started, handled, seconds

    def _counts(self) -> Iterable[Metric]:
        yield _counted("gradwire_requests", "Evaluations answered, well or not.", ["mode", "code"], self._requests)
        yield _counted("gradwire_rejected", "Evaluations refused or failed, by reason.", ["reason"], self._rejected)
        yield _counted("gradwire_evaluations", "Examples (rows) evaluated.", ["mode"], self._evaluations)
        yield _counted("gradwire_batches", "Batches run.", ["mode"], self._batches)
        yield _counted("gradwire_worker_restarts", "Processes lost and replaced.", ["reason"], self._restarts)
        for name, help in (
            ("hits", "Evaluations whose program was prepared already."),
            ("misses", "Evaluations whose program was not."),
            ("evictions", "Prepared programs dropped to make room."),
        ):
            yield _counted(f"gradwire_program_cache_{name}", help, [], {(): self._cache[name]})

    def _distributions(self) -> Iterable[Metric]:
        for name, help, histogram in (
            ("gradwire_batch_requests", "Requests merged in a batch.", self._batch_requests),
            ("gradwire_batch_rows", "Rows of a batch.", self._batch_rows),
            ("gradwire_queue_seconds", "From admission to computation.", self._queue_seconds),
            ("gradwire_compute_seconds", "Computation of a batch.", self._compute_seconds),
            ("gradwire_compile_seconds", "Preparing a program.", self._compile_seconds),
        ):
            family = HistogramMetricFamily(name, help, labels=[])
            histogram.add_to(family)
            yield family

    def _states(self) -> Iterable[Metric]:
        requests, seconds = self.read_pending()
        for name, help, value in (
            ("gradwire_pending_requests", "Requests admitted and not yet answered.", requests),
            ("gradwire_pending_seconds", "Predicted worker-seconds queued.", seconds),
            ("gradwire_program_cache_bytes", "Bytes of prepared programs kept.", self.read_program_cache()),
        ):
            yield GaugeMetricFamily(name, help, value=value)
        workers = GaugeMetricFamily("gradwire_workers", "Worker processes.", labels=["state"])
        for state, count in self.read_workers().items():
            workers.add_metric([state], count)
        yield workers
        build = GaugeMetricFamily("gradwire_build_info", "The version that runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build


def _counted(name: str, help: str, labels: Sequence[str], counts: Mapping[Labels, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
