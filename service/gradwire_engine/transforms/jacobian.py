"""Jacobians: a derivative sweep for every unit seed, all in one batched sweep.

Forward: a JVP for each input element, cheap for few inputs and many outputs. Reverse: a VJP for each output element,
cheap for many inputs and few outputs. `auto` builds both and takes the one with the smaller cost bound; where they are
equal, forward if 0.33 n_in <= 0.67 n_out (the weights CasADi uses).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import LimitError
from gradwire_engine.graph import Graph
from gradwire_engine.plan.flops import flops_bound
from gradwire_engine.program import JacobianMode
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.linearize import linearize
from gradwire_engine.transforms.transpose import transpose
from gradwire_engine.transforms.vmap import vmap
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import astype, iota, move_axis, reshape, size_of, zeros

_LARGEST_CONSTANT_SEED = 64
_UNLIMITED = 2**62


def jacobian(
    graph: Graph, inputs: Sequence[int], mode: JacobianMode = JacobianMode.AUTO, limit: int = _UNLIMITED
) -> Graph:
    """All partial derivatives.

    Inputs: those of `graph`. Outputs: for each floating-point output, for each entry of `inputs`, an array of the
    output's shape followed by the input's. LimitError as soon as that takes more than `limit` nodes; `auto` then takes
    the other mode, if that one does not.
    """
    if mode is JacobianMode.FORWARD:
        return jacobian_forward(graph, inputs, limit)
    if mode is JacobianMode.REVERSE:
        return jacobian_reverse(graph, inputs, limit)
    try:
        forward = jacobian_forward(graph, inputs, limit)
    except LimitError:
        return jacobian_reverse(graph, inputs, limit)
    try:
        reverse = jacobian_reverse(graph, inputs, limit)
    except LimitError:
        return forward
    costs = flops_bound(forward).constant, flops_bound(reverse).constant
    if costs[0] != costs[1]:
        return forward if costs[0] < costs[1] else reverse
    n_in = sum(size_of(graph.inputs[i].type.shape) for i in inputs)
    n_out = sum(size_of(graph.output_types[o].shape) for o in _floating_outputs(graph))
    return forward if 0.33 * n_in <= 0.67 * n_out else reverse


def jacobian_forward(graph: Graph, inputs: Sequence[int], limit: int = _UNLIMITED) -> Graph:
    """One forward sweep for each input element."""
    builder = GraphBuilder()
    values = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    outputs = _floating_outputs(graph)
    blocks: list[list[Value]] = []
    for index in inputs:
        type = graph.inputs[index].type
        pushed = jvp(graph, [index])
        sweep = Graph(pushed.inputs, pushed.nodes, pushed.outputs[len(graph.outputs) :])
        size = size_of(type.shape)
        swept = vmap(sweep, size, [*[-1] * len(values), 0])
        columns = builder.inline(swept, [*values, unit_seeds(builder, type)])
        _require_within(builder, limit)
        blocks.append(
            [
                reshape(move_axis(column, 0, len(column.shape) - 1), graph.output_types[o].shape + type.shape)
                for o, column in zip(outputs, columns, strict=True)
            ]
        )
    return builder.finish(
        [blocks[i][o] for o in range(len(outputs)) for i in range(len(inputs))], _names(graph, inputs)
    )


def jacobian_reverse(graph: Graph, inputs: Sequence[int], limit: int = _UNLIMITED) -> Graph:
    """One backward sweep for each output element."""
    outputs = _floating_outputs(graph)
    parts = linearize(graph, inputs, outputs)
    builder = GraphBuilder()
    values = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    residuals = builder.inline(parts.primal, values)[len(graph.outputs) :]
    blocks: list[Value] = []
    for position, output in enumerate(outputs):
        type = graph.output_types[output]
        shapes = [type.shape + graph.inputs[i].type.shape for i in inputs]
        if position not in parts.active:
            types = [graph.inputs[i].type.with_shape(shape) for i, shape in zip(inputs, shapes, strict=True)]
            blocks.extend(zeros(builder, block) for block in types)
            continue
        backward = transpose(parts.linear, parts.residuals, [parts.active.index(position)])
        swept = vmap(backward, size_of(type.shape), [*[-1] * parts.residuals, 0])
        rows = builder.inline(swept, [*residuals, unit_seeds(builder, type)])
        _require_within(builder, limit)
        blocks.extend(reshape(row, shape) for row, shape in zip(rows, shapes, strict=True))
    return builder.finish(blocks, _names(graph, inputs))


def unit_seeds(builder: Builder, type: TensorType) -> Value:
    """One unit seed for each element, stacked: shape (elements, *shape)."""
    size = size_of(type.shape)
    if size <= _LARGEST_CONSTANT_SEED:
        return builder.constant(np.eye(size, dtype=type.dtype.numpy).reshape((size, *type.shape)))
    rows, columns = (iota(builder, DType.INT64, (size, size), axis) for axis in (0, 1))
    return reshape(astype(rows.equals(columns), type.dtype), (size, *type.shape))


def _require_within(builder: GraphBuilder, limit: int) -> None:
    """Asked for every sweep: there may be many, of many nodes each."""
    if builder.node_count > limit:
        raise LimitError(
            "the program's Jacobian is too large",
            value=builder.node_count,
            limit=limit,
            unit="nodes",
            name="max-program-nodes",
        )


def _floating_outputs(graph: Graph) -> list[int]:
    return [i for i, type in enumerate(graph.output_types) if type.dtype.is_floating]


def _names(graph: Graph, inputs: Sequence[int]) -> list[str]:
    return [f"d_{graph.output_name(o)}_d_{graph.inputs[i].name}" for o in _floating_outputs(graph) for i in inputs]
