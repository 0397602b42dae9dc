"""The table of corners once more, inside of branches, loops and checkpoints: what holds outside holds there.

So structural zeros pass into the graphs that control flow refers to, and out of them again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.kit.engine import loops
from tests.kit.engine.building import graph_of, run
from tests.kit.engine.corners import CORNERS, NAN, Corner, at_point
from tests.kit.engine.derivatives import Point, roads, second

from gradwire_engine.graph import Graph
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value, full
from gradwire_engine.vocabulary import reshape, sum_over, zeros

Function = Callable[..., Value]


def in_a_checkpoint(function: Function, result: TensorType, *operands: Value) -> Value:
    return loops.checkpoint(function, *operands)[0]


def in_a_branch(function: Function, result: TensorType, *operands: Value) -> Value:
    """The other branch is NaN. Nothing can tell beforehand that it is not taken."""
    total = sum_over(operands[0], range(len(operands[0].shape)))
    predicate = (total < 0.0) | ~(total < 0.0)

    def otherwise(*inside: Value) -> Value:
        return full(inside[0].builder, result, NAN)

    return loops.cond(predicate, otherwise, function, *operands)[0]


def of_constants_of_a_scan(function: Function, result: TensorType, *operands: Value) -> Value:
    found = loops.scan(lambda *inside: [function(*inside)], operands, [], [], 1)[0]
    return reshape(found, result.shape)


def of_inputs_of_a_scan(function: Function, result: TensorType, *operands: Value) -> Value:
    stacked = [reshape(x, (1, *x.shape)) for x in operands]
    return reshape(loops.scan(lambda *inside: [function(*inside)], [], [], stacked, 1)[0], result.shape)


def in_the_carry_of_a_scan(function: Function, result: TensorType, *operands: Value) -> Value:
    start = zeros(operands[0].builder, result)
    return loops.scan(lambda *inside: [function(*inside[:-1])], operands, [start], [], 2)[0]


def in_a_while(function: Function, result: TensorType, *operands: Value) -> Value:
    """Two steps, known to the run alone."""
    builder = operands[0].builder
    counter = zeros(builder, TensorType(result.dtype))

    def goes_on(*inside: Value) -> Value:
        return inside[-2] < 2.0

    def step(*inside: Value) -> list[Value]:
        return [inside[-2] + 1.0, function(*inside[:-2])]

    return loops.while_loop(goes_on, step, operands, [counter, zeros(builder, result)], 5)[1]


PLACES = (
    in_a_checkpoint,
    in_a_branch,
    of_constants_of_a_scan,
    of_inputs_of_a_scan,
    in_the_carry_of_a_scan,
    in_a_while,
)


def placed(place: Callable[..., Value], corner: Corner) -> tuple[Graph, Point]:
    graph, point = at_point(corner)
    result = graph.output_types[0]
    return graph_of(lambda *operands: place(corner.function, result, *operands), *graph.input_types), point


def check_first(corner: Corner, place: Callable[..., Value], names: tuple[str, ...]) -> None:
    graph, point = placed(place, corner)
    ways = roads(graph)
    for road in names:
        for found, expected in zip(ways[road](graph, point), corner.expected, strict=True):
            wanted = np.broadcast_to(expected, found.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=0, err_msg=f"{place.__name__}, {road}")


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.case)
def test_the_derivative_is_the_one_we_wrote_down(corner: Corner) -> None:
    for place in PLACES:
        check_first(corner, place, ("jacobian forward", "jacobian reverse"))


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.case)
def test_every_road_leads_to_it(corner: Corner, place: Callable[..., Value]) -> None:
    check_first(corner, place, ("jvp", "vjp", "served, forward", "served, reverse"))


def check_second(corner: Corner, place: Callable[..., Value]) -> None:
    graph, point = placed(place, corner)
    for first in range(len(point)):
        for then in range(len(point)):
            for modes, transformed in second(graph, first, then).items():
                (found,) = run(transformed, *point)
                wanted = np.broadcast_to(corner.second_by(first, then), found.shape)
                what = f"{modes}, by input {first}, then {then}"
                np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-300, err_msg=what)


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("corner", [one for one in CORNERS if one.second is not None], ids=lambda corner: corner.case)
def test_the_second_derivative_is_the_one_we_wrote_down(corner: Corner, place: Callable[..., Value]) -> None:
    check_second(corner, place)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("case", ["abs at 0", "maximum at a tie", "the norm on an axis", "max of sqrt", "5 % y at 2"])
def test_some_of_the_second_derivatives(case: str, place: Callable[..., Value]) -> None:
    (corner,) = [one for one in CORNERS if one.case == case]
    check_second(corner, place)
