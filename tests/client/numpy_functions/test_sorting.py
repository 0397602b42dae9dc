"""Sorting, order statistics, interpolation and running reductions through numpy's names.

Random arguments against numpy; derivatives against differences and an independent engine; and what was decided where
derivatives jump.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.client.evaluating import assert_like_numpy, assert_same, graph_of, traced

import gradwire as gw
from gradwire.errors import ShapeError, TracingError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import vjp

METHODS = [
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
]  # fmt: skip

OF_ONE_AXIS: dict[str, Callable[..., Any]] = {
    "sort": lambda x, axis: np.sort(x, axis),
    "partition": lambda x, axis: np.sort(np.partition(x, 0, axis), axis),
    "argsort": lambda x, axis: np.argsort(x, axis, kind="stable"),
    "cumsum": lambda x, axis: np.cumsum(x, axis),
    "cumprod": lambda x, axis: np.cumprod(x, axis),
    "nancumsum": lambda x, axis: np.nancumsum(x, axis),
    "nancumprod": lambda x, axis: np.nancumprod(x, axis),
    "maximum.accumulate": lambda x, axis: np.maximum.accumulate(x, 0 if axis is None else axis),
    "minimum.accumulate": lambda x, axis: np.minimum.accumulate(x, 0 if axis is None else axis),
    "logaddexp.accumulate": lambda x, axis: np.logaddexp.accumulate(x, 0 if axis is None else axis),
    "lexsort": lambda x, axis: np.lexsort((x, x > 1), 0 if axis is None else axis),
}
OF_SEVERAL_AXES: dict[str, Callable[..., Any]] = {
    "median": np.median,
    "nanmedian": np.nanmedian,
    "nanvar": np.nanvar,
    "nanstd": np.nanstd,
    "nansum": np.nansum,
    "nanprod": np.nanprod,
    "nanmean": np.nanmean,
    "nanmax": np.nanmax,
    "nanmin": np.nanmin,
    "ptp": np.ptp,
}


@st.composite
def arrays(draw: Any) -> np.ndarray:
    """One to three short axes; ties, NaN and infinities among the elements of some."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    dtype = draw(st.sampled_from([np.float64, np.float32, np.int64, np.int32]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    if np.dtype(dtype).kind == "i" or draw(st.booleans()):
        return rng.integers(-2, 3, shape).astype(dtype)
    if draw(st.booleans()):
        return rng.choice(np.array([0.5, -1.0, 0.0, np.nan, np.nan], dtype), shape)
    return rng.normal(size=shape).astype(dtype)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(OF_ONE_AXIS)), arrays(), st.data())
def test_functions_along_an_axis(name: str, x: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    assert_like_numpy(lambda x: OF_ONE_AXIS[name](x, axis), x)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(OF_SEVERAL_AXES)), arrays(), st.data())
def test_reductions(name: str, x: np.ndarray, data: st.DataObject) -> None:
    places = st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True).map(tuple)
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1) | places)
    keepdims = data.draw(st.booleans())
    assert_like_numpy(lambda x: OF_SEVERAL_AXES[name](x, axis=axis, keepdims=keepdims), x)


@settings(max_examples=150, deadline=None)
@given(arrays(), st.sampled_from(METHODS), st.booleans(), st.data())
def test_quantiles(x: np.ndarray, method: str, ignore_nan: bool, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    q = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]) | st.lists(st.floats(0, 1, width=16), max_size=3))
    keepdims, function = data.draw(st.booleans()), np.nanquantile if ignore_nan else np.quantile
    if isinstance(q, list):
        q = np.array(q, x.dtype if x.dtype.kind == "f" else np.float64)  # numpy's own type of a NaN depends on the rest
    assert_like_numpy(lambda x: function(x, q, axis=axis, method=method, keepdims=keepdims), x)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 999), st.sampled_from(["left", "right"]), st.booleans())
def test_searches(length: int, seed: int, side: Any, is_integer: bool) -> None:
    rng = np.random.default_rng(seed)
    table = np.sort(rng.integers(-3, 4, length).astype(np.int64 if is_integer else np.float64))
    values = rng.choice(np.array([-4.0, -1.0, 0.0, 0.5, 3.0, 9.0, np.nan]), (2, 3))
    assert_like_numpy(lambda a, v: np.searchsorted(a, v, side), table, values)
    assert_like_numpy(lambda v: np.digitize(v, table, side == "left"), values)
    assert_like_numpy(lambda a, v: np.digitize(v, a[::-1], side == "left"), np.unique(table), values)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 999), st.sampled_from([{}, {"left": -7.0, "right": 8.0}, {"period": 2.5}]))
