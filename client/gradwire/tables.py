"""Trace tables: every intermediate value of a function with its tangents or adjoints, computed by the service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gradwire.batching import VmapStep
from gradwire.client import current_client, parsed
from gradwire.errors import TracingError
from gradwire.functions import Remote, as_remote
from gradwire.locations import at_user_line
from gradwire.plans import call_of, leaf_type
from gradwire.promotion import as_type
from gradwire.steps import GradStep, JacobianStep, VjpStep, refuse
from gradwire.tracing import Captured, active_trace
from gradwire.trees import flatten
from gradwire.v1 import service_pb2, tensor_pb2
from gradwire.wire.programs import encode_program
from gradwire.wire.requests import explain_parts, join
from gradwire.wire.tensors import OutgoingTensor, read_array
from gradwire_engine.program import JacobianMode, Program
from gradwire_engine.types import TensorType

Mode = Literal["forward", "reverse"]
_WIDEST_CELL = 36


@dataclass(frozen=True)
class TraceRow:
    """One value: how it is computed, what it is, and its derivative in each column (None where it has none)."""

    name: str
    expression: str
    result: Any
    derivatives: tuple[Any, ...]
    first_non_finite: bool
    """The first value, in order of computation, that holds a NaN or an infinity."""
    first_non_finite_derivative: bool


@dataclass(frozen=True)
class TraceTable:
    """The table; ``print`` shows it."""

    rows: tuple[TraceRow, ...]
    columns: tuple[str, ...]
    mode: Mode
    outputs: tuple[int, ...]
    """The rows that are returned."""

    def __str__(self) -> str:
        heading = ["value", "is", "result", *self.columns, ""]
        lines = [[*self._cells(row), self._remark(place, row)] for place, row in enumerate(self.rows)]
        widths = [max(len(line[i]) for line in [heading, *lines]) for i in range(len(heading))]
        texts = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [heading, *lines]
        ]
        texts.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(text.rstrip() for text in texts)

    def _cells(self, row: TraceRow) -> list[str]:
        expression = "input" if row.expression == row.name else row.expression
        return [row.name, expression, _shown(row.result), *[_shown(one) for one in row.derivatives]]

    def _remark(self, place: int, row: TraceRow) -> str:
        remarks = ["returned"] if place in self.outputs else []
        if row.first_non_finite:
            remarks.append("first value that is not finite")
        if row.first_non_finite_derivative:
            remarks.append("first derivative that is not finite")
        return ", ".join(remarks)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = np.array2string(np.asarray(value), precision=6, threshold=8, edgeitems=2, separator=", ").replace("\n", "")
    return text if len(text) <= _WIDEST_CELL else text[: _WIDEST_CELL - 1] + "…"


def explain(fun: Callable[..., Any], *args: Any, mode: str | None = None, seeds: Any = None) -> TraceTable:
    """Every intermediate value of `fun` at `args`, with its tangents (forward) or adjoints (reverse).

    `mode`: "forward" (the default for a plain function) or "reverse". `seeds`: the tangents of the arguments in a tuple
    (forward), or the cotangents of the result (reverse), nested alike; without them there is one column for each unit
    seed. Of a transformed function, the table is that of the function inside; functions made by `vmap` are refused.
    """
    return explain_remote(as_remote(fun), args, mode=mode, seeds=seeds)


def explain_remote(function: Remote, args: tuple[Any, ...], *, mode: str | None, seeds: Any) -> TraceTable:
    """The table of the function inside `function`."""
    if active_trace() is not None:
        raise TracingError(at_user_line("explain sends a request, which a traced function cannot"))
    if any(isinstance(step, VmapStep) for step in function._steps):
        raise refuse("explain shows one example; pass the function without vmap, and one row")
    wanted = mode or _mode_of(function)
    if wanted not in ("forward", "reverse"):
        raise refuse(f"explain: mode is {mode!r}; it is 'forward' or 'reverse'")
    chosen: Mode = "forward" if wanted == "forward" else "reverse"
    base = Remote(function._function)
    leaves, tree = flatten((args, {}))
    call = call_of(leaves, tree, base.leaf_names(tree))
    remembered, arrangement = base.arranged(call)
    constants = remembered.state[1]
    inputs = [_tensor(leaf, type) for leaf, type in zip(leaves, call.types, strict=True)]
    inputs += [OutgoingTensor.inline(constant.data) for constant in constants]
    request = explain_parts(
        program=encode_program(Program(arrangement.graph)),
        inputs=inputs,
        mode=chosen,
        seeds=_seeds(seeds, chosen, tree.children[0], call.types, arrangement, remembered),
    )
    data = current_client().call("Explain", join(request))
    return _table(parsed(service_pb2.ExplainResponse, data), chosen)


def _mode_of(function: Remote) -> Mode:
    for step in function._steps:
        if isinstance(step, (GradStep, VjpStep)) or (
            isinstance(step, JacobianStep) and step.mode is JacobianMode.REVERSE
        ):
            return "reverse"
    return "forward"


def _tensor(leaf: Any, type: TensorType) -> OutgoingTensor:
    return OutgoingTensor.inline(np.asarray(leaf, dtype=type.dtype.numpy).reshape(type.shape))


def _seeds(
    seeds: Any, mode: Mode, arguments: Any, types: tuple[TensorType, ...], arrangement: Any, remembered: Any
) -> list[OutgoingTensor]:
    """The seeds as the wire wants them: one for each input or output of the graph, zeros where none is given."""
    if seeds is None:
        return []
    tree = arguments if mode == "forward" else arrangement.result
    wanted = types if mode == "forward" else arrangement.graph.output_types
    found = []
    for leaf, type, path in zip(tree.leaves_of(seeds, "explain: seeds"), wanted, tree.paths("seeds"), strict=True):
        if leaf is None:
            array = np.zeros(type.shape, dtype=type.dtype.numpy)
        elif isinstance(leaf, (bool, int, float)):
            array = as_type(leaf, type.dtype.numpy)
        else:
            array = np.asarray(leaf)
        if leaf_type(array, path) != type:
            raise refuse(f"explain: {path} is {leaf_type(array, path)}, expected {type}")
        found.append(_tensor(array, type))
    if mode == "forward":
        carried = [one for one in remembered.captures.captured if isinstance(one, Captured)]
        found += [OutgoingTensor.inline(np.zeros(one.type.shape, dtype=one.type.dtype.numpy)) for one in carried]
    return found


def _table(response: Any, mode: Mode) -> TraceTable:
    rows = tuple(
        TraceRow(
            row.name,
            row.expression,
            _value(row.result),
            tuple([_derivative(one) for one in row.derivatives]),
            row.first_non_finite,
            row.first_non_finite_derivative,
        )
        for row in response.rows
    )
    return TraceTable(rows, tuple(response.columns), mode, tuple(response.outputs))


def _value(tensor: tensor_pb2.Tensor) -> Any:
    data = tensor.SerializeToString()
    array = read_array(data, 0, len(data))
    return array if array.shape else array[()]


def _derivative(tensor: tensor_pb2.Tensor) -> Any:
    """None where the value has no derivative: there are no data though the shape asks for some."""
    if tensor.dtype not in (tensor_pb2.DTYPE_FLOAT32, tensor_pb2.DTYPE_FLOAT64):
        return None
    return _value(tensor)
