"""checkpoint and cond: graphs of which one is applied, once.

They have the same rules; cond has a predicate before the operands, and as many results from either graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gradwire_engine.attributes import Attributes, Cond
from gradwire_engine.batching import spread_axis
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import (
    Case,
    Halves,
    Masked,
    Op,
    PrimalPart,
    PullBack,
    PushForward,
    Structured,
    Tangents,
    TestData,
)
from gradwire_engine.ops.control.bodies import (
    dependent_outputs,
    mask_of,
    needed_inputs,
    rearranged,
    value_or_zero,
)
from gradwire_engine.ops.control.rows import for_body, require_rows, row_shape, with_new_axis, without_rows
from gradwire_engine.ops.rules import describe
from gradwire_engine.tangents import sum_tangent
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to

Types = Sequence[TensorType]

# types


def _checkpoint_types(attributes: Attributes, operands: Types, body: Graph) -> tuple[TensorType, ...]:
    if tuple(operands) != body.input_types:
        raise GraphError(f"got ({describe(operands)}) for a graph that takes ({describe(body.input_types)})")
    return body.output_types


def _cond_types(attributes: Cond, operands: Types, otherwise: Graph, then: Graph) -> tuple[TensorType, ...]:
    if not operands or operands[0].dtype is not DType.BOOL or operands[0].rank != attributes.row_axes:
        raise GraphError(f"got ({describe(operands)}), expected a bool scalar as predicate, then the operands")
    if 0 in attributes.shared:
        raise GraphError("the predicate of rows is not shared")
    rows = row_shape(attributes, operands, len(operands))
    expected = tuple(for_body(attributes, i, type) for i, type in enumerate(operands) if i > 0)
    for branch in (otherwise, then):
        if branch.input_types != expected:
            raise GraphError(
                f"got operands ({describe(expected)}) for a branch that takes ({describe(branch.input_types)})"
            )
    if otherwise.output_types != then.output_types:
        raise GraphError(
            f"the branches return ({describe(otherwise.output_types)}) and ({describe(then.output_types)}), "
            "expected the same types"
        )
    for type in then.output_types:
        require_rows(attributes, type)
    return tuple(type.with_shape(rows + without_rows(attributes, type).shape) for type in then.output_types)


# derivatives: `first` is the place of the first operand of the graphs


def _push(
    first: int,
) -> Callable[[Any, Node, Sequence[Value], Tangents, PushForward], tuple[Sequence[Value], Tangents]]:
    def rule(
        builder: Any, node: Node, operands: Sequence[Value], tangents: Tangents, push_forward: PushForward
    ) -> tuple[Sequence[Value], Tangents]:
        moving = [i for i in range(first, len(operands)) if tangents[i] is not None]
        masked = [i for i in moving if (each := tangents[i]) is not None and each.mask is not None]
        made = [_pushed(builder, graph, moving, masked, first, push_forward) for graph in node.subgraphs]
        count = len(made[0][1])
        floating = [i for i, type in enumerate(node.subgraphs[0].output_types) if type.dtype.is_floating]
        active = [i for i in floating if any(moved[i] is not None for _, _, moved in made)]
        known = [i for i in active if any((each := moved[i]) is None or each.mask is not None for _, _, moved in made)]
        graphs = []
        for inner, values, moved in made:
            types = [value.type for value in values]
            new = [value_or_zero(moved[i], inner, types[i]) for i in active]
            masks = [mask_of(moved[i], inner, types[i]) for i in known]
            graphs.append(inner.finish([*values, *new, *masks]))
        given = [tangents[i] for i in moving]
        added = [each.value for each in given if each is not None]
        added += [each.mask for i in masked if (each := tangents[i]) is not None and each.mask is not None]
        attributes = _with_operands(node.attributes, [*moving, *masked], len(operands))
        results = builder.emit_all(node.op, [*operands, *added], attributes, graphs)
        masks_at = {i: count + len(active) + position for position, i in enumerate(known)}
        out: list[Masked | None] = [None] * count
        for position, i in enumerate(active):
            out[i] = Masked(results[count + position], results[masks_at[i]] if i in masks_at else None)
        return results[:count], out

    return rule


def _pushed(
    builder: Any, graph: Graph, moving: Sequence[int], masked: Sequence[int], first: int, push_forward: PushForward
) -> tuple[Any, list[Value], list[Masked | None]]:
    """A graph on dual numbers, in a builder of its own: operands, tangents, masks."""
    inner = builder.fresh()
    values = [inner.input(one.name, one.type) for one in graph.inputs]
    seeds = {i: inner.input(f"d_{graph.inputs[i - first].name}", graph.inputs[i - first].type) for i in moving}
    masks = {i: inner.input("", graph.inputs[i - first].type.with_dtype(DType.BOOL)) for i in masked}
    tangents = [Masked(seeds[i], masks.get(i)) if i in seeds else None for i in range(first, first + len(values))]
    outputs, moved = push_forward(inner, graph, values, tangents)
    return inner, outputs, moved


def _with_operands(attributes: Attributes, copied: Sequence[int], count: int) -> Attributes:
    """The attributes once operands are added after `count`: each is shared if the one that it belongs to is."""
    if not isinstance(attributes, Cond):
        return attributes
    added = [count + position for position, i in enumerate(copied) if i in attributes.shared]
    return replace(attributes, shared=(*attributes.shared, *added))


def _linear_results(first: int) -> Callable[[Node, Sequence[bool]], Sequence[bool]]:
    def rule(node: Node, linear: Sequence[bool]) -> Sequence[bool]:
        found = [dependent_outputs(graph, linear[first:]) for graph in node.subgraphs]
        return [any(pair) for pair in zip(*found, strict=True)]

    return rule


def _divide(first: int) -> Callable[[Node, Sequence[bool], PrimalPart], Halves]:
    def rule(node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> Halves:
        moves = _linear_results(first)(node, linear)
        primal_outputs = [i for i, each in enumerate(moves) if not each]
        linear_outputs = [i for i, each in enumerate(moves) if each]
        inputs = range(len(linear) - first)
        known = [i for i in inputs if not linear[first + i]]
        needed = set().union(*(needed_inputs(graph, linear_outputs) for graph in node.subgraphs))
        kept = [i for i in inputs if linear[first + i] or i in needed]

        def primal(builder: Any, operands: Sequence[Value | None]) -> tuple[list[Value | None], list[Value]]:
            results: list[Value | None] = [None] * len(moves)
            if primal_outputs:
                graphs = [primal_part(graph, linear[first:], primal_outputs) for graph in node.subgraphs]
                places = [*range(first), *(first + i for i in known)]
                found = builder.emit_all(
                    node.op, [operands[i] for i in places], _with_only(node.attributes, places), graphs
                )
                for position, value in zip(primal_outputs, found, strict=True):
                    results[position] = value
            return results, []

        def linear_half(builder: Any, operands: Sequence[Value | None], residuals: Sequence[Value]) -> list[Value]:
            graphs = [rearranged(builder, graph, kept, linear_outputs) for graph in node.subgraphs]
            places = [*range(first), *(first + i for i in kept)]
            return list(
                builder.emit_all(node.op, [operands[i] for i in places], _with_only(node.attributes, places), graphs)
            )

        wanted = frozenset([*range(first), *(first + i for i in needed if not linear[first + i])])
        return Halves(primal, wanted, linear_half)

    return rule


def _with_only(attributes: Attributes, places: Sequence[int]) -> Attributes:
    """The attributes of a node with some of the operands, in this order."""
    if not isinstance(attributes, Cond):
        return attributes
    return replace(attributes, shared=tuple(i for i, place in enumerate(places) if place in attributes.shared))


def _transpose(
    first: int,
) -> Callable[[Any, Node, Sequence[Value | None], Tangents, Types, PullBack], Tangents]:
    def rule(
        builder: Any,
        node: Node,
        operands: Sequence[Value | None],
        cotangents: Tangents,
        types: Types,
        pull_back: PullBack,
    ) -> Tangents:
        linear = [i for i in range(first, len(operands)) if operands[i] is None]
        known = [i for i in range(first, len(operands)) if operands[i] is not None]
        arriving = [i for i, each in enumerate(cotangents) if each is not None]
        masked = [i for i in arriving if (each := cotangents[i]) is not None and each.mask is not None]
        made = []
        for graph in node.subgraphs:
            inner = builder.fresh()
            values: list[Value | None] = [None] * len(graph.inputs)
            for i in known:
                values[i - first] = inner.input(graph.inputs[i - first].name, graph.inputs[i - first].type)
            output_types = graph.output_types
            seeds = {i: inner.input(f"ct{i}", output_types[i]) for i in arriving}
            masks = {i: inner.input("", output_types[i].with_dtype(DType.BOOL)) for i in masked}
            given = [Masked(seeds[i], masks.get(i)) if i in seeds else None for i in range(len(output_types))]
            made.append((inner, pull_back(inner, graph, values, given)))
        body = node.subgraphs[0]
        active = [k for k in range(len(linear)) if any(pulled[k] is not None for _, pulled in made)]
        some = [k for k in active if any((each := pulled[k]) is None or each.mask is not None for _, pulled in made)]
        graphs = []
        for inner, pulled in made:
            kinds = [body.inputs[i - first].type for i in linear]
            new = [value_or_zero(pulled[k], inner, kinds[k]) for k in active]
            graphs.append(inner.finish([*new, *(mask_of(pulled[k], inner, kinds[k]) for k in some)]))
        result: list[Masked | None] = [None] * len(operands)
        if not active:
            return result
        places = [*range(first), *known]
        passed: list[Any] = [operands[i] for i in places]
        passed += [each.value for i in arriving if (each := cotangents[i]) is not None]
        passed += [each.mask for i in masked if (each := cotangents[i]) is not None]
        found = builder.emit_all(node.op, passed, _with_only(node.attributes, places), graphs)
        for position, k in enumerate(active):
            mask = found[len(active) + some.index(k)] if k in some else None
            result[linear[k]] = _over_rows(node.attributes, linear[k], Masked(found[position], mask))
        return result

    return rule


def _over_rows(attributes: Attributes, operand: int, cotangent: Masked) -> Masked:
    """The cotangent of an operand that is the same for all rows is a sum over them."""
    if isinstance(attributes, Cond) and operand in attributes.shared:
        return sum_tangent(cotangent, range(attributes.row_axes))
    return cotangent


# batches


def _cond_batch(
    attributes: Cond, operands: Sequence[Value], batched: Sequence[bool], size: int, *branches: Graph
) -> tuple[Value, ...]:
    new, moved = with_new_axis(attributes, operands, batched, size, always=(0,))
    results: tuple[Value, ...] = moved[0].builder.emit_all("cond", moved, new, branches)
    return results


def _checkpoint_batch(
    attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int, body: Graph
) -> tuple[Value, ...]:
    inner = operands[0].builder.fresh()
    values = [inner.input(one.name, x.type) for one, x in zip(body.inputs, operands, strict=True)]
    outputs, has = spread_axis(inner, body, values, batched, size)
    whole = [x if moved else broadcast_to(x, (size, *x.shape)) for x, moved in zip(outputs, has, strict=True)]
    results: tuple[Value, ...] = operands[0].builder.emit_all("checkpoint", operands, attributes, [inner.finish(whole)])
    return results


def refused_evaluation(attributes: Any, *arrays: Any) -> Any:
    """Ops that refer to graphs are run by the executors, not by an evaluation of their own."""
    raise GraphError("an op that refers to graphs is run by an executor")


def structured(first: int) -> Structured:
    """The rules of a graph that is applied to the operands from `first` on."""
    return Structured(_push(first), _linear_results(first), _divide(first), _transpose(first))


COND = Op(
    name="cond",
    arity=None,
    types=_cond_types,
    evaluate=refused_evaluation,
    derivative=structured(1),
    batch=_cond_batch,
    attributes=Cond,
    subgraphs=2,
    tests=TestData(cases=(Case(((),)),)),
)

CHECKPOINT = Op(
    name="checkpoint",
    arity=None,
    types=_checkpoint_types,
    evaluate=refused_evaluation,
    derivative=structured(0),
    batch=_checkpoint_batch,
    subgraphs=1,
    tests=TestData(cases=(Case(((),)),)),
)
