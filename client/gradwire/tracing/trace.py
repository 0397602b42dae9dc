"""Tracing: running a function on stand-ins, and writing down what it does to them as a graph.

A `Trace` is the graph of one function call under construction; a `Tracer` stands for one of its values. Traces nest: a
transformed function that is called inside a traced one has a trace of its own. An operation belongs to the innermost
trace among its operands, or to the body of a branch or loop that is traced inside of it. There a value of an outer
trace becomes an operand of the inner graph, an input that is never differentiated, so levels of differentiation cannot
be confused.

Arrays that a function meets are constants of its graph up to 64 elements. Larger ones are captured: they become inputs
after the declared ones, each with a copy of its content, so that graphs stay small and new data make no new program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.tracing import remedies
from gradwire.tracing.locations import Location, at_user_line, user_location
from gradwire.tracing.promotion import supported
from gradwire.tracing.stand_in import Library, StandIn
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to

LARGEST_CONSTANT: Final = 64
"""Elements of the largest array that becomes a constant of the graph."""


class Tracer(StandIn):
    """Stands for one value of a trace: an array whose numbers are not known yet."""

    __slots__ = ("_trace", "_value")

    _trace: Trace
    _value: Value

    def __init__(self, trace: Trace, value: Value) -> None:
        self._trace = trace
        self._value = value


@dataclass(eq=False)
class Captured:
    """An array that a function met while it was traced: an input of its graph, with a private copy of the content."""

    array: np.ndarray
    """C-contiguous, in the machine's byte order, never written to."""

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return TensorType.of(self.array)


@dataclass(eq=False)
class Trace:
    """A graph under construction, for one call of one function."""

    library: Library
    """What numpy's functions mean on its values."""
    parent: Trace | None = None
    is_body: bool = False
    """Of a branch, a loop or a checkpoint: what is computed while it is traced belongs to it, of outer values too."""
    builder: GraphBuilder = field(default_factory=lambda: GraphBuilder(user_location))
    """Notes at each node the user's line that it comes from."""
    captured: list[Captured | Tracer] = field(default_factory=list)
    """What the inputs after the declared ones are: arrays, and values of outer traces; in order."""
    is_open: bool = True
    depth: int = field(init=False)
    met: list[np.ndarray] = field(init=False)
    """The large arrays that this trace and inner ones have met, as they were then."""
    loops: dict[tuple[int, Location | None], None] = field(init=False)
    """The bound on the steps and the user's line of each while_loop, here and in inner traces."""
    _copies: dict[int, tuple[np.ndarray, Captured]] = field(init=False)
    """What this trace and inner ones have captured: an array that several of them meet is captured once."""
    _of_captured: dict[int, Value] = field(default_factory=dict)
    _of_outer: dict[tuple[int, int], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parent is None:
            self.depth, self.met, self.loops, self._copies = 0, [], {}, {}
        else:
            parent = self.parent
            self.depth, self.met, self.loops, self._copies = parent.depth + 1, parent.met, parent.loops, parent._copies

    def input(self, name: str, type: TensorType) -> Tracer:
        """A new declared input; all come before anything is captured."""
        return Tracer(self, self.builder.input(name, type))

    def wrap(self, value: Value) -> Tracer:
        """A value of this graph as a tracer."""
        return Tracer(self, value)

    def value_of(self, operand: Any) -> Value:
        """A tracer of this or an outer trace, an array or a number, as a value of this graph."""
        if type(operand) is Tracer:
            return operand._value if operand._trace is self else self._outer(operand)
        return self.constant(np.asarray(operand))

    def constant(self, array: np.ndarray) -> Value:
        """An array as a value: a constant node if it is small, else an input that holds it."""
        dtype = supported(array.dtype, "an array in traced code")
        if array.size <= LARGEST_CONSTANT:
            return self.builder.constant(array)
        if not any(array.strides):
            return broadcast_to(self.builder.constant(array[(0,) * array.ndim]), array.shape)
        known = self._copies.get(id(array))
        if known is None or not _same_content(known[1].array, array):
            copy = np.array(array, dtype=dtype.numpy, order="C", copy=True)
            copy.flags.writeable = False
            self.met.append(array)
            known = self._copies[id(array)] = array, Captured(copy)
        return self.capture(known[1])

    def capture(self, captured: Captured) -> Value:
        """An array that was captured here or in an inner trace, as an input of this graph."""
        known = self._of_captured.get(id(captured))
        if known is None:
            known = self._of_captured[id(captured)] = self.builder.input(f"c{len(self.captured)}", captured.type)
            self.captured.append(captured)
        return known

    def operands_of(self, captured: Iterable[Captured | Tracer]) -> list[Value]:
        """What an inner graph captured, as operands that it is given in this one."""
        return [self.value_of(entry) if isinstance(entry, Tracer) else self.capture(entry) for entry in captured]

    def _outer(self, tracer: Tracer) -> Value:
        require_open(tracer)
        key = (id(tracer._trace), tracer._value.number)
        known = self._of_outer.get(key)
        if known is None:
            known = self._of_outer[key] = self.builder.input(f"outer{len(self.captured)}", tracer._value.type)
            self.captured.append(tracer)
        return known

    def note_loop(self, max_steps: int) -> None:
        """Remember where a while_loop stands, for the error of a row that exceeds its bound."""
        self.loops[max_steps, user_location()] = None


def _same_content(copy: np.ndarray, array: np.ndarray) -> bool:
    if copy.shape != array.shape or copy.dtype != array.dtype:
        return False
    return bool(np.array_equal(copy, array, equal_nan=copy.dtype.kind == "f"))


_ACTIVE: Final[ContextVar[Trace | None]] = ContextVar("gradwire_trace", default=None)


def active_trace() -> Trace | None:
    """The trace that this thread is in, None outside all."""
    return _ACTIVE.get()


@contextmanager
def activated(trace: Trace) -> Iterator[Trace]:
    """Run a function under `trace`, which is closed afterwards."""
    token = _ACTIVE.set(trace)
    try:
        yield trace
    finally:
        _ACTIVE.reset(token)
        trace.is_open = False


def innermost(operands: Iterable[Any]) -> Trace | None:
    """The innermost trace among the operands, or a body further in; None where none of the operands is a tracer."""
    deepest: Trace | None = None
    for operand in operands:
        if type(operand) is Tracer:
            require_open(operand)
            trace = operand._trace
            if deepest is None or trace.depth > deepest.depth:
                deepest = trace
    inner = _ACTIVE.get()
    while deepest is not None and inner is not None and inner.depth > deepest.depth:
        if inner.is_body:
            return inner
        inner = inner.parent
    return deepest


def require_open(tracer: Tracer) -> None:
    """TracingError for a tracer whose function has returned."""
    if not tracer._trace.is_open:
        raise leaked(tracer)


def leaked(tracer: Tracer) -> TracingError:
    """The error for a tracer outside of its function."""
    return TracingError(at_user_line(remedies.LEAKED.format(type=tracer._value.type)), reason="TRACER_LEAKED")
