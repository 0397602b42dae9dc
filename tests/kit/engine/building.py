"""Graphs from Python functions, and their results: what all tests of the engine start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

F64 = TensorType(DType.FLOAT64)


def f64(*shape: int) -> TensorType:
    """The type float64 of a shape."""
    return TensorType(DType.FLOAT64, shape)


def graph_of(
    function: Callable[..., Value | Sequence[Value]],
    *types: TensorType,
    names: Sequence[str] = "xyzuvw",
    output_names: Sequence[str] = (),
) -> Graph:
    """The graph of `function`, which takes and returns values."""
    builder = GraphBuilder()
    found = function(*[builder.input(name, type) for name, type in zip(names, types, strict=False)])
    return builder.finish([found] if isinstance(found, Value) else list(found), output_names)


def run(graph: Graph, *inputs: Any, rows: int = 1) -> list[np.ndarray]:
    """The outputs of a graph on arrays, or on anything that converts to its input types."""
    expected = [one.type.with_rows(rows) for one in graph.inputs]
    arrays = [
        np.broadcast_to(np.asarray(x, dtype=type.dtype.numpy), type.shape)
        for x, type in zip(inputs, expected, strict=True)
    ]
    return compile(graph).run(arrays, rows)


def operations(graph: Graph) -> list[str]:
    """The names of a graph's ops, in order."""
    return [node.op.name for node in graph.nodes]
