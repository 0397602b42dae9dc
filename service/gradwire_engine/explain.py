"""The trace table: every intermediate value of a graph as written, at one point, with its derivatives.

Forward, a column is a direction in which the inputs move, and holds each value's tangent. Reverse, a column is a weight
of the outputs, and holds each value's adjoint: how much the weighted outputs change with that value. Nothing is
optimised away: this is the table that textbooks print, and the place to look for the first NaN.

The adjoints come from the engine's one set of rules: every value is given a perturbation of its own, in tangent space
only, and the linear map from all perturbations to the outputs is transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError, LimitError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph, expression_text, value_names
from gradwire_engine.op import Masked
from gradwire_engine.passes.inline import inline_calls
from gradwire_engine.program import Limits
from gradwire_engine.tangents import add
from gradwire_engine.transforms.jvp import jvp, push_node
from gradwire_engine.transforms.linearize import split
from gradwire_engine.transforms.transpose import transpose
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value

MAX_VALUES = 1_000
MAX_COLUMNS = 64


@dataclass(frozen=True)
class TraceRow:
    """One value of the graph."""

    value: int
    name: str
    expression: str
    """How it is computed; the name again for an input."""
    result: np.ndarray
    derivatives: tuple[np.ndarray | None, ...]
    """The tangent or adjoint in each column; None where the value is not floating point."""
    first_non_finite: bool = False
    first_non_finite_derivative: bool = False


@dataclass(frozen=True)
class TraceTable:
    """The whole table; `outputs` are the numbers of the values that the graph returns."""

    rows: tuple[TraceRow, ...]
    columns: tuple[str, ...]
    outputs: tuple[int, ...]


def explain(
    graph: Graph,
    inputs: Sequence[np.ndarray],
    mode: str = "forward",
    seeds: Sequence[np.ndarray] = (),
    *,
    max_values: int = MAX_VALUES,
) -> TraceTable:
    """The trace table of `graph` at `inputs`.

    `mode` is forward or reverse. `seeds`: a tangent for each input (forward) or a cotangent for each output (reverse),
    of its type; those of integers and bools are ignored. Without seeds there is one column a unit seed, up to 64.
    LimitError for a graph of more than `max_values` values or too many columns, GraphError for inputs or seeds that
    do not fit.
    """
    graph = inline_calls(graph, Limits().nodes)
    count = len(graph.types)
    if count > max_values:
        raise _too_large("the graph has too many values for a trace table", count, max_values, "values")
    _require_types(inputs, graph.input_types, "input")
    seeded = graph.input_types if mode == "forward" else graph.output_types
    names = [name for name, _ in graph.inputs] if mode == "forward" else _output_names(graph)
    if seeds:
        _require_types(seeds, seeded, "seed")
        columns: tuple[str, ...] = ("d",)
        directions = [list(seeds)]
    else:
        columns, directions = _unit_seeds(seeded, names, "d/d" if mode == "forward" else "d ")
    values, derivatives = (_tangents if mode == "forward" else _adjoints)(graph, list(inputs), directions)
    return TraceTable(_rows(graph, values, derivatives, mode), columns, graph.outputs)


def _too_large(what: str, value: int, limit: int, unit: str) -> LimitError:
    error = LimitError(what, value=value, limit=limit, unit=unit, name="max-explain-values")
    error.reason = "EXPLAIN_TOO_LARGE"
    return error


def _require_types(arrays: Sequence[np.ndarray], types: Sequence[TensorType], what: str) -> None:
    if len(arrays) != len(types):
        raise GraphError(f"got {len(arrays)} {what}s, expected {len(types)}", reason="INPUT_MISMATCH")
    for i, (array, type) in enumerate(zip(arrays, types, strict=True)):
        if array.dtype != type.dtype.numpy or array.shape != type.shape:
            got = TensorType.of(array)
            raise GraphError(f"{what} {i}: got {got}, expected {type}", reason="INPUT_MISMATCH", path=f"{what}s[{i}]")


def _output_names(graph: Graph) -> list[str]:
    return [graph.output_name(i) for i in range(len(graph.outputs))]


def _unit_seeds(
    types: Sequence[TensorType], names: Sequence[str], prefix: str
) -> tuple[tuple[str, ...], list[list[np.ndarray]]]:
    """A column for each element of each floating-point entry: its heading, and the seed."""
    total = sum(type.elements for type in types if type.dtype.is_floating)
    if total > MAX_COLUMNS:
        raise _too_large("too many unit seeds; pass seeds of your own", total, MAX_COLUMNS, "columns")
    headings, directions = [], []
    for which, (type, name) in enumerate(zip(types, names, strict=True)):
        for index in np.ndindex(type.shape) if type.dtype.is_floating else ():
            seeds = [np.zeros(other.shape, other.dtype.numpy) for other in types]
            seeds[which][index] = 1
            headings.append(f"{prefix}{name}" + (f"[{','.join(map(str, index))}]" if index else ""))
            directions.append(seeds)
    return tuple(headings), directions


Column = list[np.ndarray | None]


def _tangents(
    graph: Graph, inputs: list[np.ndarray], directions: Sequence[list[np.ndarray]]
) -> tuple[list[np.ndarray], list[Column]]:
    """All values, and in each direction all tangents."""
    everything = replace(graph, outputs=tuple(range(len(graph.types))), output_names=())
    varied = [i for i, type in enumerate(graph.input_types) if type.dtype.is_floating]
    run = compile(jvp(everything, varied)).run
    columns = []
    values = compile(everything).run(inputs, 1)
    for seeds in directions:
        tangents = iter(run([*inputs, *(seeds[i] for i in varied)], 1)[len(values) :])
        columns.append([next(tangents) if type.dtype.is_floating else None for type in graph.types])
    return values, columns


def _adjoints(
    graph: Graph, inputs: list[np.ndarray], directions: Sequence[list[np.ndarray]]
) -> tuple[list[np.ndarray], list[Column]]:
    """All values, and for each weighting of the outputs all adjoints."""
    builder = GraphBuilder()
    values: list[Value] = [builder.input(name, type) for name, type in graph.inputs]
    tangents: list[Masked | None] = []
    perturbed: list[int] = []

    def perturb(number: int, tangent: Masked | None) -> None:
        type = graph.types[number]
        if type.dtype.is_floating:
            perturbed.append(number)
            tangent = add(tangent, Masked(builder.input(f"d{number}", type)))
        tangents.append(tangent)

    for number in range(len(values)):
        perturb(number, None)
    for first, node in graph.numbered():
        operands = [values[n] for n in node.operands]
        results, pushed = push_node(builder, node, operands, [tangents[n] for n in node.operands])
        values.extend(results)
        for offset, tangent in enumerate(pushed):
            perturb(first + offset, tangent)

    weighted = [i for i, n in enumerate(graph.outputs) if tangents[n] is not None]
    output_tangents = [tangent.value for i in weighted if (tangent := tangents[graph.outputs[i]]) is not None]
    joint = builder.finish([*values, *output_tangents])
    varied = [number >= len(graph.inputs) for number in range(len(joint.inputs))]
    primal, linear, count = split(joint, varied, range(len(values)), range(len(values), len(joint.outputs)))
    forward = compile(primal).run(inputs, 1)
    residuals = forward[len(values) :]
    run = compile(transpose(linear, count)).run
    columns: list[Column] = []
    for seeds in directions:
        column: Column = [None] * len(values)
        adjoints = run([*residuals, *(seeds[i] for i in weighted)], 1)
        for number, adjoint in zip(perturbed, adjoints, strict=True):
            column[number] = adjoint
        columns.append(column)
    return forward[: len(values)], columns


def _rows(graph: Graph, values: Sequence[np.ndarray], columns: Sequence[Column], mode: str) -> tuple[TraceRow, ...]:
    names = value_names(graph)
    expressions = names[: len(graph.inputs)]
    for node in graph.nodes:
        expressions.extend([expression_text(node, names)] * len(node.results))
    bad_value = next((n for n, value in enumerate(values) if not _finite(value)), None)
    order = range(len(values)) if mode == "forward" else reversed(range(len(values)))
    bad_derivative = next((n for n in order if any(not _finite(column[n]) for column in columns)), None)
    return tuple(
        TraceRow(
            n,
            names[n],
            expressions[n],
            value,
            tuple(column[n] for column in columns),
            n == bad_value,
            n == bad_derivative,
        )
        for n, value in enumerate(values)
    )


def _finite(array: np.ndarray | None) -> bool:
    return array is None or array.dtype.kind != "f" or bool(np.isfinite(array).all())
