"""Linear algebra of the SDK: what scipy.linalg has and numpy lacks, what is refused, and derivatives through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same, traced
from tests.kit.client.linear_algebra_cases import regular, symmetric

import gradwire as gw
from gradwire.errors import GradwireError

linalg = pytest.importorskip("scipy.linalg")

RNG = np.random.default_rng(3)
MATRIX, STACK = regular(RNG.normal(size=(4, 4))), regular(RNG.normal(size=(3, 4, 4)))
VECTOR, RIGHT = RNG.normal(size=4), RNG.normal(size=(4, 2))
DEFINITE = symmetric(RNG.normal(size=(4, 4)))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("trans", [0, 1, "C"])
@pytest.mark.parametrize("unit_diagonal", [True, False])
@pytest.mark.parametrize("b", [VECTOR, RIGHT], ids=["vector", "matrix"])
def test_triangles_are_solved_with_as_scipy_does(lower: bool, trans: Any, unit_diagonal: bool, b: np.ndarray) -> None:
    options: Any = {"lower": lower, "trans": trans, "unit_diagonal": unit_diagonal}
    expected = linalg.solve_triangular(MATRIX, b, **options)
    assert_same(gw.special.solve_triangular(MATRIX, b, **options), expected)
    assert_same(traced(lambda a, b: gw.special.solve_triangular(a, b, **options), MATRIX, b), expected)


def test_a_singular_triangle_of_a_stack_is_nan_alone() -> None:
    stack = np.stack([MATRIX, np.tri(4) - np.eye(4)])
    expected = np.stack([linalg.solve_triangular(MATRIX, RIGHT, lower=True), np.full((4, 2), np.nan)])
    assert_same(gw.special.solve_triangular(stack, RIGHT, lower=True), expected)
    assert_same(traced(lambda a: gw.special.solve_triangular(a, RIGHT, lower=True), stack), expected)


@pytest.mark.parametrize("lower", [True, False])
def test_a_factor_solves_again(lower: bool) -> None:
    expected = linalg.cho_solve(linalg.cho_factor(DEFINITE, lower), VECTOR)

    def solved(a: Any) -> Any:
        return gw.special.cho_solve(gw.special.cho_factor(a, lower=lower), VECTOR)

    assert_same(solved(DEFINITE), expected)
    assert_same(traced(solved, DEFINITE), expected)
    assert gw.special.cho_factor(DEFINITE, lower=lower)[1] is lower


@pytest.mark.parametrize("size", [0.0, 1e-8, 1.0, 5.0, 40.0])
def test_the_exponential_is_scipys(size: float) -> None:
    a = size * RNG.normal(size=(2, 4, 4)) / 4.0
    expected = linalg.expm(a)
    assert_same(gw.special.expm(a), expected, 1e-11 * max(1.0, size))
    assert_same(traced(gw.special.expm, a), expected, 1e-11 * max(1.0, size))


def test_the_type_of_the_elements_stays() -> None:
    a, b = MATRIX.astype(np.float32), VECTOR.astype(np.float32)
    for function in (
        lambda a, b: gw.special.expm(a / np.float32(9.0)),
        lambda a, b: gw.special.solve_triangular(a, b),
        lambda a, b: gw.special.cho_solve(gw.special.cho_factor(a @ a.T), b),
    ):
        found, expected = function(a, b), function(a.astype(np.float64), b.astype(np.float64))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert_same(traced(function, a, b), found, 1e-4)
    assert traced(gw.special.expm, np.eye(2, dtype=np.int64)).dtype == np.float64


def test_the_exponential_of_large_matrices_whose_derivative_is_known() -> None:
    direction = RNG.normal(size=(4, 4))
    for a in (np.zeros((4, 4)), MATRIX / 5.0, MATRIX):
        _, found = gw.jvp(gw.special.expm, (a,), (direction,))
        expected = linalg.expm_frechet(a, direction, compute_expm=False)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * np.max(np.abs(expected)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.linalg.inv(x[:3]), r"linalg\.inv: expected square matrices.*\(3, 4\)"),
        (lambda x: np.linalg.det(x[0]), r"linalg\.det: expected matrices"),
        (lambda x: np.linalg.solve(x, np.ones(3)), r"linalg\.solve: .*\(4, 4\).*\(3, 1\)"),
        (lambda x: np.linalg.svd(x[:3]), r"full_matrices=True.*write full_matrices=False"),
        (lambda x: np.linalg.qr(x[:, :2], mode="complete"), r"mode='complete'.*write mode='reduced'"),
        (lambda x: np.linalg.qr(x, mode="raw"), r"mode='raw'"),
        (lambda x: np.linalg.eigh(x, UPLO="X"), r"UPLO is 'X', expected 'L' or 'U'"),
        (lambda x: np.linalg.eig(x), r"np\.linalg\.eig cannot be traced: .*np\.linalg\.eigh"),
        (lambda x: np.linalg.matrix_rank(x), r"rank does not vary.*svdvals"),
        (lambda x: np.linalg.pinv(x, 0.1, rtol=0.1), r"both rcond and rtol"),
        (lambda x: gw.special.expm(x[0]), r"expm: expected square matrices"),
        (lambda x: gw.special.solve_triangular(x, x[0], trans=3), r"trans is 3"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(GradwireError, match=message):
        gw.trace(call, MATRIX)


def test_results_have_numpys_names() -> None:
    @gw.remote
    def named(a: Any) -> Any:
        u, s, vh = np.linalg.svd(a)
        return {
            "eigenvectors": np.linalg.eigh(a).eigenvectors,
            "R": np.linalg.qr(a).R,
            "logabsdet": np.linalg.slogdet(a).logabsdet,
            "again": np.linalg.svd(a).U * s @ vh + u * 0.0,
        }

    found = named(DEFINITE)
    assert_same(found["eigenvectors"], np.linalg.eigh(DEFINITE).eigenvectors)
    assert_same(found["R"], np.linalg.qr(DEFINITE).R)
    assert_same(found["logabsdet"], np.linalg.slogdet(DEFINITE).logabsdet)
    assert_same(found["again"], DEFINITE, 1e-11)


@pytest.mark.parametrize(
    "function",
    [
        lambda a: np.sum(np.linalg.solve(a, RIGHT) ** 2),
        lambda a: np.sum(np.linalg.inv(a) ** 2) + np.linalg.det(a) + np.linalg.slogdet(a)[1],
        lambda a: np.sum(np.linalg.cholesky(a + 20 * np.eye(4)) ** 3) + np.sum(np.linalg.eigvalsh(a) ** 3),
        lambda a: np.linalg.norm(a, 2) + np.linalg.norm(a, "nuc") + np.linalg.cond(a) + np.linalg.cond(a, 1),
        lambda a: np.sum(np.linalg.pinv(a[:, :2]) ** 2) + np.sum(np.linalg.lstsq(a[:, :3], VECTOR)[0] ** 3),
        lambda a: np.sum(np.linalg.matrix_power(a, -2)) + np.sum(gw.special.expm(a / 20.0) ** 2),
        lambda a: np.sum(np.linalg.qr(a)[0] ** 3) + np.sum(np.linalg.eigh(a, "U").eigenvectors ** 3),
    ],
)
def test_derivatives_agree_with_differences(function: Callable[[Any], Any]) -> None:
    gw.check_grads(function, [MATRIX], order=2)


@pytest.mark.parametrize("order", [0.5, 1.5, 3, 7])
def test_norms_of_any_order_neither_overflow_nor_lose_their_derivative_at_zero(order: float) -> None:
    def norm(x: Any) -> Any:
        return np.linalg.norm(x, order)

    for x in (VECTOR, 1e-200 * VECTOR, 1e200 * VECTOR):
        size = np.max(np.abs(x))
        assert_same(traced(norm, x) / size, np.linalg.norm(x / size, order))
        shares = (np.abs(x) / traced(norm, x)) ** (order - 1) * np.sign(x)
        np.testing.assert_allclose(gw.grad(norm)(x), shares, rtol=1e-11)
    assert traced(norm, np.array([1.0, np.inf])) == np.inf
    assert traced(norm, np.zeros(3)) == 0.0
    assert gw.grad(norm)(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert traced(lambda x: np.linalg.norm(x, order, axis=(1,)), np.ones((2, 3))).shape == (2,)
