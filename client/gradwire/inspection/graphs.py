"""Graphs as objects: printed, saved, loaded, and called like the functions that they were traced from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradwire.calls.arguments import leaf_type, refuse
from gradwire.calls.transformed import TransformedFunction
from gradwire.errors import GradwireError, TracingError
from gradwire.numpy_functions.operands import value_as
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import as_type
from gradwire.tracing.trace import LARGEST_CONSTANT, Trace, Tracer, active_trace
from gradwire.tracing.trees import LEAF, Tree, flatten, tuple_of
from gradwire.wire.programs import decode_program, encode_program
from gradwire_engine import graph as engine
from gradwire_engine.attributes import Constant
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError
from gradwire_engine.program import Program
from gradwire_engine.transform import apply
from gradwire_engine.value import Value


class Graph:
    """A function of arrays as data. ``print`` shows it, one operation a line; calling it evaluates it.

    It stands on its own: arrays that the function closed over are constants in it.
    """

    def __init__(self, graph: engine.Graph, result: Tree | None = None) -> None:
        self._graph = graph
        count = len(graph.outputs)
        self._result = result or (LEAF if count == 1 else tuple_of(*[LEAF] * count))
        self.__name__ = "graph"

    def __str__(self) -> str:
        return str(self._graph)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{argument.name}: {argument.type}" for argument in self._graph.inputs)
        outputs = ", ".join(str(type) for type in self._graph.output_types)
        return f"<gradwire.Graph ({inputs}) -> ({outputs}), {len(self)} operations>"

    def __len__(self) -> int:
        return len(self._graph.nodes)

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """Name and type of each input."""
        return tuple([(argument.name, str(argument.type)) for argument in self._graph.inputs])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The type of each output."""
        return tuple([str(type) for type in self._graph.output_types])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to a file: a serialized ``gradwire.v1.Program``. How results were nested is not kept."""
        Path(path).write_bytes(encode_program(Program(self._graph)))

    def __call__(self, *args: Any) -> Any:
        """Evaluate: like a `Remote`, and inside a traced function a part of its graph."""
        trace = active_trace()
        if trace is None:
            return TransformedFunction(self)(*args)
        leaves, _ = flatten(args)
        inputs = self._graph.inputs
        if len(leaves) != len(inputs):
            raise refuse(f"this graph has {len(inputs)} inputs, got {len(leaves)} arguments")
        operands = []
        for leaf, expected in zip(leaves, inputs, strict=True):
            dtype = expected.type.dtype.numpy
            value = as_type(leaf, dtype) if type(leaf) in (bool, int, float) else leaf
            got = leaf_type(value, expected.name)
            if got != expected.type:
                raise refuse(f"input {expected.name!r} of this graph is {expected.type}, got {got}")
            operands.append(value_as(trace, value, dtype))
        outputs = _copied(self._graph, trace, operands)
        return self._result.build([trace.wrap(output) for output in outputs])


def _copied(graph: engine.Graph, trace: Trace, operands: list[Value]) -> list[Value]:
    """The graph's outputs in another; its large constants become arrays that are sent by digest."""
    values = list(operands)
    for node in graph.nodes:
        if isinstance(node.attributes, Constant) and node.attributes.array.size > LARGEST_CONSTANT:
            values.append(trace.constant(node.attributes.array))
        else:
            values.extend(trace.builder.copy(node, [values[n] for n in node.operands]))
    return [values[n] for n in graph.outputs]


def trace(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Graph:
    """The graph of ``fun(*args, **kwargs)``, transformed or not. Nothing is evaluated; only types matter."""
    return graph_of(TransformedFunction.of(fun), args, kwargs)


def graph_of(function: TransformedFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
    """The graph that a call of `function` stands for, after its transforms."""
    _, call = function.call_of(args, kwargs)
    kept, signature = function.signature(call, in_trace=True)
    try:
        graph = apply(signature.graph, signature.transforms)
    except EngineError as error:
        raise TracingError(at_user_line(error.message), reason=error.reason) from None
    contents = kept.contents()
    captured = dict(signature.captured)
    builder = GraphBuilder()
    values = []
    for index, argument in enumerate(graph.inputs):
        array = captured.get(index)
        if array is None:
            values.append(builder.input(argument.name, argument.type))
        elif isinstance(array, Tracer):
            raise TracingError(
                at_user_line("the graph of a function that depends on a traced value around it cannot stand on its own")
            )
        else:
            values.append(builder.constant(contents.get(id(array), array.array)))
    outputs = builder.inline(graph, values)
    returned = [index for index in signature.results if index >= 0]
    result = signature.result if len(returned) == len(signature.results) else None
    return Graph(builder.finish([outputs[index] for index in returned], graph.output_names), result)


def load(path: str | os.PathLike[str]) -> Graph:
    """A graph that was saved. It is called with one argument for each of its inputs; several results are a tuple.

    GradwireError for a file that holds no valid program.
    """
    try:
        program = decode_program(Path(path).read_bytes())
        return Graph(apply(program.graph, program.transforms))
    except EngineError as error:
        place = f" at {error.path}" if error.path else ""
        raise GradwireError(
            f"{os.fspath(path)} holds no valid program{place}: {error.message}", reason=error.reason
        ) from None
