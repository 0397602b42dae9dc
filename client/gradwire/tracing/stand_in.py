"""What makes a value of a trace behave like a numpy array: operators, numpy's protocols, attributes and methods.

A stand-in knows the type of its value and nothing else. What an operation means it asks of the `Library` that its trace
was given, so there is no derivative here, and no function of numpy. Whatever needs numbers is refused, with the user's
line and what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol, Self

import numpy as np

from gradwire.errors import TracingError
from gradwire.tracing import complaints
from gradwire.tracing.locations import at_user_line
from gradwire_engine.value import Value


class Library(Protocol):
    """What numpy's functions mean on tracers."""

    functions: Mapping[Callable[..., Any], Callable[..., Any]]
    """numpy functions and their meanings."""

    def apply_ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """A ufunc, or one of its methods, on tracers and arrays."""

    def getitem(self, x: StandIn, index: Any) -> Any:
        """``x[index]``."""

    def at(self, x: StandIn) -> Any:
        """``x.at``: what is indexed and then updated."""

    def method(self, name: str) -> Callable[..., Any]:
        """The function behind the array method `name`."""


class HasLibrary(Protocol):
    """A trace, as far as its values are concerned."""

    library: Library


def _binary(ufunc: np.ufunc, reflected: bool = False) -> Callable[[StandIn, Any], Any]:
    def operator(self: StandIn, other: Any) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        inputs = (other, self) if reflected else (self, other)
        return self._trace.library.apply_ufunc(ufunc, "__call__", inputs, {})

    return operator


def _unary(ufunc: np.ufunc) -> Callable[[StandIn], Any]:
    def operator(self: StandIn) -> Any:
        return self._trace.library.apply_ufunc(ufunc, "__call__", (self,), {})

    return operator


def _refused(what: str) -> Callable[..., NoReturn]:
    def operator(self: StandIn, *args: Any, **options: Any) -> NoReturn:
        raise complaints.error(what, self._value.type)

    return operator


class StandIn:
    """Behaves like a numpy array, as far as that is possible without its numbers."""

    __slots__ = ()
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]  # like an array

    _trace: HasLibrary
    _value: Value

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
    def real(self) -> Self:
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

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    # numpy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        for operand in inputs:
            if not isinstance(operand, _OPERANDS):
                return NotImplemented
        return self._trace.library.apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        meaning = self._trace.library.functions.get(function)
        if meaning is None:
            raise complaints.unsupported_function(function)
        return meaning(*args, **options)

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
        trace: HasLibrary = object.__getattribute__(self, "_trace")
        try:
            function = trace.library.method(name)
        except KeyError:
            raise complaints.no_attribute(name) from None

        def method(*args: Any, **options: Any) -> Any:
            return function(self, *args, **options)

        method.__name__ = name
        return method


_OPERANDS: Final = (StandIn, np.ndarray, np.generic, int, float, complex, list, tuple)
