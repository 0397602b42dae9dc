"""Special functions, bits and random numbers through the service, against scipy and against plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

import gradwire as gw


def test_random_numbers_of_the_service_are_those_of_plain_python() -> None:
    keys = np.array([0, 1, -(2**63), 1])
    for draw in (gw.special.random_bits, gw.special.random_uniform, gw.special.random_normal):
        found = gw.remote(lambda key, draw=draw: draw(key, (2, 3))).map(keys)
        np.testing.assert_array_equal(found, [draw(int(key), (2, 3)) for key in keys])


def test_a_probit_model_far_in_the_tail() -> None:
    """The score and the curvature of scores that a distribution function of their own would lose."""
    x, y = np.array([[1.0, -300.0], [1.0, 2.0], [1.0, 1e5]]), np.array([1.0, -1.0, -1.0])

    def loss(w: Any) -> Any:
        return -np.sum(special.log_ndtr(y * (x @ w)))

    w = np.array([0.5, 1.0])
    scores = y * (x @ w)
    ratios = np.exp(stats.norm.logpdf(scores) - stats.norm.logcdf(scores))
    ratios[2] = -scores[2]  # to ten digits
    np.testing.assert_allclose(gw.grad(loss)(w), -(y * ratios) @ x, rtol=1e-8)
    curvatures = ratios * (scores + ratios)
    curvatures[[0, 2]] = 1.0 - 1.0 / scores[[0, 2]] ** 2
    np.testing.assert_allclose(gw.hessian(loss)(w), (x.T * curvatures) @ x, rtol=1e-8)


def test_the_maximum_likelihood_of_a_gamma_distribution_by_newton() -> None:
    """Against scipy's own fit."""
    sample = np.random.default_rng(0).gamma(2.5, 1.5, 200)

    def loss(p: Any) -> Any:
        shape, rate = np.exp(p)
        return -np.mean(
            special.xlogy(shape, rate) - special.gammaln(shape) + (shape - 1) * np.log(sample) - rate * sample
        )

    p = np.log([sample.mean() ** 2 / sample.var(), sample.mean() / sample.var()])  # of the moments
    gradient, hessian = gw.grad(loss), gw.hessian(loss)
    for _ in range(8):
        p = p - np.linalg.solve(hessian(p), gradient(p))
    shape, _, scale = stats.gamma.fit(sample, floc=0)
    np.testing.assert_allclose(np.exp(p), [shape, 1 / scale], rtol=1e-5)
    assert np.max(np.abs(gradient(p))) < 1e-13
