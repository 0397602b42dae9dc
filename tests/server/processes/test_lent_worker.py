"""A worker as the thread that runs a task on it sees it: results, what it holds, explanations, limits."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.kit.server.children import PATIENCE, Bell, MakePool, linux_only, worker_of
from tests.kit.server.tasks import (
    MIB,
    VECTOR,
    a_constant,
    a_loop,
    a_shifted_task,
    a_task,
    an_explain_task,
    numbers,
    outputs_of,
)

import gradwire_engine.vocabulary as v
from gradwire.v1 import service_pb2
from gradwire.wire.programs import encode_graph, encode_program
from gradwire_engine.attributes import Axes, Shape
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.program import Grad, Layout, Program
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_server.processes.child_process import WorkerLost
from gradwire_server.processes.lent_worker import LentWorker
from gradwire_server.processes.tasks import Task, TaskInput
from gradwire_server.refusal import INTERNAL_MESSAGE, Refusal


@pytest.mark.parametrize("rows", [0, 1, 7, 50_000])
def test_a_batch_is_its_pieces_one_after_the_other(worker: LentWorker, rows: int) -> None:
    x = numbers(rows)
    for pieces in (1, 3):
        np.testing.assert_array_equal(outputs_of(worker, a_task(x, pieces=pieces))[0], -x)


def test_the_result_says_how_long_it_took_and_what_ran_it(worker: LentWorker) -> None:
    result = worker.run(a_task(numbers(100_000)), PATIENCE)
    assert 0 < result.compute_seconds < PATIENCE
    assert (result.executor, result.row_errors) == ("reference", ())


def test_rows_that_fail_come_back_with_their_reasons(worker: LentWorker) -> None:
    graph = batch(a_loop(max_steps=3), Layout())
    points = np.array([-1.0, 1.0, 50.0, 2.0, 0.0])
    task = Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=5,
        inputs=(TaskInput(dtype=DType.FLOAT64, shape=(5,), pieces=(points.tobytes(),)),),
        outputs=(TensorType(DType.FLOAT64, (5,)),),
        memory_bytes=MIB,
    )
    result = worker.run(task, PATIENCE)
    assert [(one.row, one.reason) for one in result.row_errors] == [(i, "MAX_STEPS_EXCEEDED") for i in (1, 3)]
    assert "max_steps = 3" in result.row_errors[0].message
    np.testing.assert_array_equal(np.frombuffer(result.outputs[0]), [-1.0, np.nan, 100.0, np.nan, 0.0])


def test_every_dtype_and_a_scalar_pass_unchanged(worker: LentWorker) -> None:
    builder = GraphBuilder()
    shapes: list[tuple[int, ...]] = [(ROWS, 2), (), (ROWS,), (0, 3), (ROWS, 3)]
    types = [TensorType(dtype, shape) for dtype, shape in zip(DType, shapes, strict=True)]
    graph = builder.finish([builder.input(f"x{i}", type) for i, type in enumerate(types)])
    rng = np.random.default_rng(5)
    arrays = [rng.integers(0, 2, type.with_rows(5).shape).astype(type.dtype.numpy) for type in types]
    task = Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=5,
        inputs=tuple(
            TaskInput(dtype=type.dtype, shape=array.shape, pieces=(array.tobytes(),))
            for type, array in zip(types, arrays, strict=True)
        ),
        outputs=tuple(type.with_rows(5) for type in types),
        memory_bytes=MIB,
    )
    for output, array in zip(outputs_of(worker, task), arrays, strict=True):
        np.testing.assert_array_equal(output, array)
        assert output.dtype == array.dtype


def test_plans_are_kept_apart_and_sent_again_after_they_were_forgotten(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1, plans=3)
    worker = worker_of(pool, bell)
    x = numbers(4)
    for shift in [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 5.0, 4.0, 1.0, 2.0] * 2:
        np.testing.assert_allclose(outputs_of(worker, a_task(x, shift))[0], -x + shift)
    pool.release(worker)


@linux_only
def test_constants_are_mapped_once_and_unmapped_when_they_are_forgotten(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1, constants=3)
    worker = worker_of(pool, bell)
    x = numbers(4)
    arrays = [np.full(3, float(number)) for number in range(5)]
    constants = [a_constant(array) for array in arrays]

    def mapped_constants() -> int:
        return Path(f"/proc/{worker.pid}/maps").read_text().count("memfd:constant")

    for number in [0, 1, 1, 2, 3, 4, 0, 0, 4, 3]:
        np.testing.assert_array_equal(outputs_of(worker, a_shifted_task(x, constants[number]))[0], x + arrays[number])
    assert mapped_constants() == 3
    for constant in constants:
        os.close(constant.fileno)
        pool.forget_constant(constant.digest)
    outputs_of(worker, a_task(x))
    assert mapped_constants() == 0
    pool.release(worker)


@linux_only
def test_an_idle_worker_forgets_a_constant_without_being_given_work(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    constant = a_constant(np.ones(3))
    worker.run(a_shifted_task(numbers(1), constant), PATIENCE)
    pool.release(worker)
    pool.forget_constant(constant.digest)
    again = worker_of(pool, bell)
    again.run(a_shifted_task(numbers(1), constant), PATIENCE)
    assert Path(f"/proc/{again.pid}/maps").read_text().count("memfd:constant") == 1
    os.close(constant.fileno)
    pool.release(again)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_trace_table_comes_back_as_a_message(worker: LentWorker, mode: str) -> None:
    (data,) = worker.run(an_explain_task(1.5, 2.0, mode=mode), PATIENCE).outputs
    table = service_pb2.ExplainResponse.FromString(bytes(data))
    results = [np.frombuffer(row.result.data)[0] for row in table.rows]
    assert results[:2] == [1.5, 2.0]
    assert results[table.outputs[0]] == np.sin(1.5) + 3.0
    to_x = {row.name: [np.frombuffer(one.data)[0] for one in row.derivatives] for row in table.rows}
    if mode == "forward":
        last = table.rows[table.outputs[0]].name
        np.testing.assert_allclose(to_x[last], [np.cos(1.5) + 2.0, 1.5])
    else:
        np.testing.assert_allclose([to_x["x"][0], to_x["y"][0]], [np.cos(1.5) + 2.0, 1.5])


def test_explain_refuses_what_does_not_fit_and_the_worker_goes_on(worker: LentWorker) -> None:
    builder = GraphBuilder()
    x = builder.input("x", TensorType(DType.FLOAT64))
    with_transforms = encode_program(Program(builder.finish([v.sin(x)]), (Grad((0,)),)))
    one = TaskInput(dtype=DType.FLOAT32, shape=(2,), pieces=(bytes(8),))
    for changes, reason in (
        ({"max_values": 3}, "EXPLAIN_TOO_LARGE"),
        ({"max_response_bytes": 10}, "EXPLAIN_TOO_LARGE"),
        ({"program": b"\xff\xff"}, "MALFORMED_REQUEST"),
        ({"program": with_transforms}, "INVALID_GRAPH"),
        ({"inputs": ()}, "INPUT_MISMATCH"),
        ({"inputs": (one, one)}, "INPUT_MISMATCH"),
    ):
        with pytest.raises(Refusal) as caught:
            worker.run(an_explain_task(1.0, 2.0, **changes), PATIENCE)
        assert caught.value.reason == reason
    worker.run(an_explain_task(1.0, 2.0), PATIENCE)


BIG = 100 * MIB // 8


def a_hungry_task(elements: int = BIG) -> Task:
    """Little in, little out, and a value of `elements` numbers between them."""
    builder = GraphBuilder()
    x = builder.input("x", VECTOR)
    wide = v.sin(x.emit("sum", attributes=Axes((0, 1))).emit("broadcast_to", attributes=Shape((elements,))))
    graph = builder.finish([wide.emit("sum", attributes=Axes((0,)))])
    return Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=1,
        inputs=(TaskInput(dtype=DType.FLOAT64, shape=(1, 3), pieces=(bytes(24),)),),
        outputs=(TensorType(DType.FLOAT64),),
        memory_bytes=1 << 40,
    )


@linux_only
def test_a_task_over_its_memory_fails_and_the_worker_goes_on(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1, memory_bytes=64 * MIB)
    worker = worker_of(pool, bell)
    x = numbers(3)
    for _ in range(3):
        outputs_of(worker, a_task(x))
        with pytest.raises(Refusal) as caught:
            worker.run(a_hungry_task(), PATIENCE)
        assert caught.value.reason == "TASK_MEMORY_LIMIT"
        assert caught.value.details == {
            "name": "worker-memory",
            "limit": str(64 * MIB),
            "unit": "bytes",
            "setting": "--worker-memory",
        }
        np.testing.assert_array_equal(outputs_of(worker, a_task(x))[0], -x)
    assert outputs_of(worker, a_hungry_task(1000))[0] == 0
    pool.release(worker)
    assert bell.restarts == []


def test_a_task_larger_than_the_arena_fails_before_it_is_sent(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1, arena_bytes=MIB, arena_keep_bytes=0)
    worker = worker_of(pool, bell)
    with pytest.raises(Refusal, match="TASK_MEMORY_LIMIT") as caught:
        worker.run(a_task(numbers(30_000)), PATIENCE)
    assert caught.value.details["limit"] == str(MIB)
    x = numbers(20_000)
    np.testing.assert_array_equal(outputs_of(worker, a_task(x))[0], -x)
    pool.release(worker)


def test_a_task_over_its_time_is_killed_and_its_worker_replaced(make_pool: MakePool, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    os.kill(worker.pid, signal.SIGSTOP)  # as good as a task that never ends
    with pytest.raises(WorkerLost) as caught:
        worker.run(a_task(numbers(1)), 0.01)
    assert (caught.value.cause, caught.value.signal) == ("time_limit", signal.SIGKILL)
    pool.release(worker)
    another = worker_of(pool, bell)
    assert another.pid != worker.pid
    x = numbers(2)
    np.testing.assert_array_equal(outputs_of(another, a_task(x))[0], -x)
    pool.release(another)
    assert bell.restarts == ["time_limit"]


def test_a_plan_that_cannot_be_decoded_is_our_fault_and_told_to_the_log_alone(worker: LentWorker) -> None:
    task = a_task(numbers(1))
    wrong = Task(plan_id="another", plan=task.plan, rows=2, inputs=task.inputs, outputs=task.outputs, memory_bytes=MIB)
    with pytest.raises(Refusal) as caught:
        worker.run(wrong, PATIENCE)
    assert (caught.value.reason, caught.value.message) == ("INTERNAL", INTERNAL_MESSAGE)
    assert "Traceback" in caught.value.log
    outputs_of(worker, task)
