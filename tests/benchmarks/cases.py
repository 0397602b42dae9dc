"""What `compare.py` measures of one checkout: run by that checkout's Python, asked over standard input and output.

Everything goes through what users have: `gradwire` and a private service, the bytes of a program, `prepare`. So two
checkouts can be compared whose modules have other names. A figure is CPU seconds for each call, of this process and all
its children (client, front, workers), which a busy machine disturbs least; where the kernel does not say, it is wall
time. The wire's figure is a ratio of wall times: a gradient over an echo of the same bytes, call by call in turns.

A request is a line of JSON, {"case": name, "calls": n}; so is the answer, {"figure": number}. An empty line ends it.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import wire_overhead

import gradwire as gw
from gradwire.wire.programs import decode_program, encode_program
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Layout, Program
from gradwire_engine.types import DType, TensorType
from gradwire_engine.vocabulary import sin

ROOT = Path(__file__).resolve().parents[2]
NODES = 15_000
BUDGET = 40 * 520
RNG = np.random.default_rng(0)

Call = Callable[[], object]


def cpu_seconds() -> float:
    """What this process and its children have used so far."""
    try:
        total, todo = 0, ["self"]
        while todo:
            tasks = Path("/proc") / todo.pop() / "task"
            for task in tasks.iterdir():
                total += int((task / "schedstat").read_text().split()[0])
                todo += (task / "children").read_text().split()
        return total / 1e9
    except OSError:
        return time.perf_counter()


# Preparing


def chain(nodes: int) -> bytes:
    """The gradient of x ↦ sin(sin(x) y) y …, as a program."""
    builder = GraphBuilder()
    scalar = TensorType(DType.FLOAT64)
    x, y = builder.input("x", scalar), builder.input("y", scalar)
    for _ in range(nodes // 7):  # of seven nodes of the gradient, two are the function's
        x = sin(x) * y
    return encode_program(Program(builder.finish([x]), (Grad((0, 1)),)))


def preparing(nodes: int) -> Call:
    """From bytes to a plan, with the garbage collector off, as the preparing process does it."""
    data = chain(nodes)

    def call() -> object:
        gc.disable()
        try:
            return prepare(decode_program(data), Layout())
        finally:
            gc.enable()

    return call


# Executing


def small_gradient() -> Call:
    both = gw.grad(wire_overhead.function, argnums=(0, 1))
    return lambda: both(1.5, 2.0)


def batch() -> Call:
    x, y = RNG.normal(size=(2, 65_536))
    batched = gw.vmap(gw.grad(wire_overhead.function, argnums=(0, 1)))
    return lambda: batched(x, y)


def training() -> Call:
    """The summed gradient of a network with one hidden layer: products of matrices."""

    def loss(w: Any, v: Any, x: Any, y: Any) -> Any:
        return np.sum((np.tanh(x @ w) @ v - y) ** 2)

    w, v = 0.05 * RNG.normal(size=(784, 128)), 0.1 * RNG.normal(size=(128, 10))
    x, y = RNG.normal(size=(256, 784)), RNG.normal(size=(256, 10))
    gradient = gw.grad(loss, argnums=(0, 1))
    return lambda: gradient(w, v, x, y)


def lstm(second: bool = False) -> Call:
    """GradBench's, of 200 steps and 14 features; `second`: the derivative of its gradient in one direction."""
    from tests.gradbench.evals.lstm import GRADIENT, loss

    bits, layers, steps = 14, 2, 200
    main, extra = RNG.random((2 * layers, 4 * bits)), RNG.random((3, bits))
    state, sequence = RNG.random((2 * layers, bits)), RNG.integers(0, 2, (steps, bits)).astype(float)
    if not second:
        return lambda: GRADIENT(main, extra, state, sequence)
    gradient = gw.grad(loss)
    along = gw.remote(lambda main, seed: gw.jvp(lambda m: gradient(m, extra, state, sequence), (main,), (seed,))[1])
    seed = RNG.normal(size=main.shape)
    return lambda: along(main, seed)


def long_scan() -> Call:
    """2,000 steps of 64 numbers."""

    def total(w: Any, x: Any) -> Any:
        return np.sum(gw.scan(lambda c, _: (np.sin(c * w) + c * 0.5, None), x, None, length=2_000)[0])

    return with_budget(gw.grad(total, argnums=(0, 1)))


