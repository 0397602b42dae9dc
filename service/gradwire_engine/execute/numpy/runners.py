"""Running ops that refer to graphs: only the rows that need a branch or a step are in it.

Rows are brought to one axis; those that a branch or a step concerns are taken out, run together, and put back. So a
branch that a row does not take is never computed for it, and a loop ends for a row when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gradwire_engine.errors import GraphError
from gradwire_engine.execute.numpy.body import Application, Body
from gradwire_engine.execute.numpy.cond import CondRunner
from gradwire_engine.execute.numpy.replay import ReplayRunner
from gradwire_engine.execute.numpy.scan import ScanRunner
from gradwire_engine.execute.numpy.steps import Runner
from gradwire_engine.execute.numpy.while_loop import WhileRunner
from gradwire_engine.plan.plan import GraphPlan

_RUNNERS: Final[Mapping[str, Callable[[Application], Runner]]] = {
    "cond": CondRunner,
    "scan": ScanRunner,
    "while": WhileRunner,
    "replay": ReplayRunner,
}


def runner_of(plan: GraphPlan, position: int) -> Runner | None:
    """How a node is run, if it refers to graphs."""
    node = plan.graph.nodes[position]
    if not node.subgraphs:
        return None
    make = _RUNNERS.get(node.op.name)
    if make is None:
        raise GraphError(f"{node.op.name} is replaced before a graph is run")
    dead = plan.schedule.dying[position]
    return make(
        Application(
            node,
            tuple([plan.graph.types[n] for n in node.operands]),
            tuple([Body(body, runner_of) for body in plan.bodies[position]]),
            frozenset([i for i, n in enumerate(node.operands) if n in dead]),
        )
    )
