"""Reverse mode's backward pass: the transpose of a linear graph.

From the outputs back to the inputs, every linear op hands its result's cotangent (adjoint) to its operands, by the
transpose rule of the op:

    z = add(x, y):        x̄ += z̄,     ȳ += z̄
    z = multiply(k, x):   x̄ += k z̄                    (k does not depend on the linear inputs)
    z = sum(x):           x̄ += z̄, repeated

A value that is used more than once gets a cotangent from each use; they are added.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import Bilinear, Linear, Masked, Structured, Tangents, op_of
from gradwire_engine.tangents import add
from gradwire_engine.transforms.linearize import split
from gradwire_engine.types import TensorType
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import zeros


def transpose(linear: Graph, residuals: int, outputs: Sequence[int] | None = None) -> Graph:
    """The transpose of a graph that is linear in all inputs but the first `residuals`.

    Inputs: the residuals, then a cotangent for each of `outputs` (None: all; the others' cotangents are zero). Outputs:
    a cotangent for each linear input. A cotangent element that is 0 when the graph runs counts as known to be zero.
    """
    builder = GraphBuilder()
    known = [builder.input(parameter.name, parameter.type) for parameter in linear.inputs[:residuals]]
    cotangents: list[Masked | None] = [None] * len(linear.outputs)
    for index in range(len(linear.outputs)) if outputs is None else outputs:
        seed = builder.input(f"ct{index}", linear.output_types[index])
        cotangents[index] = Masked(seed, seed.differs(0.0))
    pulled = pull_back(builder, linear, known, cotangents)
    arrived = [
        zeros(builder, parameter.type) if t is None else t.value
        for parameter, t in zip(linear.inputs[residuals:], pulled, strict=True)
    ]
    return builder.finish(arrived)


def pull_back(builder: Builder, linear: Graph, residuals: Sequence[Value], cotangents: Tangents) -> list[Masked | None]:
    """Run the backward pass inside `builder`: a cotangent for each linear input, None where nothing arrives."""
    first_linear = len(residuals)
    values: list[Value | None] = [*residuals, *[None] * (len(linear.inputs) - first_linear)]
    depends = [number >= first_linear for number in range(len(linear.inputs))]
    for node in linear.nodes:
        moves = any([depends[n] for n in node.operands])
        depends.extend([moves] * len(node.results))
        if moves:
            values.extend([None] * len(node.results))
        else:
            arguments = [value for n in node.operands if (value := values[n]) is not None]
            values.extend(builder.copy(node, arguments))

    adjoints: list[Masked | None] = [None] * len(values)
    for number, cotangent in zip(linear.outputs, cotangents, strict=True):
        if depends[number]:
            adjoints[number] = add(adjoints[number], cotangent)
    types = linear.types
    for first, node in reversed(list(linear.numbered())):
        numbers = range(first, first + len(node.results))
        arriving = [adjoints[n] for n in numbers]
        if not depends[first] or not any(arriving):
            continue
        known = [values[n] for n in node.operands]
        passed = _transposed(builder, node, known, arriving, [types[n] for n in node.operands])
        for n, part in zip(node.operands, passed, strict=True):
            if part is not None and depends[n]:
                adjoints[n] = add(adjoints[n], part)
        for n in numbers:
            adjoints[n] = None  # no longer needed
    return adjoints[first_linear : len(linear.inputs)]


def _transposed(
    builder: Builder, node: Node, operands: Sequence[Value | None], arriving: Tangents, types: Sequence[TensorType]
) -> Tangents:
    """What a linear node hands to its operands."""
    rule = op_of(node).derivative
    if isinstance(rule, Structured):
        return rule.transpose(builder, node, operands, arriving, types, pull_back_from)
    if not isinstance(rule, Linear | Bilinear) or arriving[0] is None:
        raise GraphError(f"{node.op.name} stands in a linear graph but has no transpose rule")
    return rule.transpose(node.attributes, arriving[0], operands, types)


def pull_back_from(
    builder: Builder, graph: Graph, operands: Sequence[Value | None], cotangents: Tangents
) -> list[Masked | None]:
    """A graph that computes values and is linear in some inputs (those whose operand is None): forward pass for the
    values, then the backward pass; a cotangent for each linear input."""
    varied = [operand is None for operand in operands]
    primal, linear, _ = split(graph, varied, (), range(len(graph.outputs)))
    residuals = builder.inline(primal, [operand for operand in operands if operand is not None])
    return pull_back(builder, linear, residuals, cotangents)
