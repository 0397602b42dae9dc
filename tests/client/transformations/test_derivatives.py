"""What the transformations give: numbers against formulas, and results nested as promised."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same

import gradwire as gw


def f(x: Any, y: Any) -> Any:
    return np.sin(x) + x * y


X = np.array([0.5, -1.0, 2.0])


def test_value() -> None:
    assert_same(gw.remote(f)(1.5, 2.0), np.float64(f(1.5, 2.0)))


def test_gradient_of_each_argument() -> None:
    assert_same(gw.grad(f)(1.5, 2.0), np.float64(np.cos(1.5) + 2.0))
    assert_same(gw.grad(f, argnums=1)(1.5, 2.0), np.float64(1.5))
    assert_same(gw.grad(f, argnums=-1)(1.5, 2.0), np.float64(1.5))
    assert_same(gw.grad(f, argnums=(1, 0))(1.5, 2.0), (np.float64(1.5), np.float64(np.cos(1.5) + 2.0)))
    assert_same(gw.grad(f, argnums=[0])(1.5, 2.0), (np.float64(np.cos(1.5) + 2.0),))


def test_value_and_gradient() -> None:
    value, gradient = gw.value_and_grad(f, argnums=(0, 1))(1.5, 2.0)
    assert_same(value, np.float64(f(1.5, 2.0)))
    assert_same(gradient, (np.float64(np.cos(1.5) + 2.0), np.float64(1.5)))


def test_auxiliary_results() -> None:
    def with_aux(x: Any) -> Any:
        return np.sum(x**2), {"twice": 2 * x, "count": 3}

    gradient, aux = gw.grad(with_aux, has_aux=True)(X)
    assert_same(gradient, 2 * X)
    assert_same(aux, {"twice": 2 * X, "count": np.int64(3)})
    (value, aux), gradient = gw.value_and_grad(with_aux, has_aux=True)(X)
    assert_same((value, aux["twice"], gradient), (np.sum(X**2), 2 * X, 2 * X))


def test_products() -> None:
    assert_same(gw.jvp(f, (1.5, 2.0), (1.0, 0.5)), (f(1.5, 2.0), np.float64(np.cos(1.5) + 2.0 + 0.75)))
    out, grads = gw.vjp(lambda x: np.stack([np.sum(x), np.prod(x)]), (X,), np.array([2.0, 1.0]))
    assert_same(out, np.array([1.5, -1.0]))
    assert_same(grads, (2.0 + np.prod(X) / X,))
    gradient, product = gw.hvp(lambda x: np.sum(x**3), (X,), (np.ones(3),))
    assert_same((gradient, product), (3 * X**2, 6 * X))
    gradients, products = gw.hvp(lambda x, y: np.sum(x * y), (X, X), (np.ones(3), 2 * np.ones(3)))
    assert_same((gradients, products), ((X, X), (2 * np.ones(3), np.ones(3))))


def test_jacobians_and_hessians() -> None:
    def g(x: Any) -> Any:
        return np.stack([x[0] * x[1], x[1] ** 2])

    expected = np.array([[-1.0, 0.5, 0.0], [0.0, -2.0, 0.0]])
    for transformed in (gw.jacfwd, gw.jacrev, gw.jacobian):
        assert_same(transformed(g)(X), expected)
    assert_same(gw.hessian(lambda x: np.sum(x**3))(X), np.diag(6 * X))
    assert_same(gw.hessian(g)(X), np.array([[[0, 1.0, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 2.0, 0], [0, 0, 0]]]))
    blocks = gw.hessian(lambda x, y: np.sum(x) * np.sum(y), argnums=(0, 1))(X, np.ones(2))
    assert_same(blocks, ((np.zeros((3, 3)), np.ones((3, 2))), (np.ones((2, 3)), np.zeros((2, 2)))))


def test_jacobians_are_nested_like_results_and_then_arguments() -> None:
    found = gw.jacobian(lambda w: {"a": w["x"] * 2, "b": (np.sum(w["x"]) * w["y"],)})({"x": X, "y": 3.0})
    assert found["a"]["x"].shape == (3, 3)
    assert found["a"]["y"].shape == (3,)
    assert found["b"][0]["x"].shape == (3,)
    assert_same(found["b"][0]["y"], np.float64(1.5))


Point = namedtuple("Point", ["x", "y"])


def test_arguments_and_results_may_be_nested() -> None:
    def loss(parameters: Any, scale: Any) -> Any:
        (w, b), extra = parameters["layers"], parameters["extra"]
        return scale * (np.sum(w**2) + b * extra.x + extra.y)

    parameters = {"layers": [(X, 2.0), None][0], "extra": Point(1.0, np.float32(2.0))}
    gradient = gw.grad(loss)(parameters, 0.5)
    assert list(gradient) == ["layers", "extra"]
    assert isinstance(gradient["extra"], Point)
    assert_same(gradient["layers"], (X, np.float64(0.5)))
    assert_same(gradient["extra"], Point(np.float64(1.0), np.float32(0.5)))


def test_a_dictionary_may_list_its_keys_in_any_order() -> None:
    def loss(w: Any) -> Any:
        return np.sum(w["a"]) * w["b"]

    assert list(gw.grad(loss)({"a": X, "b": 2.0})) == ["a", "b"]
    assert list(gw.grad(loss)({"b": 2.0, "a": X})) == ["b", "a"]
    out, tangent = gw.jvp(loss, ({"a": X, "b": 2.0},), ({"b": 1.0, "a": np.zeros(3)},))
    assert_same((out, tangent), (np.float64(3.0), np.float64(1.5)))


def test_keyword_arguments() -> None:
    def g(x: Any, *, power: Any = 2.0, shift: Any = 0.0) -> Any:
        return np.sum((x + shift) ** 2) * power

    assert_same(gw.grad(g)(X), 4 * X)
    assert_same(gw.grad(g)(X, power=1.0), 2 * X)
    assert_same(gw.vmap(gw.grad(g), in_axes=0)(np.stack([X, X]), shift=np.array([0.0, 1.0])), 4 * np.stack([X, X + 1]))


def test_a_gradient_without_path_is_zeros() -> None:
    assert_same(gw.grad(lambda x, y: np.sum(x), argnums=1)(X, X), np.zeros(3))
    assert_same(gw.grad(lambda x: gw.stop_gradient(np.sum(x)))(X), np.zeros(3))
    assert_same(gw.jacobian(lambda x: np.ones(2))(X), np.zeros((2, 3)))


def test_element_types_are_kept() -> None:
    single = X.astype(np.float32)
    assert gw.grad(lambda x: np.sum(x * 2.0))(single).dtype == np.float32
    assert gw.hessian(lambda x: np.sum(x**2))(single).dtype == np.float32
    assert gw.remote(lambda x, n: x * n)(single, np.int32(2)).dtype == np.float64
    for value, dtype in ((True, np.bool_), (3, np.int64), (2.5, np.float64), (np.int32(1), np.int32)):
        assert gw.remote(lambda x: x)(value).dtype == dtype


def test_results_are_scalars_or_new_writable_arrays() -> None:
    scalar, matrix = gw.remote(lambda x: (np.sum(x), np.outer(x, x).T))(X)
    assert type(scalar) is np.float64
    assert matrix.flags.writeable
    assert matrix.flags.c_contiguous
    assert matrix.flags.owndata
    stacked = gw.vmap(lambda x: np.outer(x, x), out_axes=2)(np.stack([X, X]))
    assert stacked.shape == (3, 3, 2)
    assert stacked.flags.c_contiguous
    assert stacked.flags.writeable


@pytest.mark.parametrize(
    "array",
    [X[::-1], X.astype(">f8"), np.asfortranarray(np.stack([X, 2 * X]))[:, ::2], np.broadcast_to(2.0, (3,)), X[:0]],
    ids=["reversed", "big-endian", "strided", "zero-stride", "empty"],
)
def test_arrays_of_any_layout(array: np.ndarray) -> None:
    assert_same(gw.remote(lambda x: x * 2)(array), (array * 2).astype(np.float64))
    assert_same(gw.grad(lambda x: np.sum(x**2))(array), (array * 2).astype(np.float64))


def test_subclasses_of_arrays_are_arrays(tmp_path: Any) -> None:
    for length in (2, 3):
        stored = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=(length,))
        stored[:] = 2.0
        assert_same(gw.grad(lambda x: np.sum(x**2))(stored), np.full(length, 4.0))
    assert_same(gw.remote(lambda x: x * 2)(np.array([1, 2], dtype=np.longlong)), np.array([2, 4]))


def test_long_names_are_cut() -> None:
    assert gw.remote(lambda w: w["ä" * 300])({"ä" * 300: 1.0}) == 1.0
