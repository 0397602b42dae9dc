"""A real job: logistic regression on the Wisconsin breast-cancer data, fitted by Newton's method.

569 tumours, 30 standardised features, an intercept, and an L2 penalty (without it the classes are separable and there
is no minimum). The loss is plain numpy; values, gradients and Hessians come from the service. The data are closed over:
they are sent once, by digest.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np

import gradwire as gw
from gradwire.demo.report import Report

PENALTY = 1e-2
STOP_AT = 1e-8
MOST_STEPS = 30

Array = np.ndarray[Any, np.dtype[np.float64]]


def load() -> tuple[Array, Array]:
    """Features, each with mean 0 and standard deviation 1, shape (569, 30); and classes, shape (569,)."""
    with files(__package__).joinpath("breast_cancer.csv").open() as lines:
        table = np.loadtxt(lines, delimiter=",", skiprows=1)
    features = table[:, :-1]
    return (features - features.mean(axis=0)) / features.std(axis=0), table[:, -1]


def run(report: Report) -> None:
    """Fit, and check every derivative at the start and at a random point."""
    features, classes = load()

    def loss(w: Any) -> Any:
        scores = features @ w[1:] + w[0]
        return np.mean(np.logaddexp(0.0, scores) - classes * scores) + 0.5 * PENALTY * np.sum(w[1:] ** 2)

    report.heading("Logistic regression, 569 x 30, by Newton's method")
    value_and_gradient, hessian = gw.value_and_grad(loss), gw.hessian(loss)
    w: Array = np.zeros(features.shape[1] + 1)
    _check_derivatives(report, loss, "the start", w)
    _check_derivatives(report, loss, "a random point", np.asarray(np.random.default_rng(0).normal(size=w.shape)))

    for step in range(MOST_STEPS):
        value, gradient = value_and_gradient(w)
        norm = float(np.linalg.norm(gradient))
        report.say(f"  step {step}: loss {value:.12f}, gradient norm {norm:.2e}")
        if norm < STOP_AT:
            break
        w = w - np.linalg.solve(hessian(w), gradient)
    report.require(f"gradient norm {norm:.2e} is below {STOP_AT:.0e}", norm < STOP_AT)
    report.check("the loss at the end, by numpy", value, loss(w), 1e-12)
    correct = float(np.mean((features @ w[1:] + w[0] > 0) == classes))
    report.say(f"  {correct:.1%} of the tumours are on the right side.")
    report.require(f"{correct:.1%} right, at least 97 % expected", correct >= 0.97)


def _check_derivatives(report: Report, loss: Any, name: str, w: Array) -> None:
    """Value against numpy; gradient and Hessian against central differences."""
    value, gradient = gw.value_and_grad(loss)(w)
    hessian = gw.hessian(loss)(w)
    step = 1e-5
    nudges = step * np.eye(len(w))
    differences = np.array([(loss(w + nudge) - loss(w - nudge)) / (2 * step) for nudge in nudges])
    gradients = gw.vmap(gw.grad(loss))(np.concatenate([w + nudges, w - nudges]))
    curvature = (gradients[: len(w)] - gradients[len(w) :]) / (2 * step)
    report.check(f"value at {name}", value, loss(w), 1e-12)
    by_gradient = report.check(f"gradient at {name}", gradient, differences, 1e-8)
    by_hessian = report.check(f"Hessian at {name}", hessian, curvature, 1e-8)
    report.say(
        f"  at {name}: against central differences, gradient within {by_gradient:.0e}, Hessian within {by_hessian:.0e}"
    )
