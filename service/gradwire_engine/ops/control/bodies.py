"""What the rules of structured ops share: walking and rearranging the graphs that they refer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_engine.graph import Graph
from gradwire_engine.op import Masked, Structured, op_of
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, true, zeros


def dependent_outputs(graph: Graph, varied: Sequence[bool]) -> list[bool]:
    """Which outputs depend on the inputs marked in `varied`."""
    depends = list(varied)
    for node in graph.nodes:
        moving = [depends[n] for n in node.operands]
        rule = op_of(node).derivative
        if any(moving) and isinstance(rule, Structured):
            depends.extend(rule.linear_results(node, moving))
        else:
            depends.extend([any(moving)] * len(node.results))
    return [depends[n] for n in graph.outputs]


def needed_inputs(graph: Graph, outputs: Sequence[int]) -> set[int]:
    """The inputs on which some outputs (positions) may depend."""
    needed = [False] * len(graph.types)
    for position in outputs:
        needed[graph.outputs[position]] = True
    for first, node in reversed(list(graph.numbered())):
        if any(needed[first : first + len(node.results)]):
            for n in node.operands:
                needed[n] = True
    return {n for n in range(len(graph.inputs)) if needed[n]}


def rearranged(builder: Any, graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    """`graph` with its inputs in another order, and only some outputs. Inputs that are left out must not be needed."""
    inner = builder.fresh()
    values = {n: inner.input(graph.inputs[n].name, graph.inputs[n].type) for n in inputs}
    operands = [values.get(n) or zeros(inner, graph.inputs[n].type) for n in range(len(graph.inputs))]
    found = inner.inline(graph, operands)
    return inner.finish([found[position] for position in outputs])


def mask_type(type: TensorType) -> TensorType:
    """The type of a tangent's mask."""
    return type.with_dtype(DType.BOOL)


def value_or_zero(tangent: Masked | None, builder: Any, type: TensorType) -> Value:
    """The tangent as an array."""
    return zeros(builder, type) if tangent is None else tangent.value


def mask_of(tangent: Masked | None, builder: Any, type: TensorType) -> Value:
    """The mask as an array: true where nothing is known, false where the tangent is absent."""
    if tangent is None:
        return zeros(builder, mask_type(type))
    return true(builder, type.shape) if tangent.mask is None else tangent.mask


def mask_count(mask: Value) -> Value:
    """A mask as numbers that can be added over steps."""
    return astype(mask, DType.INT32)


def operand_groups(*lengths: int) -> list[range]:
    """Consecutive ranges of these lengths."""
    groups, start = [], 0
    for length in lengths:
        groups.append(range(start, start + length))
        start += length
    return groups


def settled(
    active: Sequence[int], masked: Sequence[int], after: Sequence[Masked | None]
) -> tuple[list[int], list[int]]:
    """Which carries have a tangent, and which of these a mask, once it is known what they have after a step.

    A carry that only gets one in a step begins at rest: known to be zero there, so it has a mask, too.
    """
    has, has_mask = set(active), set(masked)
    for k, each in enumerate(after):
        if each is not None and k not in has:
            has.add(k)
            has_mask.add(k)
        elif k in has and (each is None or each.mask is not None):
            has_mask.add(k)
    return sorted(has), sorted(has_mask)
