"""Graphs and their builder: numbering, interning, structural hash, text form, refusals; types and attributes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, operations

from gradwire_engine import attributes as a
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import MAX_ELEMENTS, ROWS, DType, TensorType
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import cos, sin

NAN_WITH_PAYLOAD = np.frombuffer(np.uint64(0x7FF8000000000001).tobytes(), np.float64)[0]


# Types


def test_exactly_five_element_types_exist() -> None:
    assert [dtype.value for dtype in DType] == ["float32", "float64", "int32", "int64", "bool"]
    for dtype in DType:
        assert dtype.numpy == np.dtype(dtype.value)
        assert DType.of(dtype.numpy) is dtype
        assert DType.of(dtype.numpy.newbyteorder(">")) is dtype


@pytest.mark.parametrize("name", ["float16", "complex128", "uint8", "int16", "object", "str", "datetime64[s]"])
def test_other_element_types_are_refused_by_name(name: str) -> None:
    with pytest.raises(GraphError, match="is not supported; use one of float32, float64, int32, int64, bool"):
        DType.of(np.dtype(name))


def test_a_type_knows_its_rows_and_its_elements() -> None:
    type = TensorType(DType.FLOAT32, (ROWS, 3, 4))
    assert type.is_batched
    assert type.elements == 12
    assert str(type) == "float32[B,3,4]"
    assert type.with_rows(7) == TensorType(DType.FLOAT32, (7, 3, 4))
    assert f64(2).with_rows(7) == f64(2)
    assert str(F64) == "float64"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1,) * 17, "rank 17"),
        ((2, -1), "at least 0"),
        ((-2,), "at least 0"),
        ((2**63,), "elements"),
        ((2**32, 2**32), "elements"),
        ((0, 2**62, 2**62), "elements"),
        ((ROWS, 2**60), "elements"),
    ],
)
def test_types_that_no_array_can_have(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        TensorType(DType.BOOL, shape).require_sound()
    with pytest.raises(GraphError, match=message):
        GraphBuilder().input("x", TensorType(DType.BOOL, shape))


def test_types_that_only_just_exist() -> None:
    for shape in ((1,) * 16, (ROWS, *[1] * 15), (MAX_ELEMENTS,), (0, MAX_ELEMENTS), (ROWS, MAX_ELEMENTS)):
        TensorType(DType.FLOAT64, shape).require_sound()


# Interning


def test_equal_nodes_are_one() -> None:
    builder = GraphBuilder()
    x, y = builder.input("x", F64), builder.input("y", F64)
    assert (x + y) is (x + y)
    assert (x + y) is not (y + x)
    assert sin(x) is not cos(x)
    assert builder.node_count == 4
    assert x.emit("integer_pow", attributes=a.Exponent(2)) is x.emit("integer_pow", attributes=a.Exponent(2))
    assert x.emit("integer_pow", attributes=a.Exponent(2)) is not x.emit("integer_pow", attributes=a.Exponent(3))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (np.float64(0.0), np.float64(-0.0), False),
        (np.float64(np.nan), np.float64(np.nan), True),
        (np.float64(np.nan), NAN_WITH_PAYLOAD, False),
        (np.int64(1), np.int32(1), False),
        (np.int64(1), np.float64(1.0), False),
        (np.int32(1), np.bool_(True), False),
        (np.float32(1.0), np.float64(1.0), False),
        (np.zeros((2, 3)), np.zeros((3, 2)), False),
        (np.zeros((0,)), np.zeros((0, 2)), False),
        (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2).reshape(2, 3), True),
        (np.arange(6.0).reshape(2, 3).T, np.ascontiguousarray(np.arange(6.0).reshape(2, 3).T), True),
        (np.arange(3.0).astype(">f8"), np.arange(3.0), True),
        (np.arange(6.0)[::2], np.array([0.0, 2.0, 4.0]), True),
    ],
)
def test_constants_are_one_if_their_typed_bytes_are(first: np.ndarray, second: np.ndarray, same: bool) -> None:
    builder = GraphBuilder()
    one, other = builder.constant(first), builder.constant(second)
    assert (one is other) == same
    hashes = {builder.finish([value]).hash for value in (one, other)}
    assert len(hashes) == (1 if same else 2)
    for value, array in ((one, first), (other, second)):
        (node,) = builder.finish([value]).nodes
        assert isinstance(node.attributes, a.Constant)
        np.testing.assert_array_equal(node.attributes.array, array)
        assert not node.attributes.array.flags.writeable


def test_a_constant_is_a_copy() -> None:
    builder = GraphBuilder()
    array = np.arange(3.0)
    builder.constant(array)
    array[0] = 7.0
    builder.constant(array)
    assert builder.node_count == 2


def test_attributes_of_different_families_differ() -> None:
    assert a.Axis(1) != a.Axes((1,))
    assert a.Shape((2,)) != a.Permutation((2,))
    assert hash(a.Exponent(2)) == hash(a.Exponent(2))


# Building


def test_values_are_numbered_inputs_first_whenever_they_were_added() -> None:
    builder = GraphBuilder()
    x = builder.input("x", F64)
    total = sin(x)
    y = builder.input("y", F64)
    graph = builder.finish([total * y])
    assert (
        str(graph)
        == """\
