"""Requests merged into a task and taken apart again, with a worker played by numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.server.fakes import prepared_program

from gradwire.wire.requests import evaluate_parts, join, slice_evaluate
from gradwire.wire.responses import Evaluated, decode_evaluated
from gradwire.wire.tensors import OutgoingTensor
from gradwire_engine.bounds import Bound
from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.admission.ready_program import EvaluatePayload, Evaluation, EvaluationLimits
from gradwire_server.config import Limit
from gradwire_server.ipc.messages import PreparedProgram, RowError, Task, TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job

VECTOR = TensorType(DType.FLOAT64, (2,))
SCALAR = TensorType(DType.FLOAT64)
INTEGER = TensorType(DType.INT64)


def limits(message: float = 1 << 20, flops: float = 1e12, memory: float = 1 << 30) -> EvaluationLimits:
    return EvaluationLimits(
        message=Limit("max-message-bytes", message, "bytes", "--max-message-bytes"),
        flops=Limit("max-request-flops", flops, "operations", "--max-request-flops"),
        worker_memory=Limit("worker-memory", memory, "bytes", "--worker-memory"),
    )


PLAIN = Layout()


def evaluation(prepared: PreparedProgram, layout: Layout = PLAIN, held: EvaluationLimits | None = None) -> Evaluation:
    return Evaluation(prepared, layout, limits=held or limits(), flops_per_second=1e9, server_version="1.2")


SIGNATURE = prepared_program(
    inputs=[("x", VECTOR), ("n", INTEGER), ("w", VECTOR)], outputs=[("sum", SCALAR), ("scaled", VECTOR)]
)
"""sum = w · x, scaled = n * x."""


def tensors(*arrays: object) -> list[OutgoingTensor]:
    return [OutgoingTensor.inline(np.asarray(array)) for array in arrays]


def job_of(one: Evaluation, request: bytes) -> Job:
    sliced = slice_evaluate(request)
    rows, nbytes = one.check(sliced)
    operands = tuple([view.data for view in sliced.inputs])
    payload = EvaluatePayload(operands, sliced.rows is not None, 0.5)  # type: ignore[arg-type]
    return Job(work=one, payload=payload, rows=rows, nbytes=nbytes, deadline=0, key="", solo=False)


def computed(task: Task, summed: Sequence[int] = (), row_errors: tuple[RowError, ...] = ()) -> TaskResult:
    """What a worker would answer, from the task's bytes alone."""
    arrays = []
    for one in task.inputs:
        data = b"".join([bytes(piece) for piece in one.pieces])
        arrays.append(np.frombuffer(data, one.dtype.numpy).reshape(one.shape))
    x, n, w = arrays
    whole = [(x * w).sum(axis=-1), n[:, None] * x]
    outputs = [value.sum(axis=0) if index in summed else value for index, value in enumerate(whole)]
    for value, type in zip(outputs, task.outputs, strict=True):
        assert (value.shape, value.dtype) == (type.shape, type.dtype.numpy)
    return TaskResult(
        outputs=tuple([memoryview(value.tobytes()) for value in outputs]),
        compute_seconds=0.25,
        executor="reference",
        row_errors=row_errors,
    )


def answered(one: Evaluation, jobs: list[Job], **fields: object) -> list[Evaluated]:
    result = computed(one.task(jobs), **fields)  # type: ignore[arg-type]
    answers = one.answers(result, jobs)
    assert all(isinstance(answer, bytes) for answer in answers)
    return [decode_evaluated(answer) for answer in answers]  # type: ignore[arg-type]


def test_a_request_without_a_batch_is_one_row_whose_answer_has_no_row_axis() -> None:
    one = evaluation(SIGNATURE)
    request = join(evaluate_parts(inputs=tensors([1.0, 2.0], 3, [10.0, 20.0])))
    (answer,) = answered(one, [job_of(one, request)])
    assert [output.tolist() for output in answer.outputs] == [50.0, [3.0, 6.0]]
    assert [output.shape for output in answer.outputs] == [(), (2,)]


def test_a_batch_of_one_row_keeps_its_axis_and_merges_with_one_without() -> None:
    one = evaluation(SIGNATURE)
    single = join(evaluate_parts(inputs=tensors([1.0, 2.0], 3, [10.0, 20.0])))
    batched = join(evaluate_parts(inputs=tensors([[5.0, 6.0]], [7], [[1.0, 1.0]]), rows=1))
    first, second = answered(one, [job_of(one, single), job_of(one, batched)])
    assert [output.shape for output in first.outputs] == [(), (2,)]
    assert [output.shape for output in second.outputs] == [(1,), (1, 2)]
    assert [output.tolist() for output in second.outputs] == [[11.0], [[35.0, 42.0]]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**32))
