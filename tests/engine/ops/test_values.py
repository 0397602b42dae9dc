"""What the ops compute where it does not go without saying: integers, extremes, nothing, indices out of range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.kit.engine import oracles
from tests.kit.engine.applications import applications, evaluated, random

from gradwire_engine import attributes as a
from gradwire_engine.builder import result_types
from gradwire_engine.errors import GraphError
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import DType, TensorType

INF, NAN = np.inf, np.nan
LOWEST, HIGHEST = -(2**31), 2**31 - 1


def value(op: str, *operands: Any, attributes: a.Attributes = a.NONE, dtype: Any = np.float64) -> Any:
    """The op's result as a plain number or list; its type rule has been asked."""
    arrays = [x if isinstance(x, np.ndarray) else np.asarray(x, dtype=dtype) for x in operands]
    (type,) = result_types(OPS[op], attributes, [TensorType.of(x) for x in arrays])
    (found,) = evaluated(OPS[op], attributes, *arrays)
    assert TensorType.of(found) == type
    return found.tolist()


INTEGERS = [
    ("add", (HIGHEST, 1), LOWEST),
    ("subtract", (LOWEST, 1), HIGHEST),
    ("multiply", (2**30, 4), 0),
    ("negative", (LOWEST,), LOWEST),
    ("abs", (LOWEST,), LOWEST),
    ("square", (2**16,), 0),
    ("sign", (LOWEST,), -1),
    ("relu", (LOWEST,), 0),
    ("floor_divide", (7, 2), 3),
    ("floor_divide", (-7, 2), -4),
    ("floor_divide", (7, 0), 0),
    ("floor_divide", (LOWEST, -1), LOWEST),
    ("remainder", (7, 3), 1),
    ("remainder", (-7, 3), 2),
    ("remainder", (7, -3), -2),
    ("remainder", (7, 0), 0),
    ("remainder", (LOWEST, -1), 0),
    ("pow", (3, 4), 81),
    ("pow", (-3, 3), -27),
    ("pow", (0, 0), 1),
    ("pow", (2, 31), LOWEST),
    ("pow", (2, 32), 0),
    ("pow", (3, HIGHEST), pow(3, HIGHEST, 2**32) - (2**32 if pow(3, HIGHEST, 2**32) > HIGHEST else 0)),
    ("pow", (5, -1), 0),
    ("pow", (0, -1), 0),
    ("pow", (1, -3), 1),
    ("pow", (-1, -3), -1),
    ("pow", (-1, -4), 1),
    ("pow", (LOWEST, LOWEST), 0),
    ("maximum", (LOWEST, HIGHEST), HIGHEST),
    ("less", (LOWEST, HIGHEST), True),
    ("bitwise_and", (-2, 7), 6),
    ("bitwise_or", (LOWEST, 1), LOWEST + 1),
    ("bitwise_xor", (-1, 5), -6),
    ("left_shift", (3, 30), -(2**30)),
    ("left_shift", (3, 32), 0),
    ("left_shift", (3, -1), 0),
    ("left_shift", (3, LOWEST), 0),
    ("right_shift", (-5, 1), -3),
    ("right_shift", (-5, 32), -1),
    ("right_shift", (5, -1), 0),
    ("right_shift", (LOWEST, HIGHEST), -1),
    ("gcd", (-12, 18), 6),
    ("gcd", (0, 0), 0),
    ("gcd", (LOWEST, 0), LOWEST),
    ("gcd", (LOWEST, 6), 2),
]


