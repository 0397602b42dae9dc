"""Traces that follow changing arrays: the large arrays that a function reads are traced values in them.

The function is copied with tracers in the place of its arrays, and the copy is traced. What it computes from the arrays
is then in the graph, and new content is sent without tracing. Code that looks at the numbers cannot be traced like
this, nor can functions that write to what they read: they have no such trace.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Sequence
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from gradwire.calls.constants import Constant
from gradwire.calls.guards import DEEPEST, Guard, named_globals
from gradwire.calls.kept import FollowedArrays, KeptTrace
from gradwire.errors import GradwireError
from gradwire.numpy_functions import LIBRARY
from gradwire.tracing.capture import capture
from gradwire.tracing.trace import Captured, Trace, active_trace
from gradwire.tracing.trees import Tree
from gradwire_engine.types import DType, TensorType


class _CannotFollow(GradwireError):
    """The function's arrays cannot be replaced by traced values."""


def following_trace(
    function: Callable[..., Any], arguments: Tree, types: Sequence[TensorType], names: Sequence[str]
) -> KeptTrace | None:
    """A trace with the large arrays that the function reads as traced values; None where it looks at their numbers."""
    guard = Guard(function)
    arrays = [snapshot.array for snapshot in guard.large_arrays()]
    first: dict[int, int] = {}
    same_as = tuple([first.setdefault(id(array), i) for i, array in enumerate(arrays)])
    stand_ins = {which: Captured(_native_copy(arrays[which])) for which in sorted(set(same_as))}
    traces: list[Trace] = []

    def substituted(*positional: Any, **keywords: Any) -> Any:
        trace = active_trace()
        assert trace is not None
        traces.append(trace)
        tracers = {which: trace.wrap(trace.capture(array)) for which, array in stand_ins.items()}
        replaced = with_replaced(function, replacing(arrays, [tracers[same] for same in same_as]))
        if replaced is None:
            raise _CannotFollow("the function's arrays cannot be replaced")
        return replaced(*positional, **keywords)

    try:
        traced = capture(LIBRARY, substituted, arguments, types, names)
    except Exception:  # whatever the code does with traced arrays: it is then traced as it is
        return None
    met = [array for trace in traces for array in trace.met]
    if not traced.is_closed or any(np.may_share_memory(array, replaced) for array in met for replaced in arrays):
        return None  # the code reaches an array in another way, too
    captured = [array for array in traced.captured if isinstance(array, Captured)]
    which_of = {id(array): which for which, array in stand_ins.items()}
    followed = FollowedArrays(tuple([which_of.get(id(array)) for array in captured]), same_as)
    return KeptTrace(traced, (Guard(function), tuple([Constant(array.array) for array in captured])), followed)


def _native_copy(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=DType.of(array.dtype).numpy, order="C", copy=True)


def with_replaced(function: Callable[..., Any], replace: Callable[[Any], Any]) -> Callable[..., Any] | None:
    """The function with `replace` applied to everything that a `Reader` reads; None where that cannot be done
    faithfully.

    It cannot for callables other than functions and methods, and for functions that write to what they read (globals,
    variables of the function around them).
    """
    if isinstance(function, MethodType):
        inner = with_replaced(function.__func__, replace)
        return None if inner is None else MethodType(inner, function.__self__)
    if not isinstance(function, FunctionType) or _writes_outside(function.__code__):
        return None
    names = named_globals(function.__code__)
    namespace = {name: replace(value) if name in names else value for name, value in function.__globals__.items()}
    cells = [_replaced_cell(cell, replace) for cell in function.__closure__ or ()]
    copy = FunctionType(function.__code__, namespace, function.__name__, replace(function.__defaults__), tuple(cells))
    copy.__kwdefaults__ = replace(function.__kwdefaults__)
    copy.__qualname__ = function.__qualname__
    return copy


def _replaced_cell(cell: CellType, replace: Callable[[Any], Any]) -> CellType:
    try:
        return CellType(replace(cell.cell_contents))
    except ValueError:
        return cell


def _writes_outside(code: CodeType) -> bool:
    waiting: list[tuple[CodeType, frozenset[str]]] = [(code, frozenset(code.co_freevars))]
    while waiting:
        inner, outside = waiting.pop()
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                return True
            if instruction.opname in ("STORE_DEREF", "DELETE_DEREF") and instruction.argval in outside:
                return True
        for constant in inner.co_consts:
            if isinstance(constant, CodeType):
                waiting.append((constant, outside & frozenset(constant.co_freevars)))
    return False


def replacing(arrays: Sequence[np.ndarray], by: Sequence[Any]) -> Callable[[Any], Any]:
    """A function that replaces arrays, also inside lists, tuples and dicts, and leaves everything else as it is."""
    table = {id(array): other for array, other in zip(arrays, by, strict=True)}

    def replace(value: Any, depth: int = 0) -> Any:
        if type(value) is np.ndarray:
            return table.get(id(value), value)
        if depth >= DEEPEST or type(value) not in (list, tuple, dict):
            return value
        if isinstance(value, dict):
            entries = {key: replace(entry, depth + 1) for key, entry in value.items()}
            return entries if any(entries[key] is not value[key] for key in value) else value
        parts = [replace(entry, depth + 1) for entry in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return parts if isinstance(value, list) else tuple(parts)

    return replace
