"""Whatever is wrong ends in one typed error that names the cause, soon, and the service goes on."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradwire as gw
from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, service_pb2, tensor_pb2

SOON_SECONDS = 30.0
"""Half of what a client waits by default: no error comes from waiting. Far above what a busy machine takes for any."""

FLOAT = tensor_pb2.TensorType(dtype=tensor_pb2.DTYPE_FLOAT64)


@pytest.fixture(autouse=True)
def goes_on(client: gw.Client) -> Iterator[None]:
    """After each mistake the service still answers."""
    yield
    assert gw.grad(lambda x: x * x)(3.0) == 6.0


def program(*nodes: graph_pb2.Node, output: int = 0) -> program_pb2.Program:
    """A graph of one float64 input x with these nodes."""
    graph = graph_pb2.Graph(
        inputs=[graph_pb2.Value(name="x", type=FLOAT)], nodes=nodes, outputs=[graph_pb2.Output(value=output)]
    )
    return program_pb2.Program(opset=1, graph=graph)


def scalar(value: float, **fields: Any) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT64, data=np.float64(value).tobytes(), **fields)


def request(
    wanted: program_pb2.Program, inputs: tuple[tensor_pb2.Tensor, ...] = (scalar(1.0),), **fields: Any
) -> bytes:
    message = service_pb2.EvaluateRequest(program=wanted.SerializeToString(), inputs=inputs, **fields)
    return message.SerializeToString()


def sine(operand: int) -> graph_pb2.Node:
    return graph_pb2.Node(op=ops_pb2.OP_SIN, operands=[operand])


def broadcast(length: int) -> graph_pb2.Node:
    return graph_pb2.Node(op=ops_pb2.OP_BROADCAST_TO, operands=[0], shape=graph_pb2.ShapeAttributes(shape=[length]))


GOOD = program(sine(0), output=1)
MISTAKES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "an unknown op": (
        lambda: request(program(graph_pb2.Node(op=ops_pb2.Op.ValueType(9999), operands=[0]), output=1)),
        "UNSUPPORTED_OP",
        "9999",
    ),
    "a loop without a body": (
        lambda: request(program(graph_pb2.Node(op=ops_pb2.OP_WHILE, operands=[0]), output=1)),
        "INVALID_GRAPH",
        "while",
    ),
    "an opset of the future": (
        lambda: request(program_pb2.Program(opset=99, graph=GOOD.graph)),
        "UNSUPPORTED_OPSET",
        "99",
    ),
    "a wrong shape": (
        lambda: request(
            program(broadcast(2), graph_pb2.Node(op=ops_pb2.OP_ADD, operands=[0, 1]), output=2),
        ),
        "INVALID_GRAPH",
        "float64[2]",
    ),
    "a dangling operand": (lambda: request(program(sine(7), output=1)), "INVALID_GRAPH", "value 7"),
    "a broadcast to 10^12 elements": (
        lambda: request(program(broadcast(10**12), output=1)),
        "PROGRAM_TOO_EXPENSIVE",
        "worker-memory",
    ),
    "a million nodes": (
        lambda: request(program(*[sine(i) for i in range(1_000_000)], output=1)),
        "PROGRAM_TOO_EXPENSIVE",
        "limit",
    ),
    "truncated bytes": (lambda: request(GOOD)[:-3], "MALFORMED_REQUEST", ""),
    "random bytes": (lambda: np.random.default_rng(5).bytes(500), "MALFORMED_REQUEST", ""),
    "a program of random bytes": (
        lambda: service_pb2.EvaluateRequest(program=b"\x00\xff" * 40).SerializeToString(),
        "MALFORMED_REQUEST",
        "program",
    ),
    "a missing input": (lambda: request(GOOD, ()), "INPUT_MISMATCH", "expected 1"),
    "a wrong digest": (
        lambda: request(GOOD, (scalar(1.0, digest=b"\x01" * 32),)),
        "CONSTANT_HASH_MISMATCH",
        "digest",
    ),
    "a digest that nobody knows": (
        lambda: request(GOOD, (tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT64, digest=b"\x02" * 32),)),
        "CONSTANT_NOT_FOUND",
        "",
    ),
    "a program that is not known": (
        lambda: service_pb2.EvaluateRequest(program_id="sha256:" + "0" * 64).SerializeToString(),
        "PROGRAM_NOT_FOUND",
        "",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_client_in_another_language_may_get_wrong(client: gw.Client, mistake: str) -> None:
    make, reason, said = MISTAKES[mistake]
    data = make()
    start = time.perf_counter()
    with pytest.raises(gw.RequestError) as caught:
        client.call("Evaluate", data)
    assert time.perf_counter() - start < SOON_SECONDS
    assert caught.value.reason == reason
    assert said in str(caught.value) + str(caught.value.violations)
    assert caught.value.request_id


def test_integers_are_not_differentiated() -> None:
    with pytest.raises(gw.TracingError, match="int64"):
        gw.grad(lambda x, n: x * n, argnums=1)(1.0, 2)


def test_grad_of_a_vector_names_what_to_use() -> None:
    with pytest.raises(gw.TracingError, match="jac"):
        gw.grad(lambda x: x * 2)(np.ones(3))


def test_a_deadline_that_cannot_be_met() -> None:
    def slow(x: Any) -> Any:
        for _ in range(300):
            x = np.sin(x)
        return x

    with gw.connect(timeout=60.0) as patient:
        points = np.ones(100_000)
        gw.vmap(slow)(points[:10])
        target = patient.target
        with gw.connect(target, timeout=0.001):
            start = time.perf_counter()
            with pytest.raises(gw.TimeLimitError):
                gw.vmap(slow)(points)
            assert time.perf_counter() - start < SOON_SECONDS
        assert gw.remote(slow)(1.0) == pytest.approx(slow(1.0))


def test_a_server_that_is_gone() -> None:
    with gw.connect() as own:
        square = gw.remote(lambda x: x * x)
        assert square(2.0) == 4.0
        own.end_private_service()
        start = time.perf_counter()
        with pytest.raises(gw.ServiceError):
            square(2.0)
        assert time.perf_counter() - start < SOON_SECONDS


def test_nobody_listens() -> None:
    with gw.connect("unix:/nowhere/at/all", timeout=60.0):
        start = time.perf_counter()
        with pytest.raises(gw.GradwireError):
            gw.remote(lambda x: x)(1.0)
        assert time.perf_counter() - start < SOON_SECONDS


def test_a_port_in_use(tmp_path: Any) -> None:
    address = f"unix:{tmp_path}/s"
    command = [sys.executable, "-m", "gradwire.cli", "serve", "--http-listen", "", "--workers", "1", "--listen"]
    with subprocess.Popen([*command, address], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert "ready" in first.stdout.readline()
        second = subprocess.run([*command, address], capture_output=True, text=True, timeout=30, check=False)
        first.terminate()
    assert second.returncode == 1
    lines = [line for line in second.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert "use" in lines[0]


# Ten mistakes in users' functions: one message each, with the line and the remedy


def branching(x: Any) -> Any:
    return x if x[0] > 0 else -x


def assigning(x: Any) -> Any:
    x[0] = 1.0
    return np.sum(x)


def converting(x: Any) -> Any:
    return np.sum(np.asarray(x))


def from_math(x: Any) -> Any:
    return math.sin(x[0])


def ragged(x: Any) -> Any:
    return np.sum(np.array([[x[0], x[1]], [x[2]]]))


def changing(x: Any) -> Any:
    return gw.scan(lambda carry, entry: (carry + entry, None), 0, x)[0]


def endless(x: Any) -> Any:
    return gw.while_loop(lambda v: v > 0.0, lambda v: v + 1.0, x[0], max_steps=50)


def counting(x: Any) -> Any:
    return gw.grad(lambda n: n * np.sum(x))(3)


def unknown(x: Any) -> Any:
    return np.sort_complex(x)


def recursive(x: Any) -> Any:
    return np.where(x[0] <= 1.0, 1.0, x[0] * recursive(x - 1.0))


TEN: list[tuple[Callable[[Any], Any], type[gw.GradwireError], str, str]] = [
    (branching, gw.TracingError, "if x[0] > 0", r"np\.where.*gw\.cond"),
    (assigning, gw.TracingError, "x[0] = 1.0", r"np\.where|np\.concatenate"),
    (converting, gw.TracingError, "np.asarray(x)", "Leave x as it is"),
    (from_math, gw.TracingError, "math.sin(x[0])", r"Write np\.sin"),
    (ragged, gw.TracingError, "[[x[0], x[1]], [x[2]]]", r"different lengths.*np\.where"),
    (
        changing,
        gw.TracingError,
        "gw.scan(",
        r"carry goes in as int64 .* out of <lambda> as float64.* 0\.0 instead of 0",
    ),
    (endless, gw.RowError, "gw.while_loop(", "max_steps = 50 steps; allow more"),
    (counting, gw.TracingError, "gw.grad(lambda n", r"int64.*float\(…\)|gw\.remote"),
    (unknown, gw.TracingError, "np.sort_complex(x)", "write it with operations that can"),
    (recursive, gw.TracingError, "recursive(x - 1.0)", r"gw\.while_loop or gw\.scan"),
]


@pytest.mark.parametrize(("function", "kind", "text", "remedy"), TEN, ids=[one[0].__name__ for one in TEN])
def test_a_mistake_ends_in_one_message_with_the_line_and_the_remedy(
    function: Callable[[Any], Any], kind: type[gw.GradwireError], text: str, remedy: str
) -> None:
    start = time.perf_counter()
    with pytest.raises(kind, match=remedy) as caught:
        gw.grad(function)(np.array([1.5, 2.0, 3.0]))
    assert time.perf_counter() - start < SOON_SECONDS
    code = function.__code__
    lines = re.findall(re.escape(__file__) + r":(\d+): (.*)", str(caught.value))
    assert len(lines) == 1
    assert code.co_firstlineno < int(lines[0][0]) <= code.co_firstlineno + 2
    assert text in lines[0][1]
    assert caught.value.__cause__ is None
