"""Which passes run when."""

from __future__ import annotations

from gradwire_engine.graph import Graph
from gradwire_engine.passes.contract import contract
from gradwire_engine.passes.fold import fold
from gradwire_engine.passes.simplify import simplify

_ROUNDS = 3


def before_differentiation(graph: Graph) -> Graph:
    """Passes that preserve derivatives at every corner, and evaluate with numpy only."""
    return simplify(fold(graph, ("numpy",)))


def optimise(graph: Graph) -> Graph:
    """Passes that preserve values, up to rounding, on a graph that is not differentiated any more."""
    for _ in range(_ROUNDS):
        better = contract(simplify(fold(graph)))
        if better is graph:
            break
        graph = better
    return graph
