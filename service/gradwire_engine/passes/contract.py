"""Sums of products become contractions, so that no large product is ever stored.

The training gradient is the case that matters: per row it is an outer product, summed over the rows it is one matrix
product. Two patterns, both equal up to rounding:

    sum(dot_general(x, y))    over shared axes      ->   dot_general that contracts them
    sum(multiply(x, y))       with x or y repeated  ->   dot_general

They are found behind permute_dims, and behind a reshape that leaves the summed axes alone.

Runs after differentiation only.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.attributes import Axes, DotGeneral, Permutation, Shape
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.passes.rewrite import rewrite
from gradwire_engine.types import ROWS
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import dot_general, permute_dims, reshape, sum_over

Source = tuple[Node, Sequence[Value]]
Sources = dict[int, Source]
"""By value of the new graph: the node that made it, and its operands."""


def contract(graph: Graph) -> Graph:
    """`graph` with sums of products turned into contractions."""
    if not any(node.op.name == "sum" for node in graph.nodes):
        return graph
    sources: Sources = {}

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        if node.op.name != "sum" or not isinstance(node.attributes, Axes):
            return None
        contraction = _contracted(sources, operands[0], node.attributes.axes)
        return None if contraction is None else (contraction,)

    def copied(node: Node, operands: list[Value], results: tuple[Value, ...]) -> None:
        for result in results:
            sources.setdefault(result.number, (node, operands))

    return rewrite(graph, rule, copied=copied)


def _contracted(sources: Sources, x: Value, axes: tuple[int, ...]) -> Value | None:
    """The sum of x over axes as a contraction, if x is a product."""
    moves: list[tuple[Node, tuple[int, ...]]] = []
    source = sources.get(x.number)
    while source is not None and axes and (inner_axes := _axes_before(source, axes)) is not None:
        moves.append((source[0], axes))
        x, axes = source[1][0], inner_axes
        source = sources.get(x.number)
    if source is None or not axes:
        return None
    inner, operands = source
    result: Value | None = None
    if inner.op.name == "dot_general" and isinstance(inner.attributes, DotGeneral):
        result = _sum_of_contraction(inner.attributes, operands, axes)
    elif inner.op.name == "multiply":
        result = _sum_of_product(sources, x, operands, axes)
    for node, gone in reversed(moves) if result is not None else ():
        assert result is not None
        result = _moved_without(node, gone, result)
    return result


def _axes_before(source: Source, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Where axes of the result stand in the operand of an op that only moves elements; None for other ops."""
    node, operands = source
    if isinstance(node.attributes, Permutation):
        return tuple(sorted(node.attributes.permutation[axis] for axis in axes))
    if isinstance(node.attributes, Shape) and node.op.name == "reshape":
        leading = axes[-1] + 1
        if operands[0].shape[:leading] == node.attributes.shape[:leading]:
            return axes
    return None


def _moved_without(node: Node, gone: tuple[int, ...], x: Value) -> Value:
    """The op on an operand that lacks the axes which are `gone` from its result."""
    if isinstance(node.attributes, Permutation):
        kept = [place for axis, place in enumerate(node.attributes.permutation) if axis not in gone]
        return permute_dims(x, [sorted(kept).index(place) for place in kept])
    assert isinstance(node.attributes, Shape)
    return reshape(x, tuple(length for axis, length in enumerate(node.attributes.shape) if axis not in gone))


def _sum_of_contraction(a: DotGeneral, operands: Sequence[Value], axes: Sequence[int]) -> Value | None:
    """Contract the shared axes that are summed; sum the others afterwards."""
    shared = len(a.lhs_batch)
    summed = [axis for axis in axes if axis < shared]
    if not summed:
        return None
    kept = [axis for axis in range(shared) if axis not in summed]
    merged = DotGeneral(
        (*a.lhs_contract, *(a.lhs_batch[i] for i in summed)),
        (*a.rhs_contract, *(a.rhs_batch[i] for i in summed)),
        tuple(a.lhs_batch[i] for i in kept),
        tuple(a.rhs_batch[i] for i in kept),
    )
    product = dot_general(operands[0], operands[1], merged)
    rest = [axis - len(summed) for axis in axes if axis >= shared]
    return sum_over(product, rest) if rest else product


def _sum_of_product(sources: Sources, x: Value, operands: Sequence[Value], axes: Sequence[int]) -> Value | None:
    """A product with a repeated operand, summed over axes that both operands really have."""
    (left, left_axes), (right, right_axes) = (_unrepeated(sources, operand) for operand in operands)
    both = [axis for axis in left_axes if axis in right_axes]
    summed = [axis for axis in both if axis in axes]
    only_left = [axis for axis in left_axes if axis not in both]
    only_right = [axis for axis in right_axes if axis not in both]
    covers = sorted({*left_axes, *right_axes}) == list(range(len(x.shape)))
    if not summed or not covers or not (only_left or only_right) or any(axis not in both for axis in axes):
        return None
    kept = [axis for axis in both if axis not in summed]
    result_axes = [*kept, *only_left, *only_right]
    wanted = sorted(result_axes)
    lengths = [x.shape[axis] for axis in result_axes]
    if ROWS in lengths[1:]:
        return None
    attributes = DotGeneral(
        tuple(left_axes.index(axis) for axis in summed),
        tuple(right_axes.index(axis) for axis in summed),
        tuple(left_axes.index(axis) for axis in kept),
        tuple(right_axes.index(axis) for axis in kept),
    )
    return permute_dims(dot_general(left, right, attributes), [result_axes.index(axis) for axis in wanted])


def _unrepeated(sources: Sources, value: Value) -> tuple[Value, list[int]]:
    """The value without the axes along which it is only repeated, and the axes that it really has."""
    rank = len(value.shape)
    source = sources.get(value.number)
    if source is None or source[0].op.name != "broadcast_to":
        return value, list(range(rank))
    assert isinstance(source[0].attributes, Shape)
    original = source[1][0]
    offset = rank - len(original.shape)
    real = [axis for axis in range(offset, rank) if original.shape[axis - offset] == value.shape[axis]]
    return reshape(original, tuple(value.shape[axis] for axis in real)), real
