"""Runs a traced function by the engine's reference executor, without a service: the shortest route to its meaning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire.numpy_functions import LIBRARY
from gradwire.tracing.trace import Captured, Trace, Tracer, activated
from gradwire.tracing.trees import flatten
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.types import TensorType
from gradwire_engine.verify import verify


def graph_of(function: Callable[..., Any], *args: Any) -> tuple[Graph, list[np.ndarray], Any, list[Any]]:
    """The graph, what it captured, the structure of the result, and its leaves that are no tracers (else None)."""
    arrays = [np.asarray(arg) for arg in args]
    trace = Trace(LIBRARY)
    inputs = [trace.input(f"x{i}", TensorType.of(array)) for i, array in enumerate(arrays)]
    with activated(trace):
        leaves, tree = flatten(function(*inputs))
        values = [trace.value_of(leaf) if isinstance(leaf, Tracer) else None for leaf in leaves]
    graph = trace.builder.finish([value for value in values if value is not None])
    verify(graph)
    captured = [one.array for one in trace.captured if isinstance(one, Captured)]
    return graph, captured, tree, [leaf if value is None else None for leaf, value in zip(leaves, values, strict=True)]


def traced(function: Callable[..., Any], *args: Any) -> Any:
    """What the traced function gives."""
    graph, captured, tree, leaves = graph_of(function, *args)
    found = iter(compile(graph).run([np.asarray(arg) for arg in args] + captured, 1))
    return tree.build([next(found) if leaf is None else leaf for leaf in leaves])


def assert_same(got: Any, expected: Any, rtol: float | None = None) -> None:
    """Equal structure, shapes, dtypes; values up to rounding."""
    found, found_tree = flatten(got)
    wanted, wanted_tree = flatten(expected)
    assert found_tree.size == wanted_tree.size, f"{found_tree} != {wanted_tree}"
    for one, other in zip(found, wanted, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        tolerance = rtol if rtol is not None else 2e-5 if one.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def assert_like_numpy(function: Callable[..., Any], *args: Any, rtol: float | None = None) -> None:
    """The traced function gives what the function gives on plain arrays."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = function(*[np.asarray(arg) for arg in args])
    assert_same(traced(function, *args), expected, rtol)
