"""checkpoint: a graph whose intermediate values reverse mode computes again instead of keeping them."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.attributes import Attributes
from gradwire_engine.batching import spread_axis
from gradwire_engine.graph import Graph
from gradwire_engine.op import Control, Structured
from gradwire_engine.ops.control.backward import transpose
from gradwire_engine.ops.control.call import applied_types
from gradwire_engine.ops.control.halves import divide, linear_results
from gradwire_engine.ops.control.push import push
from gradwire_engine.ops.control.records import control_op, flops_of_one_graph
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to


def _batch(
    attributes: Attributes, operands: Sequence[Value], batched: Sequence[bool], size: int, body: Graph
) -> tuple[Value, ...]:
    """It has no rows of its own: its graph gets the new axis."""
    builder = operands[0].builder
    inner = builder.fresh()
    values = [inner.input(parameter.name, x.type) for parameter, x in zip(body.inputs, operands, strict=True)]
    outputs, has = spread_axis(inner, body, values, batched, size)
    whole = [x if moved else broadcast_to(x, (size, *x.shape)) for x, moved in zip(outputs, has, strict=True)]
    return builder.emit_all("checkpoint", operands, attributes, [inner.finish(whole)])


CHECKPOINT = control_op(
    "checkpoint",
    applied_types,
    Structured(push, linear_results, divide, transpose),
    _batch,
    Control(inlined="last", flops=flops_of_one_graph),
)
