"""What the transformations give: numbers against formulas, results nested as promised, and every kind of mistake."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

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


# batches


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


# compositions inside traced functions


def test_a_transformed_function_inside_a_traced_one() -> None:
    def outer(x: Any) -> Any:
        return x * gw.grad(lambda y: x * y**2)(x)  # 2 x^3

    assert_same(gw.remote(outer)(3.0), np.float64(54.0))
    assert_same(gw.grad(outer)(3.0), np.float64(54.0))
    assert_same(gw.grad(gw.grad(outer))(3.0), np.float64(36.0))


def test_levels_of_differentiation_are_not_confused() -> None:
    # d/dx (x * d/dy (x + y)) = 1; confusing x's tangent with y's gives 2.
    assert_same(gw.grad(lambda x: x * gw.grad(lambda y: x + y)(1.0))(2.0), np.float64(1.0))
    forward = gw.jvp(lambda x: x * gw.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (2.0,), (1.0,))[1]
    assert_same(forward, np.float64(1.0))
    both = gw.jvp(lambda x: gw.grad(lambda y: x**2 * y**3)(2.0), (3.0,), (1.0,))[1]
    assert_same(both, np.float64(72.0))  # d/dx 12 x^2


def test_every_transformation_inside_a_trace() -> None:
    def cube(x: Any) -> Any:
        return np.sum(x**3)

    def everything(x: Any) -> Any:
        value, gradient = gw.value_and_grad(cube)(x)
        _, tangent = gw.jvp(cube, (x,), (np.ones(3),))
        _, (pulled,) = gw.vjp(cube, (x,), 2.0)
        _, product = gw.hvp(cube, (x,), (x,))
        rows = gw.vmap(lambda t: t * x)(np.arange(2.0))
        total = gw.vmap(lambda t: t * x, reduce="mean")(np.arange(2.0))
        diagonal = np.diagonal(gw.hessian(cube)(x)) + np.diagonal(gw.jacfwd(gw.grad(cube))(x))
        return value, gradient, tangent, pulled, product, rows, total, diagonal, gw.remote(cube)(x)

    x = X
    expected = (
        np.sum(x**3), 3 * x**2, np.sum(3 * x**2), 6 * x**2, 6 * x * x, np.stack([0 * x, x]), x / 2, 12 * x,
        np.sum(x**3),
    )  # fmt: skip
    assert_same(gw.remote(everything)(x), expected)


def test_third_derivatives() -> None:
    third = gw.grad(gw.grad(gw.grad(lambda x: np.sin(x) * x)))
    assert_same(third(0.7), np.float64(-3 * np.sin(0.7) - 0.7 * np.cos(0.7)))
    assert_same(gw.jacfwd(gw.jacrev(gw.jacfwd(lambda x: x**4)))(2.0), np.float64(48.0))
    assert_same(gw.grad(lambda x: np.sum(gw.hessian(lambda y: np.sum(y**4))(x)))(X), 24 * X)


def test_the_same_argument_twice() -> None:
    assert_same(gw.grad(lambda x: f(x, x))(1.5), np.float64(np.cos(1.5) + 3.0))


def test_large_arrays_of_the_function_around() -> None:
    table = np.random.default_rng(0).normal(size=(10, 10))

    def outer(x: Any) -> Any:
        return np.sum(gw.grad(lambda y: np.sum((table @ y) ** 2) * np.sum(x))(x))

    x = np.ones(10)
    expected = gw.grad(lambda x: np.sum(2 * table.T @ (table @ x)) * np.sum(x))(x)
    assert_same(gw.grad(outer)(x), expected)


def test_functions_that_are_not_plain_functions() -> None:
    import functools

    class Scaled:
        def __init__(self, by: float) -> None:
            self.by = by

        def __call__(self, x: Any) -> Any:
            return np.sum(x**2) * self.by

        def method(self, x: Any) -> Any:
            return np.sum(x**2) * self.by

    assert_same(gw.grad(Scaled(2.0))(X), 4 * X)
    assert_same(gw.grad(Scaled(3.0).method)(X), 6 * X)
    assert_same(gw.grad(functools.partial(f, y=2.0))(1.5), np.float64(np.cos(1.5) + 2.0))
    assert_same(gw.grad(np.sin)(1.5), np.float64(np.cos(1.5)))


# mistakes, all before anything is sent


def refused(service: LocalClient, message: str, call: Any, kind: type[Exception] = TypeError) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, gw.GradwireError)
    assert service.requests == []


def test_integers_cannot_be_differentiated(service: LocalClient) -> None:
    refused(service, r"argument x of f is int64.*float\(", lambda: gw.grad(f)(3, 2.0))
    refused(service, r"argument y of f is int32\[2\].*astype\(np\.float64\).*gw\.remote",
            lambda: gw.jacobian(f, 1)(1.0, np.zeros(2, np.int32)))  # fmt: skip
    refused(service, r"argument w\['b'\] of", lambda: gw.grad(lambda w: w["a"])({"a": 1.0, "b": 2}))
    refused(service, "argument x .* has no tangent", lambda: gw.jvp(f, (3, 2.0), (1.0, 0.0)))


def test_a_result_that_is_no_scalar_has_no_gradient(service: LocalClient) -> None:
    refused(service, r"returns float64\[3\]. Use gw.jacobian", lambda: gw.grad(lambda x: x)(X))
    refused(service, r"returns int64", lambda: gw.grad(lambda x: 3)(1.0))
    refused(service, r"returns \(\*, \*\).*has_aux", lambda: gw.grad(lambda x: (x, x))(1.0))
    refused(service, r"must return \(value, auxiliary\)", lambda: gw.grad(lambda x: x, has_aux=True)(1.0))
    refused(service, r"gw.vmap\(gw.grad", lambda: gw.grad(gw.vmap(lambda x: x))(X))
    refused(service, "result.*is int64.*only floating", lambda: gw.jacobian(lambda x: (x, 1))(1.0))


def test_argnums_must_name_arguments(service: LocalClient) -> None:
    refused(service, "argnums=2, but f is called with 2", lambda: gw.grad(f, 2)(1.0, 2.0))
    refused(service, "names an argument twice", lambda: gw.grad(f, (0, -2))(1.0, 2.0))
    refused(service, "position of an argument", lambda: gw.grad(f, "x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float16(1.0), r"float16.*astype\(np.float64\)"), (np.zeros(2, np.uint8), r"uint8.*astype\(np.int64\)"),
        (1j, "complex.*real and imaginary"), (np.zeros(2, complex), "x.real, x.imag"), ("text", "is a str"),
        (np.array([None]), "object"), (np.array(["a"]), "<U1"), ({1, 2}, "is a set"), (2**70, "does not fit int64"),
    ],
    ids=str,
)  # fmt: skip
def test_other_types_are_refused_with_the_cast(service: LocalClient, value: Any, message: str) -> None:
    refused(service, message, lambda: gw.remote(lambda x: x)(value))


def test_vmap_says_what_does_not_fit(service: LocalClient) -> None:
    refused(service, r"y of f is float64 and has no axis 0.*None", lambda: gw.vmap(f)(X, 2.0))
    refused(service, "lengths .* differ: x has 3 along axis 0, y has 2", lambda: gw.vmap(f)(X, np.zeros(2)))
    refused(service, "maps no argument", lambda: gw.vmap(f, in_axes=None)(X, X))
    refused(service, "one entry for each of the 2", lambda: gw.vmap(f, in_axes=(0,))(X, X))
    refused(service, "keys", lambda: gw.vmap(lambda w: w["a"], in_axes=({"b": 0},))({"a": X}))
    refused(service, "in_axes holds 'x'", lambda: gw.vmap(f, in_axes="x")(X, X))
    refused(service, "out_axes holds 2", lambda: gw.vmap(f, out_axes=2)(X, X))
    refused(service, "'sum', 'mean' or None", lambda: gw.vmap(f, reduce="max")(X, X))
    refused(service, "bool and cannot be summed", lambda: gw.vmap(lambda x: x > 0, reduce="sum")(X))


def test_tangents_and_cotangents_must_fit(service: LocalClient) -> None:
    refused(service, r"tangent of x is float64\[2\], expected float64\[3\]",
            lambda: gw.jvp(lambda x: x, (X,), (np.ones(2),)))  # fmt: skip
    refused(service, "pass the arguments in a tuple", lambda: gw.jvp(f, X, X))
    refused(service, "has 1 entries, expected 2", lambda: gw.jvp(f, (X, X), (X,)))
    refused(service, r"cotangent of result of .* is float32\[3\]", lambda: gw.vjp(lambda x: x, (X,), np.float32(X)))
    refused(service, "cotangents", lambda: gw.vjp(lambda x: (x, x), (X,), (X,)))
    refused(service, "no floating-point argument", lambda: gw.vjp(lambda x: x * 2.0, (1,), 1.0))


def test_what_does_not_move_and_what_does_not_count() -> None:
    assert_same(gw.jvp(f, (1.5, 2.0), (None, 1.0))[1], np.float64(1.5))
    out, tangent = gw.jvp(lambda x, n: (x * n, n), (2.0, 3), (1, None))
    assert_same(out, (np.float64(6.0), np.int64(3)))
    assert tangent[1] is None
    assert tangent[0] == 3.0
    _, grads = gw.vjp(lambda x, n: (x * n, x, n), (2.0, 3), (1.0, None, None))
    assert grads == (3.0, None)
    batched = gw.vmap(lambda x: (x * 2, x * 3))
    assert_same(gw.vjp(batched, (X,), (X, None))[1], (2 * X,))


def test_a_python_number_takes_the_type_of_what_it_belongs_to() -> None:
    x = np.float32(2.0)
    assert gw.jvp(lambda x: x * x, (x,), (1.0,))[1].dtype == np.float32
    assert gw.vjp(lambda x: x * x, (x,), 1)[1][0].dtype == np.float32


def test_only_functions_can_be_transformed() -> None:
    with pytest.raises(TypeError, match="expected a function, got int"):
        gw.grad(3)  # type: ignore[arg-type]


def test_a_remote_knows_what_it_is_made_of() -> None:
    assert repr(gw.vmap(gw.grad(f))) == "<gradwire.Remote vmap of grad of f>"
    assert gw.grad(f).__name__ == "f"
    assert gw.remote(f).__wrapped__ is f
