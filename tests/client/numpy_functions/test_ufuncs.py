"""Ufuncs and operators on traced values against numpy: values, shapes, and the type of the result for every mixture."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_like_numpy, traced
from tests.kit.client.special_functions import UFUNCS

import gradwire as gw
from gradwire.errors import TracingError
from gradwire.numpy_functions.elementwise import RULES
from gradwire.numpy_functions.special_functions import SPECIAL

DTYPES = (np.float64, np.float32, np.int64, np.int32, np.bool_)
SUPPORTED = {np.dtype(one) for one in DTYPES}


def sample(dtype: type, shape: tuple[int, ...], seed: int = 0, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def numpy_types(ufunc: np.ufunc, *operands: np.dtype) -> list[np.dtype] | None:
    try:
        return list(ufunc.resolve_dtypes((*operands, *[None] * ufunc.nout)))
    except TypeError:
        return None


ELEMENTWISE = sorted({ufunc.__name__: ufunc for ufunc in RULES}.items())
DOMAIN = {
    "arccosh": (1.1, 3.0), "arcsin": (-0.9, 0.9), "arccos": (-0.9, 0.9), "arctanh": (-0.9, 0.9), "log": (0.1, 3.0),
    "log2": (0.1, 3.0), "log10": (0.1, 3.0), "log1p": (-0.9, 3.0), "sqrt": (0.1, 3.0), "power": (1.0, 3.0),
    "float_power": (1.0, 3.0),
}  # fmt: skip


PAIRS = [
    pytest.param(name, ufunc, first, second, id=f"{name}-{first.__name__}-{second.__name__}")
    for name, ufunc in ELEMENTWISE
    for first in DTYPES
    for second in (DTYPES if ufunc.nin == 2 else [first])
]


@pytest.mark.parametrize(("name", "ufunc", "first", "second"), PAIRS)
def test_a_ufunc_has_numpys_values_and_types(name: str, ufunc: np.ufunc, first: type, second: type) -> None:
    low, high = DOMAIN.get(name, (-3.0, 3.0))
    x, y = sample(first, (2, 3), 1, low, high), sample(second, (3,), 2, low, high)
    y = np.where(y == 0, np.ones_like(y), y)
    operands = (x, y)[: ufunc.nin]
    types = numpy_types(ufunc, *[one.dtype for one in operands])
    integer = types is not None and types[0].kind == "i"
    refused = integer and name == "reciprocal"
    if types is None or not SUPPORTED.issuperset(types) or refused:
        with pytest.raises(TracingError):
            traced(ufunc, *operands)
    else:
        assert_like_numpy(ufunc, *operands)


@pytest.mark.parametrize("ufunc", [np.add, np.divide, np.power, np.maximum, np.less, np.logaddexp])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.int64(2), np.float32(0.5)])
def test_python_numbers_are_weak_and_numpys_are_not(ufunc: np.ufunc, dtype: type, number: object) -> None:
    x = sample(dtype, (4,), 3, 1.0, 3.0)
    try:
        expected = ufunc(x, number)
    except TypeError:
        expected = None
    if expected is None or expected.dtype not in SUPPORTED:
        with pytest.raises(TracingError):
            traced(lambda x: ufunc(x, number), x)
        return
    assert_like_numpy(lambda x: ufunc(x, number), x)
    assert_like_numpy(lambda x: ufunc(number, x), x)


@pytest.mark.parametrize(
    "apply",
    [
        operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
        operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne, divmod,
    ],
    ids=lambda one: one.__name__,
)  # fmt: skip
def test_operators_work_from_both_sides(apply: object) -> None:
    x = sample(np.float64, (3,), 4, 0.5, 3.0)
    table = sample(np.float64, (2, 3), 5, 0.5, 3.0)
    for other in (table, 1.5, 2, np.float64(0.5), np.int32(3), np.array(2.0), [1.0, 2.0, 3.0]):
        assert_like_numpy(lambda x, other=other: apply(x, other), x)
        assert_like_numpy(lambda x, other=other: apply(other, x), x)


def test_unary_operators() -> None:
    x = sample(np.float64, (3,), 6)
    assert_like_numpy(lambda x: (-x, +x, abs(x)), x)
    assert_like_numpy(lambda x: ~(x > 0) & (x < 1) | (x == 2) ^ (x != 0), x)
    assert_like_numpy(lambda x: ~x, np.array([1, -5], np.int32))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3)])
def test_scalars_and_empty_arrays(shape: tuple[int, ...]) -> None:
    x = sample(np.float64, shape, 7)
    assert_like_numpy(lambda x: np.sin(x) * 2 + x, x)
    assert_like_numpy(lambda x: np.minimum(x, np.ones(shape)) > 0.5, x)


def test_shapes_broadcast() -> None:
    x, y = sample(np.float64, (4, 1, 3), 8), sample(np.float32, (2, 1), 9)
    assert_like_numpy(lambda x, y: x * y + y, x, y)


def test_shapes_that_do_not_broadcast_are_refused_like_numpy_does() -> None:
    with pytest.raises(ValueError, match=r"could not be broadcast together with shapes \(3,\) \(4,\)"):
        traced(lambda x, y: x + y, np.zeros(3), np.zeros(4))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 7, -1, -2, 2.0, 3.0, -1.0, 0.5, 1.5, -0.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_powers_with_a_known_exponent(exponent: float, dtype: type) -> None:
    x = sample(dtype, (5,), 10, 1.0, 4.0)
    if dtype is np.int64 and exponent in (-1, -2) and isinstance(exponent, int):
        with pytest.raises(TracingError, match="negative integer powers"):
            traced(lambda x: x**exponent, x)
    else:
        assert_like_numpy(lambda x: x**exponent, x)
        assert_like_numpy(lambda x: np.power(x, exponent), x)


def test_whole_exponents_become_an_op_without_logarithms() -> None:
    from tests.kit.client.evaluating import graph_of

    for exponent in (2, 2.0, np.float64(3), np.array(4)):
        graph, *_ = graph_of(lambda x, exponent=exponent: x**exponent, np.ones(3))
        assert [node.op.name for node in graph.nodes] == ["integer_pow"]


def test_methods_of_ufuncs() -> None:
    x, y = sample(np.float64, (2, 3), 11), sample(np.float64, (4,), 12)
    assert_like_numpy(lambda x: np.add.reduce(x, axis=1), x)
    assert_like_numpy(lambda x: np.maximum.reduce(x), x)
    assert_like_numpy(lambda x: np.multiply.accumulate(x, axis=1), x)
    assert_like_numpy(lambda x: np.logical_and.reduce(x > -1, axis=None), x)
    assert_like_numpy(np.subtract.outer, x, y)
    with pytest.raises(TracingError, match=r"np\.add\.reduceat"):
        traced(lambda x: np.add.reduceat(x, [0, 1]), x)


def test_dtype_argument() -> None:
    assert_like_numpy(lambda x: np.add(x, x, dtype=np.float64), np.float32([1.5, 2.5]))


@pytest.mark.parametrize("name", UFUNCS)
def test_special_ufuncs_by_scipys_own_names(name: str) -> None:
    """Every pair of points where there are two operands."""
    function = getattr(pytest.importorskip("scipy.special"), name)
    points = UFUNCS[name].values
    if function.nin == 2:
        assert_like_numpy(function, points[:, np.newaxis], points)
        assert_like_numpy(function, np.float32([0.25, 0.75]), np.float32([[0.5], [0.3]]))
        assert_like_numpy(lambda x: function(0.5, x), np.float32([0.25, 0.75]))
    else:
        assert_like_numpy(function, points)
        assert_like_numpy(function, np.float32([0.25, 0.75]))


def test_every_rule_for_a_ufunc_of_scipy_is_tested() -> None:
    assert set(SPECIAL) == set(UFUNCS)


def test_bits_of_integers_shifts_and_common_divisors() -> None:
    for dtype in (np.int32, np.int64):
        limits = np.iinfo(dtype)
        x = np.array([0, 1, -1, 6, -10, limits.max, limits.min], dtype)
        y = np.array([3, -5, limits.max], dtype)
        n = np.array([0, 1, 5, limits.bits - 1, limits.bits, -1], dtype)
        for apply in (operator.and_, operator.or_, operator.xor):
            assert_like_numpy(lambda x, y, apply=apply: apply(x, y), x[:, np.newaxis], y)
            assert_like_numpy(lambda x, apply=apply: (apply(x, 12), apply(12, x)), x)
        for apply in (operator.lshift, operator.rshift):
            assert_like_numpy(lambda x, n, apply=apply: apply(x, n), x[:, np.newaxis], n)
            assert_like_numpy(lambda x, apply=apply: (apply(x, 2), apply(5, x)), x)
        assert_like_numpy(lambda x, y: (np.gcd(x, y), np.fmod(x, y)), x[:, np.newaxis], y)
        assert_like_numpy(lambda x: (np.lcm(x, 4), np.lcm(0, x), ~x), x[:5])
    with pytest.raises(TracingError, match="int8"):
        traced(lambda x: x << x, np.array([True]))


def test_signs_and_scales() -> None:
    x = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf])
    assert_like_numpy(lambda x: (np.signbit(x), np.copysign(2.0, x), np.copysign(x, -1.0)), x)
    assert np.signbit(traced(lambda x: np.copysign(0.0, x), -1.0))
    finite = np.array([0.0, 1.0, -1.5, 1e-300, 3e-320, 1e300])
    powers = np.array([[0], [3], [-4], [1100], [-1100], [-1000], [2098], [10**6], [-(10**6)]])
    assert_like_numpy(np.ldexp, finite, powers, rtol=0.0)
    single, exponents = np.float32([1.0, -1.5, 1e-38, 3e38]), np.int32([[0], [130], [-140], [10**6]])
    assert_like_numpy(np.ldexp, single, exponents, rtol=0.0)


def test_mantissas_and_powers() -> None:
    powers = 2.0 ** np.arange(-1074, 1024)
    x = np.concatenate([powers, -np.nextafter(powers, 0.0), 3.0 * powers[:-2], [0.0, -0.0, np.inf, np.nan]])
    assert_like_numpy(np.frexp, x, rtol=0.0)
    assert_like_numpy(np.frexp, np.float32([1e-45, 1.0, -0.99999994, 3e38]), rtol=0.0)
    assert gw.grad(lambda x: np.frexp(x)[0])(6.0) == 0.125


def test_the_remainder_of_fmod_has_a_derivative_at_zero() -> None:
    for at, by_x, by_y in ((0.0, 1.0, 0.0), (5.5, 1.0, -2.0), (-5.5, 1.0, 2.0)):
        assert gw.grad(np.fmod, argnums=(0, 1))(at, 2.0) == (by_x, by_y)


def test_a_ufunc_without_meaning_is_refused_by_name() -> None:
    special = pytest.importorskip("scipy.special")
    for function in (np.nextafter, np.spacing, special.zetac, np.frompyfunc(lambda x, y: x, 2, 1)):
        with pytest.raises(TracingError, match=function.__name__.split(" ")[0].strip("?<")):
            traced(lambda x, function=function: function(*[x] * function.nin), np.ones(2))


def test_numbers_that_do_not_fit_are_refused_like_numpy_does() -> None:
    with pytest.raises(OverflowError):
        traced(lambda x: x + 2**40, np.int32([1]))
