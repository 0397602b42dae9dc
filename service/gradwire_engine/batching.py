"""A graph on values some of which have a new axis 0: the walk that `vmap` and `batch` are made of.

A value either has the new axis or is the same for all elements; a node none of whose operands has it stays as it is, so
what does not depend on the batch is computed once. Every op has a batch rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.op import op_of
from gradwire_engine.program import Layout
from gradwire_engine.types import ROWS, DType
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import broadcast_to, sum_over


def spread_axis(
    builder: Builder, graph: Graph, operands: Sequence[Value], stacked: Sequence[bool], size: int
) -> tuple[list[Value], list[bool]]:
    """Run `graph` on values some of which have the new axis 0: its outputs, and which of them have it."""
    values, has = list(operands), list(stacked)
    for node in graph.nodes:
        arguments = [values[n] for n in node.operands]
        batched = [has[n] for n in node.operands]
        if any(batched):
            values.extend(op_of(node).batch(node.attributes, arguments, batched, size, *node.subgraphs))
        else:
            values.extend(builder.copy(node, arguments))
        has.extend([any(batched)] * len(node.results))
    return [values[n] for n in graph.outputs], [has[n] for n in graph.outputs]


def batched_graph(builder: Builder, graph: Graph, layout: Layout) -> Graph:
    """`graph` of one example applied to rows; axis 0 of length `ROWS`. Made in `builder`, which is empty.

    Inputs: those of `graph`, with the rows in front except where the layout shares them. Outputs: those the layout
    wants, stacked in front, or summed over the rows.
    """
    shared, summed = set(layout.shared_inputs), set(layout.summed_outputs)
    values = [
        builder.input(
            parameter.name, parameter.type if i in shared else parameter.type.with_shape((ROWS, *parameter.type.shape))
        )
        for i, parameter in enumerate(graph.inputs)
    ]
    has_rows = [i not in shared for i in range(len(values))]
    outputs, stacked = spread_axis(builder, graph, values, has_rows, ROWS)
    wanted = layout.outputs or tuple(range(len(outputs)))
    finished = []
    for index in wanted:
        value = outputs[index]
        whole = value if stacked[index] else broadcast_to(value, (ROWS, *value.shape))
        if index in summed:
            if whole.dtype is DType.BOOL:
                raise GraphError(f"output {index} is bool and cannot be summed; convert it or stack it")
            whole = sum_over(whole, (0,))
        finished.append(whole)
    return builder.finish(finished, [graph.output_name(i) for i in wanted])
