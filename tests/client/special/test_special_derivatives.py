"""First and second derivatives of every function that scipy.special has too, against differences, in both modes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kit.client.evaluating import graph_of
from tests.kit.client.special_functions import UFUNCS
from tests.kit.engine.applications import differences

from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import vjp

special = pytest.importorskip("scipy.special")


@pytest.mark.parametrize("name", UFUNCS)
def test_derivatives_are_those_of_differences(name: str) -> None:
    function = getattr(special, name)
    points = UFUNCS[name].smooth
    operands = [points, np.flip(points) + 0.07][: function.nin]
    graph, *_ = graph_of(function, *operands)
    varied = list(range(function.nin))
    rng = np.random.default_rng(0)
    moves, weights = [rng.normal(size=6) for _ in operands], rng.normal(size=6)
    if not np.any(differences(graph, varied, operands, moves)):
        return  # piecewise constant: there is nothing to compare with

    tangent = compile(jvp(graph, varied)).run([*operands, *moves], 1)[1]
    (expected,) = differences(graph, varied, operands, moves)
    np.testing.assert_allclose(tangent, expected, rtol=1e-7, atol=1e-8)
    pulled = vjp(graph, varied)
    gradients = compile(pulled).run([*operands, weights], 1)[1:]
    product = sum(np.sum(gradient * move) for gradient, move in zip(gradients, moves, strict=True))
    np.testing.assert_allclose(product, np.sum(weights * tangent), rtol=1e-12, atol=1e-13)

    pushed = compile(jvp(pulled, varied)).run([*operands, weights, *moves], 1)[len(pulled.outputs) + 1 :]
    differenced = differences(pulled, varied, [*operands, weights], moves)[1:]
    for found, expected in zip(pushed, differenced, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
