"""Whatever is wrong ends in one typed error that names the cause, soon, and the service goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradwire as gw
from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, service_pb2, tensor_pb2

SOON_SECONDS = 5.0
"""A second of the service's time, and room for a busy machine."""

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
    "an op of a later server": (
        lambda: request(program(graph_pb2.Node(op=ops_pb2.OP_WHILE, operands=[0]), output=1)),
        "UNSUPPORTED_OP",
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
    with gw.connect("unix:/nowhere/at/all", timeout=1.0):
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


def test_an_unknown_numpy_function_is_named_with_its_line() -> None:
    with pytest.raises(gw.TracingError, match=r"test_mistakes\.py"):
        gw.remote(lambda x: np.sort_complex(x))(np.ones(3))


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda x: x if x > 0 else -x, "np.where"),
        (lambda x: float(x), "float"),
        (lambda x: np.asarray(x), "np.asarray"),
        (lambda x: __import__("math").sin(x), "np."),
    ],
    ids=["if", "float", "asarray", "math.sin"],
)
def test_what_cannot_be_traced_says_what_to_write(function: Any, advice: str) -> None:
    with pytest.raises(gw.TracingError, match=advice):
        gw.grad(function)(2.0)


def test_assignment_into_a_traced_array() -> None:
    def f(x: Any) -> Any:
        x[0] = 1.0
        return np.sum(x)

    with pytest.raises(gw.TracingError, match=r"np\.where|concatenate"):
        gw.grad(f)(np.ones(3))
