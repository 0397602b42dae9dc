"""The metrics' names are a promise to dashboards; their numbers are those that were counted."""

from __future__ import annotations

import threading

from tests.kit.server.exposition import samples, value

from gradwire.wire.service import SERVICE
from gradwire_server.observe.metrics import Metrics

PROMISED = {
    "grpc_server_started_total": {"grpc_type", "grpc_service", "grpc_method"},
    "grpc_server_handled_total": {"grpc_type", "grpc_service", "grpc_method", "grpc_code"},
    "grpc_server_handling_seconds": {"grpc_type", "grpc_service", "grpc_method"},
    "gradwire_requests_total": {"mode", "code"},
    "gradwire_rejected_total": {"reason"},
    "gradwire_evaluations_total": {"mode"},
    "gradwire_batches_total": {"mode"},
    "gradwire_batch_requests": set(),
    "gradwire_batch_rows": set(),
    "gradwire_pending_requests": set(),
    "gradwire_pending_seconds": set(),
    "gradwire_queue_seconds": set(),
    "gradwire_compute_seconds": set(),
    "gradwire_compile_seconds": set(),
    "gradwire_program_cache_hits_total": set(),
    "gradwire_program_cache_misses_total": set(),
    "gradwire_program_cache_evictions_total": set(),
    "gradwire_program_cache_bytes": set(),
    "gradwire_workers": {"state"},
    "gradwire_worker_restarts_total": {"reason"},
    "gradwire_build_info": {"version"},
}


def busy_metrics() -> Metrics:
    metrics = Metrics("1.2.3")
    metrics.read_pending = lambda: (5, 0.25)
    metrics.read_program_cache = lambda: 77
    metrics.read_workers = lambda: {"idle": 1, "busy": 2, "starting": 0}
    method = metrics.method("unary", SERVICE, "Evaluate")
    method.started()
    method.started()
    method.handled("OK", 0.002)
    metrics.answered("reverse", "OK")
    metrics.answered("reverse", "OK")
    metrics.answered("unknown", "NOT_FOUND")
    metrics.rejected("PROGRAM_NOT_FOUND")
    metrics.batch("reverse", 30, 0.004, [0.0, 0.02, 5.0])
    metrics.program_found(hit=True)
    metrics.program_found(hit=False)
    metrics.program_evicted()
    metrics.prepared(0.3)
    metrics.worker_restarted("killed")
    return metrics


def test_the_names_and_labels_are_those_promised_and_no_others() -> None:
    found: dict[str, set[str]] = {}
    for name, labels in samples(busy_metrics()):
        kinds = {label for label, _ in labels} - {"le"}
        for suffix in ("_bucket", "_sum", "_count"):
            if name.endswith(suffix) and name.removesuffix(suffix) in PROMISED:
                name = name.removesuffix(suffix)
        found[name] = kinds
    assert found == PROMISED


def test_events_are_counted() -> None:
    metrics = busy_metrics()
    method = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Evaluate"}
    assert value(metrics, "grpc_server_started_total", **method) == 2
    assert value(metrics, "grpc_server_handled_total", grpc_code="OK", **method) == 1
    assert value(metrics, "grpc_server_handling_seconds_sum", **method) == 0.002
    assert value(metrics, "gradwire_requests_total", mode="reverse", code="OK") == 2
    assert value(metrics, "gradwire_requests_total", mode="unknown", code="NOT_FOUND") == 1
    assert value(metrics, "gradwire_rejected_total", reason="PROGRAM_NOT_FOUND") == 1
    assert value(metrics, "gradwire_evaluations_total", mode="reverse") == 30
    assert value(metrics, "gradwire_batches_total", mode="reverse") == 1
    assert value(metrics, "gradwire_worker_restarts_total", reason="killed") == 1
    for name in ("hits", "misses", "evictions"):
        assert value(metrics, f"gradwire_program_cache_{name}_total") == 1


def test_states_are_read_when_they_are_asked_for() -> None:
    metrics = busy_metrics()
    assert value(metrics, "gradwire_pending_requests") == 5
    assert value(metrics, "gradwire_pending_seconds") == 0.25
    assert value(metrics, "gradwire_program_cache_bytes") == 77
    assert value(metrics, "gradwire_workers", state="busy") == 2
    assert value(metrics, "gradwire_build_info", version="1.2.3") == 1
    metrics.read_workers = lambda: {"idle": 0, "busy": 3, "starting": 0}
    assert value(metrics, "gradwire_workers", state="busy") == 3


def test_histograms_cumulate() -> None:
    metrics = busy_metrics()
    assert value(metrics, "gradwire_batch_requests_bucket", le="2.0") == 0
    assert value(metrics, "gradwire_batch_requests_bucket", le="4.0") == 1
    assert value(metrics, "gradwire_batch_requests_bucket", le="+Inf") == 1
    assert value(metrics, "gradwire_queue_seconds_bucket", le="1e-05") == 1
    assert value(metrics, "gradwire_queue_seconds_bucket", le="0.025") == 2
    assert value(metrics, "gradwire_queue_seconds_bucket", le="5.0") == 3
    assert value(metrics, "gradwire_queue_seconds_count") == 3
    assert value(metrics, "gradwire_queue_seconds_sum") == 5.02
    assert value(metrics, "gradwire_batch_rows_sum") == 30


def test_nothing_is_lost_when_many_threads_count() -> None:
    metrics = Metrics("1")

    def count() -> None:
        for _ in range(2000):
            metrics.answered("value", "OK")
            metrics.batch("value", 1, 0.0, [0.0])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "gradwire_requests_total", mode="value", code="OK") == 8000
    assert value(metrics, "gradwire_queue_seconds_count") == 8000
