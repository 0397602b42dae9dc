"""The body of a loop for when nothing is known to be zero any more.

Masks of tangents and cotangents often begin with zeros (a seed, a carry that begins at rest) and are true everywhere
after a step or two. What a body computes then takes no masks, and gives the same bits. Found for any bool inputs,
whatever they mean: those that, once true, stay true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gradwire_engine.attributes import Constant
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph
from gradwire_engine.types import DType
from gradwire_engine.vocabulary import true

_WORTH = 0.9
"""A body must become smaller by so much to be worth a second one."""


def steady(
    graph: Graph, constants: int, carries: Mapping[int, int], simplify: Callable[[Graph], Graph]
) -> tuple[Graph, frozenset[int]] | None:
    """`graph` for when some bool inputs are true everywhere, and which inputs these are; None if that gains nothing.

    They are among the first `constants` inputs and among `carries` (input -> output); such a carry is true afterwards,
    too. The inputs of the new graph are the same.
    """
    assumed = {
        i
        for i, one in enumerate(graph.inputs)
        if one.type.dtype is DType.BOOL and 0 not in one.type.shape and (i < constants or i in carries)
    }
    while assumed:
        found = simplify(_with_true(graph, assumed))
        broken = {i for i in assumed if i in carries and not _is_true(found, carries[i])}
        if not broken:
            return (found, frozenset(assumed)) if found.size < _WORTH * graph.size else None
        assumed -= broken
    return None


def _with_true(graph: Graph, inputs: set[int]) -> Graph:
    builder = GraphBuilder()
    given = [builder.input(one.name, one.type) for one in graph.inputs]
    values = [true(builder, x.shape) if i in inputs else x for i, x in enumerate(given)]
    return builder.finish(builder.inline(graph, values), graph.output_names)


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
