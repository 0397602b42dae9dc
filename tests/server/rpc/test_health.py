"""Health and reflection over a real channel, also while every thread that serves requests is busy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gradwire.v1 import service_pb2_grpc  # noqa: F401  # the descriptors that reflection shows
from gradwire.wire.service import SERVICE
from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.metrics import Metrics
from gradwire_server.rpc import health
from gradwire_server.rpc.boundary import Boundary
from gradwire_server.rpc.health import FrontProbe, Health, reflection_handlers
from gradwire_server.rpc.threads import HandlerThreads

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Bench:
    def __init__(self) -> None:
        self.is_ready = True
        self.health = Health(lambda: self.is_ready)
        self.threads = HandlerThreads(1, calls_allowed=100)
        self.busy, self.go = threading.Event(), threading.Event()
        hold = {"Hold": grpc.unary_unary_rpc_method_handler(self.hold)}
        self.boundary = Boundary(
            ServerConfig(),
            metrics=Metrics("1"),
            clock=lambda: 0.0,
            new_request_id=lambda: "id",
            threads=self.threads,
        )
        self.server = grpc.server(
            self.threads,  # type: ignore[arg-type]
            handlers=[
                grpc.method_handlers_generic_handler("test.Test", hold),
                self.health.handlers(),
                reflection_handlers(),
            ],
            interceptors=[self.boundary],
        )
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        self.channel = grpc.insecure_channel(self.address)
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def hold(self, request: bytes, context: object) -> bytes:
        self.busy.set()
        self.go.wait(60)
        return b""

    def check(self, service: str) -> int:
        return int(self.stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60).status)

    def close(self) -> None:
        self.go.set()
        self.channel.close()
        self.health.close()
        self.server.stop(None).wait()
        self.boundary.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_the_server_is_alive_and_the_service_ready(bench: Bench) -> None:
    assert (bench.check(""), bench.check(SERVICE)) == (SERVING, SERVING)
    bench.is_ready = False
    assert (bench.check(""), bench.check(SERVICE)) == (SERVING, NOT_SERVING)


def test_an_unknown_service_is_not_found(bench: Bench) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        bench.check("no.Such")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_bytes_that_do_not_parse_are_the_clients_fault(bench: Bench) -> None:
    call = bench.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff", timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


def test_health_answers_while_every_handler_is_busy(bench: Bench) -> None:
    held = bench.channel.unary_unary("/test.Test/Hold").future(b"", timeout=60)
    assert bench.busy.wait(60)
    waiting = bench.channel.unary_unary("/test.Test/Hold").future(b"", timeout=60)
    assert (bench.check(""), bench.check(SERVICE)) == (SERVING, SERVING)
    bench.go.set()
    assert (held.result(60), waiting.result(60)) == (b"", b"")


def test_a_watch_says_what_changes(bench: Bench) -> None:
    watch = bench.stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)
    assert next(watch).status == SERVING
    bench.is_ready = False
    bench.health.changed()
    assert next(watch).status == NOT_SERVING
    watch.cancel()


def test_a_watch_of_an_unknown_service_waits_for_it(bench: Bench) -> None:
    watch = bench.stub.Watch(health_pb2.HealthCheckRequest(service="no.Such"), timeout=60)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_watches_are_bounded_and_checks_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_WATCHES", 2)
    watches = [bench.stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(2)]
    assert [next(watch).status for watch in watches] == [SERVING, SERVING]
    with pytest.raises(grpc.RpcError) as caught:
        next(bench.stub.Watch(health_pb2.HealthCheckRequest(), timeout=60))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    assert bench.check("") == SERVING
    for watch in watches:
        watch.cancel()


def test_the_probe_asks_over_the_wire(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PROBE_SECONDS", 60.0)
    probe = FrontProbe(bench.address)
    assert (probe.is_serving(""), probe.is_serving(SERVICE)) == (True, True)
    bench.is_ready = False
    assert (probe.is_serving(""), probe.is_serving(SERVICE)) == (True, False)
    probe.close()


def test_a_server_that_does_not_answer_is_not_alive() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")  # bound, never started: connections hang
    probe = FrontProbe(f"127.0.0.1:{port}")
    assert not probe.is_serving("")
    probe.close()
    server.stop(None)


def test_reflection_lists_the_services_and_their_messages(bench: Bench) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(bench.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="gradwire.v1.EvaluateRequest"),
    ]
    listed, described = list(stub.ServerReflectionInfo(iter(requests), timeout=60))
    assert {one.name for one in listed.list_services_response.service} >= {SERVICE, "grpc.health.v1.Health"}
    assert described.file_descriptor_response.file_descriptor_proto