@pytest.mark.parametrize(("op", "operands", "expected"), INTEGERS)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_integers_wrap_and_division_by_zero_is_zero(
    op: str, operands: tuple[int, ...], expected: int, shape: tuple[int, ...]
) -> None:
    arrays = [np.full(shape, x, dtype=np.int32) for x in operands]
    assert value(op, *arrays) == np.full(shape, expected).tolist()


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 5, 31, 32, 2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63 - 1])
@pytest.mark.parametrize("bits", [32, 64])
def test_powers_of_integers_are_exact_modulo_the_word(exponent: int, bits: int) -> None:
    bases = [0, 1, -1, 2, -2, 3, -3, 10, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    expected = [(pow(base, exponent, 2**bits) + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1) for base in bases]
    assert value("integer_pow", bases, attributes=a.Exponent(exponent), dtype=f"int{bits}") == expected


@pytest.mark.parametrize(
    ("exponent", "base", "expected"),
    [
        (0, NAN, 1.0),
        (0, 0.0, 1.0),
        (-1, 0.0, INF),
        (-1, -0.0, -INF),
        (-2, -0.0, INF),
        (3, -2.0, -8.0),
        (2**62, 1.0, 1.0),
    ],
)
def test_integer_powers_of_floats(exponent: int, base: float, expected: float) -> None:
    assert value("integer_pow", base, attributes=a.Exponent(exponent)) == expected


def test_a_negative_power_of_an_integer_is_refused() -> None:
    with pytest.raises(GraphError, match="convert to floating point first"):
        value("integer_pow", 2, attributes=a.Exponent(-1), dtype=np.int64)


FLOATS = [
    ("divide", (1.0, 0.0), INF),
    ("divide", (-1.0, 0.0), -INF),
    ("divide", (0.0, 0.0), NAN),
    ("sqrt", (-1.0,), NAN),
    ("rsqrt", (0.0,), INF),
    ("cbrt", (-27.0,), -3.0),
    ("log", (0.0,), -INF),
    ("log", (-1.0,), NAN),
    ("log1p", (-1.0,), -INF),
    ("pow", (-2.0, 0.5), NAN),
    ("pow", (-2.0, 3.0), -8.0),
    ("pow", (0.0, 0.0), 1.0),
    ("remainder", (-7.0, 3.0), 2.0),
    ("remainder", (7.0, 0.0), NAN),
    ("floor_divide", (-7.0, 2.0), -4.0),
    ("sign", (NAN,), NAN),
    ("maximum", (1.0, NAN), NAN),
    ("minimum", (NAN, 1.0), NAN),
    ("relu", (NAN,), NAN),
    ("heaviside", (0.0, 0.25), 0.25),
    ("heaviside", (-1.0, 0.25), 0.0),
    ("heaviside", (NAN, 0.25), NAN),
    ("hypot", (1e200, 1e200), 1e200 * np.sqrt(2.0)),
    ("hypot", (INF, NAN), INF),
    ("atan2", (0.0, -1.0), np.pi),
    ("atan2", (0.0, 0.0), 0.0),
    ("expm1", (1e-20,), 1e-20),
    ("log1p", (1e-20,), 1e-20),
    ("logaddexp", (1000.0, 1000.0), 1000.0 + np.log(2.0)),
    ("logaddexp", (-INF, -INF), -INF),
    ("logaddexp", (-INF, 3.0), 3.0),
    ("logaddexp", (INF, -INF), INF),
    ("softplus", (1000.0,), 1000.0),
    ("softplus", (-1000.0,), 0.0),
    ("expit", (1000.0,), 1.0),
    ("expit", (-1000.0,), 0.0),
    ("erfc", (10.0,), 2.088487583762545e-45),
    ("gammaln", (0.0,), INF),
    ("gammaln", (1e300,), 6.897755278982137e302),
    ("gamma", (-1.0,), NAN),
    ("betaln", (1e10, 1.0), -23.025850929940457),
    ("erfinv", (2.0,), NAN),
    ("ndtri", (-1.0,), NAN),
    ("ndtri", (1e-300,), -37.0470962993612),
    ("log_ndtr", (-1e100,), -5e199),
    ("xlogy", (0.0, 0.0), 0.0),
    ("xlogy", (0.0, INF), 0.0),
    ("xlogy", (0.0, NAN), NAN),
    ("xlog1py", (0.0, -2.0), 0.0),
    ("round", (2.5,), 2.0),
    ("round", (-1.5,), -2.0),
    ("trunc", (-1.7,), -1.0),
    ("equal", (NAN, NAN), False),
    ("not_equal", (NAN, NAN), True),
    ("equal", (0.0, -0.0), True),
    ("isnan", (NAN,), True),
    ("isfinite", (INF,), False),
    ("isinf", (-INF,), True),
]


@pytest.mark.parametrize(("op", "operands", "expected"), FLOATS)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_extreme_floats(op: str, operands: tuple[float, ...], expected: float, shape: tuple[int, ...]) -> None:
    found = value(op, *[np.full(shape, x) for x in operands])
    np.testing.assert_allclose(found, np.full(shape, expected), rtol=4e-16)


CASTS: list[tuple[str, list[Any], str, list[Any]]] = [
    ("float64", [2.9, -2.9, NAN, INF, -INF, 1e300, 2.0**31, -(2.0**31)], "int32",
     [2, -2, 0, HIGHEST, LOWEST, HIGHEST, HIGHEST, LOWEST]),
    ("float64", [2.0**63, -(2.0**63), 1e300, NAN, 2.0**62], "int64", [2**63 - 1, -(2**63), 2**63 - 1, 0, 2**62]),
    ("float32", [2.0**31, 2.0**31 - 128.0, -INF], "int32", [HIGHEST, 2**31 - 128, LOWEST]),
    ("float32", [2.0**63, NAN], "int64", [2**63 - 1, 0]),
    ("float64", [0.0, -0.0, 0.1, NAN], "bool", [False, False, True, True]),
    ("float64", [1e300, -1e300, 1e-300], "float32", [INF, -INF, 0.0]),
    ("int64", [2**31, -1, 2**40 + 5], "int32", [LOWEST, -1, 5]),
    ("int64", [0, 3], "bool", [False, True]),
    ("bool", [False, True], "float32", [0.0, 1.0]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "numbers", "target", "expected"), CASTS)
def test_conversions_saturate_and_take_nan_to_zero(
    source: str, numbers: list[Any], target: str, expected: list[Any]
) -> None:
    attributes = a.Cast(DType(target))
    assert value("astype", numbers, attributes=attributes, dtype=source) == expected
    assert [value("astype", x, attributes=attributes, dtype=source) for x in numbers] == expected


# Reductions


@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        ("sum", "float64", 0.0),
        ("prod", "float64", 1.0),
        ("max", "float64", -INF),
        ("min", "float64", INF),
        ("max", "int32", LOWEST),
        ("min", "int32", HIGHEST),
        ("max", "int64", -(2**63)),
        ("any", "bool", False),
        ("all", "bool", True),
        ("logsumexp", "float64", -INF),
        ("norm", "float64", 0.0),
    ],
)
def test_of_nothing(op: str, dtype: str, expected: object) -> None:
    assert value(op, np.zeros((2, 0), dtype=dtype), attributes=a.Axes((1,))) == [expected] * 2
    assert value(op, np.zeros((0,), dtype=dtype), attributes=a.Axes((0,))) == expected


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_the_position_of_the_largest(op: str) -> None:
    sign = 1 if op == "argmax" else -1
    axis = a.Axis(0)
    assert value(op, sign * np.array([1.0, 3.0, 3.0]), attributes=axis) == 1
    assert value(op, np.array([1.0, NAN, 3.0, NAN]), attributes=axis) == 1
    assert value(op, np.zeros((0, 2)), attributes=axis) == [0, 0]
    assert value(op, np.zeros((2, 0)), attributes=axis) == []


