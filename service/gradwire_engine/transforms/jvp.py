"""Forward mode: dual numbers.

Every value x travels with its tangent ẋ, and every op maps the pair to the pair of its result:

    sin:  (x, ẋ)          ->  (sin x, cos(x) ẋ)
    mul:  (x, ẋ), (y, ẏ)  ->  (x y,   ẋ y + x ẏ)

One sweep from the inputs to the outputs, in the order of the nodes. A tangent that is zero everywhere is None: it costs
nothing and meets nothing. A tangent that is partly known to be zero carries a mask (see `tangents`).

Source of the rules: Griewank and Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import (
    Bilinear,
    Expansion,
    Jvp,
    Linear,
    Masked,
    Partials,
    Refused,
    Structured,
    Tangents,
    Zero,
    op_of,
)
from gradwire_engine.tangents import add_all, mask_of, scale, value_or_zero
from gradwire_engine.value import Builder, Value


def jvp(graph: Graph, inputs: Sequence[int]) -> Graph:
    """The Jacobian-vector product, with the value.

    Inputs: those of `graph`, then a tangent for each entry of `inputs`. Outputs: those of `graph`, then the tangent of
    every floating-point output. A tangent element that is 0 when the graph runs counts as known to be zero.
    """
    builder = GraphBuilder()
    values = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    tangents: list[Masked | None] = [None] * len(values)
    for index in inputs:
        seed = builder.input(f"d_{graph.inputs[index].name}", graph.inputs[index].type)
        tangents[index] = Masked(seed, seed.differs(0.0))
    outputs, pushed = push_forward(builder, graph, values, tangents)
    arrays = [
        value_or_zero(t, builder, out.type) for out, t in zip(outputs, pushed, strict=True) if out.dtype.is_floating
    ]
    names = [graph.output_name(i) for i in range(len(outputs))]
    names += [f"d_{name}" for name, out in zip(names, outputs, strict=True) if out.dtype.is_floating]
    return builder.finish([*outputs, *arrays], names)


def push_forward(
    builder: Builder, graph: Graph, operands: Sequence[Value], tangents: Tangents
) -> tuple[list[Value], list[Masked | None]]:
    """Run `graph` on dual numbers inside `builder`: the values and tangents of its outputs."""
    values = list(operands)
    pushed = list(tangents)
    for node in graph.nodes:
        results, directions = push_node(
            builder, node, [values[n] for n in node.operands], [pushed[n] for n in node.operands]
        )
        values.extend(results)
        pushed.extend(directions)
    return [values[n] for n in graph.outputs], [pushed[n] for n in graph.outputs]


def push_node(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Tangents
) -> tuple[Sequence[Value], Tangents]:
    """One node on dual numbers: its results, and their tangents."""
    if not any(tangents):
        results = builder.copy(node, operands)
        return results, [None] * len(results)
    rule = op_of(node).derivative
    if isinstance(rule, Structured):
        return rule.push(builder, node, operands, tangents, push_forward)
    results = builder.copy(node, operands)
    return results, _tangents(builder, node, operands, results, tangents)


def _tangents(
    builder: Builder,
    node: Node,
    operands: Sequence[Value],
    results: Sequence[Value],
    tangents: Tangents,
) -> Tangents:
    """The tangents of a node's results, from its op's one rule."""
    rule = op_of(node).derivative
    if not any(result.dtype.is_floating for result in results):
        return [None] * len(results)
    match rule:
        case Zero():
            return [None] * len(results)
        case Refused(because):
            raise GraphError(f"{node.op.name} cannot be differentiated: {because}")
        case Partials(partials):
            factors = partials(node.attributes, operands, results[0])
            terms = [None if k is None or t is None else scale(k, t) for k, t in zip(factors, tangents, strict=True)]
            return [add_all(terms)]
        case Jvp(formula):
            return formula(node.attributes, operands, results, tangents)
        case Bilinear():
            terms = [
                None if t is None else rule.product(node.attributes, operands, i, t) for i, t in enumerate(tangents[:2])
            ]
            return [add_all(terms)]
        case Linear():
            return [_linear_tangent(builder, node, rule, operands, tangents)]
        case Structured():
            raise GraphError(f"{node.op.name} is pushed as a whole")
        case Expansion(expand):
            inner = builder.fresh()
            stand_ins = [inner.input("", operand.type) for operand in operands]
            expanded = inner.finish(expand(node.attributes, stand_ins))
            return push_forward(builder, expanded, operands, tangents)[1]


def _linear_tangent(
    builder: Builder, node: Node, rule: Linear, operands: Sequence[Value], tangents: Tangents
) -> Masked | None:
    """A linear op is its own tangent map: the op on the tangents, zeros standing for absent ones."""
    if rule.tangent is not None:
        return rule.tangent(node.attributes, operands, tangents)
    linear = range(len(operands)) if rule.operands is None else rule.operands
    arguments = list(operands)
    for i in linear:
        arguments[i] = value_or_zero(tangents[i], builder, operands[i].type)
    value = builder.emit_all(node.op, arguments, node.attributes)[0]
    known = [tangents[i] for i in linear]
    if rule.mask is None or all(t is not None and t.mask is None for t in known):
        return Masked(value)
    masks = [mask_of(t, builder, operands[i].type) for i, t in zip(linear, known, strict=True)]
    return Masked(value, rule.mask(node.attributes, masks, operands))
