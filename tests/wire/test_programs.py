"""Programs to bytes and back, and bytes from strangers: a known refusal with a place, or a sound graph; never else."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.building import F64, f64, graph_of, run
from tests.engine.checks import applications
from tests.engine.graphs import graphs
from tests.engine.test_transforms import NETWORK, small_network

from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, tensor_pb2
from gradwire.wire.programs import decode_graph, decode_program, encode_graph, encode_program, program_id
from gradwire_engine.attributes import Attributes, Constant, Exponent, Pad, Shape, Slice
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError, LimitError, UnsupportedError
from gradwire_engine.graph import Graph
from gradwire_engine.ops.table import OPS
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Limits, Program, Transform, Vjp, Vmap
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import cos, sin

REASONS = {"MALFORMED_REQUEST", "INVALID_GRAPH", "UNSUPPORTED_OP", "UNSUPPORTED_OPSET", "PROGRAM_TOO_EXPENSIVE"}
EXTREME_INTEGERS = (0, 1, 2, 5, -1, -2, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
MANY = pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])

often = pytest.mark.parametrize("examples", [200, MANY])


def holds(examples: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Run a property on so many examples, always the same ones."""

    def check(body: Callable[..., None]) -> None:
        settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(*strategies)(body))()

    return check


def outcome(data: bytes) -> str:
    """What becomes of bytes from a stranger: the reason of a refusal, or "sound"."""
    try:
        program = decode_program(data)
    except EngineError as error:
        return error.reason if error.message else "a refusal without words"
    verify(program.graph)
    assert decode_program(encode_program(program)).graph.hash == program.graph.hash
    return "sound"


def refused(data: bytes | program_pb2.Program, limits: Limits | None = None) -> EngineError:
    """The refusal of a program."""
    with pytest.raises(EngineError) as error:
        decode_program(data if isinstance(data, bytes) else data.SerializeToString(), limits)
    return error.value


def message(graph: Graph | None = None, **changes: Any) -> program_pb2.Program:
    """A program as a message that can be spoiled."""
    data = encode_program(Program(graph or graph_of(lambda x, y: sin(x) + x * y, F64, F64)))
    parsed = program_pb2.Program.FromString(data)
    for field, value in changes.items():
        setattr(parsed, field, value)
    return parsed


# There and back


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_goes_there_and_back(op: Any) -> None:
    if op.name == "call":
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
        (lambda p: setattr(p.graph.nodes[1], "op", ops_pb2.OP_SCAN), "UNSUPPORTED_OP", "graph.nodes[1].op", "op scan"),
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


@pytest.mark.timeout(20)
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


@pytest.mark.timeout(20)
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


@pytest.mark.timeout(20)
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


@pytest.mark.timeout(20)
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


@pytest.mark.timeout(20)
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


@pytest.mark.timeout(60)
def test_a_jacobian_of_very_many_outputs_is_refused_while_it_is_built() -> None:
    """Each of 400 outputs of a chain of 400 nodes would need a backward sweep of its own."""

    def function(x: Any) -> list[Any]:
        found = []
        for _ in range(400):
            x = sin(x)
            found.append(x)
        return found

    program = Program(graph_of(function, f64(3)), (Jacobian((0,), JacobianMode.REVERSE),))
    with pytest.raises(LimitError) as error:
        prepare(program, Layout(), Limits(nodes=10_000))
    assert error.value.path == "transforms[0]"
    automatic = Program(program.graph, (Jacobian((0,)),))
    assert len(prepare(automatic, Layout(), Limits(nodes=10_000)).outputs) == 400


# Random and spoiled bytes


@often
def test_random_bytes(examples: int) -> None:
    outcomes: set[str] = set()

    @holds(examples * 5, st.binary(max_size=200))
    def _(data: bytes) -> None:
        outcomes.update([outcome(data), outcome(b"\x08\x01" + data)])

    assert {"MALFORMED_REQUEST", "UNSUPPORTED_OPSET"} <= outcomes <= REASONS | {"sound"}


@often
def test_valid_bytes_with_a_few_changed(examples: int) -> None:
    outcomes: set[str] = set()

    @holds(examples * 3, st.data())
    def _(data: st.DataObject) -> None:
        graph = data.draw(graphs(max_nodes=5))
        raw = bytearray(encode_program(Program(graph, (Grad((0,)), Vmap(2, (0,))))))
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(raw) - 1))
            match data.draw(st.sampled_from(["change", "insert", "delete", "cut"])):
                case "change":
                    raw[place] = data.draw(st.integers(0, 255))
                case "insert":
                    raw[place:place] = data.draw(st.binary(min_size=1, max_size=4))
                case "delete":
                    del raw[place : place + data.draw(st.integers(1, 4))]
                case "cut":
                    del raw[max(place, 1) :]
            if not raw:
                break
        outcomes.add(outcome(bytes(raw)))

    assert {"MALFORMED_REQUEST", "INVALID_GRAPH", "sound"} <= outcomes <= REASONS | {"sound"}


def spoil(parsed: Message, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Set one field, somewhere in a message, to an extreme value of its type, or drop or repeat it."""
    while True:
        fields = [(field, value) for field, value in parsed.ListFields()]
        if not fields:
            return
        field, value = fields[draw(st.integers(0, len(fields) - 1))]
        if field.is_repeated:
            index = draw(st.integers(0, len(value) - 1))
            if draw(st.integers(0, 9)) == 0:
                del value[index]
                return
            if field.message_type is not None:
                parsed = value[index]
                continue
            try:
                value[index] = draw(st.sampled_from(EXTREME_INTEGERS))
            except ValueError:
                value[index] = 77
            return
        if field.message_type is not None:
            if draw(st.integers(0, 9)) == 0:
                parsed.ClearField(field.name)
                return
            parsed = value
            continue
        if isinstance(value, bool):
            setattr(parsed, field.name, not value)
        elif isinstance(value, int):
            try:
                setattr(parsed, field.name, draw(st.sampled_from(EXTREME_INTEGERS)))
            except ValueError:
                setattr(parsed, field.name, 77)
        elif isinstance(value, bytes):
            setattr(parsed, field.name, value[: len(value) // 2])
        return


@often
def test_valid_messages_with_extreme_numbers(examples: int) -> None:
    """What still decodes is prepared as well, or refused: no number is too large for what comes after decoding."""
    outcomes: set[str] = set()

    @holds(examples * 5, st.data())
    def _(data: st.DataObject) -> None:
        graph = data.draw(graphs(max_nodes=5, differentiable=True, max_outputs=2))
        transforms = data.draw(st.sampled_from([(), (Jvp((0,)),), (Vjp((0,)),), (Jacobian((0,)),), (Vmap(2, (0,)),)]))
        parsed = program_pb2.Program.FromString(encode_program(Program(graph, transforms)))
        for _ in range(data.draw(st.integers(1, 2))):
            spoil(parsed, data.draw)
        raw = parsed.SerializeToString()
        found = outcome(raw)
        outcomes.add(found)
        if found != "sound":
            return
        try:
            prepared = prepare(decode_program(raw), Layout(), Limits(nodes=5_000))
        except EngineError as error:
            outcomes.add(error.reason)
        else:
            assert decode_graph(encode_graph(prepared.graph)).hash == prepared.graph.hash
            assert 0 <= prepared.cost.bytes.at(1) <= 2**64 - 1

    assert {"INVALID_GRAPH", "UNSUPPORTED_OP", "UNSUPPORTED_OPSET", "sound"} <= outcomes <= REASONS | {"sound"}


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
