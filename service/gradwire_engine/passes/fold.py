"""Constant folding: what depends on no input is computed once, while preparing.

Only where the result is small, or no larger than what it is computed from, and within a budget: folding must not turn
broadcasts into large tables. Derivatives are preserved: a constant has none before or after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.passes.rewrite import rewrite
from gradwire_engine.types import ROWS
from gradwire_engine.value import Value

SMALL = 4096
"""Elements up to which a folded constant may be larger than its operands."""

BUDGET = 1 << 20
"""Elements of all constants that are folded in one graph; what comes after stays as it is."""


def fold(graph: Graph, libraries: Collection[str] = ("numpy", "scipy")) -> Graph:
    """`graph` with constant nodes evaluated, as far as the named libraries suffice for that."""
    if not _has_constant_nodes(graph):
        return graph
    arrays: dict[int, np.ndarray] = {}
    left = BUDGET

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        nonlocal left
        op = op_of(node)
        if op.name == "constant":
            arrays[first] = op.evaluate(node.attributes)
            return None
        known = [arrays[n] for n in node.operands if n in arrays]
        if len(known) < len(operands) or op.library not in libraries or not _worthwhile(node, known, left):
            return None
        array = np.asarray(op.evaluate(node.attributes, *known))
        arrays[first] = array
        left -= array.size
        return (builder.constant(array),)

    with np.errstate(all="ignore"):
        return rewrite(graph, rule)


def _has_constant_nodes(graph: Graph) -> bool:
    """Whether any node but a constant depends on constants only; most graphs have none, and need no walk."""
    constant = bytearray(len(graph.types))
    for first, node in graph.numbered():
        if all([constant[n] for n in node.operands]):
            if node.op.name not in ("constant", "barrier") and not node.attributes.mentions_rows and not node.subgraphs:
                return True
            constant[first] = node.op.name == "constant"
    return False


def _worthwhile(node: Node, operands: Sequence[np.ndarray], left: int) -> bool:
    if len(node.results) != 1 or node.subgraphs or node.op.name in ("constant", "stop_gradient", "barrier"):
        return False
    type = node.results[0]
    if ROWS in type.shape or node.attributes.mentions_rows:
        return False
    return type.elements <= min(left, max(SMALL, *(array.size for array in operands), 0))
