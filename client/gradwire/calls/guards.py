"""What a traced function depends on besides its arguments, kept by content.

Guarded are the function's closure cells, its default arguments, and the globals that its code names (inner functions
included): arrays by their bytes, numbers and text by value, lists, tuples and dicts by their entries, everything else
by identity. Modules are not looked at. What lies deeper (attributes of objects, globals of the functions it calls) is
read when the function is traced and not watched.

A check costs little while nothing changes: identity first, then content. Arrays are compared with a private copy, so a
change in place is seen; only arrays that nobody can write to are taken by identity. Nothing here keeps the function, or
an object that it refers to, alive: such objects are held weakly where that is possible.
"""

from __future__ import annotations

import dis
import functools
import math
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import numpy as np

from gradwire.tracing.promotion import is_supported
from gradwire.tracing.trace import LARGEST_CONSTANT

_EMPTY: Final = object()
DEEPEST: Final = 20
"""Levels of lists, tuples and dicts that are looked into."""


class Snapshot(Protocol):
    """The content of one place, as it was."""

    def same(self, value: Any) -> bool:
        """Whether a value has this content."""

    def arrays(self) -> Iterator[ArraySnapshot]:
        """The large arrays among it, in order."""

    def same_but_for_arrays(self, value: Any) -> bool:
        """Whether a value differs at most in the content of large arrays."""


class ExactSnapshot:
    """A number or text."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._type = type(value)

    def same(self, value: Any) -> bool:
        if value is self._value:
            return True
        if type(value) is not self._type:
            return False
        if isinstance(value, (float, np.floating)):
            if math.isnan(value) or math.isnan(self._value):
                return math.isnan(value) and math.isnan(self._value)
            return bool(value == self._value) and math.copysign(1.0, value) == math.copysign(1.0, self._value)
        return bool(value == self._value)

    def arrays(self) -> Iterator[ArraySnapshot]:
        return iter(())

    def same_but_for_arrays(self, value: Any) -> bool:
        return self.same(value)


class IdentitySnapshot:
    """Anything else: the same object."""

    def __init__(self, value: Any) -> None:
        try:
            self._refer: Callable[[], Any] = weakref.ref(value)
        except TypeError:
            self._refer = lambda: value

    def same(self, value: Any) -> bool:
        return self._refer() is value

    def arrays(self) -> Iterator[ArraySnapshot]:
        return iter(())

    def same_but_for_arrays(self, value: Any) -> bool:
        return self.same(value)


class ArraySnapshot:
    """An array, by its bytes."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        """The array itself, not a copy."""
        self._is_constant = not array.flags.writeable and array.base is None
        self.copy = array if self._is_constant else np.array(array, order="C", copy=True)
        self._bits = np.dtype(f"u{array.dtype.itemsize}")
        self._copy_bits = self.copy.view(self._bits)

    @property
    def is_large(self) -> bool:
        """Whether tracing makes an input of it rather than a constant."""
        return self.array.size > LARGEST_CONSTANT

    def same(self, value: Any) -> bool:
        if value is self.array and self._is_constant:
            return True
        return self._same_type(value) and bool(np.array_equal(value.view(self._bits), self._copy_bits))

    def _same_type(self, value: Any) -> bool:
        return type(value) is np.ndarray and value.dtype == self.copy.dtype and value.shape == self.copy.shape

    def arrays(self) -> Iterator[ArraySnapshot]:
        return iter((self,) if self.is_large else ())

    def same_but_for_arrays(self, value: Any) -> bool:
        return (self.is_large and self._same_type(value)) or self.same(value)


class ContainerSnapshot:
    """A list, tuple or dict, by its entries."""

    def __init__(self, value: Any, depth: int) -> None:
        self._type = type(value)
        self._keys = list(value) if isinstance(value, dict) else None
        entries = list(value.values()) if isinstance(value, dict) else list(value)
        self.entries = [snapshot(entry, depth + 1) for entry in entries]

    def _entries_of(self, value: Any) -> list[Any] | None:
        if type(value) is not self._type or len(value) != len(self.entries):
            return None
        if self._keys is None:
            return list(value)
        return list(value.values()) if list(value) == self._keys else None

    def same(self, value: Any) -> bool:
        entries = self._entries_of(value)
        return entries is not None and all(
            [known.same(entry) for known, entry in zip(self.entries, entries, strict=True)]
        )

    def arrays(self) -> Iterator[ArraySnapshot]:
        for entry in self.entries:
            yield from entry.arrays()

    def same_but_for_arrays(self, value: Any) -> bool:
        entries = self._entries_of(value)
        return entries is not None and all(
            [known.same_but_for_arrays(entry) for known, entry in zip(self.entries, entries, strict=True)]
        )


_EXACT: Final = (bool, int, float, complex, str, bytes, type(None), np.generic)


def snapshot(value: Any, depth: int = 0) -> Snapshot:
    """The content of a value, to be compared with later ones."""
    if isinstance(value, _EXACT):
        return ExactSnapshot(value)
    if type(value) is np.ndarray:
        if is_supported(value.dtype):
            return ArraySnapshot(value)
        return IdentitySnapshot(value)
    if type(value) in (list, tuple, dict) and depth < DEEPEST:
        return ContainerSnapshot(value, depth)
    return IdentitySnapshot(value)


class Reader:
    """The places that a function reads besides its arguments; holds the function weakly."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._partials: list[weakref.ref[functools.partial[Any]]] = []
        while isinstance(function, functools.partial):
            self._partials.append(weakref.ref(function))
            function = function.func
        plain = plain_function(function)
        self._plain = None if plain is None else weakref.ref(plain)
        self._names = [] if plain is None else sorted(named_globals(plain.__code__))
        self._names = [name for name in self._names if not isinstance(plain.__globals__.get(name), types.ModuleType)]  # type: ignore[union-attr]

    def read(self) -> list[Any]:
        """What stands at each place, in a fixed order."""
        values: list[Any] = []
        for partial in self._partials:
            held = partial()
            if held is not None:
                values += (held.args, held.keywords)
        plain = None if self._plain is None else self._plain()
        if plain is None:
            return values
        for cell in plain.__closure__ or ():
            try:
                values.append(cell.cell_contents)
            except ValueError:
                values.append(_EMPTY)
        values += (plain.__defaults__, plain.__kwdefaults__)
        namespace = plain.__globals__
        for name in self._names:
            values.append(namespace.get(name, _EMPTY))
        return values


