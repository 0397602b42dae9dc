"""What surrounds every handler, with handlers that do all the wrong things."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from tests.kit.server.exposition import value

from gradwire.wire.status import StatusDetails, decode_status
from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import INTERNAL_MESSAGE, Refusal
from gradwire_server.rpc.boundary import Boundary
from gradwire_server.rpc.threads import HandlerThreads

LIMIT = 3


class Bench:
    """A server with an Echo, a Hold, and handlers that fail."""

    def __init__(self) -> None:
        self.metrics = Metrics("1")
        self.threads = HandlerThreads(LIMIT + 5, calls_allowed=LIMIT)
        self.holding = threading.Semaphore(0)
        self.go = threading.Event()
        self.boundary = Boundary(
            ServerConfig(max_queued_requests=LIMIT),
            metrics=self.metrics,
            clock=lambda: 0.0,
            new_request_id=lambda: "made-here",
            threads=self.threads,
        )
        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
            "Hold": grpc.unary_unary_rpc_method_handler(self.hold),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Crash": grpc.unary_unary_rpc_method_handler(lambda request, context: 1 // 0),
            "Stream": grpc.stream_stream_rpc_method_handler(self.stream),
        }
        self.server = grpc.server(
            self.threads,  # type: ignore[arg-type]
            handlers=[grpc.method_handlers_generic_handler("test.Test", handlers)],
            interceptors=[self.boundary],
        )
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def hold(self, request: bytes, context: object) -> bytes:
        self.holding.release()
        self.go.wait(60)
        return request

    @staticmethod
    def refuse(request: bytes, context: object) -> bytes:
        raise Refusal("QUEUE_FULL", "full", retry_after=0.5)

    @staticmethod
    def stream(requests: Iterator[bytes], context: object) -> Iterator[bytes]:
        for request in requests:
            if request == b"refuse":
                raise Refusal("SERVER_DRAINING", "bye")
            if request == b"crash":
                raise KeyError("secret")
            yield request

    def unary(self, name: str) -> Callable[..., Any]:
        return self.channel.unary_unary(f"/test.Test/{name}")

    def counted(self, method: str, code: str, kind: str = "unary") -> float:
        labels = {"grpc_type": kind, "grpc_service": "test.Test", "grpc_method": method, "grpc_code": code}
        return value(self.metrics, "grpc_server_handled_total", **labels)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.go.set()
    bench.channel.close()
    bench.server.stop(None).wait()
    bench.boundary.close()


def failure(caught: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[str, StatusDetails, dict[str, Any]]:
    error: Any = caught.value
    trailers = dict(error.trailing_metadata())
    return error.code().name, decode_status(trailers["grpc-status-details-bin"]), trailers


def test_a_call_gets_an_id_and_brings_it_back(bench: Bench) -> None:
    response, call = bench.unary("Echo").with_call(b"x", timeout=60)
    assert response == b"x"
    assert ("x-request-id", "made-here") in [tuple(one) for one in call.trailing_metadata()]
    assert bench.counted("Echo", "OK") == 1


@pytest.mark.parametrize(("sent", "returned"), [("mine-7", "mine-7"), ("x" * 200, "made-here"), ("a b", "made-here")])
def test_a_clients_id_is_kept_if_it_is_fit_to_be(sent: str, returned: str, bench: Bench) -> None:
    _, call = bench.unary("Echo").with_call(b"x", timeout=60, metadata=[("x-request-id", sent)])
    assert dict(call.trailing_metadata())["x-request-id"] == returned


def test_a_refusal_becomes_its_status(bench: Bench) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        bench.unary("Refuse")(b"", timeout=60, metadata=[("x-request-id", "mine")])
    code, said, trailers = failure(caught)
    assert (code, said.reason, said.retry_delay) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 0.5)
    assert (trailers["grpc-retry-pushback-ms"], trailers["x-request-id"]) == ("500", "mine")
    assert bench.counted("Refuse", "RESOURCE_EXHAUSTED") == 1


def test_an_exception_leaks_nothing_but_the_request_id(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as caught:
        bench.unary("Crash")(b"", timeout=60)
    code, said, trailers = failure(caught)
    assert (code, said.reason, said.message) == ("INTERNAL", "INTERNAL", INTERNAL_MESSAGE)
    assert caught.value.details() == INTERNAL_MESSAGE  # type: ignore[attr-defined]
    assert trailers["x-request-id"] == "made-here"
    assert "ZeroDivisionError" in caplog.text
    assert bench.counted("Crash", "INTERNAL") == 1


@pytest.mark.parametrize(("request_", "reason"), [(b"refuse", "SERVER_DRAINING"), (b"crash", "INTERNAL")])
def test_a_stream_ends_in_the_same_ways(request_: bytes, reason: str, bench: Bench) -> None:
    answers = bench.channel.stream_stream("/test.Test/Stream")(iter([b"a", b"b", request_]), timeout=60)
    assert [next(answers), next(answers)] == [b"a", b"b"]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    _, said, _ = failure(caught)
    assert said.reason == reason
    assert "secret" not in said.message


def test_an_unknown_method_is_unimplemented_and_makes_no_series(bench: Bench) -> None:
    for name in ("Nope1", "Nope2"):
        with pytest.raises(grpc.RpcError) as caught:
            bench.unary(name)(b"", timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    assert "Nope" not in bench.metrics.exposition().decode()
    unknown = {"grpc_type": "unknown", "grpc_service": "unknown", "grpc_method": "unknown"}
    assert value(bench.metrics, "grpc_server_handled_total", grpc_code="UNIMPLEMENTED", **unknown) == 2


def test_a_call_too_many_is_refused_before_its_message_is_read(bench: Bench) -> None:
    held = [bench.unary("Hold").future(b"%d" % number, timeout=60) for number in range(LIMIT)]
    for _ in held:
        assert bench.holding.acquire(timeout=60)
    with pytest.raises(grpc.RpcError) as caught:
        bench.unary("Hold")(bytes(1000), timeout=60)
    _, said, _ = failure(caught)
    assert said.reason == "QUEUE_FULL"
    assert (said.metadata["setting"], said.retry_delay) == ("--max-queued-requests", 1.0)
    bench.go.set()
    assert [call.result(60) for call in held] == [b"0", b"1", b"2"]
