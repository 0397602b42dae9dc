"""The libraries in which a model can be written: numpy and control flow, of the service and of independent engines.

A model takes one of these as its first argument. autograd has no control flow of its own: Python's is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.scipy.linalg import solve_triangular

import gradwire as gw

Function = Callable[..., Any]


class Library(NamedTuple):
    """What models are written in."""

    np: Any
    """numpy, or a namespace with its functions."""
    scan: Function
    """(step, carry, array) -> (last carry, stacked outputs); the step takes and returns (carry, slice)."""
    while_loop: Function
    """(condition, body, carry, most steps) -> last carry."""
    solve_triangular: Function
    """scipy.linalg.solve_triangular."""


class Oracle(NamedTuple):
    """An independent engine: derivatives by the first argument after the library."""

    library: Library
    gradient: Function
    hessian: Function


def _scan(step: Function, carry: Any, slices: Any) -> tuple[Any, Any]:
    outputs = []
    for each in slices:
        carry, output = step(carry, each)
        outputs.append(output)
    return carry, anp.stack(outputs)


def _while_loop(condition: Function, body: Function, carry: Any, most: int) -> Any:
    for _ in range(most):
        if not condition(carry):
            return carry
        carry = body(carry)
    raise AssertionError(f"not done after {most} steps")


SERVICE = Library(
    np,
    gw.scan,
    lambda condition, body, carry, most: gw.while_loop(condition, body, carry, max_steps=most),
    gw.special.solve_triangular,
)
AUTOGRAD = Oracle(Library(anp, _scan, _while_loop, solve_triangular), autograd.grad, autograd.hessian)


def jax_oracle() -> Oracle:
    """jax in float64; the test is skipped where it is not installed. Its reverse mode has no while loops."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    library = Library(
        jax.numpy,
        jax.lax.scan,
        lambda condition, body, carry, most: jax.lax.while_loop(condition, body, carry),
        jax.scipy.linalg.solve_triangular,
    )
    return Oracle(library, jax.jacfwd, lambda f: jax.jacfwd(jax.jacfwd(f)))


ORACLES: dict[str, Callable[[], Oracle]] = {"autograd": lambda: AUTOGRAD, "jax": jax_oracle}
each_oracle = pytest.mark.parametrize("oracle", ["autograd", pytest.param("jax", marks=pytest.mark.long)])
"""jax among the long tests: it takes seconds to compile a model."""


def close(got: Any, expected: Any) -> None:
    """Within 1e-8 of the largest element."""
    expected = np.asarray(expected)
    assert np.all(np.isfinite(expected))
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8 * np.max(np.abs(expected)))
