"""The corners of the special functions: poles, ends of domains, far tails, removable singularities, 0 log 0.

Every row in both modes, by every road, to first and second order. Compositions are those of the SDK.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.engine.building import F64, graph_of, run
from tests.kit.engine.corners import INF, Corner, at_point, op
from tests.kit.engine.derivatives import higher, roads, second

from gradwire.numpy_functions.special_functions import SPECIAL
from gradwire_engine.attributes import Order
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import erfcx, exprel, ive, polygamma, sinc

EULER, LOG2, ROOT_PI = 0.5772156649015329, math.log(2.0), math.sqrt(math.pi)
TRIGAMMA = math.pi**2 / 6  # at 1; one less at 2
MILLS = math.sqrt(2.0 / math.pi)


def of_order(function: Callable[[Value, int], Value], order: int) -> Callable[[Value], Value]:
    return lambda x: function(x, order)


CORNERS = (
    # Gamma functions
    Corner("gammaln at 0", op("gammaln"), [0.0], [-INF], INF, INF),
    Corner("gammaln at -0.0", op("gammaln"), [-0.0], [INF], INF, INF),
    Corner("gammaln at 1", op("gammaln"), [1.0], [-EULER], 0.0, TRIGAMMA),
    Corner("gamma at 0", op("gamma"), [0.0], [-INF], INF, INF),
    Corner("gamma where it overflows", op("gamma"), [200.0], [INF], INF, INF),
    Corner("trigamma at 0", of_order(polygamma, 1), [0.0], [-INF], INF, INF),
    Corner("trigamma at -2", of_order(polygamma, 1), [-2.0], [-INF], INF, INF),
    Corner("trigamma at 1", of_order(polygamma, 1), [1.0], [-2 * 1.2020569031595942], TRIGAMMA, math.pi**4 / 15),
    Corner(
        "trigamma at -1/2", of_order(polygamma, 1), [-0.5], [-0.82879664423432], math.pi**2 / 2 + 4, 193.40909103400242
    ),
    Corner("betaln at 1, 1", op("betaln"), [1.0, 1.0], [-1.0, -1.0], 0.0, [[1.0, 1 - TRIGAMMA], [1 - TRIGAMMA, 1.0]]),
    Corner("betaln at 0, 1", op("betaln"), [0.0, 1.0], [-INF, 0.0], INF, None),
    Corner("1 / gamma at 0", SPECIAL["rgamma"], [0.0], [1.0], 0.0, 2 * EULER),
    Corner("1 / gamma at -1", SPECIAL["rgamma"], [-1.0], [-1.0], 0.0, 2 * (1 - EULER)),
    Corner("1 / gamma at -2", SPECIAL["rgamma"], [-2.0], [2.0], 0.0, 2 * (2 * EULER - 3)),
    Corner("1 / gamma where gamma overflows", SPECIAL["rgamma"], [400.0], [0.0], 0.0),
    Corner("1 / gamma at inf", SPECIAL["rgamma"], [INF], [0.0], 0.0),
    # Error functions and the normal distribution
    Corner("erfinv at 1", op("erfinv"), [1.0], [INF], INF, INF),
    Corner("erfinv at -1", op("erfinv"), [-1.0], [INF], -INF, -INF),
    Corner("erfinv at 0", op("erfinv"), [0.0], [ROOT_PI / 2], 0.0),
    Corner("ndtri at 0", op("ndtri"), [0.0], [INF], -INF, -INF),
    Corner("ndtri at 1", op("ndtri"), [1.0], [INF], INF, INF),
    Corner("erfcinv at 0", SPECIAL["erfcinv"], [0.0], [-INF], INF, INF),
    Corner("erfcx at 0", of_order(erfcx, 0), [0.0], [-2 / ROOT_PI], 1.0, 2.0),
    Corner("erfcx far above", of_order(erfcx, 0), [1e8], [-1e-16 / ROOT_PI], 1e-8 / ROOT_PI, 2e-24 / ROOT_PI),
    Corner("erfcx at inf", of_order(erfcx, 0), [INF], [0.0], 0.0),
    Corner("erf at inf", op("erf"), [INF], [0.0], 1.0),
    Corner("erfc at -inf", op("erfc"), [-INF], [0.0], 2.0),
    Corner("erfc of a number whose square is none", op("erfc"), [1e200], [0.0], 0.0),
    Corner("ndtr at -inf", SPECIAL["ndtr"], [-INF], [0.0], 0.0),
    Corner("ndtr far below", SPECIAL["ndtr"], [-1000.0], [0.0], 0.0),
    Corner("ndtr far above", SPECIAL["ndtr"], [1000.0], [0.0], 1.0),
    Corner("log_ndtr at 0", op("log_ndtr"), [0.0], [MILLS], -LOG2, -(MILLS**2)),
    Corner("log_ndtr at -0.0", op("log_ndtr"), [-0.0], [MILLS], -LOG2, -(MILLS**2)),
    Corner("log_ndtr at -1e4", op("log_ndtr"), [-1e4], [1e4 + 1e-4 - 2e-12], None, -(1 - 1e-8 + 6e-16)),
    Corner("log_ndtr at -1e100", op("log_ndtr"), [-1e100], [1e100], -5e199, -1.0),
    Corner("log_ndtr at -inf", op("log_ndtr"), [-INF], [INF], -INF, None),
    Corner("log_ndtr far above", op("log_ndtr"), [50.0], [0.0], 0.0),
    Corner("log_ndtr at inf", op("log_ndtr"), [INF], [0.0], 0.0),
    # Products with logarithms, and entropies
    Corner("xlogy at 0, 0", op("xlogy"), [0.0, 0.0], [-INF, 0.0], 0.0, [[0.0, INF], [0.0, 0.0]]),
    Corner("xlogy at 0, 2", op("xlogy"), [0.0, 2.0], [LOG2, 0.0], 0.0, [[0.0, 0.5], [0.5, 0.0]]),
    Corner("xlogy at 2, 0", op("xlogy"), [2.0, 0.0], [-INF, INF], -INF, [[0.0, INF], [INF, -INF]]),
    Corner("xlogy at 2, -0.0", op("xlogy"), [2.0, -0.0], [-INF, INF], -INF, [[0.0, INF], [INF, -INF]]),
    Corner("xlog1py at 0, -1", op("xlog1py"), [0.0, -1.0], [-INF, 0.0], 0.0, [[0.0, INF], [0.0, 0.0]]),
    Corner("xlog1py at 0, 1", op("xlog1py"), [0.0, 1.0], [LOG2, 0.0], 0.0, [[0.0, 0.5], [0.5, 0.0]]),
    Corner("entropy at 0", SPECIAL["entr"], [0.0], [INF], 0.0, -INF),
    Corner("entropy below 0", SPECIAL["entr"], [-1.0], [0.0], -INF),
    Corner("relative entropy at 0, 0", SPECIAL["rel_entr"], [0.0, 0.0], [0.0, 0.0], 0.0),
    Corner("relative entropy at 0, 2", SPECIAL["rel_entr"], [0.0, 2.0], [-INF, 0.0], 0.0, [[INF, -0.5], [-0.5, 0.0]]),
    Corner("relative entropy at 2, 0", SPECIAL["rel_entr"], [2.0, 0.0], [INF, -INF], INF, None),
    Corner("relative entropy of equals", SPECIAL["rel_entr"], [2.0, 2.0], [1.0, -1.0], 0.0, [[0.5, -0.5], [-0.5, 0.5]]),
    Corner("relative entropy below 0", SPECIAL["rel_entr"], [-1.0, 1.0], [0.0, 0.0], INF),
    Corner("divergence at 0, 0", SPECIAL["kl_div"], [0.0, 0.0], [-1.0, 1.0], 0.0),
    Corner("divergence at 0, 2", SPECIAL["kl_div"], [0.0, 2.0], [-INF, 1.0], 2.0, [[INF, -0.5], [-0.5, 0.0]]),
    Corner("divergence of equals", SPECIAL["kl_div"], [2.0, 2.0], [0.0, 0.0], 0.0, [[0.5, -0.5], [-0.5, 0.5]]),
    # Removable singularities and Bessel functions
    Corner("sinc at 0", of_order(sinc, 0), [0.0], [0.0], 1.0, -1 / 3),
    Corner("sinc at -0.0", of_order(sinc, 0), [-0.0], [0.0], 1.0, -1 / 3),
    Corner("sinc beside 0", of_order(sinc, 0), [1e-200], [-1e-200 / 3], 1.0, -1 / 3),
    Corner("exprel at 0", of_order(exprel, 0), [0.0], [0.5], 1.0, 1 / 3),
    Corner("exprel at -1000", of_order(exprel, 0), [-1000.0], [1e-6], 1e-3, 2e-9),
    Corner("exprel where it overflows", of_order(exprel, 0), [800.0], [INF], INF, INF),
    Corner("i0e at 0", of_order(ive, 0), [0.0], [0.0], 1.0, 0.5),
    Corner("i1e at 0", of_order(ive, 1), [0.0], [0.5], 0.0),
    Corner("i0 at 0", SPECIAL["i0"], [0.0], [0.0], 1.0, 0.5),
    Corner("i1 at 0", SPECIAL["i1"], [0.0], [0.5], 0.0, 0.0),
    Corner("i0 where it overflows", SPECIAL["i0"], [-1000.0], [-INF], INF, INF),
    Corner("cos - 1 at 0", SPECIAL["cosm1"], [0.0], [0.0], 0.0, -1.0),
)  # fmt: skip
ROADS = tuple(roads(graph_of(op("gammaln"), F64)))


def _expect(found: np.ndarray, expected: Any, what: str) -> None:
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=4e-14, atol=1e-300, err_msg=what)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.case)
def test_the_derivative_is_the_one_we_wrote_down(corner: Corner, road: str) -> None:
    graph, point = at_point(corner)
    if corner.value is not None:
        _expect(run(graph, *point)[0], corner.value, "value")
    for index, (found, expected) in enumerate(zip(roads(graph)[road](graph, point), corner.expected, strict=True)):
        _expect(found, expected, f"by input {index}")


@pytest.mark.parametrize("corner", [one for one in CORNERS if one.second is not None], ids=lambda corner: corner.case)
def test_the_second_derivative_is_the_one_we_wrote_down(corner: Corner) -> None:
    graph, point = at_point(corner)
    for first in range(len(point)):
        for then in range(len(point)):
            for modes, transformed in second(graph, first, then).items():
                what = f"{modes}, by input {first}, then {then}"
                _expect(run(transformed, *point)[0], corner.second_by(first, then), what)


@pytest.mark.parametrize(
    ("case", "function", "point", "order", "expected"),
    [
        ("sinc at 0", of_order(sinc, 0), 0.0, 3, 0.0),
        ("sinc at 0", of_order(sinc, 0), 0.0, 4, 0.2),
        ("exprel at 0", of_order(exprel, 0), 0.0, 3, 0.25),
        ("exprel at 0", of_order(exprel, 0), 0.0, 4, 0.2),
        ("i0 at 0", SPECIAL["i0"], 0.0, 4, 3 / 8),
        ("i1 at 0", SPECIAL["i1"], 0.0, 3, 3 / 8),
        ("gammaln at 1", op("gammaln"), 1.0, 4, math.pi**4 / 15),
        ("erfcx at 0", of_order(erfcx, 0), 0.0, 4, 12.0),
        ("1 / gamma at 0", SPECIAL["rgamma"], 0.0, 3, 3 * EULER**2 - math.pi**2 / 2),
        ("log_ndtr at -30", op("log_ndtr"), -30.0, 3, 7.309993015784438e-05),
    ],
)
def test_higher_derivatives(
    case: str, function: Callable[[Value], Value], point: float, order: int, expected: float
) -> None:
    for modes, graph in higher(graph_of(function, F64), order).items():
        np.testing.assert_allclose(run(graph, point)[0], expected, rtol=1e-11, atol=1e-14, err_msg=f"{case}, {modes}")


@pytest.mark.parametrize("order", [0, 1, 2, 5])
@pytest.mark.parametrize("name", ["sinc", "exprel", "erfcx", "iv", "ive"])
def test_the_two_forms_of_a_family_meet(name: str, order: int) -> None:
    """Where an evaluation changes from one form to the other, the values on both sides are neighbours."""
    border = {"sinc": order + 2.0, "exprel": order + 2.0, "erfcx": 1.0, "iv": 100.0, "ive": 1e5}[name]
    graph = graph_of(lambda x: x.emit(name, attributes=Order(order)), F64)
    for at in (border, -border):
        below, above = (run(graph, np.nextafter(at, side))[0] for side in (-INF, INF))
        np.testing.assert_allclose(below, above, rtol=1e-12)


@pytest.mark.parametrize("order", [-1, 101])
@pytest.mark.parametrize("name", ["polygamma", "erfcx", "sinc", "exprel", "iv", "ive"])
def test_orders_have_an_end(name: str, order: int) -> None:
    builder = GraphBuilder()
    with pytest.raises(GraphError, match=f"got order {order}, expected 0 to 100"):
        builder.input("x", F64).emit(name, attributes=Order(order))
