"""Reverse mode through long loops: what a budget of bytes costs in time, steps and memory.

100,000 steps of a state of 64 numbers, once as a scan and once as a while that ends by itself. Without a budget the
carries of all steps are kept (51 MB); with one of 128 KB there is room for 255 or 256 of them. The reference executor
runs both, interleaved; memory is measured in runs of their own.

    python tests/benchmarks/loops.py [STEPS]
"""

from __future__ import annotations

import statistics
import sys
import time
import tracemalloc

import numpy as np

from gradwire_engine.attributes import Scan, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import Executable, compile
from gradwire_engine.graph import Graph
from gradwire_engine.ops.control.binomial import least_steps
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Layout, Program
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import sin, sum_over

ROUNDS = 3
STATE = TensorType(DType.FLOAT64, (64,))
SCALAR = TensorType(DType.FLOAT64)
BUDGET, WITHOUT = 128 << 10, 1 << 50


def step(w: Value, c: Value) -> Value:
    """One step of the loop."""
    return sin(c * w) + c * 0.5


def scan(steps: int) -> Graph:
    """The sum of the state after so many steps."""
    body = GraphBuilder()
    w, c = body.input("w", STATE), body.input("c", STATE)
    graph = body.finish([step(w, c)])
    builder = GraphBuilder()
    operands = [builder.input("w", STATE), builder.input("x", STATE)]
    (last,) = builder.emit_all("scan", operands, Scan(constants=1, carries=1, length=steps), [graph])
    return builder.finish([sum_over(last, [0])])


def while_loop(steps: int) -> Graph:
    """The same, but when it ends is decided at every step."""
    condition, body, builder = GraphBuilder(), GraphBuilder(), GraphBuilder()
    condition.input("c", STATE)
    test = condition.finish([condition.input("i", SCALAR) < float(steps)])
    w, c, i = body.input("w", STATE), body.input("c", STATE), body.input("i", SCALAR)
    graph = body.finish([step(w, c), i + 1.0])
    operands = [builder.input("w", STATE), builder.input("x", STATE), builder.constant(np.asarray(0.0))]
    attributes = While(condition_constants=0, body_constants=1, max_steps=2 * steps)
    last, _ = builder.emit_all("while", operands, attributes, [test, graph])
    return builder.finish([sum_over(last, [0])])


def seconds(executable: Executable, inputs: list[np.ndarray]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    executable.run(inputs, 1)
    return time.perf_counter() - start


def peak(executable: Executable, inputs: list[np.ndarray]) -> int:
    """The most bytes that a run allocates at a time."""
    tracemalloc.start()
    try:
        executable.run(inputs, 1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def compare(name: str, graph: Graph, steps: int, state_bytes: int) -> None:
    """One line a loop."""
    layout, inputs = Layout(shared_inputs=(0, 1)), [np.linspace(0.5, 1.5, 64), np.linspace(-1.0, 1.0, 64)]
    value = compile(prepare(Program(graph), layout).graph)
    kept, bounded = (prepare(Program(graph, (Grad((0, 1)),), 1, budget), layout) for budget in (WITHOUT, BUDGET))
    runs = [value, compile(kept.graph), compile(bounded.graph)]
    rounds = [[seconds(one, inputs) for one in runs] for _ in range(ROUNDS)]
    times = [statistics.median(column) for column in zip(*rounds, strict=True)]
    optimum = least_steps(steps, BUDGET // state_bytes)
    print(
        f"{name:6} value {times[0]:6.2f} s   gradient {times[1]:6.2f} s   within 128 KB {times[2]:6.2f} s "
        f"({times[2] / times[1]:.2f} times)   peak {peak(runs[2], inputs):,} bytes, foreseen "
        f"{bounded.cost.bytes.at(1):,}; without a budget {kept.cost.bytes.at(1):,}   least steps {optimum:,}"
    )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    compare("scan", scan(count), count, 512)
    compare("while", while_loop(count), count, 520)