@settings(max_examples=60)
def test_everyone_gets_their_own_rows_whoever_shares_the_batch(sizes: list[int], seed: int) -> None:
    one = evaluation(SIGNATURE, Layout(shared_inputs=(2,)))
    rng = np.random.default_rng(seed)
    w = rng.normal(size=2)
    rows = [(rng.normal(size=(size, 2)), rng.integers(9, size=size)) for size in sizes]
    requests = [join(evaluate_parts(inputs=tensors(x, n, w), rows=len(x), layout=one.layout)) for x, n in rows]
    answers = answered(one, [job_of(one, request) for request in requests])
    for (x, n), answer in zip(rows, answers, strict=True):
        np.testing.assert_allclose(answer.outputs[0], x @ w)
        np.testing.assert_allclose(answer.outputs[1], n[:, None] * x)
        assert (answer.report.batch_rows, answer.report.batch_requests) == (sum(sizes), len(sizes))


def test_a_summed_output_has_no_row_axis() -> None:
    one = evaluation(SIGNATURE, Layout(summed_outputs=(1,)))
    request = join(
        evaluate_parts(inputs=tensors([[1.0, 2.0], [3.0, 4.0]], [1, 2], np.ones((2, 2))), rows=2, layout=one.layout)
    )
    (answer,) = answered(one, [job_of(one, request)], summed=(1,))
    assert [output.tolist() for output in answer.outputs] == [[3.0, 7.0], [7.0, 10.0]]
    assert one.is_solo


def test_selected_outputs_come_in_the_order_asked_for() -> None:
    one = evaluation(SIGNATURE, Layout(outputs=(1, 0)))
    assert [type for type, _ in one._outputs] == [VECTOR, SCALAR]


def test_the_report_says_how_it_ran() -> None:
    one = evaluation(SIGNATURE)
    job = job_of(one, join(evaluate_parts(inputs=tensors([1.0, 2.0], 3, [10.0, 20.0]))))
    job.submitted_at, job.started_at = 10.0, 10.125
    report = answered(one, [job])[0].report
    assert (report.queue_seconds, report.compute_seconds, report.prepare_seconds) == (0.125, 0.25, 0.5)
    assert (report.executor, report.server_version) == ("reference", "1.2")


def test_row_errors_go_to_whom_they_belong_with_their_own_row_numbers() -> None:
    one = evaluation(SIGNATURE, Layout(shared_inputs=(2,)))
    jobs = [
        job_of(
            one,
            join(evaluate_parts(inputs=tensors(np.ones((3, 2)), np.arange(3), np.ones(2)), rows=3, layout=one.layout)),
        )
        for _ in range(2)
    ]
    error = RowError(row=4, reason="MAX_STEPS_EXCEEDED", message="too long")
    first, second = answered(one, jobs, row_errors=(error,))
    assert first.row_errors == ()
    assert [(found.row, found.reason) for found in second.row_errors] == [(1, "MAX_STEPS_EXCEEDED")]


def test_with_summed_outputs_a_failed_row_fails_the_request() -> None:
    one = evaluation(SIGNATURE, Layout(summed_outputs=(0,)))
    job = job_of(
        one, join(evaluate_parts(inputs=tensors(np.ones((1, 2)), [1], np.ones((1, 2))), rows=1, layout=one.layout))
    )
    error = RowError(row=0, reason="MAX_STEPS_EXCEEDED", message="too long")
    (refusal,) = one.answers(computed(one.task([job]), summed=(0,), row_errors=(error,)), [job])
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.details["row"]) == ("MAX_STEPS_EXCEEDED", "0")


# Refusals


