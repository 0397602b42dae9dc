"""The RPCs of a whole server with real workers, over a real channel."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.server.live import GRADIENT, GRADIENT_ID, Client, Failed, Live, method, slow_program, weighted_program
from tests.kit.server.ready_programs import tensors

from gradwire._version import __version__
from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, service_pb2
from gradwire.wire.programs import program_id
from gradwire.wire.requests import RequestOptions, evaluate_parts, explain_parts, join
from gradwire.wire.tensors import OutgoingTensor, tensor_digest
from gradwire_engine.ops.table import OPS
from gradwire_engine.program import Layout
from gradwire_engine.types import DType


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    live = Live()
    yield live
    live.close()


@pytest.fixture
def client(live: Live) -> Client:
    return live.client


def failure(client: Client, *inputs: object, **fields: object) -> Failed:
    with pytest.raises(Failed) as caught:
        client.evaluate(*inputs, **fields)  # type: ignore[arg-type]
    return caught.value


def gradient(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    return [np.sin(x) + x * y, np.cos(x) + y, x]


# Evaluate


def test_a_value_and_its_gradient(client: Client) -> None:
    answer = client.evaluate(1.5, 2.0, program=GRADIENT)
    np.testing.assert_allclose(answer.outputs, gradient(np.array(1.5), np.array(2.0)))
    assert [output.shape for output in answer.outputs] == [()] * 3
    assert (answer.report.batch_requests, answer.report.executor) == (1, "reference")
    assert answer.report.server_version == __version__


def test_a_batch_with_a_shared_input_and_a_summed_output(client: Client) -> None:
    x = np.linspace(-2, 2, 7)
    layout = Layout(shared_inputs=(1,), summed_outputs=(1,), outputs=(2, 1))
    answer = client.evaluate(x, 2.0, program=GRADIENT, rows=7, layout=layout)
    np.testing.assert_allclose(answer.outputs[0], x)
    np.testing.assert_allclose(answer.outputs[1], np.sum(np.cos(x) + 2.0))


def test_an_empty_batch_has_empty_answers_and_sums_of_zero(client: Client) -> None:
    none = np.zeros(0)
    answer = client.evaluate(none, none, program=GRADIENT, rows=0)
    assert [output.shape for output in answer.outputs] == [(0,)] * 3
    layout = Layout(summed_outputs=(0, 1, 2))
    summed = client.evaluate(none, none, program=GRADIENT, rows=0, layout=layout)
    assert [output.tolist() for output in summed.outputs] == [0.0, 0.0, 0.0]


def test_nan_and_infinity_are_data(client: Client) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0])
    answer = client.evaluate(x, np.zeros(4), program=GRADIENT, rows=4)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(answer.outputs[0], np.sin(x) + x * 0)


def test_a_large_batch_comes_back_whole(client: Client) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 300_000))
    answer = client.evaluate(x, y, program=GRADIENT, rows=300_000)
    for found, expected in zip(answer.outputs, gradient(x, y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# Programs by id


def test_an_unknown_id_is_not_found_until_the_program_is_sent() -> None:
    live = Live(workers=1)
    try:
        assert failure(live.client, 1.5, 2.0, program_id=GRADIENT_ID).reason == "PROGRAM_NOT_FOUND"
        first = live.client.evaluate(1.5, 2.0, program=GRADIENT)
        assert first.report.prepare_seconds > 0
        again = live.client.evaluate(1.5, 2.0, program_id=GRADIENT_ID)
        assert again.report.prepare_seconds == 0
        assert live.counted("gradwire_program_cache_misses_total") == 2
        assert live.counted("gradwire_requests_total", mode="reverse", code="OK") == 2
        assert live.counted("gradwire_requests_total", mode="unknown", code="NOT_FOUND") == 1
        assert live.counted("gradwire_rejected_total", reason="PROGRAM_NOT_FOUND") == 1
    finally:
        live.close()


def test_id_and_program_that_disagree_are_refused(client: Client) -> None:
    error = failure(client, 1.5, 2.0, program_id="sha256:" + "0" * 64, program=GRADIENT)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PROGRAM_HASH_MISMATCH")


def test_a_program_that_is_none_is_refused_with_a_path(client: Client) -> None:
    assert failure(client, program=b"\xff\xff").reason == "MALFORMED_REQUEST"
    unknown = program_pb2.Program(opset=1, graph=graph_pb2.Graph(nodes=[graph_pb2.Node(op=999)]))  # type: ignore[arg-type]
    error = failure(client, program=unknown.SerializeToString())
    assert (error.code, error.reason) == ("UNIMPLEMENTED", "UNSUPPORTED_OP")
    assert error.said.violations[0][0].startswith("graph.nodes[0]")
    dangling = graph_pb2.Graph(nodes=[graph_pb2.Node(op=ops_pb2.OP_SIN, operands=[7])])
    error = failure(client, program=program_pb2.Program(opset=1, graph=dangling).SerializeToString())
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_GRAPH")
    assert "graph.nodes[0]" in error.said.violations[0][0]


# Constants

LENGTH = 20_000
WEIGHTED = weighted_program(LENGTH)
SHARED = Layout(shared_inputs=(1,))


def test_a_constant_is_sent_once_and_then_named(client: Client) -> None:
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=LENGTH), rng.normal(size=(2, LENGTH))
    digest = tensor_digest(DType.FLOAT64, (LENGTH,), w.tobytes())
    named = OutgoingTensor(DType.FLOAT64, (LENGTH,), None, digest)
    error = failure(client, x, named, program=WEIGHTED, rows=2, layout=SHARED)
    assert (error.code, error.reason) == ("NOT_FOUND", "CONSTANT_NOT_FOUND")
    assert error.said.metadata["digests"] == digest.hex()
    for w_tensor in (OutgoingTensor.inline(w, digest), named, named):
        answer = client.evaluate(x, w_tensor, program=WEIGHTED, rows=2, layout=SHARED)
        np.testing.assert_allclose(answer.outputs[0], x @ w)


def test_a_wrong_digest_is_refused(client: Client) -> None:
    lie = OutgoingTensor.inline(np.zeros(LENGTH), bytes(32))
    error = failure(client, np.zeros((1, LENGTH)), lie, program=WEIGHTED, rows=1, layout=SHARED)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "CONSTANT_HASH_MISMATCH")


# Refusals


def test_wrong_inputs_are_named_with_what_was_got_and_expected(client: Client) -> None:
    error = failure(client, np.float32(1.5), 2.0, program=GRADIENT)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INPUT_MISMATCH")
    assert error.said.violations == (("inputs[0]", 'got float32, expected float64 for "x"'),)


def test_a_bad_layout_is_refused_by_name(client: Client) -> None:
    error = failure(client, [1.0], [2.0], program=GRADIENT, rows=1, layout=Layout(shared_inputs=(9,)))
    assert error.code == "INVALID_ARGUMENT"
    assert "shared_inputs" in error.said.message


def test_a_response_too_large_says_how_many_rows_fit(live: Live, client: Client) -> None:
    rows = 3_000_000
    error = failure(client, np.zeros(rows), 0.0, program=GRADIENT, rows=rows, layout=Layout(shared_inputs=(1,)))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "RESPONSE_TOO_LARGE")
    fits = int(error.said.metadata["rows_that_fit"])
    assert fits * 24 < live.config.max_message_bytes < (fits + 100) * 24


def test_a_cost_over_the_limit_says_value_limit_and_setting() -> None:
    live = Live(workers=1, max_request_flops=1000.0)
    try:
        error = failure(live.client, 1.0, program=slow_program(10))
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PROGRAM_TOO_EXPENSIVE")
        assert error.said.metadata["setting"] == "--max-request-flops"
        assert float(error.said.metadata["value"]) > float(error.said.metadata["limit"]) == 1000
    finally:
        live.close()


def test_bytes_that_do_not_parse_are_refused(client: Client) -> None:
    for name in ("Evaluate", "Register", "Explain"):
        with pytest.raises(Failed) as caught:
            client.call(name, b"\x0a\xff")
        assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


@given(data=st.binary(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_refused_and_the_server_goes_on(client: Client, data: bytes) -> None:
    for request in (data, join(evaluate_parts(program=data)) if data else b""):
        with pytest.raises(Failed) as caught:
            client.call("Evaluate", request)
        assert caught.value.reason
        assert caught.value.code in ("INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND")


def test_a_message_over_the_limit_is_grpcs_own_refusal() -> None:
    live = Live(workers=1, max_message_bytes=1 << 20)
    try:
        with pytest.raises(Failed) as caught:
            live.client.evaluate(np.zeros(1 << 18), 0.0, program=GRADIENT, rows=1 << 18)
        assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "")
    finally:
        live.close()


def test_a_timeout_of_nothing_is_infeasible(client: Client) -> None:
    error = failure(client, 1.5, 2.0, program=GRADIENT, options=RequestOptions(timeout=0.0))
    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_INFEASIBLE")


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    live = Live(workers=1, max_queued_requests=2)
    try:
        live.client.evaluate(1.5, 2.0, program=GRADIENT)
        call = live.client.channel.unary_unary(method("Evaluate"))
        request = join(evaluate_parts(program=GRADIENT, inputs=tensors(1.5, 2.0)))
        with live.workers_held():
            waiting = [call.future(request, timeout=30) for _ in range(2)]
            live.wait_until(lambda: live.server.dispatcher.queued_requests == 2)
            error = failure(live.client, 1.5, 2.0, program=GRADIENT)
            assert live.counted("gradwire_pending_requests") == 2
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert error.said.metadata["setting"] == "--max-queued-requests"
        assert error.said.retry_delay == pytest.approx(0.05)
        assert error.trailers["grpc-retry-pushback-ms"] == "50"
        assert all(one.result(30) for one in waiting)
        live.wait_until(lambda: live.counted("gradwire_pending_requests") == 0)
    finally:
        live.close()


def test_a_task_over_its_time_is_ended_and_the_server_goes_on() -> None:
    """Two seconds are enough for a small task on any machine, and for so many operations on none."""
    live = Live(workers=1, task_timeout=2.0)
    try:
        error = failure(live.client, 1.0, program=slow_program(4_000, 500_000))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TASK_TIME_LIMIT")
        assert error.trailers["grpc-retry-pushback-ms"] == "-1"
        assert live.client.evaluate(1.5, 2.0, program=GRADIENT).outputs
        assert live.counted("gradwire_worker_restarts_total", reason="time_limit") == 1
    finally:
        live.close()


def test_a_call_that_is_cancelled_while_it_waits_never_runs() -> None:
    live = Live(workers=1)
    try:
        live.client.evaluate(1.5, 2.0, program=GRADIENT)
        before = live.counted("gradwire_batches_total")
        call = live.client.channel.unary_unary(method("Evaluate"))
        with live.workers_held():
            waiting = call.future(join(evaluate_parts(program=GRADIENT, inputs=tensors(1.5, 2.0))), timeout=30)
            live.wait_until(lambda: live.server.dispatcher.queued_requests == 1)
            waiting.cancel()
            live.wait_until(lambda: live.server.dispatcher.queued_requests == 0)
        assert live.server.admission.ledger.wait_until_empty(60)
        assert live.counted("gradwire_batches_total") == before
    finally:
        live.close()


def test_a_deadline_passes_in_the_queue() -> None:
    live = Live(workers=1)
    try:
        live.client.evaluate(1.5, 2.0, program=GRADIENT)
        with live.workers_held():
            error = failure(live.client, 1.5, 2.0, program=GRADIENT, options=RequestOptions(timeout=1.0))
        assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "EXPIRED_IN_QUEUE")
        assert live.client.evaluate(1.5, 2.0, program=GRADIENT).outputs
    finally:
        live.close()


# The other RPCs


def test_register_gives_signature_and_cost_and_saves_the_first_evaluation_the_preparing() -> None:
    live = Live(workers=1)
    try:
        request = service_pb2.RegisterRequest(program=GRADIENT, layouts=[service_pb2.Batch(shared_inputs=[1])])
        response = service_pb2.RegisterResponse.FromString(live.client.call("Register", request.SerializeToString()))
        assert response.program_id == GRADIENT_ID
        assert [(one.name, list(one.type.shape)) for one in response.inputs] == [("x", []), ("y", [])]
        assert len(response.outputs) == 3
        assert response.cost.flops.per_row > response.layout_costs[0].flops.per_row - 1 >= 0
        assert response.cost.expected_seconds > 0
        assert response.cost.expected_seconds_per_row > 0
        assert live.client.evaluate(1.5, 2.0, program_id=GRADIENT_ID).report.prepare_seconds == 0
        layout = Layout(shared_inputs=(1,))
        answer = live.client.evaluate([1.5], 2.0, program_id=GRADIENT_ID, rows=1, layout=layout)
        assert answer.report.prepare_seconds == 0
    finally:
        live.close()


def test_explain_gives_the_trace_table(client: Client) -> None:
    plain = weighted_program(2)
    request = join(explain_parts(program=plain, inputs=tensors([1.0, 2.0], [3.0, 4.0]), mode="reverse"))
    table = service_pb2.ExplainResponse.FromString(client.call("Explain", request))
    assert [row.name for row in table.rows[:2]] == ["x", "w"]
    assert np.frombuffer(table.rows[table.outputs[0]].result.data)[0] == 11.0
    assert np.frombuffer(table.rows[0].derivatives[0].data).tolist() == [3.0, 4.0]


def test_explain_takes_constants_by_digest_too(client: Client) -> None:
    w = np.arange(20_000.0)
    x = np.ones(20_000)
    inline, named = [
        OutgoingTensor(DType.FLOAT64, w.shape, data, tensor_digest(DType.FLOAT64, w.shape, w.tobytes()))
        for data in (w, None)
    ]
    for tensor in (inline, named):
        request = explain_parts(program=weighted_program(20_000), inputs=[*tensors(x), tensor], mode="reverse")
        table = service_pb2.ExplainResponse.FromString(client.call("Explain", join(request)))
        assert np.frombuffer(table.rows[table.outputs[0]].result.data)[0] == w.sum()


def test_explain_by_id_needs_a_known_program(client: Client) -> None:
    other = weighted_program(3)
    request = service_pb2.ExplainRequest(program_id=program_id(other)).SerializeToString()
    with pytest.raises(Failed, match="PROGRAM_NOT_FOUND"):
        client.call("Explain", request)


def test_explain_of_too_large_a_graph_is_refused() -> None:
    live = Live(workers=1, max_explain_values=5)
    try:
        with pytest.raises(Failed) as caught:
            live.client.call("Explain", join(explain_parts(program=slow_program(10), inputs=tensors(1.0))))
        assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "EXPLAIN_TOO_LARGE")
    finally:
        live.close()


def test_explain_with_wrong_inputs_is_refused(client: Client) -> None:
    with pytest.raises(Failed) as caught:
        client.call("Explain", join(explain_parts(program=weighted_program(2), inputs=tensors([1.0]))))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_info_tells_version_ops_limits_and_load(live: Live, client: Client) -> None:
    info = service_pb2.GetServerInfoResponse.FromString(client.call("GetServerInfo", b""))
    assert (info.version, info.opset, info.workers) == (__version__, 1, 2)
    assert list(info.ops) == list(OPS)
    assert list(info.executors) == [service_pb2.EXECUTOR_REFERENCE]
    limits = {one.name: (one.value, one.unit, one.setting) for one in info.limits}
    assert limits["max-queued-requests"] == (1000, "requests", "--max-queued-requests")
    assert {one.name for one in live.config.limits()} == set(limits)
    assert (info.pending_requests, info.busy_workers) == (0, 0)
    assert info.uptime_seconds > 0


def test_every_answer_brings_back_the_request_id(client: Client) -> None:
    call = client.channel.unary_unary(method("Evaluate"))
    request = join(evaluate_parts(program=GRADIENT, inputs=tensors(1.5, 2.0)))
    _, good = call.with_call(request, timeout=30, metadata=[("x-request-id", "mine")])
    assert dict(good.trailing_metadata())["x-request-id"] == "mine"
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff", timeout=30)
    assert dict(caught.value.trailing_metadata())["x-request-id"]  # type: ignore[attr-defined]
