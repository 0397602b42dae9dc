"""From a Python function and the types of its arguments to a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.tracing.complaints import endless_recursion, ragged_list
from gradwire.tracing.locations import Location, at_line, at_user_line, deepest_location
from gradwire.tracing.promotion import supported
from gradwire.tracing.stand_in import Library
from gradwire.tracing.trace import Captured, Trace, Tracer, activated, active_trace
from gradwire.tracing.trees import Tree, flatten
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError
from gradwire_engine.graph import Graph
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value

_LONGEST_NAME: Final = 256
"""Bytes of a name in a graph."""


@dataclass(frozen=True, eq=False)
class TracedFunction:
    """A traced function: its graph, whose inputs are the leaves of the arguments and then what it captured."""

    graph: Graph
    captured: tuple[Captured | Tracer, ...]
    """Arrays, and values of the traces around it; the graph's last inputs, in order."""
    result: Tree
    """The structure of what it returned; one output of the graph a leaf."""
    lines: tuple[Location | None, ...]
    """For each node of the graph the user's line that it comes from."""
    loops: tuple[tuple[int, Location | None], ...] = ()
    """The bound on the steps and the user's line of each while_loop in it, and perhaps of others around it."""

    @property
    def is_closed(self) -> bool:
        """Whether it depends on no value of an outer trace."""
        return not any(isinstance(captured, Tracer) for captured in self.captured)


def capture(
    library: Library,
    function: Callable[..., Any],
    arguments: Tree,
    types: Sequence[TensorType],
    names: Sequence[str],
    called: str | None = None,
    *,
    is_body: bool = False,
) -> TracedFunction:
    """Trace `function`. `library` and `is_body` are those of its `Trace`. `arguments` is the structure of (positional
    tuple, keyword dict); one type and name a leaf. `called` is its name in messages, if it is not its own.

    TracingError, at the user's line, for what cannot be traced; whatever else the function raises passes through.
    """
    called = called or name_of(function)
    trace = Trace(library, active_trace(), is_body)
    inputs = [trace.input(_short(name), type) for name, type in zip(names, types, strict=True)]
    positional, keywords = arguments.build(inputs)
    with activated(trace):
        try:
            leaves, tree = flatten(function(*positional, **keywords))
            outputs = [_output(trace, leaf, called) for leaf in leaves]
        except ValueError as error:
            if isinstance(error.__cause__, TracingError):  # numpy's own words hide what the traced value has said
                raise error.__cause__ from None
            ragged = ragged_list(error)
            if ragged is not None:
                raise ragged from None
            raise
        except RecursionError as error:
            raise endless_recursion(called, error) from None
        except EngineError as error:  # a type rule that numpy's own checks did not foresee
            raise TracingError(at_line(error.message, deepest_location(error)), reason=error.reason) from error
    return _finished(trace, outputs, tree, len(inputs))


def _output(trace: Trace, leaf: Any, called: str) -> Value:
    if isinstance(leaf, Tracer):
        return trace.value_of(leaf)
    if isinstance(leaf, (bool, int, float, np.generic, np.ndarray)):
        array = np.asarray(leaf)
        supported(array.dtype, f"the result of {called}")
        return trace.constant(array)
    text = (
        f"{called} returned a {type(leaf).__name__}; results are numbers, arrays, and tuples, lists and dicts of them"
    )
    raise TracingError(at_user_line(text))


def _finished(trace: Trace, outputs: list[Value], tree: Tree, declared: int) -> TracedFunction:
    """The graph, without captured inputs that no output needs."""
    paths = [path.strip("[].'") for path in tree.paths()]
    names = [_short(path) for path in paths] if len(outputs) > 1 or paths != [""] else []
    graph, lines = trace.builder.finish_with_notes(outputs, names)
    used = set(graph.outputs).union(*[node.operands for node in graph.nodes])
    kept = [i for i in range(declared, len(graph.inputs)) if i in used]
    captured = tuple([trace.captured[i - declared] for i in kept])
    if len(captured) < len(trace.captured):
        graph = _with_inputs(graph, [*range(declared), *kept])
    return TracedFunction(graph, captured, tree, lines, tuple(trace.loops))


def _with_inputs(graph: Graph, kept: Sequence[int]) -> Graph:
    """The graph with some of its inputs alone; nothing uses the others."""
    builder = GraphBuilder()
    values = {i: builder.input(graph.inputs[i].name, graph.inputs[i].type) for i in kept}
    number = len(graph.inputs)
    for node in graph.nodes:
        results = builder.copy(node, [values[n] for n in node.operands])
        values.update(enumerate(results, number))
        number += len(results)
    return builder.finish([values[n] for n in graph.outputs], graph.output_names)


def _short(name: str) -> str:
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called in messages."""
    return getattr(function, "__name__", None) or type(function).__name__


def leaf_names(function: Callable[..., Any], arguments: Tree) -> list[str]:
    """For each leaf of (positional, keywords) its name in the function's own terms: ``w['bias']``."""
    positional, keywords = arguments.children
    parameters = _parameter_names(function, len(positional.children))
    names: list[str] = []
    for parameter, child in zip(parameters, positional.children, strict=True):
        names.extend(child.paths(parameter))
    for key, child in zip(keywords.keys, keywords.children, strict=True):
        names.extend(child.paths(str(key)))
    return names


def _parameter_names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [f"arg{i}" for i in range(count)]
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names.extend(f"{parameter.name}[{i}]" for i in range(count - len(names)))
            break
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            break
        names.append(parameter.name)
    names.extend(f"arg{i}" for i in range(len(names), count))
    return names[:count]
