"""Requests merged into a task and taken apart again, with a worker played by numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.server.ready_programs import SCALAR, SIGNATURE, VECTOR, evaluate_job, ready_program, tensors

from gradwire._version import __version__
from gradwire.wire.requests import evaluate_parts, join, slice_evaluate
from gradwire.wire.responses import Evaluated, decode_evaluated
from gradwire_engine.errors import RowFailure
from gradwire_engine.program import Layout
from gradwire_server.admission.ready_program import EvaluatePayload, ReadyProgram
from gradwire_server.processes.tasks import Task, TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job


def job_of(program: ReadyProgram, request: bytes) -> Job[EvaluatePayload]:
    sliced = slice_evaluate(request)
    rows, nbytes = program.checks.check(sliced)
    operands = tuple([view.data for view in sliced.inputs])
    payload = EvaluatePayload(operands, sliced.rows is not None, 0.5)  # type: ignore[arg-type]
    return evaluate_job(program, payload, rows, nbytes)


def computed(task: Task, summed: Sequence[int] = (), row_errors: tuple[RowFailure, ...] = ()) -> TaskResult:
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


def answered(program: ReadyProgram, jobs: list[Job[EvaluatePayload]], **fields: object) -> list[Evaluated]:
    result = computed(program.task(jobs), **fields)  # type: ignore[arg-type]
    answers = program.answers(result, jobs)
    assert all(isinstance(answer, bytes) for answer in answers)
    return [decode_evaluated(answer) for answer in answers]  # type: ignore[arg-type]


def test_a_request_without_a_batch_is_one_row_whose_answer_has_no_row_axis() -> None:
    program = ready_program(SIGNATURE)
    request = join(evaluate_parts(inputs=tensors([1.0, 2.0], 3, [10.0, 20.0])))
    (answer,) = answered(program, [job_of(program, request)])
    assert [output.tolist() for output in answer.outputs] == [50.0, [3.0, 6.0]]
    assert [output.shape for output in answer.outputs] == [(), (2,)]


def test_a_batch_of_one_row_keeps_its_axis_and_merges_with_one_without() -> None:
    program = ready_program(SIGNATURE)
    single = join(evaluate_parts(inputs=tensors([1.0, 2.0], 3, [10.0, 20.0])))
    batched = join(evaluate_parts(inputs=tensors([[5.0, 6.0]], [7], [[1.0, 1.0]]), rows=1))
    first, second = answered(program, [job_of(program, single), job_of(program, batched)])
    assert [output.shape for output in first.outputs] == [(), (2,)]
    assert [output.shape for output in second.outputs] == [(1,), (1, 2)]
    assert [output.tolist() for output in second.outputs] == [[11.0], [[35.0, 42.0]]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**32))
@settings(max_examples=60)
def test_everyone_gets_their_own_rows_whoever_shares_the_batch(sizes: list[int], seed: int) -> None:
    program = ready_program(SIGNATURE, Layout(shared_inputs=(2,)))
    rng = np.random.default_rng(seed)
    w = rng.normal(size=2)
    rows = [(rng.normal(size=(size, 2)), rng.integers(9, size=size)) for size in sizes]
    requests = [join(evaluate_parts(inputs=tensors(x, n, w), rows=len(x), layout=program.layout)) for x, n in rows]
    answers = answered(program, [job_of(program, request) for request in requests])
    for (x, n), answer in zip(rows, answers, strict=True):
        np.testing.assert_allclose(answer.outputs[0], x @ w)
        np.testing.assert_allclose(answer.outputs[1], n[:, None] * x)
        assert (answer.report.batch_rows, answer.report.batch_requests) == (sum(sizes), len(sizes))


def test_a_summed_output_has_no_row_axis() -> None:
    program = ready_program(SIGNATURE, Layout(summed_outputs=(1,)))
    request = join(
        evaluate_parts(inputs=tensors([[1.0, 2.0], [3.0, 4.0]], [1, 2], np.ones((2, 2))), rows=2, layout=program.layout)
    )
    (answer,) = answered(program, [job_of(program, request)], summed=(1,))
    assert [output.tolist() for output in answer.outputs] == [[3.0, 7.0], [7.0, 10.0]]
    assert program.is_solo


def test_selected_outputs_come_in_the_order_asked_for() -> None:
    program = ready_program(SIGNATURE, Layout(outputs=(1, 0)))
    assert [output.type for output in program.signature.outputs] == [VECTOR, SCALAR]


def test_the_report_says_how_it_ran() -> None:
    program = ready_program(SIGNATURE)
    job = job_of(program, join(evaluate_parts(inputs=tensors([1.0, 2.0], 3, [10.0, 20.0]))))
    job.submitted_at, job.started_at = 10.0, 10.125
    report = answered(program, [job])[0].report
    assert (report.queue_seconds, report.compute_seconds, report.prepare_seconds) == (0.125, 0.25, 0.5)
    assert (report.executor, report.server_version) == ("reference", __version__)


def test_row_errors_go_to_whom_they_belong_with_their_own_row_numbers() -> None:
    program = ready_program(SIGNATURE, Layout(shared_inputs=(2,)))
    jobs = [
        job_of(
            program,
            join(
                evaluate_parts(inputs=tensors(np.ones((3, 2)), np.arange(3), np.ones(2)), rows=3, layout=program.layout)
            ),
        )
        for _ in range(2)
    ]
    error = RowFailure(row=4, reason="MAX_STEPS_EXCEEDED", message="too long")
    first, second = answered(program, jobs, row_errors=(error,))
    assert first.row_errors == ()
    assert [(found.row, found.reason) for found in second.row_errors] == [(1, "MAX_STEPS_EXCEEDED")]


def test_with_summed_outputs_a_failed_row_fails_the_request() -> None:
    program = ready_program(SIGNATURE, Layout(summed_outputs=(0,)))
    job = job_of(
        program,
        join(evaluate_parts(inputs=tensors(np.ones((1, 2)), [1], np.ones((1, 2))), rows=1, layout=program.layout)),
    )
    error = RowFailure(row=0, reason="MAX_STEPS_EXCEEDED", message="too long")
    (refusal,) = program.answers(computed(program.task([job]), summed=(0,), row_errors=(error,)), [job])
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.details["row"]) == ("MAX_STEPS_EXCEEDED", "0")