@pytest.mark.parametrize("op", ["sum", "prod"])
def test_integer_reductions_keep_their_type_and_wrap(op: str) -> None:
    numbers = [HIGHEST, 1] if op == "sum" else [2**30, 2]
    assert value(op, numbers, attributes=a.Axes((0,)), dtype=np.int32) == LOWEST


@pytest.mark.parametrize("op", ["max", "min", "sum", "prod", "logsumexp", "norm"])
def test_nan_is_not_lost_in_reductions(op: str) -> None:
    assert np.isnan(value(op, [1.0, NAN, 2.0], attributes=a.Axes((0,))))


@pytest.mark.parametrize(
    ("op", "row", "expected"),
    [
        ("logsumexp", [-INF, -INF], -INF),
        ("logsumexp", [-INF, 0.0], 0.0),
        ("logsumexp", [INF, 0.0], INF),
        ("logsumexp", [INF, -INF], INF),
        ("logsumexp", [1000.0, 1000.0], 1000.0 + np.log(2.0)),
        ("softmax", [-INF, -INF], [NAN, NAN]),
        ("softmax", [-INF, 0.0], [0.0, 1.0]),
        ("softmax", [1000.0, 1000.0], [0.5, 0.5]),
        ("log_softmax", [-INF, -INF], [NAN, NAN]),
        ("log_softmax", [-INF, 0.0], [-INF, 0.0]),
        ("log_softmax", [INF, 0.0], [NAN, -INF]),
        ("log_softmax", [1000.0, 0.0], [0.0, -1000.0]),
    ],
)
def test_normalisations_at_infinity(op: str, row: Sequence[float], expected: object) -> None:
    np.testing.assert_array_equal(value(op, row, attributes=a.Axes((0,))), expected)


