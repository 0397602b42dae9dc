"""The body of a loop for when nothing is known to be zero any more.

Masks of tangents and cotangents often begin with zeros (a seed, a carry that begins at rest) and are true everywhere
after a step or two. What a body computes then takes no masks, and gives the same bits. Found for any bool inputs,
whatever they mean: those that, once true, stay true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gradwire_engine.attributes import Constant
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph
from gradwire_engine.types import DType
from gradwire_engine.vocabulary import true

_WORTH = 0.9
"""A body must become smaller by so much to be worth a second one."""


class SteadyBody(NamedTuple):
    """A body of a loop, and the inputs that it takes for true everywhere."""

    graph: Graph
    masks: frozenset[int]


def steady_body(
    graph: Graph, constants: int, carries: Mapping[int, int], simplify: Callable[[Graph], Graph]
) -> SteadyBody | None:
    """`graph` for when some bool inputs are true everywhere; None if that gains nothing.

    They are among the first `constants` inputs and among `carries` (input -> output); such a carry is true afterwards,
    too. The inputs of the new graph are the same.
    """
    masks = {
        i
        for i, type in enumerate(graph.input_types)
        if type.dtype is DType.BOOL and 0 not in type.shape and (i < constants or i in carries)
    }
    while masks:
        simpler = simplify(_with_true(graph, masks))
        broken = {i for i in masks if i in carries and not _is_true(simpler, carries[i])}
        if not broken:
            return SteadyBody(simpler, frozenset(masks)) if simpler.size < _WORTH * graph.size else None
        masks -= broken
    return None


def _with_true(graph: Graph, inputs: set[int]) -> Graph:
    builder = GraphBuilder()
    parameters = [builder.input(name, type) for name, type in graph.inputs]
    operands = [true(builder, x.shape) if i in inputs else x for i, x in enumerate(parameters)]
    return builder.finish(builder.inline(graph, operands), graph.output_names)


def _is_true(graph: Graph, output: int) -> bool:
    """Whether an output is a constant true, or repeats one."""
    number = graph.outputs[output]
    by_number = {first: node for first, node in graph.numbered() if len(node.results) == 1}
    while (node := by_number.get(number)) is not None:
        if isinstance(node.attributes, Constant):
            return node.attributes.type.dtype is DType.BOOL and bool(node.attributes.array.all())
        if node.op.name not in ("broadcast_to", "reshape", "permute_dims"):
            return False
        number = node.operands[0]
    return False
