"""A new axis: `vmap` adds a static one, `batch` the request's own, whose length is only known when it runs.

Both walk the graph once, as `batching` says.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.batching import batched_graph, spread_axis
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.program import Layout
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, move_axis


def vmap(graph: Graph, size: int, in_axes: Sequence[int], out_axes: Sequence[int] = ()) -> Graph:
    """`graph` applied along a new axis of length `size`, to every element independently.

    `in_axes`: for each input where the new axis stands, or -1 where the input is the same for every element.
    `out_axes`: for each output where the new axis stands; empty means 0 for all.
    """
    stacked_axes = tuple(out_axes) or (0,) * len(graph.outputs)
    if size < 0:
        raise GraphError(f"vmap got size {size}, expected at least 0")
    if len(in_axes) != len(graph.inputs) or len(stacked_axes) != len(graph.outputs):
        raise GraphError(
            f"vmap got {len(in_axes)} in_axes and {len(stacked_axes)} out_axes "
            f"for {len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        )
    builder = GraphBuilder()
    values: list[Value] = []
    for parameter, axis in zip(graph.inputs, in_axes, strict=True):
        if not -1 <= axis <= parameter.type.rank:
            raise GraphError(f"vmap got axis {axis} for input {parameter.name!r} of type {parameter.type}")
        shape = parameter.type.shape if axis < 0 else (*parameter.type.shape[:axis], size, *parameter.type.shape[axis:])
        value = builder.input(parameter.name, parameter.type.with_shape(shape))
        values.append(value if axis < 0 else move_axis(value, axis, 0))
    outputs, stacked = spread_axis(builder, graph, values, [axis >= 0 for axis in in_axes], size)
    results = []
    for index, (value, has, axis) in enumerate(zip(outputs, stacked, stacked_axes, strict=True)):
        whole = value if has else broadcast_to(value, (size, *value.shape))
        if not 0 <= axis < len(whole.shape):
            raise GraphError(f"vmap got axis {axis} for output {index} of type {graph.output_types[index]}")
        results.append(move_axis(whole, 0, axis))
    return builder.finish(results, graph.output_names)


def batch(graph: Graph, layout: Layout) -> Graph:
    """`graph` of one example applied to the rows of a request; axis 0 of length `ROWS`.

    Inputs: those of `graph`, with the rows in front except where the layout shares them. Outputs: those the layout
    wants, stacked in front, or summed over the rows.
    """
    return batched_graph(GraphBuilder(), graph, layout)
