"""What structural zeros cost: the same programs with their masks, and with every mask taken for true.

Masks that are constant fold away; those that depend on the data (a traced seed, a condition) are carried. The reference
executor runs both, interleaved.

    python tests/benchmarks/masks.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from gradwire_engine import vocabulary as v
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import Executable, compile
from gradwire_engine.graph import Graph
from gradwire_engine.passes.pipeline import optimise
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jvp, Layout, Program, Transform, Vjp
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

ROUNDS = 41


def rosenbrock() -> Graph:
    """100 variables, as a sum over slices."""
    builder = GraphBuilder()
    x = builder.input("x", TensorType(DType.FLOAT64, (100,)))
    left, right = v.slice_axis(x, 0, 0, 99), v.slice_axis(x, 0, 1, 100)
    terms = v.square(right - v.square(left)) * 100.0 + v.square(1.0 - left)
    return builder.finish([v.sum_over(terms, [0])])


def guarded_log() -> Graph:
    """where(x > 0, log(x), 0), summed: a mask that only the data decide."""
    builder = GraphBuilder()
    x = builder.input("x", TensorType(DType.FLOAT64, (100,)))
    return builder.finish([v.sum_over(v.where(x > 0.0, v.log(x), 0.0), [0])])


def without_masks(graph: Graph) -> Graph:
    """The same graph with every `masked_multiply` a plain product."""
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    for node in graph.nodes:
        operands = [values[n] for n in node.operands]
        if node.op.name == "masked_multiply":
            values.append(operands[0] * operands[1])
        else:
            values.extend(builder.copy(node, operands))
    return optimise(builder.finish([values[n] for n in graph.outputs]))


def seconds(executable: Executable, inputs: list[np.ndarray], rows: int) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    executable.run(inputs, rows)
    return time.perf_counter() - start


def main() -> None:
    """Print a table."""
    rows = 10_000
    rng = np.random.default_rng(0)
    point, seed = rng.normal(size=(2, rows, 100))
    cases: list[tuple[str, Graph, tuple[Transform, ...], list[np.ndarray]]] = [
        ("rosenbrock, gradient", rosenbrock(), (Grad((0,)),), [point]),
        ("rosenbrock, jvp", rosenbrock(), (Jvp((0,)),), [point, seed]),
        ("rosenbrock, vjp", rosenbrock(), (Vjp((0,)),), [point, seed[:, 0].copy()]),
        ("guarded log, gradient", guarded_log(), (Grad((0,)),), [point]),
        ("guarded log, jvp", guarded_log(), (Jvp((0,)),), [point, seed]),
    ]
    print(f"{'':<26}{'masks':>7}{'with ms':>10}{'without ms':>12}{'ratio':>8}")
    for name, graph, transforms, inputs in cases:
        masked = prepare(Program(graph, transforms), Layout()).graph
        plain = without_masks(masked)
        count = sum(node.op.name == "masked_multiply" for node in masked.nodes)
        runs = [compile(masked), compile(plain)]
        times = [[seconds(run, inputs, rows) for run in runs] for _ in range(ROUNDS)]
        with_masks, bare = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        print(f"{name:<26}{count:>7}{with_masks:>10.2f}{bare:>12.2f}{with_masks / bare:>8.2f}")


if __name__ == "__main__":
    main()
