"""Programs to bytes and back; what is wrong with a program is named with its place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.engine.applications import applications
from tests.kit.engine.building import F64, f64, graph_of, run
from tests.kit.engine.loops import EXAMPLES
from tests.kit.engine.network import NETWORK, small_network
from tests.wire.programs import REASONS, message, outcome, refused

from gradwire.v1 import ops_pb2, program_pb2, tensor_pb2
from gradwire.wire.programs import decode_graph, decode_program, encode_graph, encode_program, program_id
from gradwire_engine.attributes import Attributes, Constant, Exponent, Pad, Shape, Slice
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError, UnsupportedError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.ops.table import OPS
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Program, Transform, Vjp, Vmap
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.vocabulary import cos, sin

# There and back


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_goes_there_and_back(op: Any) -> None:
    if op.name in ("barrier", "replay"):
        return  # between a server's own processes: see test_graphs_of_servers_go_there_and_back
    if op.subgraphs and op.name != "call":
        graphs_of_op = [example.graph for example in EXAMPLES]
        everything = {node.op.name for graph in graphs_of_op for node in _with_subgraphs(graph)}
        assert op.name in everything
    elif op.name == "call":
        builder = GraphBuilder()
        x = builder.input("x", F64)
        callee = graph_of(lambda x: [sin(x), x], F64)
        graphs_of_op = [builder.finish(builder.emit_all("call", [x], subgraphs=[callee]))]
    else:
        graphs_of_op = [application.graph for application in applications(op)]
    assert graphs_of_op
    for graph in graphs_of_op:
        data = encode_program(Program(graph))
        decoded = decode_program(data)
        assert [node.op for node in decoded.graph.nodes] == [node.op for node in graph.nodes]
        assert [node.attributes for node in decoded.graph.nodes] == [node.attributes for node in graph.nodes]
        assert decoded.graph.types == graph.types
        assert decoded.graph.hash == graph.hash
        assert encode_program(decoded) == data


def _with_subgraphs(graph: Graph) -> list[Node]:
    return [*graph.nodes, *(inner for node in graph.nodes for sub in node.subgraphs for inner in _with_subgraphs(sub))]


TRANSFORMS: tuple[Transform, ...] = (
    Jvp((0,)),
    Jvp(()),
    Vjp((1, 0)),
    Grad((0,)),
    Grad((1,), keep_value=True),
    Jacobian((0, 1)),
    Jacobian((0,), JacobianMode.FORWARD),
    Jacobian((0,), JacobianMode.REVERSE),
    Vmap(5, (0, -1), (1,)),
    Vmap(0, (), ()),
)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_every_transform_goes_there_and_back(transform: Transform) -> None:
    program = Program(graph_of(lambda x, y: x * y, F64, F64), (transform, Jvp((0,)), transform))
    assert decode_program(encode_program(program)).transforms == program.transforms


def test_names_types_and_outputs_go_there_and_back() -> None:
    builder = GraphBuilder()
    x = builder.input("weights é", f64(2, 0, 3))
    n = builder.input("", TensorType(DType.INT32))
    graph = builder.finish([n, x, n], ["count", "", "again"])
    decoded = decode_program(encode_program(Program(graph))).graph
    assert (decoded.inputs, decoded.outputs, decoded.output_names) == (graph.inputs, graph.outputs, graph.output_names)


def test_values_survive_bit_by_bit() -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000000, 0x8000000000000000, 1], dtype=np.uint64).view(np.float64)
    graph = graph_of(lambda x: x.builder.constant(bits), F64)
    (node,) = decode_program(encode_program(Program(graph))).graph.nodes
    assert isinstance(node.attributes, Constant)
    assert node.attributes.data == bits.tobytes()


def test_a_decoded_program_computes_the_same() -> None:
    graph = graph_of(small_network, *NETWORK)
    program = Program(graph, (Grad((0, 1), keep_value=True),))
    rng = np.random.default_rng(0)
    point = [rng.standard_normal((2, *type.shape)) for type in NETWORK]
    found, expected = (
        run(prepare(p, Layout()).graph, *point, rows=2) for p in (program, decode_program(encode_program(program)))
    )
    for each, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each, other)


def test_subgraphs_that_are_equal_travel_once_and_before_those_that_use_them() -> None:
    inner, same = (graph_of(lambda x: sin(x), F64) for _ in range(2))
    middle = graph_of(lambda x: x.builder.emit_all("call", [x], subgraphs=[inner])[0], F64)

    def outer_function(x: Any) -> Any:
        (first,) = x.builder.emit_all("call", [x], subgraphs=[middle])
        (second,) = x.builder.emit_all("call", [first], subgraphs=[same])
        return second

    outer = graph_of(outer_function, F64)
    parsed = message(outer)
    assert len(parsed.subgraphs) == 2
    assert [list(node.subgraphs) for node in parsed.graph.nodes] == [[1], [0]]
    decoded = decode_program(parsed.SerializeToString()).graph
    assert str(inline_calls(decoded, 100)) == str(inline_calls(outer, 100))


def test_a_program_is_always_the_same_bytes_and_its_id_is_their_sha256() -> None:
    made = [encode_program(Program(graph_of(small_network, *NETWORK), (Grad((0,)),))) for _ in range(2)]
    assert made[0] == made[1]
    assert program_id(made[0]) == "sha256:" + hashlib.sha256(made[0]).hexdigest()
    assert program_id(made[0]) != program_id(encode_program(Program(graph_of(small_network, *NETWORK))))


def test_bytes_may_be_any_buffer() -> None:
    data = encode_program(Program(graph_of(sin, F64)))
    for buffer in (bytearray(data), memoryview(data)):
        assert decode_program(buffer).graph.hash == decode_program(data).graph.hash  # type: ignore[arg-type]


def test_prepared_graphs_carry_the_batch_axis_and_programs_may_not() -> None:
    prepared = prepare(Program(graph_of(small_network, *NETWORK), (Grad((0,)),)), Layout()).graph
    data = encode_graph(prepared)
    decoded = decode_graph(data)
    assert str(decoded) == str(prepared)
    assert decoded.types[0].shape[0] == ROWS
    assert refused(data).reason == "INVALID_GRAPH"


# Refusals


def spoiled(change: Callable[[program_pb2.Program], object], graph: Graph | None = None) -> program_pb2.Program:
    program = message(graph)
    change(program)
    return program


@pytest.mark.parametrize(
    ("change", "reason", "path", "text"),
    [
        (lambda p: setattr(p.graph.nodes[1], "op", 9999), "UNSUPPORTED_OP", "graph.nodes[1].op", "op number 9999"),
        (lambda p: setattr(p.graph.nodes[1], "op", 0), "UNSUPPORTED_OP", "graph.nodes[1].op", "op unspecified"),
        (lambda p: setattr(p.graph.nodes[1], "op", -5), "UNSUPPORTED_OP", "graph.nodes[1].op", "op number -5"),
        (lambda p: setattr(p.graph.nodes[1], "op", ops_pb2.OP_SCAN), "INVALID_GRAPH", "graph.nodes[1].scan", "scan"),
        (lambda p: setattr(p, "opset", 2), "UNSUPPORTED_OPSET", "opset", "opset 2 is not known here"),
        (lambda p: setattr(p, "opset", 0), "UNSUPPORTED_OPSET", "opset", "opset 0"),
        (lambda p: p.graph.nodes[1].operands.__setitem__(1, 3), "INVALID_GRAPH", "graph.nodes[1].operands[1]",
         "value 3 is not defined before this node; values 0 to 2 are"),
        (lambda p: p.graph.nodes[0].operands.__setitem__(0, 2**32 - 1), "INVALID_GRAPH", "graph.nodes[0].operands[0]",
         "not defined"),
        (lambda p: p.graph.nodes[0].operands.append(0), "INVALID_GRAPH", "graph.nodes[0]", "got 2 operands"),
        (lambda p: p.graph.nodes[2].operands.clear(), "INVALID_GRAPH", "graph.nodes[2]", "got 0 operands"),
        (lambda p: setattr(p.graph.outputs[0], "value", 5), "INVALID_GRAPH", "graph.outputs[0].value",
         "value 5 does not exist; there are 5"),
        (lambda p: p.graph.nodes[0].subgraphs.append(0), "INVALID_GRAPH", "graph.nodes[0].subgraphs[0]",
         "subgraph 0 is not defined before this graph; there are 0"),
        (lambda p: p.graph.nodes[0].exponent.SetInParent(), "INVALID_GRAPH", "graph.nodes[0].exponent",
         "sin takes no attributes, got exponent"),
        (lambda p: setattr(p.graph.nodes[0], "op", ops_pb2.OP_SUM), "INVALID_GRAPH", "graph.nodes[0].axes",
         "got attributes none, expected axes"),
        (lambda p: setattr(p.graph.nodes[0], "op", ops_pb2.OP_CALL), "INVALID_GRAPH", "graph.nodes[0]",
         "got 0 subgraphs, expected 1"),
        (lambda p: setattr(p.graph.inputs[0].type, "dtype", 0), "INVALID_GRAPH", "graph.inputs[0].type.dtype",
         "element type 0 does not exist"),
        (lambda p: setattr(p.graph.inputs[0].type, "dtype", 77), "INVALID_GRAPH", "graph.inputs[0].type.dtype",
         "element type 77"),
        (lambda p: p.graph.inputs[0].type.shape.append(-1), "INVALID_GRAPH", "graph.inputs[0].type", "at least 0"),
        (lambda p: p.graph.inputs[0].type.shape.append(-7), "INVALID_GRAPH", "graph.inputs[0].type", "at least 0"),
        (lambda p: p.graph.inputs[0].type.shape.append(2**63 - 1), "INVALID_GRAPH", "graph.inputs[0].type", "elements"),
        (lambda p: p.graph.inputs[0].type.shape.extend([1] * 17), "INVALID_GRAPH", "graph.inputs[0].type", "rank 17"),
        (lambda p: p.graph.inputs[0].type.shape.append(3), "INVALID_GRAPH", "graph.nodes[1]", "types differ"),
        (lambda p: setattr(p.graph.inputs[0], "name", "x" * 257), "INVALID_GRAPH", "graph.inputs[0].name", "257 bytes"),
        (lambda p: setattr(p.graph.outputs[0], "name", "é" * 129), "INVALID_GRAPH", "graph.outputs[0].name", "258 "),
        (lambda p: p.transforms.add(), "INVALID_GRAPH", "transforms[0]", "no transform is set"),
        (lambda p: setattr(p.transforms.add().jacobian, "mode", 9), "INVALID_GRAPH", "transforms[0].jacobian.mode",
         "Jacobian mode 9 does not exist"),
        (lambda p: p.graph.nodes.add(op=ops_pb2.OP_GATHER).gather.SetInParent(), "INVALID_GRAPH",
         "graph.nodes[3].gather.out_of_range", "expected NAN or ZERO"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(
    change: Callable[[program_pb2.Program], object], reason: str, path: str, text: str
) -> None:
    error = refused(spoiled(change))
    assert error.reason == reason
    assert error.path == path or error.path.startswith(path + ".")
    assert text in error.message


def constant(dtype: int, shape: list[int], data: bytes, digest: bytes = b"") -> program_pb2.Program:
    program = message()
    node = program.graph.nodes.add(op=ops_pb2.OP_CONSTANT)
    node.constant.value.CopyFrom(tensor_pb2.Tensor(dtype=dtype, shape=shape, data=data, digest=digest))  # type: ignore[arg-type]
    return program


@pytest.mark.parametrize(
    ("program", "path", "text"),
    [
        (constant(2, [2], b"12345678"), "graph.nodes[3]", "got 8 bytes of data for float64[2], expected 16"),
        (constant(2, [2**40, 2**40], b""), "graph.nodes[3].constant.value.shape", "elements"),
        (constant(2, [-1], b"12345678"), "graph.nodes[3]", "rows"),
        (constant(5, [2], b"\x00\x02"), "graph.nodes[3].constant.value.data", "0 or 1"),
        (constant(2, [], b"12345678", digest=b"d" * 32), "graph.nodes[3].constant.value.digest", "inline"),
        (constant(0, [], b""), "graph.nodes[3].constant.value.dtype", "element type 0"),
    ],
)
def test_constants_are_what_they_say(program: program_pb2.Program, path: str, text: str) -> None:
    error = refused(program)
    assert error.path == path
    assert text in error.message


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x08", b"\x0a\xff\xff\xff\xff\x0f", b"not a program", b"\x12\x03\x0a\x05\x00"]
)
def test_bytes_that_are_no_program(data: bytes) -> None:
    error = refused(data)
    assert error.reason == "MALFORMED_REQUEST"
    assert error.path == "program"


def test_no_bytes_are_a_program_without_opset() -> None:
    assert refused(b"").reason == "UNSUPPORTED_OPSET"


def test_truncated_programs_are_refused_wherever_they_end() -> None:
    data = encode_program(Program(graph_of(small_network, *NETWORK), (Grad((0,)),)))
    outcomes = {outcome(data[:end]) for end in range(len(data))}
    assert "MALFORMED_REQUEST" in outcomes
    assert outcomes <= REASONS | {"sound"}  # a cut between two transforms leaves a program


def test_the_smallest_exponent_can_be_differentiated() -> None:
    """Its derivative has an exponent of one less, which no 64-bit integer can be."""
    smallest = -(2**63)
    graph = graph_of(lambda x: x.emit("integer_pow", attributes=Exponent(smallest)), F64)
    for transforms in ((), (Grad((0,)),), (Grad((0,)), Grad((0,)))):
        prepared = prepare(decode_program(encode_program(Program(graph, transforms))), Layout())
        decode_graph(encode_graph(prepared.graph))
        (found,) = run(prepared.graph, [1.0], rows=1)
        expected = {0: 1.0, 1: float(smallest), 2: float(smallest) ** 2}[len(transforms)]
        np.testing.assert_allclose(found, [expected])


@pytest.mark.parametrize("mode", [JacobianMode.FORWARD, JacobianMode.REVERSE])
def test_extreme_attributes_that_change_nothing_can_be_differentiated(mode: JacobianMode) -> None:
    """Between the elements of one element nothing is padded, however much; of two elements a huge stride takes one."""
    most = 2**63 - 1

    def function(x: Any) -> list[Any]:
        padded = x.emit("pad", x.like(0.0).emit("reshape", attributes=Shape(())), attributes=Pad((1,), (0,), (most,)))
        return [padded, padded.emit("slice", attributes=Slice((0,), (2,), (most,)))]

    program = Program(graph_of(function, f64(1)), (Jacobian((0,), mode),))
    prepared = prepare(decode_program(encode_program(program)), Layout())
    decoded = decode_graph(encode_graph(prepared.graph))
    by_pad, by_slice = run(decoded, [[3.0]], rows=1)
    assert by_pad.tolist() == [[[0.0], [1.0]]]
    assert by_slice.tolist() == [[[0.0]]]


def test_unknown_ops_are_told_from_wrong_graphs() -> None:
    error = refused(spoiled(lambda p: setattr(p.graph.nodes[0], "op", 4711)))
    assert isinstance(error, UnsupportedError)
    assert issubclass(type(error), EngineError)


def test_attributes_belong_to_ops_by_family() -> None:
    assert {op.attributes for op in OPS.values()} >= {Attributes, Constant, Exponent, Shape}
    program = message(graph_of(lambda x: cos(x).emit("integer_pow", attributes=Exponent(2)), F64))
    program.graph.nodes[1].axis.axis = 0
    assert "got attributes axis, expected exponent" in refused(program).message
