"""vmap is the rows of one request where that is exact, and derivatives of batches are batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw


def f(x: Any, y: Any) -> Any:
    return np.sin(x) + x * y


X = np.array([0.5, -1.0, 2.0])


def test_vmap_is_one_request_with_rows(service: LocalClient) -> None:
    xs = np.arange(4.0)
    assert_same(gw.vmap(gw.grad(f), in_axes=(0, None))(xs, 2.0), np.cos(xs) + 2.0)
    assert service.last.rows == 4
    assert service.last.layout.shared_inputs == (1,)
    assert len(service.requests) == 1


def test_one_program_serves_every_batch_size_and_the_single_example(service: LocalClient) -> None:
    gradient = gw.grad(f)
    gradient(1.0, 2.0)
    for rows in (0, 1, 5):
        xs = np.arange(float(rows))
        assert_same(gw.vmap(gradient, in_axes=(0, None))(xs, 2.0), np.cos(xs) + 2.0)
    assert len(service.programs) == 1


def test_axes_of_arguments_and_results() -> None:
    table = np.arange(24.0).reshape(2, 3, 4)
    for axis in (0, 1, 2, -1):
        for place in (0, 1, -1):
            found = gw.vmap(lambda x: x.T * 2, in_axes=axis, out_axes=place)(table)
            expected = np.stack([row.T * 2 for row in np.moveaxis(table, axis, 0)], axis=place)
            assert_same(found, expected)
    nested = gw.vmap(lambda w, x: (w["a"] * x, w["b"]), in_axes=({"a": 0, "b": None}, 1), out_axes=(0, 1))
    a, b, x = np.ones(3), np.arange(2.0), np.arange(6.0).reshape(2, 3)
    assert_same(nested({"a": a, "b": b}, x), (x.T.copy(), np.stack([b] * 3, axis=1)))


def test_reductions_over_rows(service: LocalClient) -> None:
    xs, w = np.arange(6.0).reshape(3, 2), np.array([1.0, -2.0])

    def loss(w: Any, x: Any) -> Any:
        return np.sum(w * x) ** 2

    losses = (xs @ w) ** 2
    gradients = 2 * (xs @ w)[:, None] * xs
    both = gw.value_and_grad(loss)
    assert_same(gw.vmap(both, (None, 0), reduce="sum")(w, xs), (losses.sum(), gradients.sum(0)))
    assert service.last.layout.summed_outputs == (0, 1)
    assert_same(gw.vmap(both, (None, 0), reduce="mean")(w, xs), (losses.mean(), gradients.mean(0)))
    assert_same(gw.vmap(both, (None, 0), reduce=(None, "sum"))(w, xs), (losses, gradients.sum(0)))
    assert_same(gw.vmap(lambda x: x, reduce="mean")(np.arange(4)), np.float64(1.5))
    assert_same(gw.vmap(lambda x: x > 1, reduce="mean")(np.arange(4)), np.float64(0.5))
    assert_same(gw.vmap(lambda x: x, reduce="mean")(np.array([3])), np.float64(3.0))
    assert np.isnan(gw.vmap(lambda x: x, reduce="mean")(np.zeros(0)))


ROWS, W = np.random.default_rng(0).normal(size=(4, 3)), np.array([0.5, -0.25, 1.0])


def model(w: Any, x: Any) -> Any:
    return np.tanh(x * w) @ w


def looped(w: np.ndarray, xs: np.ndarray) -> np.ndarray:
    return np.stack([model(w, x) for x in xs])


def test_products_of_a_vmapped_function_stay_a_batch(service: LocalClient) -> None:
    batched = gw.vmap(model, in_axes=(None, 0))
    dw, dx = np.array([0.1, 0.2, 0.3]), np.random.default_rng(1).normal(size=(4, 3))
    out, tangent = gw.jvp(batched, (W, ROWS), (dw, dx))
    assert service.last.rows == 4
    assert service.last.layout.shared_inputs == (0, 2)  # the tangent of a shared argument is shared
    pairs = [gw.jvp(model, (W, x), (dw, d)) for x, d in zip(ROWS, dx, strict=True)]
    assert_same((out, tangent), (np.stack([p for p, _ in pairs]), np.stack([t for _, t in pairs])))

    weights = np.array([1.0, -1.0, 2.0, 0.5])
    out, (by_w, by_x) = gw.vjp(batched, (W, ROWS), weights)
    assert service.last.rows == 4
    assert service.last.layout.summed_outputs == (1,)  # the gradient of a shared argument is summed
    singles = [gw.grad(model, (0, 1))(W, x) for x in ROWS]
    assert_same(by_w, sum(c * g for c, (g, _) in zip(weights, singles, strict=True)))
    assert_same(by_x, np.stack([c * g for c, (_, g) in zip(weights, singles, strict=True)]))


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_derivatives_of_a_reduced_batch(service: LocalClient, reduce: str) -> None:
    count = 4.0 if reduce == "mean" else 1.0
    total = gw.vmap(model, in_axes=(None, 0), reduce=reduce)
    singles = [gw.grad(model, (0, 1))(W, x) for x in ROWS]
    value, (by_w, by_x) = gw.value_and_grad(total, (0, 1))(W, ROWS)
    assert_same(value, looped(W, ROWS).sum() / count)
    assert_same(by_w, sum(g for g, _ in singles) / count)
    assert_same(by_x, np.stack([g for _, g in singles]) / count)
    hessians = sum(gw.hessian(model)(W, x) for x in ROWS) / count
    for second in (
        gw.hessian(total),
        gw.jacfwd(gw.grad(total)),
        gw.jacrev(gw.grad(total)),
        gw.jacobian(gw.grad(total)),
    ):
        assert_same(second(W, ROWS), hessians)
        assert service.last.rows == 4
    direction = np.array([1.0, 2.0, -1.0])
    assert_same(gw.hvp(total, (W, ROWS), (direction, np.zeros((4, 3))))[1][0], hessians @ direction)
    mixed = gw.jacobian(gw.grad(total, 0), 1)(W, ROWS)
    assert mixed.shape == (3, 4, 3)
    assert service.last.rows == 4
    assert_same(mixed[:, 1], gw.jacobian(gw.grad(model, 0), 1)(W, ROWS[1]) / count)
    _, (by_w, by_x) = gw.vjp(total, (W, ROWS), 3.0)
    assert_same(by_w, 3.0 * sum(g for g, _ in singles) / count)
    weighted = gw.grad(lambda c: gw.vjp(total, (W, ROWS), c)[1][0][0])(2.0)
    assert_same(weighted, np.float64(sum(g for g, _ in singles)[0] / count))


def test_jacobian_of_stacked_rows_by_shared_arguments_stays_a_batch(service: LocalClient) -> None:
    found = gw.jacobian(gw.vmap(model, in_axes=(None, 0)))(W, ROWS)
    assert service.last.rows == 4
    assert_same(found, np.stack([gw.grad(model)(W, x) for x in ROWS]))


def test_jacobian_of_stacked_rows_by_rows_has_zeros_between_them(service: LocalClient) -> None:
    found = gw.jacobian(gw.vmap(model, in_axes=(None, 0)), argnums=1)(W, ROWS)
    assert service.last.rows is None
    expected = np.zeros((4, 4, 3))
    for i, x in enumerate(ROWS):
        expected[i, i] = gw.grad(model, 1)(W, x)
    assert_same(found, expected)


def test_vmap_of_vmap() -> None:
    table = gw.vmap(gw.vmap(f, in_axes=(0, None)), in_axes=(None, 0))(X, np.arange(2.0))
    assert_same(table, f(X[None, :], np.arange(2.0)[:, None]))
    inner_sum = gw.vmap(gw.vmap(f, in_axes=(0, None), reduce="mean"), in_axes=(None, 0))(X, np.arange(2.0))
    assert_same(inner_sum, f(X[None, :], np.arange(2.0)[:, None]).mean(1))
    assert_same(
        gw.grad(gw.vmap(gw.vmap(f, (0, None), reduce="sum"), (None, 0), reduce="sum"))(X, X), 3 * np.cos(X) + X.sum()
    )


def test_empty_batches() -> None:
    nothing = np.zeros((0, 3))
    assert gw.vmap(lambda x: np.sum(x))(nothing).shape == (0,)
    assert gw.vmap(gw.grad(lambda x: np.sum(x**2)))(nothing).shape == (0, 3)
    assert_same(gw.vmap(gw.grad(lambda w, x: np.sum(w * x)), (None, 0), reduce="sum")(X, nothing), np.zeros(3))