def long_while() -> Call:
    """The same, but when it ends is decided at every step."""

    def total(w: Any, x: Any) -> Any:
        def step(state: Any) -> Any:
            c, i = state
            return np.sin(c * w) + c * 0.5, i + 1.0

        return np.sum(gw.while_loop(lambda state: state[1] < 2_000.0, step, (x, 0.0), max_steps=4_000)[0])

    return with_budget(gw.grad(total, argnums=(0, 1)))


def with_budget(function: Callable[..., object]) -> Call:
    """Under a budget of bytes that 40 states of the loop take."""
    w, x = np.linspace(0.5, 1.5, 64), np.linspace(-1.0, 1.0, 64)

    def call() -> object:
        with gw.connect(snapshot_bytes=BUDGET):  # the service that $GRADWIRE_TARGET names
            return function(w, x)

    return call


# Masks


def guarded_log(forward: bool) -> Call:
    """where(x > 0, log x, 0), summed, for 10,000 rows of 100: masks that only the data decide."""

    def function(x: Any) -> Any:
        return np.sum(np.where(x > 0.0, np.log(x), 0.0))

    points, seeds = RNG.normal(size=(2, 10_000, 100))
    if forward:
        along = gw.vmap(lambda x, seed: gw.jvp(function, (x,), (seed,)))
        return lambda: along(points, seeds)
    gradient = gw.vmap(gw.grad(function))
    return lambda: gradient(points)


CASES: dict[str, Callable[[], Call]] = {
    "prepare: small gradient": lambda: preparing(14),
    f"prepare: gradient of {NODES:,} nodes": lambda: preparing(NODES),
    "small gradient": small_gradient,
    "65,536 gradients": batch,
    "training gradient": training,
    "LSTM gradient": lstm,
    "LSTM Hessian times vector": lambda: lstm(second=True),
    "scan within a budget": long_scan,
    "while within a budget": long_while,
    "masks: guarded log, gradient": lambda: guarded_log(forward=False),
    "masks: guarded log, jvp": lambda: guarded_log(forward=True),
}

WIRE = "wire: small gradient over echo"


@contextmanager
def echo_channel() -> Iterator[grpc.Channel]:
    """A channel to the echo of `wire_overhead`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'echo'}"
        command = [sys.executable, wire_overhead.__file__, "--serve-echo", address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            server.stdout.readline()
            with grpc.insecure_channel(address) as channel:
                yield channel
            server.stdin.close()


def over_echo(channel: grpc.Channel, calls: int) -> float:
    """How many times the wall time of an echo a small gradient takes."""
    echo, gradient = channel.unary_unary(wire_overhead.METHOD), small_gradient()
    with gw.reports() as seen:
        gradient()
    payload = seen[-1].response_bytes.to_bytes(8, "little") + bytes(max(seen[-1].request_bytes - 8, 0))
    ours, bare = [], []
    for _ in range(calls):
        start = time.perf_counter()
        echo(payload)
        middle = time.perf_counter()
        gradient()
        bare.append(middle - start)
        ours.append(time.perf_counter() - middle)
    return statistics.median(ours) / statistics.median(bare)


def seconds(call: Call, calls: int) -> float:
    """CPU seconds of one of so many calls."""
    start = cpu_seconds()
    for _ in range(calls):
        call()
    return (cpu_seconds() - start) / calls


def main() -> None:
    """Say which checkout this is, then answer."""
    sys.path.append(str(ROOT))
    with ExitStack() as stack:
        os.environ["GRADWIRE_TARGET"] = stack.enter_context(gw.connect()).target
        channel = stack.enter_context(echo_channel())
        made = cache(lambda name: CASES[name]())
        sys.stdout.write(json.dumps({"gradwire": gw.__file__, "cases": [*CASES, WIRE]}) + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            if not line.strip():
                break
            request = json.loads(line)
            name, calls = request["case"], request["calls"]
            figure = over_echo(channel, calls) if name == WIRE else seconds(made(name), calls)
            sys.stdout.write(json.dumps({"figure": figure}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