def refused(one: Evaluation, *arrays: object, rows: int | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        one.check(slice_evaluate(join(evaluate_parts(inputs=tensors(*arrays), rows=rows, layout=one.layout))))
    return caught.value


def test_a_wrong_input_is_named_with_what_was_got_and_expected() -> None:
    refusal = refused(evaluation(SIGNATURE), [1.0, 2.0, 3.0], 3, [1.0, 2.0])
    assert refusal.reason == "INPUT_MISMATCH"
    assert refusal.message == 'inputs[0]: got float64[3], expected float64[2] for "x"'
    assert refusal.violations == (("inputs[0]", 'got float64[3], expected float64[2] for "x"'),)


def test_all_wrong_inputs_are_listed() -> None:
    refusal = refused(evaluation(SIGNATURE), [1.0, 2.0], 3.0, np.float32(1))
    assert [path for path, _ in refusal.violations] == ["inputs[1]", "inputs[2]"]
    assert refusal.message.endswith("(and 1 more)")


def test_a_batch_with_another_number_of_rows_is_named() -> None:
    one = evaluation(SIGNATURE, Layout(shared_inputs=(2,)))
    refusal = refused(one, np.ones((2, 2)), [1, 2, 3], np.ones((3, 2)), rows=3)
    assert refusal.violations == (
        ("inputs[0]", 'got float64[2,2], expected float64[3,2] for "x" (3 rows of float64[2])'),
        ("inputs[2]", 'got float64[3,2], expected float64[2] for "w" (shared)'),
    )


def test_missing_and_surplus_inputs_are_named() -> None:
    assert refused(evaluation(SIGNATURE), [1.0, 2.0]).message == (
        'got 1 inputs, expected 3; inputs[1]: int64 for "n" is missing (and 1 more)'
    )
    assert refused(evaluation(SIGNATURE), [1.0, 2.0], 3, [1.0, 2.0], 4.0).message == (
        "got 4 inputs, expected 3; inputs[3]: got float64, expected no such input"
    )


ROWS_ONLY = prepared_program(
    inputs=[("x", SCALAR)], outputs=[("y", VECTOR)], flops=Bound(100, 10), nbytes=Bound(50, 24)
)


def test_a_program_that_costs_too_much_is_refused_with_the_numbers() -> None:
    one = evaluation(ROWS_ONLY, held=limits(flops=1000))
    one.check(slice_evaluate(join(evaluate_parts(inputs=tensors(np.ones(90)), rows=90))))
    refusal = refused(one, np.ones(91), rows=91)
    assert refusal.reason == "PROGRAM_TOO_EXPENSIVE"
    assert (refusal.details["value"], refusal.details["limit"]) == ("1010", "1000")
    assert refusal.details["setting"] == "--max-request-flops"


def test_a_row_that_no_worker_can_hold_is_refused() -> None:
    refusal = refused(evaluation(ROWS_ONLY, held=limits(memory=73)), 1.0)
    assert (refusal.reason, refusal.details["name"]) == ("PROGRAM_TOO_EXPENSIVE", "worker-memory")


def test_a_response_that_does_not_fit_says_how_many_rows_do() -> None:
    one = evaluation(ROWS_ONLY, held=limits(message=100_000))
    refusal = refused(one, np.ones(10_000), rows=10_000)
    assert refusal.reason == "RESPONSE_TOO_LARGE"
    fits = int(refusal.details["rows_that_fit"])
    assert f"{fits:,} rows fit" in refusal.message
    one.check(slice_evaluate(join(evaluate_parts(inputs=tensors(np.ones(fits)), rows=fits))))
    refused(one, np.ones(fits + 1), rows=fits + 1)


@given(st.integers(0, 7000), st.sampled_from([DType.FLOAT32, DType.BOOL, DType.INT64]), st.integers(0, 3))
@settings(max_examples=60)
def test_a_response_that_is_let_through_does_fit(rows: int, dtype: DType, rank: int) -> None:
    type = TensorType(dtype, (1,) * rank)
    one = evaluation(prepared_program(inputs=[("x", SCALAR)], outputs=[("y", type)] * 3), held=limits(message=50_000))
    request = slice_evaluate(join(evaluate_parts(inputs=tensors(np.ones(rows)), rows=rows)))
    if rows * 3 * dtype.itemsize > 49_000:
        with pytest.raises(Refusal, match="RESPONSE_TOO_LARGE"):
            one.check(request)
        return
    one.check(request)
    data = memoryview(bytes(rows * dtype.itemsize))
    job = Job(
        work=one,
        payload=EvaluatePayload((), True, 0.0),
        rows=rows,
        nbytes=0,
        deadline=0,
        key="",
        solo=False,
    )
    (answer,) = one.answers(TaskResult(outputs=(data,) * 3, compute_seconds=0, executor="reference"), [job])
    assert len(answer) <= 50_000  # type: ignore[arg-type]
