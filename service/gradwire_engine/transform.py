"""Carry out a program's transforms, in order, with the checks that their signature rules ask for."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.errors import EngineError, GraphError, LimitError
from gradwire_engine.graph import Graph
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.passes.pipeline import before_differentiation
from gradwire_engine.program import Grad, Jacobian, Jvp, Limits, Transform, Vjp, Vmap
from gradwire_engine.transforms.jacobian import jacobian
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.transforms.vmap import vmap


def apply(graph: Graph, transforms: Sequence[Transform], limits: Limits | None = None) -> Graph:
    """The graph after all transforms. GraphError where one does not fit, LimitError where the result grows too large;
    the error's path names the transform."""
    limits = limits or Limits()
    graph = inline_calls(graph, limits.nodes)
    for position, transform in enumerate(transforms):
        try:
            graph = _applied(before_differentiation(graph), transform, limits.nodes)
        except EngineError as error:
            raise error.at(f"transforms[{position}]") from None
        if graph.size > limits.nodes:
            raise LimitError(
                "the program is too large after its transforms",
                value=graph.size,
                limit=limits.nodes,
                unit="nodes",
                name="max-program-nodes",
                path=f"transforms[{position}]",
            )
    return graph


def _applied(graph: Graph, transform: Transform, limit: int) -> Graph:
    match transform:
        case Jvp(inputs):
            return jvp(graph, _differentiable(graph, inputs))
        case Vjp(inputs):
            return vjp(graph, _differentiable(graph, inputs))
        case Grad(inputs, keep_value):
            return grad(graph, _differentiable(graph, inputs), keep_value)
        case Jacobian(inputs, mode):
            return jacobian(graph, _differentiable(graph, inputs), mode, limit)
        case Vmap(size, in_axes, out_axes):
            return vmap(graph, size, in_axes, out_axes)


def _differentiable(graph: Graph, inputs: Sequence[int]) -> Sequence[int]:
    """The indices, if each names a different floating-point input."""
    seen: set[int] = set()
    for position, index in enumerate(inputs):
        if not 0 <= index < len(graph.inputs):
            raise GraphError(f"got input {index} of {len(graph.inputs)}", path=f"inputs[{position}]")
        if index in seen:
            raise GraphError(f"input {index} is listed twice", path=f"inputs[{position}]")
        seen.add(index)
        type = graph.inputs[index].type
        if not type.dtype.is_floating:
            raise GraphError(
                f"cannot differentiate with respect to input {index} {graph.inputs[index].name!r} of type {type}; "
                "only floating-point inputs vary",
                path=f"inputs[{position}]",
            )
    return inputs
