"""Reverse mode: a forward pass that keeps the intermediates, then the backward pass.

`vjp` and `grad` are `linearize`, then `transpose`, put together in one graph. The price is a few evaluations of the
function for all inputs at once; what it costs is memory, for the residuals live until the backward pass has used them.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.op import Masked
from gradwire_engine.transforms.linearize import Linearized, linearize
from gradwire_engine.transforms.transpose import pull_back
from gradwire_engine.value import Value, full
from gradwire_engine.vocabulary import zeros


def vjp(graph: Graph, inputs: Sequence[int]) -> Graph:
    """The vector-Jacobian product, with the value.

    Inputs: those of `graph`, then a cotangent for every floating-point output. Outputs: those of `graph`, then the
    gradient with respect to each entry of `inputs`.
    """
    floating = [i for i, type in enumerate(graph.output_types) if type.dtype.is_floating]
    parts = linearize(graph, inputs, floating)
    builder = GraphBuilder()
    values = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    seeds = [builder.input(f"ct_{graph.output_name(i)}", graph.output_types[i]) for i in floating]
    cotangents = [Masked(seed, seed.differs(0.0)) for seed in seeds]
    outputs, gradients = _backward(builder, graph, inputs, parts, values, cotangents)
    names = [graph.output_name(i) for i in range(len(outputs))]
    names += [f"grad_{graph.inputs[i].name}" for i in inputs]
    return builder.finish([*outputs, *gradients], names)


def grad(graph: Graph, inputs: Sequence[int], keep_value: bool = False) -> Graph:
    """The gradient of output 0, a floating-point scalar; its seed is 1.

    Inputs: those of `graph`. Outputs: output 0 (if `keep_value`), the gradients, then outputs 1, 2, … unchanged.
    """
    if not graph.outputs:
        raise GraphError("grad of a graph without outputs")
    type = graph.output_types[0]
    if type.shape or not type.dtype.is_floating:
        raise GraphError(f"grad needs a floating-point scalar as output 0, got {type}; use jacobian or vjp")
    parts = linearize(graph, inputs, [0])
    builder = GraphBuilder()
    values = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    seed = Masked(full(builder, type, 1.0))
    outputs, gradients = _backward(builder, graph, inputs, parts, values, [seed])
    value = [outputs[0]] if keep_value else []
    names = [graph.output_name(0)] if keep_value else []
    names += [f"grad_{graph.inputs[i].name}" for i in inputs]
    names += [graph.output_name(i) for i in range(1, len(outputs))]
    return builder.finish([*value, *gradients, *outputs[1:]], names)


def _backward(
    builder: GraphBuilder,
    graph: Graph,
    inputs: Sequence[int],
    parts: Linearized,
    values: Sequence[Value],
    cotangents: Sequence[Masked],
) -> tuple[list[Value], list[Value]]:
    """Forward pass, then backward pass: the outputs, and a gradient for each varied input."""
    forward = builder.inline(parts.primal, values)
    outputs, residuals = forward[: len(graph.outputs)], forward[len(graph.outputs) :]
    seeds = [cotangents[i] for i in parts.active]
    pulled = pull_back(builder, parts.linear, residuals, seeds)
    gradients = [
        zeros(builder, graph.inputs[index].type) if cotangent is None else cotangent.value
        for index, cotangent in zip(inputs, pulled, strict=True)
    ]
    return outputs, gradients
