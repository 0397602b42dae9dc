"""Tasks for workers: small plans, their inputs, and what comes of them."""

from __future__ import annotations

import os

import numpy as np
from tests.kit.server.children import PATIENCE

import gradwire_engine.vocabulary as v
from gradwire.wire.programs import encode_graph, encode_program
from gradwire_engine.attributes import Shape, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph
from gradwire_engine.program import Program
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_server.ipc.arena import memory_file, seal
from gradwire_server.processes.lent_worker import LentWorker
from gradwire_server.processes.tasks import Constant, ExplainTask, Task, TaskInput

MIB = 1 << 20
VECTOR = TensorType(DType.FLOAT64, (ROWS, 3))


def a_graph(shift: float = 0.0) -> Graph:
    """-x + shift."""
    builder = GraphBuilder()
    x = builder.input("x", VECTOR)
    return builder.finish([-x + shift if shift else -x])


def a_loop(max_steps: int) -> Graph:
    """x doubled as long as it is between 0 and 100."""
    scalar = TensorType(DType.FLOAT64)
    condition, body, builder = GraphBuilder(), GraphBuilder(), GraphBuilder()
    value, state, x = [one.input("x", scalar) for one in (condition, body, builder)]
    graphs = condition.finish([(value > 0.0) & (value < 100.0)]), body.finish([state * 2.0])
    attributes = While(condition_constants=0, body_constants=0, max_steps=max_steps)
    return builder.finish(builder.emit_all("while", [x], attributes, graphs))


def a_task(x: np.ndarray, shift: float = 0.0, pieces: int = 1) -> Task:
    graph = a_graph(shift)
    parts = tuple(part.tobytes() for part in np.array_split(x, pieces))
    return Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=len(x),
        inputs=(TaskInput(dtype=DType.FLOAT64, shape=x.shape, pieces=parts),),
        outputs=(VECTOR.with_rows(len(x)),),
        memory_bytes=1 << 30,
    )


def outputs_of(worker: LentWorker, task: Task, timeout: float = PATIENCE) -> list[np.ndarray]:
    result = worker.run(task, timeout)
    return [
        np.frombuffer(data, type.dtype.numpy).reshape(type.shape).copy()
        for data, type in zip(result.outputs, task.outputs, strict=True)
    ]


def numbers(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 3))


def a_constant(array: np.ndarray) -> Constant:
    fileno = memory_file("constant", array.nbytes)
    os.pwrite(fileno, array.tobytes(), 0)
    seal(fileno, content=True)
    return Constant(digest=array.tobytes()[:32], nbytes=array.nbytes, fileno=fileno)


def a_shifted_task(x: np.ndarray, shift: Constant) -> Task:
    """x + shift, the shift being one constant for all rows."""
    builder = GraphBuilder()
    a, b = builder.input("x", VECTOR), builder.input("shift", TensorType(DType.FLOAT64, (3,)))
    graph = builder.finish([a + b.emit("broadcast_to", attributes=Shape((ROWS, 3)))])
    return Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=len(x),
        inputs=(
            TaskInput(dtype=DType.FLOAT64, shape=x.shape, pieces=(x.tobytes(),)),
            TaskInput(dtype=DType.FLOAT64, shape=(3,), constant=shift),
        ),
        outputs=(VECTOR.with_rows(len(x)),),
        memory_bytes=MIB,
    )


def an_explain_task(x: float, y: float, **changes: object) -> ExplainTask:
    builder = GraphBuilder()
    a, b = (builder.input(name, TensorType(DType.FLOAT64)) for name in "xy")
    program = Program(builder.finish([v.sin(a) + a * b]))
    inputs = tuple(TaskInput(dtype=DType.FLOAT64, shape=(), pieces=(np.float64(at).tobytes(),)) for at in (x, y))
    return ExplainTask(**{"program": encode_program(program), "inputs": inputs, "mode": "forward", **changes})
