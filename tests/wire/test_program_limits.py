"""Programs that are small to send and large to handle: each is refused early, with the limit's name."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from tests.kit.engine.building import F64, f64, graph_of
from tests.wire.programs import message, refused

from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, tensor_pb2
from gradwire.wire.programs import decode_program, encode_program
from gradwire_engine.attributes import Shape
from gradwire_engine.errors import LimitError
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Jacobian, JacobianMode, Jvp, Layout, Limits, Program
from gradwire_engine.vocabulary import sin

# Limits


@pytest.mark.parametrize(
    ("limits", "name", "program"),
    [
        (Limits(bytes=10), "max-program-bytes", message()),
        (Limits(nodes=2), "max-program-nodes", message()),
        (Limits(rank=1), "max-rank", message(graph_of(sin, f64(1, 1)))),
        (Limits(transforms=1), "max-transforms", message(graph_of(sin, F64))),
        (Limits(nesting=0), "max-nesting", message(
            graph_of(lambda x: x.builder.emit_all("call", [x], subgraphs=[graph_of(sin, F64)])[0], F64))),
    ],
)  # fmt: skip
def test_limits_say_their_name_the_value_and_the_limit(limits: Limits, name: str, program: program_pb2.Program) -> None:
    if name == "max-transforms":
        program.transforms.add().jvp.inputs.append(0)
        program.transforms.add().jvp.inputs.append(0)
    decode_program(program.SerializeToString())
    error = refused(program, limits)
    assert isinstance(error, LimitError)
    assert error.reason == "PROGRAM_TOO_EXPENSIVE"
    assert error.name == name
    assert error.value > error.limit
    for part in (name, f"{error.value:,.0f}", f"{error.limit:,.0f}", error.unit):
        assert part in error.message


@pytest.mark.timeout(60)
def test_a_million_nodes_are_refused_at_once() -> None:
    node = graph_pb2.Node(op=ops_pb2.OP_SIN, operands=[0]).SerializeToString()
    program = message().SerializeToString()
    nodes = b"".join([b"\x12" + bytes([len(node)]) + node] * 1_000_000)
    data = program + b"\x12" + varint(len(nodes)) + nodes  # one more piece of field `graph`, merged with the first
    assert len(data) < Limits().bytes
    error = refused(data)
    assert isinstance(error, LimitError)
    assert error.value == 1_000_003


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


@pytest.mark.timeout(60)
def test_a_million_inputs_are_refused_at_once() -> None:
    one = graph_pb2.Value(type=tensor_pb2.TensorType(dtype=tensor_pb2.DTYPE_FLOAT64)).SerializeToString()
    inputs = b"".join([b"\x0a" + bytes([len(one)]) + one] * 1_000_000)
    error = refused(b"\x08\x01\x12" + varint(len(inputs)) + inputs)
    assert isinstance(error, LimitError)
    assert error.unit == "values"


def test_a_broadcast_to_a_million_million_elements_is_a_type_and_a_cost() -> None:
    """It decodes, nothing is allocated, and its cost says what it would take."""
    graph = graph_of(lambda x: x.emit("broadcast_to", attributes=Shape((10**6, 10**6))).emit("exp"), F64)
    data = encode_program(Program(graph, (Jvp((0,)),)))
    tracemalloc.start()
    try:
        prepared = prepare(decode_program(data), Layout())
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert prepared.cost.bytes.at(1) > 10**13


def test_a_type_that_no_machine_can_hold_is_refused() -> None:
    program = message(graph_of(lambda x: x.emit("broadcast_to", attributes=Shape((3, 4))), F64))
    program.graph.nodes[0].shape.shape[:] = [2**40, 2**40]
    assert "elements" in refused(program).message


# Subgraphs that multiply


def calls(count: int, inner: int, times: int) -> graph_pb2.Graph:
    """A graph that calls another, some times one after the other."""
    graph = graph_pb2.Graph()
    graph.inputs.add(type=tensor_pb2.TensorType(dtype=tensor_pb2.DTYPE_FLOAT64))
    for k in range(times):
        graph.nodes.add(op=ops_pb2.OP_CALL, operands=[k], subgraphs=[inner])
    graph.outputs.add(value=count)
    return graph


@pytest.mark.timeout(60)
def test_subgraphs_that_double_are_refused_without_being_put_in_place() -> None:
    """Thirty levels of two calls each: a billion nodes in two kilobytes."""
    program = program_pb2.Program(opset=1)
    program.subgraphs.append(message(graph_of(sin, F64)).graph)
    for level in range(30):
        program.subgraphs.append(calls(2, level, 2))
    program.graph.CopyFrom(calls(2, 30, 2))
    data = program.SerializeToString()
    assert len(data) < 3_000
    decoded = decode_program(data)
    assert decoded.graph.size > 2**31
    with pytest.raises(LimitError) as error:
        prepare(decoded, Layout())
    assert error.value.name == "max-program-nodes"


@pytest.mark.timeout(60)
def test_calls_with_very_many_results_are_refused() -> None:
    """Two thousand calls of a graph with ten thousand outputs: twenty million values."""
    wide = graph_pb2.Graph()
    wide.inputs.add(type=tensor_pb2.TensorType(dtype=tensor_pb2.DTYPE_FLOAT64))
    for _ in range(10_000):
        wide.outputs.add(value=0)
    program = program_pb2.Program(opset=1, subgraphs=[wide], graph=calls(1, 0, 2_000))
    error = refused(program)
    assert isinstance(error, LimitError)
    assert error.unit == "values"
    assert error.path.startswith("graph.nodes[")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("wide", ["results", "operands"])
def test_wide_calls_that_double_count_for_what_they_are(wide: str) -> None:
    """Few nodes, each with very many results or operands, put in place a hundred thousand times."""
    inner = graph_pb2.Graph()
    kind = tensor_pb2.TensorType(dtype=tensor_pb2.DTYPE_FLOAT64)
    many = 5_000
    for _ in range(many if wide == "operands" else 1):
        inner.inputs.add(type=kind)
    for _ in range(many if wide == "results" else 1):
        inner.outputs.add(value=0)
    middle = graph_pb2.Graph()
    middle.inputs.add(type=kind)
    middle.nodes.add(op=ops_pb2.OP_CALL, operands=[0] * len(inner.inputs), subgraphs=[0])
    middle.outputs.add(value=1)
    program = program_pb2.Program(opset=1, subgraphs=[inner, middle])
    for level in range(1, 17):
        program.subgraphs.append(calls(2, level, 2))
    program.graph.CopyFrom(calls(2, 17, 2))
    decoded = decode_program(program.SerializeToString())
    with pytest.raises(LimitError):
        prepare(decoded, Layout())


def test_recursion_cannot_be_written() -> None:
    program = message(graph_of(sin, F64))
    program.subgraphs.append(calls(1, 0, 1))  # itself
    assert refused(program).path == "subgraphs[0].nodes[0].subgraphs[0]"
    program = message(graph_of(sin, F64))
    program.subgraphs.extend([calls(1, 1, 1), calls(1, 0, 1)])  # each other
    assert refused(program).path == "subgraphs[0].nodes[0].subgraphs[0]"


def test_subgraphs_nest_at_most_32_deep() -> None:
    def nested(levels: int) -> bytes:
        program = program_pb2.Program(opset=1)
        program.subgraphs.append(message(graph_of(sin, F64)).graph)
        program.subgraphs.extend([calls(1, level, 1) for level in range(levels - 1)])
        program.graph.CopyFrom(calls(1, levels - 1, 1))
        return program.SerializeToString()

    assert decode_program(nested(32)).graph.nesting == 32
    error = refused(nested(33))
    assert isinstance(error, LimitError)
    assert error.name == "max-nesting"
    assert refused(nested(200)).reason == "PROGRAM_TOO_EXPENSIVE"


def test_a_jacobian_of_very_many_outputs_is_refused_while_it_is_built() -> None:
    """Each of 200 outputs of a chain of 200 nodes would need a backward sweep of its own."""

    def function(x: Any) -> list[Any]:
        found = []
        for _ in range(200):
            x = sin(x)
            found.append(x)
        return found

    program = Program(graph_of(function, f64(3)), (Jacobian((0,), JacobianMode.REVERSE),))
    with pytest.raises(LimitError) as error:
        prepare(program, Layout(), Limits(nodes=10_000))
    assert error.value.path == "transforms[0]"
    automatic = Program(program.graph, (Jacobian((0,)),))
    assert len(prepare(automatic, Layout(), Limits(nodes=10_000)).outputs) == 200
