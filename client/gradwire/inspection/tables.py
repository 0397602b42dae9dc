"""Trace tables: every intermediate value of a function with its tangents or adjoints, computed by the service."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from gradwire.calls.arguments import Call, leaf_type, refuse
from gradwire.calls.kept import KeptTrace
from gradwire.calls.signature import CallSignature
from gradwire.calls.transformed import TransformedFunction
from gradwire.connection.default import current_client
from gradwire.connection.replies import parsed
from gradwire.errors import TracingError
from gradwire.tracing.capture import TracedFunction
from gradwire.tracing.locations import Location, at_user_line
from gradwire.tracing.promotion import as_type
from gradwire.tracing.trace import active_trace
from gradwire.v1 import service_pb2, tensor_pb2
from gradwire.wire.programs import encode_program
from gradwire.wire.requests import explain_parts, join
from gradwire.wire.tensors import OutgoingTensor, read_array
from gradwire_engine.program import Program
from gradwire_engine.types import TensorType

Mode = Literal["forward", "reverse"]
_WIDEST_CELL: Final = 36
_FIRST_VALUE: Final = "first value that is not finite"
_FIRST_DERIVATIVE: Final = "first {} that is not finite"
_CELL: Final = "text-align: left; padding: 0 0.8em 0 0; font-family: monospace; white-space: pre"
_MARKED: Final = "background: #c62828; color: #ffffff"


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
    """The same of its derivatives, in the order of the mode."""
    line: Location | None = None
    """The user's line that computes it, where it is known."""


@dataclass(frozen=True)
class TraceTable:
    """The table; ``print`` shows it, and so do notebooks."""

    rows: tuple[TraceRow, ...]
    columns: tuple[str, ...]
    mode: Mode
    outputs: tuple[int, ...]
    """The rows that are returned."""

    def __str__(self) -> str:
        heading = self._heading()
        lines = [self._cells(index, row) for index, row in enumerate(self.rows)]
        widths = [max(len(line[i]) for line in [heading, *lines]) for i in range(len(heading))]
        texts = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [heading, *lines]
        ]
        texts.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(text.rstrip() for text in texts)

    def _repr_html_(self) -> str:
        """The table for a notebook: the first value and derivative that are not finite stand out."""
        heading = "".join(_html_cell("th", text) for text in self._heading())
        lines = []
        for index, row in enumerate(self.rows):
            marked = {2} if row.first_non_finite else set()
            if row.first_non_finite_derivative:
                marked.update(3 + i for i, x in enumerate(row.derivatives) if x is not None and not _finite(x))
            cells = "".join(_html_cell("td", text, i in marked) for i, text in enumerate(self._cells(index, row)))
            lines.append(f"<tr>{cells}</tr>")
        return f"<table><thead><tr>{heading}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def _heading(self) -> list[str]:
        return ["value", "is", "result", *self.columns, *(["line"] if self._has_lines else []), ""]

    def _cells(self, index: int, row: TraceRow) -> list[str]:
        expression = "input" if row.expression == row.name else row.expression
        lines = [_line_text(row.line)] if self._has_lines else []
        derivatives = [_shown(derivative) for derivative in row.derivatives]
        return [row.name, expression, _shown(row.result), *derivatives, *lines, self._remark(index, row)]

    @property
    def _has_lines(self) -> bool:
        return any(row.line is not None for row in self.rows)

    def _remark(self, index: int, row: TraceRow) -> str:
        remarks = ["returned"] if index in self.outputs else []
        if row.first_non_finite:
            remarks.append(_FIRST_VALUE)
        if row.first_non_finite_derivative:
            remarks.append(_FIRST_DERIVATIVE.format("tangent" if self.mode == "forward" else "adjoint"))
        return ", ".join(remarks)


def _html_cell(kind: str, text: str, is_marked: bool = False) -> str:
    style = f"{_CELL}; {_MARKED}" if is_marked else _CELL
    return f'<{kind} style="{style}">{html.escape(text)}</{kind}>'


def _line_text(line: Location | None) -> str:
    if line is None:
        return ""
    return f"{line.short}  {_cut(line.text)}".rstrip()


def _finite(value: Any) -> bool:
    return bool(np.isfinite(value).all())


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST_CELL else text[: _WIDEST_CELL - 1] + "…"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = np.array2string(np.asarray(value), precision=6, threshold=8, edgeitems=2, separator=", ").replace("\n", "")
    return _cut(text)


