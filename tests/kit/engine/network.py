"""A small network and its loss: most kinds of ops in one function."""

from __future__ import annotations

import numpy as np
from tests.kit.engine.building import f64

from gradwire_engine.attributes import DotGeneral
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import (
    dot_general,
    exp,
    integer_power,
    logsumexp,
    sin,
    softmax,
    square,
    sum_over,
    where,
)


def matvec(matrix: Value, vector: Value) -> Value:
    return dot_general(matrix, vector, DotGeneral((1,), (0,)))


def small_network(w: Value, x: Value, y: Value) -> Value:
    """A loss with most kinds of ops in it: contraction, softmax, selection, reduction, power."""
    hidden = matvec(w, x)
    chosen = where(hidden > 0.0, sin(hidden), exp(hidden) - 1.0)
    return sum_over(square(softmax(chosen, [0]) - y), [0]) + integer_power(logsumexp(chosen, [0]), 3)


NETWORK = (f64(3, 4), f64(4), f64(3))


def network_point(seed: int = 0, rows: tuple[int, ...] = ()) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal((*rows, *type.shape))) for type in NETWORK]