graph(x: float64, y: float64) {
  v2: float64 = sin(x)
  v3: float64 = multiply(v2, y)
  return v3
}"""
    )


def test_dead_nodes_are_dropped_and_dead_inputs_stay() -> None:
    builder = GraphBuilder()
    x, _unused = builder.input("x", F64), builder.input("unused", F64)
    cos(x)
    graph = builder.finish([sin(x)])
    assert operations(graph) == ["sin"]
    assert [one.name for one in graph.inputs] == ["x", "unused"]


def test_a_builder_can_finish_more_than_once() -> None:
    builder = GraphBuilder()
    x = builder.input("x", F64)
    assert operations(builder.finish([sin(x)])) == ["sin"]
    assert operations(builder.finish([cos(sin(x))])) == ["sin", "cos"]


def test_notes_stay_beside_the_nodes_that_are_kept() -> None:
    places = iter(["first", "dead", "last"])
    builder = GraphBuilder(lambda: next(places))
    x = builder.input("x", F64)
    first = sin(x)
    cos(x)
    sin(x)  # the first node again
    graph, notes = builder.finish_with_notes([sin(first)])
    assert operations(graph) == ["sin", "sin"]
    assert notes == ("first", "last")
    plain = GraphBuilder()
    assert plain.finish_with_notes([sin(plain.input("x", F64))])[1] == ()


def test_outputs_may_repeat_and_may_be_inputs() -> None:
    builder = GraphBuilder()
    x = builder.input("x", F64)
    s = sin(x)
    graph = builder.finish([s, x, s])
    assert graph.outputs == (1, 0, 1)
    assert graph.output_types == (F64, F64, F64)
    verify(graph)


@pytest.mark.parametrize(
    ("op", "types", "attributes", "message"),
    [
        ("sin", (F64, F64), a.NONE, "sin: got 2 operands, expected 1"),
        ("add", (F64, f64(2)), a.NONE, r"types differ: float64, float64\[2\]; insert broadcast_to or astype"),
        ("sin", (TensorType(DType.INT64),), a.NONE, "sin: got int64, expected float32 or float64; convert with astype"),
        ("sum", (TensorType(DType.BOOL, (2,)),), a.Axes((0,)), "expected a numeric type"),
        ("sum", (f64(2),), a.Axes((1,)), "expected ascending distinct axes between 0 and 0"),
        ("sum", (f64(2, 2),), a.Axes((1, 0)), "ascending"),
        ("sum", (f64(2, 2),), a.Axes((0, 0)), "distinct"),
        ("sum", (f64(2),), a.NONE, "sum: got Attributes attributes, expected Axes"),
        ("reshape", (f64(2, 3),), a.Shape((4,)), "6 elements do not make 4"),
        ("broadcast_to", (f64(3),), a.Shape((2, 4)), "cannot broadcast"),
        ("broadcast_to", (f64(2, 3),), a.Shape((3,)), "cannot broadcast"),
        ("broadcast_to", (F64,), a.Shape((2**62, 2**62)), "elements that an array can have"),
        ("permute_dims", (f64(2, 3),), a.Permutation((0, 0)), "expected each of 0 to 1 once"),
        ("slice", (f64(3),), a.Slice((1,), (5,), (1,)), "expected 0 <= start <= limit <= 3"),
        ("slice", (f64(3),), a.Slice((0,), (3,), (0,)), "stride of at least 1"),
        ("pad", (f64(3), F64), a.Pad((-1,), (0,), (0,)), "expected one >= 0 for each axis"),
        ("pad", (f64(3), TensorType(DType.FLOAT32)), a.Pad((0,), (0,), (0,)), "expected a scalar float64"),
        ("pad", (f64(2), F64), a.Pad((2**63,), (2**63,), (0,)), "elements"),
        ("concat", (), a.Axis(0), "expected at least 1"),
        ("concat", (f64(2), f64(2, 1)), a.Axis(0), "differ outside axis 0"),
        ("where", (F64, F64, F64), a.NONE, "expected bool"),
        ("dot_general", (f64(2), f64(3)), a.DotGeneral((0,), (0,)), "paired but differ in length"),
        ("dot_general", (f64(2, 2), f64(2)), a.DotGeneral((0, 0), (0, 0)), "dot_general: got"),
        ("gather", (f64(3), f64(3)), a.Gather(0, 0), "got indices"),
        ("gather", (f64(3), TensorType(DType.INT64, (2, 2))), a.Gather(0, 0), "gather: got"),
        ("scatter_add", (f64(2), TensorType(DType.INT64, (3, 1))), a.Scatter(0, 0, (5,)), "expected updates of shape"),
        ("scatter_add", (f64(2), TensorType(DType.INT64, (2, 1))), a.Scatter(0, 0, (-5,)), "at least 0"),
        ("iota", (), a.Iota(DType.INT64, (3,), 1), "got axis 1"),
        ("iota", (), a.Iota(DType.BOOL, (3,), 0), "expected a numeric type"),
        ("iota", (), a.Iota(DType.INT64, (ROWS,), 0), "rows"),
        ("constant", (), a.Constant(f64(2), b"1234"), "got 4 bytes of data"),
        ("constant", (), a.Constant(f64(ROWS), b"12345678"), "rows"),
        ("argmax", (f64(2),), a.Axis(1), "got axis 1"),
        ("integer_pow", (TensorType(DType.INT64),), a.Exponent(-1), "convert to floating point"),
        ("call", (F64,), a.NONE, "got 0 subgraphs, expected 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_says_what_was_got_and_what_is_expected(
    op: str, types: tuple[TensorType, ...], attributes: a.Attributes, message: str
) -> None:
    builder = GraphBuilder()
    operands = [builder.input("x", type) for type in types]
    with pytest.raises(GraphError, match=message) as refused:
        builder.emit_all(op, operands, attributes)
    assert refused.value.reason == "INVALID_GRAPH"
    assert refused.value.message.startswith(f"{op}: ")
    assert str(refused.value) == refused.value.message


def test_values_of_different_graphs_do_not_mix() -> None:
    one, other = GraphBuilder(), GraphBuilder()
    x, y = one.input("x", F64), other.input("y", F64)
    with pytest.raises(GraphError, match="belongs to another graph"):
        x.emit("add", y)


def test_inlining_needs_operands_of_the_right_types() -> None:
    graph = graph_of(sin, F64)
    builder = GraphBuilder()
    with pytest.raises(GraphError, match=r"got operands \(float64\[2\]\) for float64"):
        builder.inline(graph, [builder.input("x", f64(2))])


def test_inlining_shares_equal_nodes() -> None:
    graph = graph_of(lambda x: sin(x) + cos(x), F64)
    builder = GraphBuilder()
    x = builder.input("x", F64)
    (first,), (second,) = builder.inline(graph, [x]), builder.inline(graph, [x])
    assert first is second
    assert sin(x).number < first.number


# Hash and text


def test_the_structural_hash_ignores_names_and_nothing_else() -> None:
    def made(names: str = "xy", outputs: tuple[str, ...] = (), swapped: bool = False, exponent: int = 2) -> str:
        builder = GraphBuilder()
        x, y = (builder.input(name, F64) for name in names)
        power = x.emit("integer_pow", attributes=a.Exponent(exponent))
        return builder.finish([y * power if swapped else power * y, x], outputs).hash

    assert len(made()) == 64
    assert made() == made("ab") == made(outputs=("f", "g"))
    assert len({made(), made(swapped=True), made(exponent=3)}) == 3
    assert graph_of(sin, F64).hash != graph_of(sin, f64(1)).hash
    assert graph_of(sin, F64).hash != graph_of(cos, F64).hash
    assert graph_of(lambda x: [x, sin(x)], F64).hash != graph_of(lambda x: [sin(x), x], F64).hash


def test_the_structural_hash_sees_into_subgraphs() -> None:
    def calling(callee: Graph) -> str:
        builder = GraphBuilder()
        return builder.finish(builder.emit_all("call", [builder.input("x", F64)], subgraphs=[callee])).hash

    assert calling(graph_of(sin, F64)) == calling(graph_of(sin, F64, names="y"))
    assert calling(graph_of(sin, F64)) != calling(graph_of(cos, F64))


def test_the_text_form() -> None:
    inner = graph_of(lambda x: sin(x), f64(2), names=["angle"])
    builder = GraphBuilder()
    x = builder.input("x", f64(2, 3))
    same, again = builder.input("w", F64), builder.input("w", F64)
    clash, unnamed = builder.input("v7", F64), builder.input("", F64)
    total = x.emit("sum", attributes=a.Axes((0, 1)))
    product = builder.emit_all("dot_general", (x, x), a.DotGeneral((1,), (1,)))[0]
    table = builder.constant(np.arange(20, dtype=np.int32))
    (called,) = builder.emit_all(
        "call", [x.emit("slice", attributes=a.Slice((0, 0), (2, 1), (1, 1))).emit("reshape", attributes=a.Shape((2,)))],
        subgraphs=[inner],
    )  # fmt: skip
    graph = builder.finish([total + same + again + clash + unnamed, product, table, called], ["total", "", "table"])
    assert (
        str(graph)
        == """\
graph(x: float64[2,3], v1: float64, v2: float64, v3: float64, v4: float64) {
  v5: float64 = sum(x, axes=(0, 1))
  v6: float64[2,2] = dot_general(x, x, lhs_contract=(1,), rhs_contract=(1,))
  v7: int32[20] = constant(value=[0, 1, 2, 3]… 20 elements)
  v8: float64[2,1] = slice(x, start=(0, 0), limit=(2, 1), stride=(1, 1))
  v9: float64[2] = reshape(v8, shape=(2,))
  v10: float64[2] = call(v9)
    graph(angle: float64[2]) {
      v1: float64[2] = sin(angle)
      return v1
    }
  v11: float64 = add(v5, v1)
  v12: float64 = add(v11, v2)
  v13: float64 = add(v12, v3)
  v14: float64 = add(v13, v4)
  return v14, v6, v7, v10
}"""
    )
    assert [graph.output_name(i) for i in range(4)] == ["total", "out1", "table", "out3"]


def test_records_say_what_they_are() -> None:
    assert repr(OPS["sin"]) == "Op(sin)"
    with pytest.raises(TypeError):
        OPS["mine"] = OPS["sin"]  # type: ignore[index]
