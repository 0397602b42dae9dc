"""Tracing: running a function on stand-ins, and writing down what it does to them as a graph.

A `Trace` is the graph of one function call under construction; a `Tracer` stands for one of its values and behaves like
a numpy array whose numbers are not known yet. Traces nest (a transformed function called inside a traced one has its
own), and an operation belongs to the innermost trace among its operands, or to the body of a branch or loop that is
traced inside of it: a value of an outer trace becomes an operand of the inner graph, an input that is never
differentiated there, so levels of differentiation cannot be confused.

Arrays that a function meets are constants of its graph up to 64 elements; larger ones become inputs after the declared
ones, each with a copy of its content, so that graphs stay small and new data make no new program.

The tracer knows no derivative and no numpy function: what an operation means is in the `Library` that a trace is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import numpy as np

from gradwire.errors import TracingError
from gradwire.tracing import complaints
from gradwire.tracing.locations import Location, at_user_line, user_location
from gradwire.tracing.promotion import supported
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to

LARGEST_CONSTANT: Final = 64
"""Elements of the largest array that becomes a constant of the graph."""


class Library(Protocol):
    """What numpy's functions mean on tracers."""

    functions: Mapping[Callable[..., Any], Callable[..., Any]]
    """numpy functions and their meanings."""

    def apply_ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """A ufunc, or one of its methods, on tracers and arrays."""

    def getitem(self, x: Tracer, index: Any) -> Any:
        """``x[index]``."""

    def at(self, x: Tracer) -> Any:
        """``x.at``: what is indexed and then updated."""

    def method(self, name: str) -> Callable[..., Any]:
        """The function behind the array method `name`."""


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
    """The large arrays that were met here and in inner traces, as they were found."""
    loops: dict[tuple[int, Location | None], None] = field(init=False)
    """The bound on the steps and the user's line of each while_loop, here and in inner traces."""
    _copies: dict[int, tuple[np.ndarray, Captured]] = field(init=False)
    """What has been captured here and in inner traces: an array that several of them meet is captured once."""
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

    def value_of(self, operand: Any) -> Value:
        """A tracer of this or an outer trace, an array or a number, as a value of this graph."""
        if type(operand) is Tracer:
            return operand._value if operand._trace is self else self._outer(operand)
        return self.constant(np.asarray(operand))

    def constant(self, array: np.ndarray) -> Value:
        """An array as a value: a constant node if it is small, else an input that carries it."""
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
        return self.carry(known[1])

    def carry(self, captured: Captured) -> Value:
        """An array captured here or in an inner trace, as an input of this graph."""
        known = self._of_captured.get(id(captured))
        if known is None:
            known = self._of_captured[id(captured)] = self.builder.input(f"c{len(self.captured)}", captured.type)
            self.captured.append(captured)
        return known

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

    def wrap(self, value: Value) -> Tracer:
        """A value of this graph as a tracer."""
        return Tracer(self, value)


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


def require_open(tracer: Tracer) -> None:
    """TracingError for a tracer whose function has returned."""
    if not tracer._trace.is_open:
        raise leaked(tracer)


def leaked(tracer: Tracer) -> TracingError:
    """The error for a tracer outside of its function."""
    return TracingError(at_user_line(complaints.LEAKED.format(type=tracer._value.type)), reason="TRACER_LEAKED")


def innermost(operands: Iterable[Any]) -> Trace | None:
    """The innermost trace among the operands, or a body further in; None where none of the operands is a tracer."""
    found: Trace | None = None
    for operand in operands:
        if type(operand) is Tracer:
            require_open(operand)
            trace = operand._trace
            if found is None or trace.depth > found.depth:
                found = trace
    inner = _ACTIVE.get()
    while found is not None and inner is not None and inner.depth > found.depth:
        if inner.is_body:
            return inner
        inner = inner.parent
    return found


