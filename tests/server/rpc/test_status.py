"""Reasons, codes, retries and texts: what a client gets to see of a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gradwire.wire.status import decode_error, decode_status, encode_error
from gradwire_server.refusal import INTERNAL_MESSAGE, Refusal
from gradwire_server.rpc.status import REASONS, code_name, rpc_status, status_details

DOCUMENTED = {
    "MALFORMED_REQUEST": "INVALID_ARGUMENT",
    "INVALID_GRAPH": "INVALID_ARGUMENT",
    "INPUT_MISMATCH": "INVALID_ARGUMENT",
    "PROGRAM_TOO_EXPENSIVE": "INVALID_ARGUMENT",
    "RESPONSE_TOO_LARGE": "INVALID_ARGUMENT",
    "PROGRAM_NOT_FOUND": "NOT_FOUND",
    "PROGRAM_HASH_MISMATCH": "INVALID_ARGUMENT",
    "CONSTANT_HASH_MISMATCH": "INVALID_ARGUMENT",
    "CONSTANT_NOT_FOUND": "NOT_FOUND",
    "QUEUE_FULL": "RESOURCE_EXHAUSTED",
    "QUOTA_EXCEEDED": "RESOURCE_EXHAUSTED",
    "DEADLINE_INFEASIBLE": "DEADLINE_EXCEEDED",
    "EXPIRED_IN_QUEUE": "DEADLINE_EXCEEDED",
    "SERVER_STARTING": "UNAVAILABLE",
    "SERVER_DRAINING": "UNAVAILABLE",
    "WORKER_LOST": "UNAVAILABLE",
    "PROGRAM_QUARANTINED": "FAILED_PRECONDITION",
    "TASK_TIME_LIMIT": "RESOURCE_EXHAUSTED",
    "TASK_MEMORY_LIMIT": "RESOURCE_EXHAUSTED",
    "PREPARE_TIME_LIMIT": "RESOURCE_EXHAUSTED",
    "PREPARE_MEMORY_LIMIT": "RESOURCE_EXHAUSTED",
    "MAX_STEPS_EXCEEDED": "INVALID_ARGUMENT",
    "EXPLAIN_TOO_LARGE": "INVALID_ARGUMENT",
    "DUPLICATE_STREAM_ID": "INVALID_ARGUMENT",
    "UNAUTHENTICATED": "UNAUTHENTICATED",
    "UNSUPPORTED_OP": "UNIMPLEMENTED",
    "UNSUPPORTED_OPSET": "UNIMPLEMENTED",
    "INTERNAL": "INTERNAL",
}
RETRIED_AFTER_A_DELAY = {"QUEUE_FULL", "QUOTA_EXCEEDED"}
RETRIED_ELSEWHERE = {"SERVER_STARTING", "SERVER_DRAINING"}


@pytest.mark.parametrize(("reason", "code"), DOCUMENTED.items())
def test_every_documented_reason_has_its_code(reason: str, code: str) -> None:
    assert code_name(reason) == code


@pytest.mark.parametrize("reason", REASONS)
def test_what_gRPC_would_retry_and_must_not_carries_a_pushback(reason: str) -> None:
    status = rpc_status(Refusal(reason, "text", retry_after=0.25), "id")
    pushback = dict(status.trailing_metadata).get("grpc-retry-pushback-ms")
    if reason in RETRIED_AFTER_A_DELAY:
        assert pushback == "250"
    elif reason in RETRIED_ELSEWHERE or status.code.name not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        assert pushback is None
    else:
        assert pushback == "-1"


def test_the_status_is_what_googleapis_reads() -> None:
    refusal = Refusal(
        "QUEUE_FULL", "full", details={"limit": "5"}, violations=[("inputs[0]", "wrong")], retry_after=1.5
    )
    status = rpc_status(refusal, "request-7")
    trailers = dict(status.trailing_metadata)
    message = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    assert (message.code, message.message) == (8, "full")
    assert trailers["x-request-id"] == "request-7"
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert [any_.Unpack(one) for any_, one in zip(message.details, (info, bad, retry), strict=True)] == [True] * 3
    assert (info.reason, info.domain, dict(info.metadata)) == ("QUEUE_FULL", "gradwire", {"limit": "5"})
    assert [(one.field, one.description) for one in bad.field_violations] == [("inputs[0]", "wrong")]
    assert retry.retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize("reason", REASONS)
def test_every_status_has_exactly_one_error_info(reason: str) -> None:
    data = dict(rpc_status(Refusal(reason, "text"), "id").trailing_metadata)["grpc-status-details-bin"]
    names = [any_.TypeName() for any_ in status_pb2.Status.FromString(data).details]
    assert names.count("google.rpc.ErrorInfo") == 1
    assert decode_status(data).reason == reason  # type: ignore[arg-type]


def test_a_stream_says_the_same_as_a_call() -> None:
    refusal = Refusal("QUEUE_FULL", "full", details={"limit": "5"}, violations=[("a", "b")], retry_after=1.5)
    in_stream = decode_error(encode_error(status_details(refusal)))
    in_call = decode_status(dict(rpc_status(refusal, "").trailing_metadata)["grpc-status-details-bin"])  # type: ignore[arg-type]
    assert in_stream == in_call


# Texts


def test_a_message_has_at_most_1024_characters() -> None:
    said = status_details(Refusal("INVALID_GRAPH", "x" * 5000))
    assert len(said.message) == 1024
    assert said.message.endswith("…")
    assert status_details(Refusal("INVALID_GRAPH", "y" * 1024)).message == "y" * 1024


def test_there_are_at_most_20_violations_and_the_last_counts_the_rest() -> None:
    said = status_details(Refusal("INPUT_MISMATCH", "", violations=[(f"inputs[{i}]", "bad") for i in range(50)]))
    assert len(said.violations) == 20
    assert said.violations[18] == ("inputs[18]", "bad")
    assert said.violations[19] == ("", "+31 more")
    exactly = status_details(Refusal("INPUT_MISMATCH", "", violations=[("a", "b")] * 20))
    assert exactly.violations == (("a", "b"),) * 20


def test_an_unknown_reason_is_an_internal_error_and_says_nothing() -> None:
    said = status_details(Refusal("SURPRISE", "secret"))
    assert (said.reason, said.message, said.code) == ("INTERNAL", INTERNAL_MESSAGE, 13)


WORST = [
    Refusal("QUEUE_FULL", "∑" * 5000, details={"a": "∑" * 5000}, violations=[("∑" * 500, "∑" * 500)] * 100),
    Refusal("INPUT_MISMATCH", "x" * 5000, violations=[("x" * 300, "y" * 300)] * 100),
    Refusal("CONSTANT_NOT_FOUND", "x" * 1024, details={"digests": ",".join(["ab" * 32] * 20), "missing": "20"}),
    Refusal("INVALID_GRAPH", "\0\n\r\x7f" * 500, violations=[("graph", "\0\n")]),
]


class Refuses(grpc.GenericRpcHandler):
    """Ends every call with one of the worst refusals."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: context.abort_with_status(rpc_status(WORST[request[0]], "id"))
        )


@pytest.fixture(scope="module")
def refusing_channel() -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Refuses()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


@pytest.mark.parametrize("index", range(len(WORST)))
def test_the_longest_texts_still_reach_the_client(index: int, refusing_channel: grpc.Channel) -> None:
    call = refusing_channel.unary_unary("/any/method")
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes([index]), timeout=60)
    said = decode_status(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])  # type: ignore[attr-defined]
    assert caught.value.code().name == code_name(WORST[index].reason)  # type: ignore[attr-defined]
    assert said.reason == WORST[index].reason
    assert said.metadata.get("digests", "") == WORST[index].details.get("digests", "")
