"""Running ops that refer to graphs: only the rows that need a branch or a step are in it.

Rows are brought to one axis; those that a branch or a step concerns are taken out, run together, and put back. So a
branch that a row does not take is never computed for it, and a loop ends for a row when it is done.
"""

from __future__ import annotations

from gradwire_engine.attributes import Cond, Replay, Scan, While
from gradwire_engine.errors import GraphError
from gradwire_engine.execute.numpy.cond import CondRunner
from gradwire_engine.execute.numpy.replay import ReplayRunner
from gradwire_engine.execute.numpy.scan import ScanRunner
from gradwire_engine.execute.numpy.steps import Runner
from gradwire_engine.execute.numpy.while_loop import WhileRunner
from gradwire_engine.graph import Graph


def runner_of(graph: Graph, position: int, dying: frozenset[int]) -> Runner | None:
    """How a node is run, if it refers to graphs. `dying` are the values that nothing needs after it."""
    node = graph.nodes[position]
    if not node.subgraphs:
        return None
    types = [graph.types[n] for n in node.operands]
    match node.attributes:
        case Cond():
            return CondRunner(node, types, runner_of)
        case Scan():
            return ScanRunner(node, types, runner_of)
        case While():
            return WhileRunner(node, types, runner_of)
        case Replay():
            ours = frozenset(i for i, n in enumerate(node.operands) if n in dying)
            return ReplayRunner(node, types, runner_of, ours)
        case _:
            raise GraphError(f"{node.op.name} is replaced before a graph is run")