def _binary(ufunc: np.ufunc, reflected: bool = False) -> Callable[[Tracer, Any], Any]:
    def operator(self: Tracer, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        inputs = (other, self) if reflected else (self, other)
        return self._trace.library.apply_ufunc(ufunc, "__call__", inputs, {})

    return operator


def _unary(ufunc: np.ufunc) -> Callable[[Tracer], Any]:
    def operator(self: Tracer) -> Any:
        return self._trace.library.apply_ufunc(ufunc, "__call__", (self,), {})

    return operator


def _refused(what: str) -> Callable[..., NoReturn]:
    def operator(self: Tracer, *args: Any, **options: Any) -> NoReturn:
        raise complaints.error(what, self._value.type)

    return operator


class Tracer:
    """Stands for an array whose numbers are not known yet. Behaves like a numpy array, as far as that is possible."""

    __slots__ = ("_trace", "_value")
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]  # like an array

    def __init__(self, trace: Trace, value: Value) -> None:
        self._trace = trace
        self._value = value

    # What is known

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._value.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return self._value.type.dtype.numpy

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._value.type.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._value.type.elements

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._value.type.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.itemsize * self.size

    @property
    def T(self) -> Any:  # noqa: N802
        """Axes in reverse order."""
        return self._trace.library.method("transpose")(self)

    @property
    def mT(self) -> Any:  # noqa: N802
        """The last two axes swapped."""
        return self._trace.library.method("matrix_transpose")(self)

    @property
    def real(self) -> Tracer:
        """The array itself."""
        return self

    @property
    def imag(self) -> Any:
        """Zeros."""
        return self._trace.library.method("zeros_like")(self)

    @property
    def at(self) -> Any:
        """``x.at[index].set(values)``, also add, multiply, min, max: a new array; see `gradwire.special.at_set`."""
        return self._trace.library.at(self)

    def __repr__(self) -> str:
        return f"<traced {self._value.type}>"

    def __format__(self, specification: str) -> str:
        return repr(self)

    def __len__(self) -> int:
        if not self.shape:
            raise TracingError(at_user_line("len() of a traced 0-d array"))
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TracingError(at_user_line("iteration over a traced 0-d array"))
        return (self[index] for index in range(self.shape[0]))

    def __copy__(self) -> Tracer:
        return self

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self

    # numpy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        for one in inputs:
            if not isinstance(one, _OPERANDS):
                return NotImplemented
        return self._trace.library.apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        found = self._trace.library.functions.get(function)
        if found is None:
            raise complaints.unsupported_function(function)
        return found(*args, **options)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise complaints.array_conversion(self._value.type)

    # Operators

    __add__, __radd__ = _binary(np.add), _binary(np.add, True)
    __sub__, __rsub__ = _binary(np.subtract), _binary(np.subtract, True)
    __mul__, __rmul__ = _binary(np.multiply), _binary(np.multiply, True)
    __truediv__, __rtruediv__ = _binary(np.divide), _binary(np.divide, True)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _binary(np.floor_divide, True)
    __mod__, __rmod__ = _binary(np.remainder), _binary(np.remainder, True)
    __divmod__, __rdivmod__ = _binary(np.divmod), _binary(np.divmod, True)
    __rpow__ = _binary(np.power, True)
    __matmul__, __rmatmul__ = _binary(np.matmul), _binary(np.matmul, True)
    __and__, __rand__ = _binary(np.bitwise_and), _binary(np.bitwise_and, True)
    __or__, __ror__ = _binary(np.bitwise_or), _binary(np.bitwise_or, True)
    __xor__, __rxor__ = _binary(np.bitwise_xor), _binary(np.bitwise_xor, True)
    __lshift__, __rlshift__ = _binary(np.left_shift), _binary(np.left_shift, True)
    __rshift__, __rrshift__ = _binary(np.right_shift), _binary(np.right_shift, True)
    __lt__, __le__ = _binary(np.less), _binary(np.less_equal)
    __gt__, __ge__ = _binary(np.greater), _binary(np.greater_equal)
    __eq__ = _binary(np.equal)
    __ne__ = _binary(np.not_equal)
    __neg__, __pos__ = _unary(np.negative), _unary(np.positive)
    __abs__, __invert__ = _unary(np.absolute), _unary(np.invert)

    def __pow__(self, other: Any, modulus: None = None) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        if isinstance(other, float) and other == 0.5 and self.dtype.kind == "f":
            return self._trace.library.apply_ufunc(np.sqrt, "__call__", (self,), {})  # numpy's operator does so too
        return self._trace.library.apply_ufunc(np.power, "__call__", (self, other), {})

    def __getitem__(self, index: Any) -> Any:
        return self._trace.library.getitem(self, index)

    # What needs numbers

    __bool__ = _refused("bool")
    __float__ = _refused("float")
    __int__ = _refused("int")
    __complex__ = _refused("complex")
    __index__ = _refused("index")
    __round__ = _refused("round")
    __trunc__ = _refused("int")
    __floor__ = _refused("floor")
    __ceil__ = _refused("ceil")
    __setitem__ = _refused("setitem")
    __delitem__ = _refused("setitem")
    __contains__ = _refused("contains")
    __reduce_ex__ = _refused("pickle")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        trace: Trace = object.__getattribute__(self, "_trace")
        try:
            function = trace.library.method(name)
        except KeyError:
            raise complaints.no_attribute(name) from None

        def method(*args: Any, **options: Any) -> Any:
            return function(self, *args, **options)

        method.__name__ = name
        return method


_OPERANDS: Final = (Tracer, np.ndarray, np.generic, int, float, complex, list, tuple)
