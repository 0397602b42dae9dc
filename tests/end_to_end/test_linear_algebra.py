"""Linear algebra through real RPCs: the log-likelihood of a Gaussian process, and factorisations of batches."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import gradwire as gw

RNG = np.random.default_rng(5)
N = 30
INPUTS = np.sort(RNG.uniform(0.0, 5.0, N))
TARGETS = np.sin(2.0 * INPUTS) + 0.1 * RNG.normal(size=N)
DISTANCES = (INPUTS[:, None] - INPUTS[None, :]) ** 2
THETA = np.array([-0.3, 0.2, 0.05])


def covariance(theta: Any, xp: Any) -> Any:
    """Of the logarithms of length and size, and the variance of the noise."""
    return xp.exp(2.0 * theta[1] - 0.5 * DISTANCES * xp.exp(-2.0 * theta[0])) + theta[2] * np.eye(N)


def log_likelihood(theta: Any) -> Any:
    """By the Cholesky factor."""
    factor = np.linalg.cholesky(covariance(theta, np))
    whitened = gw.special.solve_triangular(factor, TARGETS, lower=True)
    return -0.5 * np.sum(whitened**2) - np.sum(np.log(np.diagonal(factor))) - 0.5 * N * np.log(2.0 * np.pi)


def log_likelihood_for_autograd(theta: Any) -> Any:
    """By the solution and the determinant."""
    matrix = covariance(theta, anp)
    fit = anp.dot(TARGETS, anp.linalg.solve(matrix, TARGETS))
    return -0.5 * fit - 0.5 * anp.linalg.slogdet(matrix)[1] - 0.5 * N * np.log(2.0 * np.pi)


def close(got: Any, expected: Any, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_a_gaussian_process_agrees_with_another_engine() -> None:
    close(gw.remote(log_likelihood)(THETA), log_likelihood_for_autograd(THETA), 1e-12)
    close(gw.grad(log_likelihood)(THETA), autograd.grad(log_likelihood_for_autograd)(THETA))
    close(gw.hessian(log_likelihood)(THETA), autograd.hessian(log_likelihood_for_autograd)(THETA))
    close(gw.jacfwd(log_likelihood)(THETA), gw.grad(log_likelihood)(THETA), 1e-10)


def test_its_gradient_by_the_covariance_is_the_textbooks() -> None:
    matrix = covariance(THETA, np)

    def of_matrix(k: Any) -> Any:
        return -0.5 * TARGETS @ np.linalg.solve(k, TARGETS) - 0.5 * np.linalg.slogdet(k)[1]

    inverse = np.linalg.inv(matrix)
    weights = inverse @ TARGETS
    close(gw.grad(of_matrix)(matrix), 0.5 * np.outer(weights, weights) - 0.5 * inverse)


def test_a_row_whose_covariance_is_not_positive_definite_fails_alone() -> None:
    thetas = THETA + 0.1 * RNG.normal(size=(6, 3)) * [1.0, 1.0, 0.01]
    thetas[2, 2] = -0.5  # a variance below zero
    thetas[4, 0] = np.nan
    values, gradients = gw.vmap(gw.value_and_grad(log_likelihood))(thetas)
    hessians = gw.vmap(gw.hessian(log_likelihood))(thetas)
    for row, theta in enumerate(thetas):
        if row in (2, 4):
            assert np.isnan(values[row])
            assert np.isnan(gradients[row]).all()
            continue
        close(values[row], log_likelihood_for_autograd(theta))
        close(gradients[row], autograd.grad(log_likelihood_for_autograd)(theta))
        close(hessians[row], autograd.hessian(log_likelihood_for_autograd)(theta))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_factorisations_of_a_batch_are_numpys_one_by_one(dtype: type) -> None:
    stack = (RNG.normal(size=(7, 4, 4)) + 5.0 * np.diag([1.0, 2.0, 3.0, 4.0])).astype(dtype)
    stack += np.swapaxes(stack, -1, -2)

    def factors(a: Any) -> Any:
        return {
            "qr": np.linalg.qr(a),
            "eigh": np.linalg.eigh(a),
            "svd": np.linalg.svd(a),
            "slogdet": np.linalg.slogdet(a),
            "inv": np.linalg.inv(a),
        }

    found = gw.vmap(factors)(stack)
    tolerance = 1e-11 if dtype is np.float64 else 2e-4
    assert found["eigh"].eigenvalues.dtype == dtype
    close(found["eigh"].eigenvalues, np.linalg.eigvalsh(stack), tolerance)
    close(found["qr"].Q @ found["qr"].R, stack, tolerance)
    close((found["svd"].U * found["svd"].S[:, None, :]) @ found["svd"].Vh, stack, tolerance)
    close(found["slogdet"].logabsdet, np.linalg.slogdet(stack).logabsdet, tolerance)
    close(found["inv"] @ stack, np.broadcast_to(np.eye(4), stack.shape), tolerance)


def test_the_determinant_is_differentiated_at_singular_matrices() -> None:
    singular = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])
    cofactors = [[4.0, 4.0, -4.0], [-2.0, -2.0, 2.0], [0.0, 0.0, 0.0]]
    close(gw.grad(np.linalg.det)(singular), cofactors, 1e-13)
    twice = gw.hessian(np.linalg.det)(np.zeros((2, 2)))
    close(twice.reshape(4, 4), [[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], 1e-13)