def test_interpolation(length: int, seed: int, options: dict[str, float]) -> None:
    rng = np.random.default_rng(seed)
    nodes = np.unique(rng.uniform(-3, 3, length))
    values = rng.choice(np.array([1.0, -2.0, 0.5, 3.0]), nodes.size)
    x = np.concatenate([nodes, rng.uniform(-4, 4, 5), [np.nan, np.inf, -np.inf][: 1 if "period" in options else 3]])
    assert_like_numpy(lambda x, n, v: np.interp(x, n, v, **options), x, nodes, values)


def test_infinite_values_at_nodes_are_met_exactly() -> None:
    nodes, values = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, np.inf, 1.0, -np.inf])
    assert_like_numpy(lambda x: np.interp(x, nodes, values), np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]))


# Derivatives


def heads(reduce: Callable[..., Any], x: Any) -> Any:
    """Reductions of the first elements of each row."""
    return anp.stack([reduce(x[:, : i + 1], axis=1) for i in range(x.shape[1])], 1)


SMOOTH: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "sort": (lambda x: np.sort(x, axis=None), lambda x: anp.sort(anp.ravel(x))),
    "sort along an axis": (lambda x: np.sort(x, axis=0), None),
    "partition": (lambda x: np.partition(x, 1, axis=None)[1], lambda x: anp.partition(anp.ravel(x), 1)[1]),
    "median": (np.median, lambda x: anp.mean(anp.sort(anp.ravel(x))[5:7])),
    "median along an axis": (lambda x: np.median(x, axis=1), None),
    "nanmedian": (lambda x: np.nanmedian(np.where(x > 2, np.nan, x)), None),
    "quantile": (lambda x: np.quantile(x, [0.1, 0.6], axis=1), None),
    "nanquantile": (lambda x: np.nanquantile(np.where(x > 1, np.nan, x), 0.35, axis=0), None),
    "percentile": (lambda x: np.percentile(x, 33.0, method="hazen"), None),
    "a traced quantile": (lambda x: np.quantile(x, np.abs(np.sin(x[0, 0]))), None),
    "cumsum": (lambda x: np.cumsum(x, axis=0), lambda x: anp.cumsum(x, axis=0)),
    "cumprod": (lambda x: np.cumprod(x, axis=1), lambda x: heads(anp.prod, x)),
    "maximum.accumulate": (lambda x: np.maximum.accumulate(x, 1), lambda x: heads(anp.max, x)),
    "logaddexp.accumulate": (np.logaddexp.accumulate, None),
    "interp": (lambda x: np.interp(x, [-3.0, 0.3, 4.0], x[0, :3]), None),
    "interp's nodes": (lambda x: np.interp([0.1, 0.5], np.sort(x[0]), x[1]), None),
    "gradient": (lambda x: np.gradient(x, np.cumsum(np.exp(x[:, 0])), axis=0, edge_order=2), None),
    "nanstd": (lambda x: np.nanstd(np.where(x > 1, np.nan, x), axis=1), None),
    "nanvar": (lambda x: np.nanvar(np.where(x > 1, np.nan, x), ddof=1), None),
    "std": (lambda x: np.std(x, axis=0), lambda x: anp.std(x, axis=0)),
    "cov": (lambda x: np.cov(x, aweights=np.exp(x[0])), None),
    "corrcoef": (lambda x: np.corrcoef(x)[np.triu_indices(3, 1)], None),
    "unwrap": (lambda x: np.unwrap(4.0 * x), None),
    "linspace": (lambda x: np.linspace(x[0], x[1], 3), None),
    "piecewise": (lambda x: np.piecewise(x, [x < -1], [lambda y: y * y, lambda y: np.exp(y)]), None),
    "polyfit": (lambda x: np.polyfit(x[0], x[1], 2, w=np.exp(x[2])), None),
    "bincount": (lambda x: np.bincount([0, 2, 0, 5], x[0] * x[1]), None),
    "top_k": (lambda x: gw.special.top_k(x, 2)[0], None),
    "lexsort": (lambda x: np.take(x[1], np.lexsort((x[1], x[0]))), None),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name: str) -> None:
    """Forward against differences, reverse against forward; second order too; and another engine."""
    function, other = SMOOTH[name]
    rng = np.random.default_rng(4)
    x, move = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    graph, captured, _, _ = graph_of(function, x)
    tangent = compile(jvp(graph, [0])).run([x, *captured, move], 1)[1]
    ahead, behind = (compile(graph).run([x + step * move, *captured], 1)[0] for step in (1e-6, -1e-6))
    np.testing.assert_allclose(tangent, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)
    weights = rng.normal(size=tangent.shape)
    pulled = vjp(graph, [0])
    gradient = compile(pulled).run([x, *captured, weights], 1)[1]
    np.testing.assert_allclose(np.sum(gradient * move), np.sum(weights * tangent), rtol=1e-12)
    pushed = compile(jvp(pulled, [0]))
    second = pushed.run([x, *captured, weights, move], 1)[-1]
    ahead, behind = (compile(pulled).run([x + s * move, *captured, weights], 1)[1] for s in (1e-6, -1e-6))
    np.testing.assert_allclose(second, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-7)
    if other is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = autograd.make_vjp(other)(x)[0](weights)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


