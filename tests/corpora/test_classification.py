"""Logistic and softmax regression: gradients and Hessians, against their formulas and an independent engine."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from scipy.special import expit, softmax

import gradwire as gw
from gradwire.demo.newton import load

FEATURES, CLASSES = load()
PENALTY = 1e-2
RNG = np.random.default_rng(17)
KINDS = 3
POINTS = RNG.standard_normal((90, 4)) + np.repeat(RNG.standard_normal((KINDS, 4)), 30, axis=0)
LABELS = np.repeat(np.arange(KINDS), 30)


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8 * np.max(np.abs(expected)))


def logistic_loss(xp: Any, w: Any) -> Any:
    scores = xp.dot(FEATURES, w)
    return xp.sum(xp.logaddexp(0.0, scores) - CLASSES * scores) + 0.5 * PENALTY * xp.sum(w**2)


def softmax_loss(w: Any) -> Any:
    log_probabilities = gw.special.log_softmax(POINTS @ w, axis=1)
    return -np.sum(log_probabilities[np.arange(len(LABELS)), LABELS])


def softmax_loss_for_autograd(w: Any) -> Any:
    scores = anp.dot(POINTS, w)
    return anp.sum(logsumexp(scores, axis=1)) - anp.sum(scores[np.arange(len(LABELS)), LABELS])


def test_logistic_regression_on_the_tumours() -> None:
    rng = np.random.default_rng(5)
    for scale in (0.0, 0.3, 3.0):
        w = scale * rng.standard_normal(FEATURES.shape[1])
        found = expit(FEATURES @ w)
        gradient = gw.grad(lambda w: logistic_loss(np, w))(w)
        hessian = gw.hessian(lambda w: logistic_loss(np, w))(w)
        close(gradient, FEATURES.T @ (found - CLASSES) + PENALTY * w)
        close(hessian, FEATURES.T @ (FEATURES * (found * (1 - found))[:, None]) + PENALTY * np.eye(len(w)))
        close(gradient, autograd.grad(lambda w: logistic_loss(anp, w))(w))
        close(hessian, autograd.hessian(lambda w: logistic_loss(anp, w))(w))


def test_softmax_regression() -> None:
    w = RNG.standard_normal((4, KINDS))
    found = softmax(POINTS @ w, axis=1)
    gradient, hessian = gw.grad(softmax_loss)(w), gw.hessian(softmax_loss)(w)
    close(gradient, POINTS.T @ (found - np.eye(KINDS)[LABELS]))
    covariances = found[:, :, None] * (np.eye(KINDS) - found[:, None, :])
    close(hessian, np.einsum("pi,pj,pab->iajb", POINTS, POINTS, covariances))
    close(gradient, autograd.grad(softmax_loss_for_autograd)(w))
    close(hessian, autograd.hessian(softmax_loss_for_autograd)(w))


def test_softmax_regression_row_by_row() -> None:
    """The gradient of each point by itself, in one request, adds up to that of all."""
    w = RNG.standard_normal((4, KINDS))

    def loss(w: Any, point: Any, label: Any) -> Any:
        return -gw.special.log_softmax(point @ w)[label]

    each = gw.vmap(gw.grad(loss), in_axes=(None, 0, 0))(w, POINTS, LABELS)
    assert each.shape == (90, 4, KINDS)
    close(each.sum(axis=0), gw.grad(softmax_loss)(w))
    close(gw.vmap(gw.grad(loss), in_axes=(None, 0, 0), reduce="sum")(w, POINTS, LABELS), each.sum(axis=0))
