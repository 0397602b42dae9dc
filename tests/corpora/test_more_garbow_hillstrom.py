"""The problems of Moré, Garbow and Hillstrom, minimised with derivatives from the service to their published optima.

Two methods, which need different derivatives: Levenberg-Marquardt with Jacobians of the residuals, and a trust region
with gradients and Hessians of the sum of squares. The derivatives themselves are compared with another engine's.
"""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from scipy.optimize import least_squares, minimize
from tests.corpora.more_garbow_hillstrom import PROBLEMS
from tests.corpora.problem import Problem

import gradwire as gw

DIGITS = 1e-5
"""What six published digits are good for, some rounded and some cut off."""
NOTHING = 1e-16
"""Below this a sum of squares is said to be zero."""

TRUST = {
    "brown_badly_scaled-2": {"max_trust_radius": 1e7},
    "osborne_1-5": {"initial_trust_radius": 0.1, "max_trust_radius": 0.3},
}
"""Lengths of steps, where the usual 1 to 1000 do not serve: an optimum far away, exponentials that overflow."""

each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def residuals_of(problem: Problem) -> Any:
    return lambda x: problem.residuals(np, x)


def objective_of(problem: Problem, namespace: Any = np) -> Any:
    return lambda x: namespace.sum(problem.residuals(namespace, x) ** 2)


def require_optimum(problem: Problem, x: np.ndarray, value: float) -> None:
    """The value is one of those published, and x is where it was published to be, if it was."""
    found = [
        optimum
        for optimum in problem.optima
        if (value < NOTHING if optimum.value == 0 else value == pytest.approx(optimum.value, rel=DIGITS))
    ]
    assert found, f"a sum of squares of {value} at {x}; published: {problem.optima}"
    places = [np.array(optimum.at) for optimum in found if optimum.at is not None]
    if len(places) == len(found):
        near = [np.all(np.abs(x - place) < 1e-4 * np.where(place == 0, 1.0, np.abs(place))) for place in places]
        assert any(near), f"the minimum is at {x}; published: {found}"


def close(got: Any, expected: Any) -> None:
    """Within 1e-8 of the largest element of each derivative."""
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8 * max(np.max(np.abs(expected)), 1e-300))


def test_all_problems_of_the_paper_are_there() -> None:
    assert {problem.number for problem in PROBLEMS} == set(range(1, 36))


@each_problem
def test_the_sum_of_squares_at_the_start_is_as_published(problem: Problem) -> None:
    residuals = gw.remote(residuals_of(problem))(problem.start)
    assert residuals.shape == (problem.m,)
    assert residuals @ residuals == pytest.approx(problem.start_value, rel=DIGITS)


@each_problem
def test_levenberg_marquardt_with_jacobians_finds_a_published_optimum(problem: Problem) -> None:
    residuals = residuals_of(problem)
    found = least_squares(
        gw.remote(residuals),
        problem.start,
        jac=gw.jacobian(residuals),
        method="lm",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=1_000,
    )
    require_optimum(problem, found.x, 2 * found.cost)


@each_problem
def test_a_trust_region_with_gradients_and_hessians_finds_a_published_optimum(problem: Problem) -> None:
    objective = objective_of(problem)
    found = minimize(
        gw.value_and_grad(objective),
        problem.start,
        jac=True,
        hess=gw.hessian(objective),
        method="trust-exact",
        options={"gtol": 1e-12, "maxiter": 300, **TRUST.get(problem.name, {})},
    )
    require_optimum(problem, found.x, found.fun)


@each_problem
def test_derivatives_are_those_of_an_independent_engine(problem: Problem) -> None:
    """At the start and near it, in one request each; in both modes."""
    rng = np.random.default_rng(problem.number)
    moves = rng.uniform(-0.05, 0.05, (2, len(problem.start))) * np.maximum(np.abs(problem.start), 0.1)
    points = np.stack([problem.start, *(problem.start + moves)])
    residuals, objective, reference = residuals_of(problem), objective_of(problem), objective_of(problem, anp)
    gradients, hessians = gw.vmap(gw.grad(objective))(points), gw.vmap(gw.hessian(objective))(points)
    forward, reverse = gw.vmap(gw.jacfwd(residuals))(points), gw.vmap(gw.jacrev(residuals))(points)
    for row, point in enumerate(points):
        close(gradients[row], autograd.grad(reference)(point))
        close(hessians[row], autograd.hessian(reference)(point))
        jacobian = autograd.jacobian(lambda x: problem.residuals(anp, x))(point)
        close(forward[row], jacobian)
        close(reverse[row], jacobian)
