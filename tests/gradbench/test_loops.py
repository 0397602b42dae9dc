"""The evals whose programs have loops: scans, and while loops that are searched through and differentiated through.

Golden values are the benchmark's, or follow from the eval's definition by a route without automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.gradbench.comparison import require_equal
from tests.gradbench.evals import descent as descent_eval
from tests.gradbench.evals import particle as particle_eval
from tests.gradbench.evals import saddle as saddle_eval
from tests.gradbench.questions import asked, input_of, own_inputs, require_right
from tests.gradbench.references import descent, lstm, ode, particle
from tests.gradbench.references.rotations import STEP

import gradwire as gw

pytestmark = pytest.mark.usefixtures("service")

MODES = ("ff", "fr", "rf", "rr")
BITS = 14


# lstm


def test_lstm_of_the_file() -> None:
    input = lstm.input_of_file("lstm_l2_c1024.txt")
    require_right("lstm", "l2_c1024", input)
    assert asked("lstm", "objective", input) == pytest.approx(lstm.GOLDEN, abs=5e-9)


@pytest.mark.parametrize("length", [1024, *[pytest.param(length, marks=pytest.mark.long) for length in (4096, 8192)]])
@pytest.mark.parametrize("layers", [2, *[pytest.param(layers, marks=pytest.mark.long) for layers in (4, 6)]])
def test_lstm_of_the_sizes_of_the_eval(layers: int, length: int) -> None:
    require_right("lstm", f"l{layers}_c{length}", lstm.made_up(layers, length, BITS))


@pytest.mark.parametrize(("layers", "length", "bits"), [(1, 2, 1), (1, 3, 2), (3, 2, 4), (3, 17, 4)])
def test_lstm_of_small_sizes(layers: int, length: int, bits: int) -> None:
    require_right("lstm", "small", lstm.made_up(layers, length, bits))


def test_lstm_differentiated_by_hand_agrees_with_imaginary_steps() -> None:
    """The golden gradient has a second route."""
    input = lstm.made_up(2, 5, 3)
    found = []
    for name in ("main_params", "extra_params"):
        start = np.array(input[name], dtype=complex)
        for place in np.ndindex(start.shape):
            moved = start.copy()
            moved[place] += 1j * STEP
            found.append(float(lstm.loss({**input, name: moved}).imag / STEP))
    require_equal(lstm.expected("jacobian", input), found)


# ode


@pytest.mark.parametrize(("n", "s"), ode.SIZES)
def test_ode_where_the_gradient_is_not_zero(n: int, s: int) -> None:
    input = ode.not_zero(n, s)
    require_right("ode", f"n={n},s={s}", input)
    assert np.min(np.abs(asked("ode", "gradient", input))) > 1e-4


@pytest.mark.parametrize(("module", "description"), own_inputs("ode", {"n=100000,s=10", "n=100000,s=100"}))
def test_ode_of_the_sizes_of_the_eval(module: str, description: str) -> None:
    """A method of fourth order carries what it starts with no further than four places a step."""
    input = input_of(module, description)
    require_right(module, description, input)
    assert not np.any(asked("ode", "gradient", input))
    assert np.count_nonzero(asked("ode", "primal", input)) <= 4 * input["s"]


def test_ode_has_the_golden_values() -> None:
    input = {"x": [0.5, 0.6, 0.7, 0.8], "s": 3}
    require_equal([1.0, 0.6, 0.28, 0.112], asked("ode", "primal", input))
    require_equal([0.224, 0.56 / 3, 0.16, 0.14], asked("ode", "gradient", input))


def test_ode_in_closed_form_agrees_with_its_steps() -> None:
    """The golden values have a second route."""
    input = ode.not_zero(9, 3)
    x, y, h = np.array(input["x"]), np.zeros(9), 2.0 / 3

    def slope(y: np.ndarray) -> np.ndarray:
        return x * np.array([1.0, *y[:-1]])

    for _ in range(3):
        a = slope(y)
        b = slope(y + h / 2 * a)
        c = slope(y + h / 2 * b)
        y = y + h / 6 * (a + 2 * b + 2 * c + slope(y + h * c))
    require_equal(ode.expected("primal", input), y.tolist())


# particle


@pytest.mark.parametrize("w", [-0.25, 0.0, particle.GOLDEN, 0.5])
@pytest.mark.parametrize("modes", MODES)
def test_particle_follows_the_derivative_of_its_path(modes: str, w: float) -> None:
    """Paths of different numbers of steps."""
    value, slope = particle_eval.CALLS[modes](w)
    expected = particle.missed_by(w + 1j * STEP)
    require_equal([float(expected.real), float(expected.imag / STEP)], [float(value), float(slope)])


@pytest.mark.parametrize("inner", ["f", "r"])
def test_particle_has_a_second_derivative(inner: str) -> None:
    """Derivatives of derivatives of a loop of derivatives; against a difference of exact slopes."""
    function, w, h = particle_eval.missed_by(inner), 0.3, 1e-5
    slopes = [particle.missed_by(w + nudge + 1j * STEP).imag / STEP for nudge in (-h, h)]
    expected = (slopes[1] - slopes[0]) / (2 * h)
    for found in (gw.jacfwd(gw.grad(function))(w), gw.grad(gw.jacfwd(function))(w), gw.grad(gw.grad(function))(w)):
        assert found == pytest.approx(expected, rel=1e-6)


def test_many_particles_at_once_take_as_many_steps_as_each_needs() -> None:
    w = np.linspace(-0.25, 0.5, 7)
    values, slopes = gw.vmap(particle_eval.CALLS["rf"])(w)
    expected = [particle.missed_by(one + 1j * STEP) for one in w]
    np.testing.assert_allclose(values, [one.real for one in expected], rtol=1e-10)
    np.testing.assert_allclose(slopes, [one.imag / STEP for one in expected], rtol=1e-9)


def test_a_particle_that_never_comes_down_is_an_error_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two others it circles the charges."""
    monkeypatch.setattr(particle_eval, "MOST_STEPS", 600)
    with pytest.raises(gw.RowError, match="max_steps") as caught:
        gw.vmap(particle_eval.value_and_slope("rf"))(np.array([0.0, -0.5, 0.2]))
    assert caught.value.rows == (1,)
    values, slopes = caught.value.result
    assert np.isnan([values[1], slopes[1]]).all()
    expected = particle.missed_by(0.2 + 1j * STEP)
    require_equal([float(expected.real), float(expected.imag / STEP)], [float(values[2]), float(slopes[2])])


