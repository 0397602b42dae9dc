"""The likelihood of a linear state-space model by a Kalman filter, and its derivatives through the steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.corpora.libraries import ORACLES, SERVICE, Library, close, each_oracle

import gradwire as gw

STEPS = 40
RNG = np.random.default_rng(8)
OBSERVED = np.cumsum(RNG.normal(0.2, 0.3, (STEPS, 2)), axis=0) + RNG.normal(0.0, 0.1, (STEPS, 2))
THETA = np.array([-0.1, -1.5, -2.0])
SEEN = np.eye(2, 4)
"""Of a state of two positions and two velocities, the positions are observed."""
DRIFT = np.eye(4, k=2)
VELOCITIES = np.diag([0.0, 0.0, 1.0, 1.0])


def log_likelihood(library: Library, theta: Any, observed: Any) -> Any:
    """theta: logarithms of the damping of velocities, of their noise, and of the noise of observations."""
    np = library.np
    damping, velocity_noise, position_noise = np.exp(theta[0]), np.exp(theta[1]), np.exp(theta[2])
    moving = np.eye(4) + DRIFT + (damping - 1.0) * VELOCITIES
    driving = velocity_noise**2 * VELOCITIES

    def step(carry: Any, seen: Any) -> Any:
        mean, covariance, total = carry
        mean, covariance = moving @ mean, moving @ covariance @ moving.T + driving
        surprise = seen - SEEN @ mean
        spread = SEEN @ covariance @ SEEN.T + position_noise**2 * np.eye(2)
        gain = np.linalg.solve(spread, SEEN @ covariance).T
        _, log_determinant = np.linalg.slogdet(spread)
        term = -0.5 * (surprise @ np.linalg.solve(spread, surprise) + log_determinant + 2.0 * np.log(2.0 * np.pi))
        return (mean + gain @ surprise, covariance - gain @ SEEN @ covariance, total + term), term

    return library.scan(step, (np.zeros(4), np.eye(4), np.zeros(())), observed)[0][2]


def remote_likelihood(theta: Any, observed: Any) -> Any:
    return log_likelihood(SERVICE, theta, observed)


def test_the_likelihood_is_that_of_all_observations_at_once() -> None:
    damping, velocity_noise, position_noise = np.exp(THETA)
    moving = np.eye(4) + DRIFT + (damping - 1.0) * VELOCITIES
    driving = velocity_noise**2 * VELOCITIES
    states = np.zeros((STEPS, STEPS, 4, 4))
    marginal = np.eye(4)
    for row in range(STEPS):
        marginal = moving @ marginal @ moving.T + driving
        block = marginal
        for column in range(row, STEPS):
            states[row, column], states[column, row] = block, block.T
            block = block @ moving.T
    covariance = np.einsum("ai,rcij,bj->racb", SEEN, states, SEEN).reshape(2 * STEPS, 2 * STEPS)
    covariance += position_noise**2 * np.eye(2 * STEPS)
    data = OBSERVED.ravel()
    determinant = np.linalg.slogdet(covariance)[1]
    expected = -0.5 * (data @ np.linalg.solve(covariance, data) + determinant + len(data) * np.log(2 * np.pi))
    close(gw.remote(remote_likelihood)(THETA, OBSERVED), expected)


@each_oracle
def test_derivatives_are_those_of_an_independent_engine(oracle: str) -> None:
    engine = ORACLES[oracle]()
    by_theta, by_data = gw.grad(remote_likelihood, argnums=(0, 1))(THETA, OBSERVED)
    close(by_theta, engine.gradient(lambda t: log_likelihood(engine.library, t, OBSERVED))(THETA))
    close(by_data, engine.gradient(lambda seen: log_likelihood(engine.library, THETA, seen))(OBSERVED))
    close(gw.jacfwd(remote_likelihood)(THETA, OBSERVED), by_theta)


@each_oracle
def test_the_hessian_is_that_of_an_independent_engine(oracle: str) -> None:
    engine = ORACLES[oracle]()
    expected = engine.hessian(lambda t: log_likelihood(engine.library, t, OBSERVED))(THETA)
    close(gw.hessian(remote_likelihood)(THETA, OBSERVED), expected)
    close(gw.jacrev(gw.jacrev(remote_likelihood))(THETA, OBSERVED), expected)


def test_rows_of_observations_are_filtered_apart() -> None:
    rows = OBSERVED + RNG.normal(0.0, 0.1, (5, STEPS, 2))
    together = gw.vmap(gw.grad(remote_likelihood), in_axes=(None, 0))(THETA, rows)
    close(together, np.stack([gw.grad(remote_likelihood)(THETA, row) for row in rows]))