class Guard:
    """Everything that a function depends on besides its arguments, as it was when this was made."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._reader = Reader(function)
        self._known = [snapshot(value) for value in self._reader.read()]

    def holds(self) -> bool:
        """Whether nothing has changed."""
        now = self._reader.read()
        if len(now) != len(self._known):
            return False
        return all([known.same(value) for known, value in zip(self._known, now, strict=True)])

    def large_arrays(self) -> list[ArraySnapshot]:
        """The arrays that tracing makes inputs of; in order, an array may stand there twice."""
        return [array for known in self._known for array in known.arrays()]

    def holds_but_for_arrays(self) -> bool:
        """Whether nothing but the content of large arrays has changed since."""
        now = self._reader.read()
        return len(now) == len(self._known) and all(
            [known.same_but_for_arrays(value) for known, value in zip(self._known, now, strict=True)]
        )


def plain_function(function: Callable[..., Any]) -> types.FunctionType | None:
    """The Python function behind a callable: itself, a method's, a wrapped one, or that of ``__call__``; None where
    there is none.
    """
    if isinstance(function, types.FunctionType):
        return function
    if isinstance(function, types.MethodType):
        return plain_function(function.__func__)
    wrapped = vars(function).get("__wrapped__") if hasattr(function, "__dict__") else None
    if callable(wrapped):  # gw.checkpoint, functools.cache
        return plain_function(wrapped)
    called = vars(type(function)).get("__call__")
    return called if isinstance(called, types.FunctionType) else None


def named_globals(code: types.CodeType) -> set[str]:
    """The names that a function's code, and that of the functions inside it, looks up in its globals."""
    names: set[str] = set()
    waiting = [code]
    while waiting:
        inner = waiting.pop()
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(instruction.argval)
        waiting.extend([constant for constant in inner.co_consts if isinstance(constant, types.CodeType)])
    return names
