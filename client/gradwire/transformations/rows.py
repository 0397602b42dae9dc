"""vmap as a step: the rows of the request where it is the outermost vmap, else a static axis of the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from gradwire.calls.arguments import Call, is_floating, refuse
from gradwire.calls.signature import CallSignature, Port, Step
from gradwire.tracing.trees import Tree, is_container
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError
from gradwire_engine.program import Vmap
from gradwire_engine.transform import apply
from gradwire_engine.types import DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, sum_over

SUM, MEAN = "sum", "mean"


@dataclass(frozen=True)
class Axes:
    """An `in_axes`, `out_axes` or `reduce` as the caller wrote it: nested, made hashable."""

    nested: Any
    key: Any

    @staticmethod
    def of(nested: Any) -> Axes:
        """From what the caller wrote."""
        return Axes(nested, _frozen(nested))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axes) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _frozen(nested: Any) -> Any:
    if isinstance(nested, dict):
        return ("dict", *[(key, _frozen(part)) for key, part in nested.items()])
    if is_container(nested):
        return (type(nested).__name__, *[_frozen(part) for part in nested])
    return (type(nested).__name__, nested)


@dataclass(frozen=True)
class VmapStep(Step):
    """vmap. `is_batch`: the axis is the rows of the request."""

    in_axes: Axes
    out_axes: Axes
    reduce: Axes
    is_batch: bool = False
    label: str = "vmap"

    def on_batch(self) -> VmapStep:
        return replace(self, is_batch=True)

    def rows_of(self, call: Call, function: str) -> tuple[int, list[int | None]]:
        """Length of the axis, and for each leaf where it stands (None: the same for all rows)."""
        axes = self._in_axes(call)
        rows_at: list[int | None] = []
        lengths: dict[int, str] = {}
        for axis, type, name in zip(axes, call.types, call.names, strict=True):
            if axis is None:
                rows_at.append(None)
                continue
            if not isinstance(axis, int) or isinstance(axis, bool):
                raise refuse(f"vmap: in_axes holds {axis!r}; each entry is an integer or None")
            if not -len(type.shape) <= axis < len(type.shape):
                raise refuse(
                    f"vmap: argument {name} of {function} is {type} and has no axis {axis}. Pass an array with one "
                    "more axis, or in_axes with None for what is the same for all rows"
                )
            from_front = axis % len(type.shape)
            rows_at.append(from_front)
            length = type.shape[from_front]
            lengths.setdefault(length, f"{name} has {length} along axis {from_front}")
        if not lengths:
            raise refuse(f"vmap: in_axes={self.in_axes.nested!r} maps no argument of {function}; at least one must be")
        if len(lengths) > 1:
            raise refuse(f"vmap: lengths of the mapped axes differ: {', '.join(lengths.values())}")
        return next(iter(lengths)), rows_at

    def _in_axes(self, call: Call) -> list[Any]:
        in_axes = self.in_axes.nested
        positional, keywords = call.tree.children
        if is_container(in_axes):
            if not isinstance(in_axes, (tuple, list)) or len(in_axes) != len(positional.children):
                raise refuse(
                    f"vmap: in_axes={in_axes!r} must be an integer, None, or one entry for each of the "
                    f"{len(positional.children)} positional arguments"
                )
            in_axes = tuple(in_axes)
        axes: list[Any] = Tree(tuple, positional.children).spread(in_axes, "in_axes")
        return axes + [0] * keywords.size

    def inner_call(self, call: Call, function: str) -> Call:
        _, axes = self.rows_of(call, function)
        types = tuple(
            type if axis is None else type.with_shape(type.shape[:axis] + type.shape[axis + 1 :])
            for type, axis in zip(call.types, axes, strict=True)
        )
        return Call(call.tree, types, call.weak, call.names)

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        rows, axes = self.rows_of(call, function)
        reductions = inner.result.spread(self.reduce.nested, "reduce")
        out_axes = inner.result.spread(self.out_axes.nested, "out_axes")
        by_output: dict[int, tuple[Any, Any]] = {}
        for leaf, output in enumerate(inner.results):
            if output >= 0:
                by_output[output] = (out_axes[leaf], reductions[leaf])
        whole = [
            i for i, (_, reduction) in by_output.items() if reduction == MEAN and not is_floating(inner.outputs[i].type)
        ]
        if whole:
            inner = _as_floats(inner, whole)
        by_input = dict(zip(inner.arguments, axes, strict=True))
        in_axes = [by_input.get(index) for index in range(len(inner.inputs))]
        outputs = [self._output(port, *by_output[index], function) for index, port in enumerate(inner.outputs)]
        if self.is_batch:
            return replace(
                inner,
                inputs=tuple(replace(port, axis=axis) for port, axis in zip(inner.inputs, in_axes, strict=True)),
                outputs=tuple(outputs),
                rows=rows,
            )
        return _static(inner, rows, in_axes, outputs)

    def _output(self, port: Port, axis: Any, reduction: Any, function: str) -> Port:
        """Stacked along `axis`, or summed."""
        if reduction is not None:
            if reduction not in (SUM, MEAN):
                raise refuse(f"vmap: reduce holds {reduction!r}; each entry is 'sum', 'mean' or None")
            if port.type.dtype is DType.BOOL:
                raise refuse(f"vmap: a result of {function} is bool and cannot be summed; convert it with .astype")
            return replace(port, axis=None, power=port.power + (reduction == MEAN))
        rank = len(port.type.shape) + 1
        if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis < rank:
            raise refuse(
                f"vmap: out_axes holds {axis!r}; each entry is an integer that fits the result {port.type} of "
                f"{function} with one more axis"
            )
        return replace(port, axis=axis % rank)


EACH_ROW: Final = VmapStep(Axes.of(0), Axes.of(0), Axes.of(None))
"""All arguments have their rows at axis 0, and so has the result."""


def _static(inner: CallSignature, rows: int, in_axes: list[int | None], outputs: list[Port]) -> CallSignature:
    """The new axis as part of the program."""
    inputs = [
        replace(port, type=replace(port, axis=axis).full_type(rows))
        for port, axis in zip(inner.inputs, in_axes, strict=True)
    ]
    stacked = [Port(port.full_type(rows)) for port in outputs]
    transform = Vmap(
        rows,
        tuple([-1 if axis is None else axis for axis in in_axes]),
        tuple([0 if port.axis is None else port.axis for port in outputs]),
    )
    mapped = replace(inner, transforms=(*inner.transforms, transform), inputs=tuple(inputs), outputs=tuple(stacked))
    if all(port.axis is not None for port in outputs):
        return mapped
    return _reduced(mapped, rows, outputs)


def _reduced(mapped: CallSignature, rows: int, outputs: list[Port]) -> CallSignature:
    """Sums and means over a static axis, added to the graph."""
    return _with_outputs(
        mapped,
        lambda values: [
            value if port.axis is not None else _over_rows(value, rows, port)
            for value, port in zip(values, outputs, strict=True)
        ],
    )


def _over_rows(value: Value, rows: int, port: Port) -> Value:
    total = sum_over(value, (0,))
    return total / float(rows) if port.power else total


def _as_floats(inner: CallSignature, outputs: list[int]) -> CallSignature:
    """Some outputs as float64: a mean of integers and bools is floating point."""
    return _with_outputs(
        inner,
        lambda values: [astype(value, DType.FLOAT64) if i in outputs else value for i, value in enumerate(values)],
    )


def _with_outputs(inner: CallSignature, change: Callable[[list[Value]], list[Value]]) -> CallSignature:
    """The transforms carried out, and the outputs changed; not on a batch."""
    builder = GraphBuilder()
    try:
        graph = apply(inner.graph, inner.transforms)
    except EngineError as error:
        raise refuse(error.message, error.reason) from None
    values = builder.inline(graph, [builder.input(old.name, old.type) for old in graph.inputs])
    finished = builder.finish(change(values), graph.output_names)
    return replace(inner, graph=finished, transforms=(), outputs=tuple([Port(type) for type in finished.output_types]))
