"""Which passes run when."""

from __future__ import annotations

from collections.abc import Callable

from gradwire_engine.graph import Graph
from gradwire_engine.passes.contract import contract
from gradwire_engine.passes.fold import fold
from gradwire_engine.passes.loops.hoist import hoist
from gradwire_engine.passes.loops.keep import keep_snapshots
from gradwire_engine.passes.loops.lower import lower
from gradwire_engine.passes.loops.prune import prune
from gradwire_engine.passes.loops.sum_rows import sum_rows
from gradwire_engine.passes.rewrite import everywhere, inside
from gradwire_engine.passes.simplify import simplify

_ROUNDS = 3


def before_differentiation(graph: Graph) -> Graph:
    """Passes that preserve derivatives at every corner, and evaluate with numpy only."""
    return everywhere(graph, lambda each: hoist(simplify(fold(each, ("numpy",)))))


def after_differentiation(graph: Graph, snapshot_bytes: int) -> Graph:
    """Loops are cut down to what is used of them and changes in them, and keep at most so many bytes of carries for
    reverse mode."""
    return keep_snapshots(everywhere(prune_all(graph), hoist), snapshot_bytes)


def optimise(graph: Graph) -> Graph:
    """Passes that preserve values, up to rounding, on a graph that is not differentiated any more."""
    return everywhere(lower(sum_rows(prune_all(graph))), _optimised)


def prune_all(graph: Graph) -> Graph:
    """`graph` with its loops cut down, the outer ones first: what a loop returns is what its body is asked for."""
    return inside(prune(graph), prune_all)


def simplified(graph: Graph) -> Graph:
    """Passes that change no bit, on the graph itself and not those inside it."""
    return _in_rounds(graph, lambda each: simplify(fold(each)))


def _optimised(graph: Graph) -> Graph:
    return _in_rounds(graph, lambda each: contract(simplify(fold(each))))


def _in_rounds(graph: Graph, apply: Callable[[Graph], Graph]) -> Graph:
    for _ in range(_ROUNDS):
        better = apply(graph)
        if better is graph:
            break
        graph = better
    return graph
