"""Clients against a small gRPC server in this process: what is sent, what is retried, and what failures become."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.connection.channel import read_certificates
from gradwire.connection.client import Client, current_client, make_client
from gradwire.connection.current import PROCESS, Process
from gradwire.errors import ServiceError
from gradwire.v1 import service_pb2
from gradwire.wire.service import SERVICE

Behaviour = Callable[[bytes, grpc.ServicerContext], bytes]


class FakeServer:
    """Answers as it is told; by default like the engine."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = lambda request, context: self.local.call("Evaluate", request)
        self.local = LocalClient()
        self.calls: list[dict[str, str]] = []
        self._server = grpc.server(
            ThreadPoolExecutor(8),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 << 20)],
        )
        handlers = {
            "Evaluate": grpc.unary_unary_rpc_method_handler(self._evaluate),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(self._info),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.target = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def _evaluate(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls.append({str(key): str(value) for key, value in context.invocation_metadata()})
        return self.behaviour(request, context)

    def _info(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        info = service_pb2.GetServerInfoResponse(
            version="9.9", opset=1, ops=["add"], executors=[1], workers=3, pending_requests=2, uptime_seconds=5.0
        )
        info.limits.add(name="max-message-bytes", value=64 << 20, unit="bytes", setting="--max-message-bytes")
        return info.SerializeToString()

    def close(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with gw.connect(server.target, timeout=60.0) as connected:
        yield connected


def fail(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    *,
    message: str = "what was got, what was expected",
    trailers: tuple[tuple[str, str], ...] = (("grpc-retry-pushback-ms", "-1"),),
    details: tuple[Any, ...] = (),
    metadata: dict[str, str] | None = None,
) -> bytes:
    """End a call as the service does."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="gradwire", metadata=metadata or {})
    packed = []
    for detail in (info, *details):
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.set_trailing_metadata(
        (("x-request-id", "r-1"), ("grpc-status-details-bin", status.SerializeToString()), *trailers)
    )
    context.abort(code, message)
    raise AssertionError


def call() -> Any:
    return gw.grad(np.sin)(0.0)


@pytest.mark.parametrize("threads", [1, 2], ids=["alone", "with another thread"])
def test_a_call_goes_through(client: Client, threads: int) -> None:
    release = threading.Event()
    others = [threading.Thread(target=release.wait) for _ in range(threads - 1)]
    for other in others:
        other.start()
    assert call() == 1.0
    assert gw.grad(np.sin).submit(0.0).result() == 1.0
    release.set()
    for other in others:
        other.join()


def test_info(client: Client) -> None:
    info = client.info()
    assert (info.version, info.opset, info.ops, info.executors, info.workers) == ("9.9", 1, ("add",), ("reference",), 3)
    assert info.limits["max-message-bytes"].setting == "--max-message-bytes"
    assert "max-message-bytes = 67,108,864 bytes (--max-message-bytes)" in str(info)


def test_a_token_travels_as_bearer(server: FakeServer) -> None:
    with gw.connect(server.target, token="secret"):
        call()
    assert server.calls[-1]["authorization"] == "Bearer secret"
    with gw.connect(server.target):
        call()
    assert "authorization" not in server.calls[-1]


def test_a_token_is_not_sent_in_clear_text_to_other_machines() -> None:
    with pytest.raises(ServiceError, match="without TLS"):
        make_client("example.org:443", token="secret")
    assert make_client("example.org:443", token="secret", tls=True).target == "example.org:443"


def test_certificates(tmp_path: Any) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_bytes(b"root")
    assert read_certificates(None) == {}
    assert read_certificates(True) == {"use_tls": True}
    assert read_certificates(str(pem)) == {"use_tls": True, "root_certificates": b"root"}
    assert read_certificates((None, b"chain", b"key")) == {
        "use_tls": True, "root_certificates": None, "client_certificate": b"chain", "client_key": b"key",
    }  # fmt: skip
    with pytest.raises(TypeError, match="tls is True"):
        read_certificates((b"a", b"b"))


def test_what_may_be_retried_is(server: FakeServer, client: Client) -> None:
    def once_unavailable(request: bytes, context: grpc.ServicerContext) -> bytes:
        if len(server.calls) == 1:
            return fail(context, grpc.StatusCode.UNAVAILABLE, "SERVER_STARTING", trailers=())
        return server.local.call("Evaluate", request)

    server.behaviour = once_unavailable
    assert call() == 1.0
    assert len(server.calls) == 2


def test_large_requests_are_retried_too(server: FakeServer, client: Client) -> None:
    def once_full(request: bytes, context: grpc.ServicerContext) -> bytes:
        if len(server.calls) == 1:
            return fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", trailers=())
        return server.local.call("Evaluate", request)

    server.behaviour = once_full
    x = np.zeros(300_000)
    assert gw.remote(lambda x: np.sum(x))(x) == 0.0
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("code", "reason", "kind", "builtin"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INPUT_MISMATCH", gw.InvalidRequestError, ValueError),
        (grpc.StatusCode.INVALID_ARGUMENT, "PROGRAM_TOO_EXPENSIVE", gw.InvalidRequestError, ValueError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", gw.OverloadedError, gw.RequestError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "TASK_MEMORY_LIMIT", gw.OverloadedError, gw.RequestError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "TASK_TIME_LIMIT", gw.TimeLimitError, TimeoutError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_INFEASIBLE", gw.TimeLimitError, TimeoutError),
        (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", gw.UnavailableError, ConnectionError),
        (grpc.StatusCode.UNAVAILABLE, "WORKER_LOST", gw.UnavailableError, ConnectionError),
        (grpc.StatusCode.FAILED_PRECONDITION, "PROGRAM_QUARANTINED", gw.InvalidRequestError, ValueError),
        (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED_OP", gw.UnsupportedError, gw.RequestError),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", gw.RequestError, gw.GradwireError),
        (grpc.StatusCode.INTERNAL, "INTERNAL", gw.RequestError, gw.GradwireError),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("through", ["call", "submit"])
def test_failures_are_told_apart_by_their_reason(
    server: FakeServer, client: Client, code: Any, reason: str, kind: type, builtin: type, through: str
) -> None:
    server.behaviour = lambda request, context: fail(context, code, reason, metadata={"limit": "5"})
    with pytest.raises(kind, match="what was got") as caught:
        call() if through == "call" else gw.grad(np.sin).submit(0.0).result()
    error = caught.value
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert error.reason == reason
    assert error.request_id == "r-1"
    assert error.metadata == {"limit": "5"}
    assert len(server.calls) == 1


def test_violations_and_delays_are_told(server: FakeServer, client: Client) -> None:
    violation = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field="graph.nodes[3]", description="is wrong")]
    )
    delay = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2))
    server.behaviour = lambda request, context: fail(
        context, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", details=(violation, delay)
    )
    with pytest.raises(gw.OverloadedError, match=r"graph\.nodes\[3\]: is wrong") as caught:
        call()
    assert caught.value.violations == (("graph.nodes[3]", "is wrong"),)
    assert caught.value.retry_delay == 2.0


def test_nobody_there() -> None:
    with gw.connect("localhost:1", timeout=60.0), pytest.raises(gw.UnavailableError, match="gradwire serve") as caught:
        call()
    assert caught.value.reason == "UNREACHABLE"
    assert caught.value.request_id is None


def test_no_answer_in_time(server: FakeServer) -> None:
    release = threading.Event()

    def late(request: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(60.0)
        return b""

    server.behaviour = late
    with gw.connect(server.target, timeout=0.05), pytest.raises(gw.TimeLimitError, match=r"within 0\.05 s") as caught:
        call()
    release.set()
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    for timeout in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be positive"):
            make_client(server.target, timeout=timeout)


def test_something_else_answers(server: FakeServer, client: Client) -> None:
    server.behaviour = lambda request, context: b"\xff\xff"
    with pytest.raises(gw.RequestError, match="does not parse"):
        call()
    with pytest.raises(gw.UnsupportedError, match="not this service"):
        gw.cost(np.sin, 1.0)


def test_too_large_a_request_is_not_sent(server: FakeServer) -> None:
    with gw.connect(server.target, max_message_bytes=1000):
        with pytest.raises(gw.InvalidRequestError, match=r"limit is 1,000 .*--max-message-bytes.*\.map"):
            gw.remote(lambda x: x)(np.zeros(1000))
        with pytest.raises(gw.InvalidRequestError, match="limit is 1,000"):
            gw.remote(lambda x: x).submit(np.zeros(1000))
    assert server.calls == []


def test_too_large_a_response_is_named(server: FakeServer) -> None:
    with gw.connect(server.target, max_message_bytes=1000), pytest.raises(gw.InvalidRequestError) as caught:
        gw.remote(lambda x: np.broadcast_to(x, (1000,)))(1.0)
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


# the stack


def test_the_newest_client_is_used_in_every_thread(server: FakeServer) -> None:
    below = current_client()
    with gw.connect(server.target) as client:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(current_client()))
        thread.start()
        thread.join()
        assert found == [client]
        with gw.connect(server.target) as newer:
            assert current_client() is newer
        assert current_client() is client
    assert current_client() is below


def test_clients_may_be_closed_in_any_order(server: FakeServer) -> None:
    below = current_client()
    first, second = gw.connect(server.target), gw.connect(server.target)
    first.close()
    assert current_client() is second
    second.close()
    second.close()
    assert current_client() is below


def test_a_closed_client_says_so(server: FakeServer) -> None:
    client = gw.connect(server.target)
    client.info()
    client.close()
    with pytest.raises(ServiceError, match="closed") as caught:
        client.info()
    assert caught.value.reason == "CLOSED"
    with pytest.raises(ServiceError, match="closed"):
        client.__enter__()
    assert "closed" in repr(client)


def test_a_client_closed_under_a_call_ends_it(server: FakeServer) -> None:
    started, release = threading.Event(), threading.Event()

    def late(request: bytes, context: grpc.ServicerContext) -> bytes:
        started.set()
        release.wait(60.0)
        return b""

    server.behaviour = late
    client = gw.connect(server.target)
    future = gw.grad(np.sin).submit(0.0)
    started.wait(60.0)
    client.close()
    release.set()
    with pytest.raises(gw.RequestError) as caught:
        future.result(60.0)
    assert caught.value.reason == "CANCELLED"


def test_a_pickled_client_reaches_the_same_service_without_its_token(server: FakeServer) -> None:
    with gw.connect(server.target, token="secret", timeout=70.0, snapshot_bytes=4096) as client:
        call()
        assert b"secret" not in pickle.dumps(client)
        copy = pickle.loads(pickle.dumps(client))
    assert copy.target == server.target
    assert (copy.timeout, copy.snapshot_bytes) == (70.0, 4096)
    with copy:
        assert current_client() is copy
        assert call() == 1.0
    assert "authorization" not in server.calls[-1]


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_budget_is_a_number_of_bytes(server: FakeServer, wrong: int) -> None:
    with pytest.raises(ValueError, match=r"snapshot_bytes is .*at least 1"):
        gw.connect(server.target, snapshot_bytes=wrong)


def test_the_target_may_come_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADWIRE_TARGET", server.target)
    monkeypatch.setenv("GRADWIRE_TOKEN", "from the environment")
    with gw.connect():
        call()
    assert server.calls[-1]["authorization"] == "Bearer from the environment"


def test_without_a_client_the_process_makes_one(server: FakeServer) -> None:
    process = Process()
    made: list[Client] = []

    def make() -> Client:
        made.append(make_client(server.target))
        return made[-1]

    assert process.client(make) is process.client(make)
    made[0].close()
    assert process.client(make) is made[1]
    made[1].close()
    assert len(made) == 2


def test_threads_make_one_default_client_together(server: FakeServer) -> None:
    process = Process()
    barrier = threading.Barrier(8)
    found: list[Client] = []

    def use() -> None:
        barrier.wait()
        found.append(process.client(lambda: make_client(server.target)))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    found[0].close()


def test_a_private_service_needs_the_service_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradwire.connection.private._is_installed", lambda name: name != "prometheus_client")
    monkeypatch.delenv("GRADWIRE_TARGET", raising=False)
    with pytest.raises(ServiceError, match=r'prometheus_client.*pip install "gradwire\[service\]".*GRADWIRE_TARGET'):
        gw.connect()


def test_a_private_service_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADWIRE_WORKERS", "many")
    monkeypatch.delenv("GRADWIRE_TARGET", raising=False)
    with pytest.raises(ServiceError, match=r"ended with status 2.*workers|ended with status 2.*WORKERS") as caught:
        gw.connect()
    assert caught.value.reason == "PRIVATE_SERVICE"
    assert PROCESS.client(lambda: pytest.fail("the test's own client is on the stack")) is not None