# saddle


@pytest.mark.parametrize("modes", MODES)
def test_saddle_follows_the_gradient_of_its_inner_search(modes: str) -> None:
    highest, argmax = saddle_eval.CALLS[modes]
    x, start = np.array([0.8, -0.3]), np.ones(2)
    value, slope = highest(x, start)
    y = descent.argmin(lambda y: np.sum(y**2) - np.sum(x**2), lambda y: 2 * y, start)
    require_equal(y.tolist(), argmax(x, start).tolist())
    require_equal(float(np.sum(x**2) - np.sum(y**2)), float(value))
    require_equal((2 * x).tolist(), slope.tolist())


def coupled(x: Any, y: Any) -> Any:
    """Least where y is (sin x₀, x₀ x₁); unlike in the eval, that depends on x."""
    return (y[0] - np.sin(x[0])) ** 2 + 1.5 * (y[1] - x[0] * x[1]) ** 2 + 0.5


def coupled_slope(x: Any, y: Any) -> Any:
    """Its derivative by y, by hand."""
    return np.stack([2.0 * (y[0] - np.sin(x[0])), 3.0 * (y[1] - x[0] * x[1])])


@pytest.mark.parametrize("inner", [gw.jacfwd, gw.grad], ids=["f", "r"])
def test_a_search_is_differentiated_by_what_it_depends_on(inner: Callable[..., Any]) -> None:
    """Through all its steps, forward and reverse; against an imaginary step through the same search."""
    slope = inner(coupled, argnums=1)
    x, start = np.array([0.7, -1.2]), np.array([2.0, 1.0])

    def found(x: Any) -> Any:
        return descent_eval.traced_argmin(lambda y: coupled(x, y), lambda y: slope(x, y), start)

    columns = []
    for place in range(2):
        moved = x.astype(complex)
        moved[place] += 1j * STEP
        y = descent.argmin(lambda y, x=moved: coupled(x, y), lambda y, x=moved: coupled_slope(x, y), start + 0j)
        columns.append(y.imag / STEP)
    expected = np.stack(columns, axis=1)
    np.testing.assert_allclose(gw.jacfwd(found)(x), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gw.jacrev(found)(x), expected, rtol=1e-9, atol=1e-12)
    implicit = np.array([[np.cos(0.7), 0.0], [-1.2, 0.7]])
    np.testing.assert_allclose(expected, implicit, atol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("modes", MODES)
def test_the_whole_of_particle_is_one_program(modes: str) -> None:
    """A descent, in it the derivative of a path, in it the derivative of a potential: one request."""
    outer, inner = modes
    function = particle_eval.missed_by(inner)
    slope = gw.grad(function) if outer == "r" else gw.jacfwd(function)
    with gw.reports() as seen:
        found = gw.remote(lambda w: descent_eval.traced_argmin(function, slope, w))(0.0)
    assert len(seen) == 1
    require_equal(particle.GOLDEN, float(found))


def test_both_forms_of_the_descent_take_the_same_steps() -> None:
    def bowl(x: Any) -> Any:
        return np.sum(np.array([1.0, 30.0]) * (x - np.array([0.3, -0.2])) ** 2)

    start = np.array([1.0, 2.0])
    slope = gw.grad(bowl)
    inside = gw.remote(lambda x: descent_eval.traced_argmin(bowl, slope, x))(start)
    outside = descent_eval.argmin(gw.value_and_grad(bowl), start)
    np.testing.assert_allclose(inside, outside, rtol=0, atol=1e-12)
