"""From a program to what a worker runs: transform, batch, optimise, bound the cost.

This is the whole road inside the engine; `prepare` is its only entry. It is pure and may take long for large programs:
whoever calls it on behalf of strangers does so in a process that can be ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from gradwire_engine.bounds import Cost
from gradwire_engine.errors import GraphError, LimitError
from gradwire_engine.graph import Graph, Input
from gradwire_engine.passes.pipeline import after_differentiation, optimise
from gradwire_engine.plan.cost import cost
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Limits, Program, Transform, Vjp
from gradwire_engine.transform import apply
from gradwire_engine.transforms.vmap import batch


@dataclass(frozen=True)
class Prepared:
    """A program for one batch layout, ready to run."""

    inputs: tuple[Input, ...]
    """The program's inputs after its transforms, one example."""
    outputs: tuple[Input, ...]
    """The program's outputs after its transforms, one example; all of them."""
    graph: Graph
    """Optimised; inputs that are not shared, and outputs that are stacked, have axis 0 of length `ROWS`."""
    cost: Cost
    mode: str
    """value, forward, reverse or mixed."""


def prepare(program: Program, layout: Layout, limits: Limits | None = None) -> Prepared:
    """The program's signature, and its optimised graph and cost for `layout`.

    GraphError where a transform or the layout does not fit, LimitError where the result is too large.
    """
    limits = limits or Limits()
    graph = apply(program.graph, program.transforms, limits)
    _check_layout(graph, layout)
    chosen, rest = _chosen(graph, layout)
    kept = after_differentiation(chosen, program.snapshot_bytes or limits.snapshot_bytes)
    optimised = optimise(batch(kept, rest))
    if optimised.size > limits.nodes:
        raise LimitError(
            "the program is too large when batched",
            value=optimised.size,
            limit=limits.nodes,
            unit="nodes",
            name="max-program-nodes",
        )
    outputs = tuple(Input(graph.output_name(i), type) for i, type in enumerate(graph.output_types))
    return Prepared(graph.inputs, outputs, optimised, cost(optimised), mode_of(program.transforms))


def _chosen(graph: Graph, layout: Layout) -> tuple[Graph, Layout]:
    """The graph of the outputs that are wanted, and what else the layout says."""
    if not layout.outputs:
        return graph, layout
    outputs = tuple(graph.outputs[i] for i in layout.outputs)
    names = tuple(graph.output_name(i) for i in layout.outputs)
    summed = tuple(position for position, i in enumerate(layout.outputs) if i in layout.summed_outputs)
    return replace(graph, outputs=outputs, output_names=names), Layout(layout.shared_inputs, summed)


def mode_of(transforms: tuple[Transform, ...]) -> str:
    """How a program is differentiated: value, forward, reverse, or mixed."""
    modes = set()
    for transform in transforms:
        match transform:
            case Jvp():
                modes.add("forward")
            case Grad() | Vjp():
                modes.add("reverse")
            case Jacobian(_, JacobianMode.FORWARD):
                modes.add("forward")
            case Jacobian(_, JacobianMode.REVERSE):
                modes.add("reverse")
            case Jacobian():
                modes.add("mixed")
    if not modes:
        return "value"
    return modes.pop() if len(modes) == 1 else "mixed"


def _check_layout(graph: Graph, layout: Layout) -> None:
    for field, indices, count in (
        ("batch.shared_inputs", layout.shared_inputs, len(graph.inputs)),
        ("batch.summed_outputs", layout.summed_outputs, len(graph.outputs)),
        ("outputs", layout.outputs, len(graph.outputs)),
    ):
        for position, index in enumerate(indices):
            if not 0 <= index < count:
                raise GraphError(f"got index {index} of {count}", path=f"{field}[{position}]")
    for field, indices in (
        ("batch.shared_inputs", layout.shared_inputs),
        ("batch.summed_outputs", layout.summed_outputs),
    ):
        if any(a >= b for a, b in pairwise(indices)):
            raise GraphError(f"got {indices}, expected ascending distinct indices", path=field)