# Moving and indexing


@pytest.mark.parametrize("op", ["broadcast_to", "reshape", "permute_dims", "slice", "flip", "pad", "concat", "gather"])
def test_elements_go_where_the_contract_says(op: str) -> None:
    for application in applications(OPS[op]):
        operands = application.operands(random())
        indices = operands.pop() if op == "gather" else None
        shapes = [operand.shape for operand in operands]
        places = oracles.moved(op, application.case.attributes, shapes, indices)
        line = np.concatenate([operand.ravel() for operand in operands])
        arguments = operands if indices is None else [*operands, indices]
        (found,) = evaluated(application.op, application.case.attributes, *arguments)
        np.testing.assert_array_equal(found, line[places], err_msg=str(application))
        assert found.shape == places.shape


INDICES = np.array([[0], [-1], [3], [-3], [2**31], [-(2**63)], [2]])


@pytest.mark.parametrize(
    ("numbers", "zero", "missing"),
    [
        (np.array([1.5, 2.5, 3.5]), False, NAN),
        (np.array([1.5, 2.5, 3.5]), True, 0.0),
        (np.array([1, 2, 3]), False, 0),
        (np.array([True, True, True]), False, False),
    ],
)
def test_a_gather_out_of_range_reads_the_fill_value(numbers: np.ndarray, zero: bool, missing: Any) -> None:
    first, middle, last = numbers.tolist()
    expected = [first, last, missing, first, missing, missing, last]
    np.testing.assert_array_equal(value("gather", numbers, INDICES, attributes=a.Gather(0, 0, zero)), expected)
    assert middle not in expected or middle is True


def test_a_scatter_drops_what_is_out_of_range_and_adds_what_meets() -> None:
    updates = np.array([1.0, 2.0, NAN, 4.0, 8.0, 16.0, 32.0])
    assert value("scatter_add", updates, INDICES, attributes=a.Scatter(0, 0, (3,))) == [5.0, 0.0, 34.0]


def test_a_pair_of_indices_counts_only_if_both_are_in_range() -> None:
    table = np.arange(6.0).reshape(2, 3)
    pairs = np.array([[1, 2], [1, 3], [-3, 0], [-1, -1]])
    np.testing.assert_array_equal(value("gather", table, pairs, attributes=a.Gather(0, 0)), [5.0, NAN, NAN, 5.0])


def test_nothing_can_be_read_from_an_axis_without_elements() -> None:
    found = value("gather", np.zeros((0, 2)), np.array([[0], [-1]]), attributes=a.Gather(0, 0))
    np.testing.assert_array_equal(found, np.full((2, 2), NAN))
    assert value("scatter_add", np.ones((2, 2)), np.array([[0], [1]]), attributes=a.Scatter(0, 0, (0, 2))) == []


def test_small_index_types_reach_along_long_axes() -> None:
    """An int32 index from the end of an axis longer than 2**31; a repeated number takes no memory."""
    long = np.broadcast_to(np.float32(2.5), (2**32,))
    assert value("gather", long, np.array([[-1], [5]], dtype=np.int32), attributes=a.Gather(0, 0)) == [2.5, 2.5]


@pytest.mark.parametrize("op", ["gather", "scatter_add"])
def test_an_index_set_that_indexes_nothing_is_refused(op: str) -> None:
    attributes = a.Gather(0, 0) if op == "gather" else a.Scatter(0, 0, (5,))
    x = TensorType(DType.FLOAT64, (5,) if op == "gather" else (3, 5))
    with pytest.raises(GraphError, match="indices"):
        result_types(OPS[op], attributes, [x, TensorType(DType.INT64, (3, 0))])


def test_integer_contractions_wrap() -> None:
    attributes = a.DotGeneral((0,), (0,))
    assert value("dot_general", [2**30, 1], [2, 5], attributes=attributes, dtype=np.int32) == LOWEST + 5


def test_an_iota_counts_along_its_axis() -> None:
    assert value("iota", attributes=a.Iota(DType.INT32, (2, 3), 0)) == [[0, 0, 0], [1, 1, 1]]
    assert value("iota", attributes=a.Iota(DType.FLOAT32, (2, 3), 1)) == [[0.0, 1.0, 2.0]] * 2
