"""Constant folding: what depends on no input is computed once, while preparing.

Only where the result is small, or no larger than what it is computed from, and within a budget: folding must not turn
broadcasts into large tables. Derivatives are preserved: a constant has none before or after.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
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
    builder = GraphBuilder()
    values: list[Value] = [builder.input(one.name, one.type) for one in graph.inputs]
    arrays: dict[int, np.ndarray] = {}
    left = BUDGET
    folded = False
    with np.errstate(all="ignore"):
        for first, node in graph.numbered():
            known = [arrays.get(n) for n in node.operands]
            operands = [array for array in known if array is not None]
            if node.op.name == "constant":
                arrays[first] = op_of(node).evaluate(node.attributes)
            if len(operands) == len(known) and op_of(node).library in libraries and _worthwhile(node, operands, left):
                array = np.asarray(op_of(node).evaluate(node.attributes, *operands))
                arrays[first] = array
                left -= array.size
                folded = True
                values.append(builder.constant(array))
            else:
                values.extend(builder.copy(node, [values[n] for n in node.operands]))
    return builder.finish([values[n] for n in graph.outputs], graph.output_names) if folded else graph


def _has_constant_nodes(graph: Graph) -> bool:
    """Whether any node but a constant depends on constants only; most graphs have none, and need no walk."""
    constant = bytearray(len(graph.types))
    for first, node in graph.numbered():
        if all([constant[n] for n in node.operands]):
            if node.op.name not in ("constant", "barrier") and not node.attributes.mentions_rows and not node.subgraphs:
                return True
            constant[first] = node.op.name == "constant"
    return False


def _worthwhile(node: Node, operands: list[np.ndarray], left: int) -> bool:
    if len(node.results) != 1 or node.subgraphs or node.op.name in ("constant", "stop_gradient", "barrier"):
        return False
    type = node.results[0]
    if ROWS in type.shape or node.attributes.mentions_rows:
        return False
    return type.elements <= min(left, max(SMALL, *(array.size for array in operands), 0))
