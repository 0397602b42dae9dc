"""A fit of the rate constants of Robertson's reactions, solved by implicit steps with Newton iterations inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from tests.corpora.libraries import AUTOGRAD, ORACLES, SERVICE, Library, close, each_oracle

import gradwire as gw

RATES = np.log([0.04, 3e7, 1e4])
GUESS = RATES + np.array([0.1, -0.2, 0.15])
START = np.array([1.0, 0.0, 0.0])
TIMES = np.concatenate([[0.0], np.logspace(-5.0, 3.0, 33)])
"""Steps of 1e-5 to 400 time units, where the fastest reaction takes 1e-4."""
NEWTON_STEPS = 12


def slopes(np: Any, rates: Any, y: Any) -> Any:
    first, second, third = rates[0] * y[0], rates[1] * y[1] ** 2, rates[2] * y[1] * y[2]
    return np.stack([third - first, first - third - second, second])


def jacobian(np: Any, rates: Any, y: Any) -> Any:
    zero = 0.0 * y[0]
    by_second = 2.0 * rates[1] * y[1]
    rows = [
        [zero - rates[0], rates[2] * y[2], rates[2] * y[1]],
        [zero + rates[0], -rates[2] * y[2] - by_second, -rates[2] * y[1]],
        [zero, by_second, zero],
    ]
    return np.stack([np.stack(row) for row in rows])


def concentrations(library: Library, log_rates: Any, fixed: bool) -> Any:
    """At all times but the first, by implicit Euler steps; Newton's method stops when it is done, or is `fixed`."""
    np = library.np
    rates = np.exp(log_rates)

    def implicit_step(before: Any, duration: Any) -> Any:
        def newton(carry: Any) -> Any:
            y, _ = carry
            residual = y - before - duration * slopes(np, rates, y)
            change = np.linalg.solve(np.eye(3) - duration * jacobian(np, rates, y), residual)
            return y - change, np.sum(np.abs(change))

        carry = (before, np.ones(()))
        if fixed:
            for _ in range(4):
                carry = newton(carry)
        else:
            carry = library.while_loop(lambda carry: carry[1] > 1e-13, newton, carry, NEWTON_STEPS)
        return carry[0], carry[0]

    return library.scan(implicit_step, START, np.diff(TIMES))[1]


SCALE = np.array([1.0, 1e4, 1.0])
DATA = concentrations(AUTOGRAD.library, RATES, fixed=False)[::3]


def misfit(library: Library, log_rates: Any, fixed: bool) -> Any:
    found = concentrations(library, log_rates, fixed)[::3]
    return library.np.sum((SCALE * (found - DATA)) ** 2)


def remote_misfit(log_rates: Any) -> Any:
    return misfit(SERVICE, log_rates, fixed=False)


def test_the_steps_follow_the_reactions() -> None:
    def right_side(_: float, y: np.ndarray) -> Any:
        return slopes(np, np.exp(RATES), y)

    exact = solve_ivp(right_side, (0.0, TIMES[-1]), START, method="Radau", rtol=1e-10, atol=1e-12, t_eval=TIMES[1:])
    found = gw.remote(lambda rates: concentrations(SERVICE, rates, fixed=False))(RATES)
    np.testing.assert_allclose(found * SCALE, exact.y.T * SCALE, atol=0.05)  # the method is of order one


@each_oracle
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed number of Newton steps", "until convergence"])
def test_gradients_are_those_of_an_independent_engine(oracle: str, fixed: bool) -> None:
    engine = ORACLES[oracle]()
    value, gradient = gw.value_and_grad(lambda rates: misfit(SERVICE, rates, fixed))(GUESS)
    close(value, misfit(AUTOGRAD.library, GUESS, fixed))
    close(gradient, engine.gradient(lambda rates: misfit(engine.library, rates, fixed))(GUESS))
    close(gw.jacfwd(lambda rates: misfit(SERVICE, rates, fixed))(GUESS), gradient)


@each_oracle
def test_the_hessian_is_that_of_an_independent_engine(oracle: str) -> None:
    engine = ORACLES[oracle]()
    close(gw.hessian(remote_misfit)(GUESS), engine.hessian(lambda rates: misfit(engine.library, rates, True))(GUESS))


def test_rows_take_their_own_numbers_of_newton_steps() -> None:
    guesses = RATES + np.random.default_rng(2).uniform(-0.5, 0.5, (6, 3))
    together = gw.vmap(gw.grad(remote_misfit))(guesses)
    close(together, np.stack([gw.grad(remote_misfit)(guess) for guess in guesses]))


def test_the_fit_finds_the_rates() -> None:
    found = minimize(
        gw.value_and_grad(remote_misfit), GUESS, jac=True, hess=gw.hessian(remote_misfit), method="trust-exact"
    )
    np.testing.assert_allclose(found.x, RATES, atol=1e-6)