def both(function: Callable[..., Any], *point: Any) -> Any:
    """The Jacobian, which is the same in both modes."""
    forward, reverse = gw.jacfwd(function)(*point), gw.jacrev(function)(*point)
    np.testing.assert_array_equal(forward, reverse)
    return forward


def test_slopes_at_the_nodes_of_interp_are_those_of_the_right_segment() -> None:
    nodes, values = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, -2.0])
    slopes = [both(lambda x: np.interp(x, nodes, values), x) for x in (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0)]
    assert slopes == [0.0, 2.0, 2.0, -2.0, -2.0, -2.0, 0.0]
    np.testing.assert_array_equal(both(lambda v: np.interp(1.0, nodes, v), values), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(both(lambda n: np.interp(1.0, n, values), nodes), [0.0, 2.0, 0.0])


def test_a_quantile_that_meets_an_element_is_that_element() -> None:
    """Its neighbour has no part in it, not even an infinite slope."""
    x = np.array([4.0, 0.0, 9.0])
    for q, expected in ((0.0, [0.0, np.inf, 0.0]), (0.5, [0.25, 0.0, 0.0]), (1.0, [0.0, 0.0, 1 / 6])):
        np.testing.assert_array_equal(both(lambda x, q=q: np.quantile(np.sqrt(x), q), x), expected)
    np.testing.assert_array_equal(both(lambda x: np.median(np.sqrt(x)), x), [0.25, 0.0, 0.0])


def test_equal_elements_keep_their_order_in_a_derivative() -> None:
    x = np.array([1.0, 0.0, 1.0, 1.0])
    np.testing.assert_array_equal(both(np.sort, x), np.eye(4)[[1, 0, 2, 3]])
    np.testing.assert_array_equal(both(np.median, x), [0.5, 0.0, 0.5, 0.0])
    np.testing.assert_array_equal(both(lambda x: gw.special.top_k(x, 2)[0], x), np.eye(4)[[0, 2]])
    np.testing.assert_array_equal(both(lambda x: np.maximum.accumulate(x)[-1], x), both(np.max, x))


def test_nan_in_order_statistics() -> None:
    x = np.array([3.0, np.nan, 1.0, 2.0])
    np.testing.assert_array_equal(both(np.nanmedian, x), [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(both(lambda x: np.nanquantile(x, 0.25), x), [0.0, 0.0, 0.5, 0.5])
    np.testing.assert_array_equal(both(np.median, x), [0.0, 1.0, 0.0, 0.0])
    assert np.isnan(traced(np.nanmedian, np.full(3, np.nan)))


def test_deviations_of_equal_values_do_not_vary() -> None:
    """To first and second order, in both modes."""
    for function in (np.std, np.nanstd, lambda x: np.linalg.norm(x - np.mean(x))):
        np.testing.assert_array_equal(both(function, np.full(3, 2.0)), np.zeros(3))
        np.testing.assert_array_equal(gw.hessian(function)(np.full(3, 2.0)), np.zeros((3, 3)))
        np.testing.assert_array_equal(gw.jacrev(gw.jacfwd(function))(np.full(3, 2.0)), np.zeros((3, 3)))
    np.testing.assert_allclose(gw.hessian(np.var)(np.full(2, 2.0)), [[0.5, -0.5], [-0.5, 0.5]])


# top_k and one_hot


@settings(max_examples=60, deadline=None)
@given(arrays(), st.data())
def test_top_k_is_the_head_of_a_descending_stable_sort(x: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    k = data.draw(st.integers(0, x.shape[axis]))
    rows = np.moveaxis(x, axis, -1)
    places = np.empty((*rows.shape[:-1], k), np.int64)
    for where in np.ndindex(*rows.shape[:-1]):
        line = rows[where].tolist()
        order = sorted(range(len(line)), key=lambda i: (line[i] == line[i], -line[i] if line[i] == line[i] else 0.0))
        places[where] = order[:k]
    expected = np.moveaxis(np.take_along_axis(rows, places, -1), -1, axis), np.moveaxis(places, -1, axis)
    assert_same(gw.special.top_k(x, k, axis), expected)
    assert_same(traced(lambda x: gw.special.top_k(x, k, axis), x), expected)


def test_one_hot() -> None:
    places = np.array([[0, 2], [1, -1]])
    expected = np.array([[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]])
    for dtype in (np.float64, np.float32, np.int64):
        assert_same(gw.special.one_hot(places, 3, dtype), expected.astype(dtype))
        assert_same(traced(lambda i, d=dtype: gw.special.one_hot(i, 3, d), places), expected.astype(dtype))


# What numpy refuses


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.sort(x, axis=2), "axis 2 is out of bounds"),
        (lambda x: np.partition(x, 4), "out of bounds"),
        (lambda x: np.searchsorted(x, 1.0), "expected a table of one axis"),
        (lambda x: np.searchsorted(x[0], 1.0, side="middle"), "side must be"),
        (lambda x: np.digitize(x, [0.0, 2.0, 1.0]), "monotonically"),
        (lambda x: np.quantile(x, 1.5), r"range \[0, 1\]"),
        (lambda x: np.percentile(x, -1), r"range \[0, 100\]"),
        (lambda x: np.quantile(x, 0.5, method="best"), "not a valid method"),
        (lambda x: np.quantile(x[:0], 0.5), "empty"),
        (lambda x: np.interp(x, [0.0, 1.0], [0.0]), "not of the same length"),
        (lambda x: np.interp(x, x, x), "not of the same length"),
        (lambda x: np.interp(x, x[0], x[0], period=0), "period"),
        (lambda x: np.gradient(x, 1.0, 2.0, 3.0), "number of arguments"),
        (lambda x: np.gradient(x[:1]), "too small"),
        (lambda x: np.gradient(x, [1.0, 2.0], axis=0), "must match the length"),
        (lambda x: np.linspace(x, 1.0, -1), "non-negative"),
        (lambda x: np.cov(x[np.newaxis]), "at most two axes"),
        (lambda x: np.bincount([0, 1], x[0]), "same length"),
        (lambda x: np.bincount([-1, 1, 0, 0], x[0]), "at least 0"),
        (lambda x: gw.special.top_k(x, 5), "k=5 of 4"),
        (lambda x: np.piecewise(x, [x > 0], [1, 2, 3]), "one more functions"),
    ],
)
def test_what_numpy_refuses_is_refused(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        traced(call, np.zeros((3, 4)))


def test_weights_of_quantiles_are_refused() -> None:
    with pytest.raises(TracingError, match=r"weights.*repeat the elements"):
        traced(lambda x: np.quantile(x, 0.5, method="inverted_cdf", weights=[1.0, 2.0]), np.zeros(2))


# Against JAX, by the names that it shares with numpy

SHARED: dict[str, Callable[..., Any]] = {
    "sort": lambda xp, x: xp.sort(x, axis=0),
    "median": lambda xp, x: xp.median(x, axis=1),
    "nanmedian": lambda xp, x: xp.nanmedian(xp.where(x > 1, xp.nan, x), axis=0),
    "quantile": lambda xp, x: xp.quantile(x, xp.asarray([0.1, 0.45]), axis=1),
    "nanquantile": lambda xp, x: xp.nanquantile(xp.where(x > 1, xp.nan, x), 0.35, axis=0),
    "percentile": lambda xp, x: xp.percentile(x, 33.0, method="midpoint"),
    "cumsum": lambda xp, x: xp.cumsum(x, axis=1),
    "cumprod": lambda xp, x: xp.cumprod(x, axis=1),
    "interp": lambda xp, x: xp.interp(x[1:], xp.sort(x[0]), xp.exp(x[0]), left=-1.0),
    "gradient": lambda xp, x: xp.gradient(x, 0.5, axis=1),
    "cov": lambda xp, x: xp.cov(x),
    "corrcoef": lambda xp, x: xp.corrcoef(x),
    "unwrap": lambda xp, x: xp.unwrap(4.0 * x),
    "nanstd": lambda xp, x: xp.nanstd(xp.where(x > 1, xp.nan, x), axis=1, ddof=1),
    "nancumprod": lambda xp, x: xp.nancumprod(xp.where(x > 1, xp.nan, x), axis=1),
    "polyint": lambda xp, x: xp.polyint(x[0], 2),
    "insert": lambda xp, x: xp.insert(x, 1, x[0], axis=0),
    "take_along_axis": lambda xp, x: xp.take_along_axis(x, xp.argsort(x**2, axis=1), axis=1),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SHARED)
def test_values_and_gradients_are_those_of_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    function = SHARED[name]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(3, 4))
        value = gw.remote(lambda x: function(np, x))(x)
        expected, pull = jax.vjp(lambda x: function(jax.numpy, x), x)
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
        weights = rng.normal(size=np.shape(value))
        _, (gradient,) = gw.vjp(lambda x: function(np, x), (x,), weights)
        np.testing.assert_allclose(gradient, pull(jax.numpy.asarray(weights))[0], rtol=1e-10, atol=1e-12)
