"""What does not fit a prepared program: wrong inputs, too much work, and answers larger than a message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.server.fakes import prepared_program
from tests.kit.server.ready_programs import SCALAR, SIGNATURE, VECTOR, evaluate_job, ready_program, tensors

from gradwire.wire.requests import evaluate_parts, join, slice_evaluate
from gradwire_engine.bounds import Bound
from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.admission.ready_program import EvaluatePayload, ReadyProgram
from gradwire_server.config.texts import MIB
from gradwire_server.processes.tasks import TaskResult
from gradwire_server.refusal import Refusal


def refused(program: ReadyProgram, *arrays: object, rows: int | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        program.checks.check(
            slice_evaluate(join(evaluate_parts(inputs=tensors(*arrays), rows=rows, layout=program.layout)))
        )
    return caught.value


def test_a_wrong_input_is_named_with_what_was_got_and_expected() -> None:
    refusal = refused(ready_program(SIGNATURE), [1.0, 2.0, 3.0], 3, [1.0, 2.0])
    assert refusal.reason == "INPUT_MISMATCH"
    assert refusal.message == 'inputs[0]: got float64[3], expected float64[2] for "x"'
    assert refusal.violations == (("inputs[0]", 'got float64[3], expected float64[2] for "x"'),)


def test_all_wrong_inputs_are_listed() -> None:
    refusal = refused(ready_program(SIGNATURE), [1.0, 2.0], 3.0, np.float32(1))
    assert [path for path, _ in refusal.violations] == ["inputs[1]", "inputs[2]"]
    assert refusal.message.endswith("(and 1 more)")


def test_a_batch_with_another_number_of_rows_is_named() -> None:
    program = ready_program(SIGNATURE, Layout(shared_inputs=(2,)))
    refusal = refused(program, np.ones((2, 2)), [1, 2, 3], np.ones((3, 2)), rows=3)
    assert refusal.violations == (
        ("inputs[0]", 'got float64[2,2], expected float64[3,2] for "x" (3 rows of float64[2])'),
        ("inputs[2]", 'got float64[3,2], expected float64[2] for "w" (shared)'),
    )


def test_missing_and_surplus_inputs_are_named() -> None:
    assert refused(ready_program(SIGNATURE), [1.0, 2.0]).message == (
        'got 1 inputs, expected 3; inputs[1]: int64 for "n" is missing (and 1 more)'
    )
    assert refused(ready_program(SIGNATURE), [1.0, 2.0], 3, [1.0, 2.0], 4.0).message == (
        "got 4 inputs, expected 3; inputs[3]: got float64, expected no such input"
    )


ROWS_ONLY = prepared_program(
    inputs=[("x", SCALAR)], outputs=[("y", VECTOR)], flops=Bound(100, 10), nbytes=Bound(50, 24)
)


def test_a_program_that_costs_too_much_is_refused_with_the_numbers() -> None:
    program = ready_program(ROWS_ONLY, max_request_flops=1000)
    program.checks.check(slice_evaluate(join(evaluate_parts(inputs=tensors(np.ones(90)), rows=90))))
    refusal = refused(program, np.ones(91), rows=91)
    assert refusal.reason == "PROGRAM_TOO_EXPENSIVE"
    assert (refusal.details["value"], refusal.details["limit"]) == ("1010", "1000")
    assert refusal.details["setting"] == "--max-request-flops"


def test_a_row_that_no_worker_can_hold_is_refused() -> None:
    enough = prepared_program(inputs=[("x", SCALAR)], nbytes=Bound(64 * MIB - 24, 24))
    assert ready_program(enough, worker_memory=64 * MIB).checks.check(
        slice_evaluate(join(evaluate_parts(inputs=tensors(1.0))))
    ) == (1, 16)
    one_more = prepared_program(inputs=[("x", SCALAR)], nbytes=Bound(64 * MIB - 23, 24))
    refusal = refused(ready_program(one_more, worker_memory=64 * MIB), 1.0)
    assert (refusal.reason, refusal.details["name"]) == ("PROGRAM_TOO_EXPENSIVE", "worker-memory")


def test_a_response_that_does_not_fit_says_how_many_rows_do() -> None:
    program = ready_program(ROWS_ONLY, max_message_bytes=100_000)
    refusal = refused(program, np.ones(10_000), rows=10_000)
    assert refusal.reason == "RESPONSE_TOO_LARGE"
    fits = int(refusal.details["rows_that_fit"])
    assert f"{fits:,} rows fit" in refusal.message
    program.checks.check(slice_evaluate(join(evaluate_parts(inputs=tensors(np.ones(fits)), rows=fits))))
    refused(program, np.ones(fits + 1), rows=fits + 1)


OVERHEAD = 512 + 3 * (8 + 16 * 10 + 32)
"""What a response of three outputs takes at most, besides their data."""


@given(st.integers(0, 9000), st.sampled_from([DType.FLOAT32, DType.BOOL, DType.INT64]), st.integers(0, 3))
@settings(max_examples=60)
def test_a_response_that_is_let_through_does_fit(rows: int, dtype: DType, rank: int) -> None:
    type = TensorType(dtype, (1,) * rank)
    prepared = prepared_program(inputs=[("x", SCALAR)], outputs=[("y", type)] * 3)
    program = ready_program(prepared, max_message_bytes=65_536)
    request = slice_evaluate(join(evaluate_parts(inputs=tensors(np.ones(rows)), rows=rows)))
    if rows * 3 * dtype.itemsize > 65_536 - OVERHEAD:
        with pytest.raises(Refusal, match="RESPONSE_TOO_LARGE"):
            program.checks.check(request)
        return
    program.checks.check(request)
    data = memoryview(bytes(rows * dtype.itemsize))
    job = evaluate_job(program, EvaluatePayload((), True, 0.0), rows)
    (answer,) = program.answers(TaskResult(outputs=(data,) * 3, compute_seconds=0, executor="reference"), [job])
    assert len(answer) <= 65_536  # type: ignore[arg-type]