def explain(fun: Callable[..., Any], *args: Any, mode: str | None = None, seeds: Any = None) -> TraceTable:
    """Every intermediate value of `fun` at `args`, with its tangents (forward) or adjoints (reverse).

    `mode`: "forward" (the default for a plain function) or "reverse". `seeds`: the tangents of the arguments in a tuple
    (forward), or the cotangents of the result (reverse), nested alike; without them there is one column for each unit
    seed. Of a transformed function, the table is that of the function inside; functions made by `vmap` are refused.
    """
    return explain_inside(TransformedFunction.of(fun), args, mode=mode, seeds=seeds)


def explain_inside(function: TransformedFunction, args: tuple[Any, ...], *, mode: str | None, seeds: Any) -> TraceTable:
    """The table of the function inside `function`."""
    if active_trace() is not None:
        raise TracingError(at_user_line("explain sends a request, which a traced function cannot"))
    if function.has_axis:
        raise refuse("explain shows one example; pass the function without vmap, and one row")
    wanted = mode or ("reverse" if any(step.is_reverse for step in function.steps) else "forward")
    if wanted not in ("forward", "reverse"):
        raise refuse(f"explain: mode is {mode!r}; it is 'forward' or 'reverse'")
    chosen: Mode = "forward" if wanted == "forward" else "reverse"
    base = function.base
    leaves, call = base.call_of(args, {})
    kept, signature = base.signature(call)
    inputs = [_tensor(leaf, type) for leaf, type in zip(leaves, call.types, strict=True)]
    inputs += [OutgoingTensor.inline(constant.data) for constant in kept.constants]
    request = explain_parts(
        program=encode_program(Program(signature.graph)),
        inputs=inputs,
        mode=chosen,
        seeds=[] if seeds is None else _seeds(seeds, chosen, call, signature, kept),
    )
    response = current_client().call("Explain", join(request))
    return _table(parsed(service_pb2.ExplainResponse, response), chosen, _lines_of_values(kept.traced))


def _lines_of_values(traced: TracedFunction) -> list[Location | None]:
    """For each value of the graph the user's line that it comes from."""
    lines: list[Location | None] = [None] * len(traced.graph.inputs)
    for node, line in zip(traced.graph.nodes, traced.lines, strict=True):
        lines += [line] * len(node.results)
    return lines


def _tensor(leaf: Any, type: TensorType) -> OutgoingTensor:
    return OutgoingTensor.inline(np.asarray(leaf, dtype=type.dtype.numpy).reshape(type.shape))


def _seeds(seeds: Any, mode: Mode, call: Call, signature: CallSignature, kept: KeptTrace) -> list[OutgoingTensor]:
    """The seeds as the wire wants them: one for each input or output of the graph, zeros where none is given."""
    tree = call.tree.children[0] if mode == "forward" else signature.result
    types = call.types if mode == "forward" else signature.graph.output_types
    tensors = []
    for leaf, type, path in zip(tree.leaves_of(seeds, "explain: seeds"), types, tree.paths("seeds"), strict=True):
        if leaf is None:
            array = np.zeros(type.shape, dtype=type.dtype.numpy)
        elif isinstance(leaf, (bool, int, float)):
            array = as_type(leaf, type.dtype.numpy)
        else:
            array = np.asarray(leaf)
        if leaf_type(array, path) != type:
            raise refuse(f"explain: {path} is {leaf_type(array, path)}, expected {type}")
        tensors.append(_tensor(array, type))
    if mode == "forward":
        zeros = [np.zeros(array.type.shape, dtype=array.type.dtype.numpy) for array in kept.arrays]
        tensors += [OutgoingTensor.inline(zero) for zero in zeros]
    return tensors


def _table(response: service_pb2.ExplainResponse, mode: Mode, lines: Sequence[Location | None]) -> TraceTable:
    """The service's table, with the user's lines unless it has other values than the graph that was sent."""
    known = lines if len(lines) == len(response.rows) else [None] * len(response.rows)
    rows = tuple(
        TraceRow(
            row.name,
            row.expression,
            _value(row.result),
            tuple([_derivative(tensor) for tensor in row.derivatives]),
            row.first_non_finite,
            row.first_non_finite_derivative,
            line,
        )
        for row, line in zip(response.rows, known, strict=True)
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
