"""The marginal likelihood of a Gaussian process, and its derivatives by three hyperparameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from tests.corpora.libraries import ORACLES, SERVICE, Library, close, each_oracle

import gradwire as gw

RNG = np.random.default_rng(3)
X = np.sort(RNG.uniform(-3.0, 3.0, 60))
Y = np.sin(2.0 * X) + 0.3 * X + 0.2 * RNG.standard_normal(60)
POINTS = np.array([[0.0, 0.0, -1.0], [0.7, -0.5, -2.0], [-0.4, 0.9, -0.3]])


def negative_log_likelihood(library: Library, theta: Any) -> Any:
    """Of the data under a squared-exponential kernel; theta: logarithms of amplitude, length scale and noise."""
    np = library.np
    amplitude, length, noise = np.exp(theta[0]), np.exp(theta[1]), np.exp(theta[2])
    distances = (X[:, None] - X[None, :]) / length
    covariance = amplitude**2 * np.exp(-0.5 * distances**2) + noise**2 * np.eye(len(X))
    factor = np.linalg.cholesky(covariance)
    whitened = library.solve_triangular(factor, Y, lower=True)
    log_determinant = 2.0 * np.sum(np.log(np.diagonal(factor, axis1=-1, axis2=-2)))
    return 0.5 * (np.sum(whitened**2) + log_determinant + len(X) * np.log(2.0 * np.pi))


def remote_likelihood(theta: Any) -> Any:
    return negative_log_likelihood(SERVICE, theta)


def test_the_likelihood_is_that_of_a_multivariate_normal() -> None:
    amplitude, length, noise = np.exp(POINTS[1])
    covariance = amplitude**2 * np.exp(-0.5 * ((X[:, None] - X) / length) ** 2) + noise**2 * np.eye(60)
    close(gw.remote(remote_likelihood)(POINTS[1]), -multivariate_normal(np.zeros(60), covariance).logpdf(Y))


@each_oracle
def test_gradients_and_hessians_are_those_of_an_independent_engine(oracle: str) -> None:
    engine = ORACLES[oracle]()
    gradients = gw.vmap(gw.grad(remote_likelihood))(POINTS)
    hessians = gw.vmap(gw.hessian(remote_likelihood))(POINTS)
    for theta, gradient, hessian in zip(POINTS, gradients, hessians, strict=True):
        close(gradient, engine.gradient(lambda t: negative_log_likelihood(engine.library, t))(theta))
        close(hessian, engine.hessian(lambda t: negative_log_likelihood(engine.library, t))(theta))


def test_the_most_likely_hyperparameters_are_found() -> None:
    found = minimize(gw.value_and_grad(remote_likelihood), POINTS[0], jac=True, method="BFGS")
    assert found.success
    assert np.exp(found.x[2]) == pytest.approx(0.2, abs=0.05)  # the noise that the data were made with
    assert np.all(np.linalg.eigvalsh(gw.hessian(remote_likelihood)(found.x)) > 0)
