"""Records as bytes: the declaration of a dataclass or named tuple is all that is said about its form.

The fields of a record stand one behind the other, in the order of their declaration. A whole number takes 16 bytes, a
float 8, a bool one; a text, bytes and a tuple have their length in front; a member of an enumeration, or of a Literal,
is its place there. Records stand within records. So a new field is one line, in one place.

Both ends are the same version of this server: there are no tags and no versions. Bytes that are not of the declared
form are a ValueError. How a type is packed is found out once. What every call needs has a form of its own, in
`messages`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

Bytes = bytes | memoryview
"""Raw bytes; a memoryview is one-dimensional, of single bytes and contiguous."""

Record = TypeVar("Record")

_INTEGER_BYTES: Final = 16  # bounds on costs end at 2**64 - 1, and shapes may hold -1
_FLOAT: Final = struct.Struct("<d")


class Form(NamedTuple):
    """How the values of one type, whichever that is, are written and read.

    `write` appends the bytes of a value to a list. `read` gives the value at an offset, and the offset behind it.
    """

    write: Callable[[Any, list[Bytes]], None]
    read: Callable[[memoryview, int], tuple[Any, int]]


def pack(record: object) -> list[Bytes]:
    """A record as bytes, in pieces: what is long is not copied."""
    pieces: list[Bytes] = []
    _form(type(record)).write(record, pieces)
    return pieces


def unpack(kind: type[Record], data: memoryview) -> Record:
    """The record of this kind that was packed; ValueError where the bytes are none."""
    record: Record
    record, end = _form(kind).read(data, 0)
    if end != len(data):
        raise ValueError(f"not a {kind.__name__}: it ends after {end:,} bytes of {len(data):,}")
    return record


def _form_of(kind: Any) -> Form:
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _choice(arguments)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice(tuple(kind))
    if origin is tuple and arguments[1:] == (...,):
        return _many(_form(arguments[0]))
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _record(kind)
    raise TypeError(f"a record cannot have a {kind}")


def _record(kind: type[object]) -> Form:
    forms = {name: _form(of) for name, of in get_type_hints(kind).items()}

    def write(record: object, pieces: list[Bytes]) -> None:
        for name, form in forms.items():
            form.write(getattr(record, name), pieces)

    def read(data: memoryview, at: int) -> tuple[object, int]:
        values = {}
        for name, form in forms.items():
            values[name], at = form.read(data, at)
        return kind(**values), at

    return Form(write, read)


def _many(form: Form) -> Form:
    def write(values: Sequence[object], pieces: list[Bytes]) -> None:
        _write_integer(len(values), pieces)
        for value in values:
            form.write(value, pieces)

    def read(data: memoryview, at: int) -> tuple[tuple[object, ...], int]:
        count, at = _read_integer(data, at)
        values = []
        for _ in range(count):
            value, at = form.read(data, at)
            values.append(value)
        return tuple(values), at

    return Form(write, read)


def _choice(members: Sequence[object]) -> Form:
    def write(member: object, pieces: list[Bytes]) -> None:
        _write_integer(members.index(member), pieces)

    def read(data: memoryview, at: int) -> tuple[object, int]:
        place, at = _read_integer(data, at)
        if not 0 <= place < len(members):
            raise ValueError(f"choice {place} of {len(members)}")
        return members[place], at

    return Form(write, read)


def _part(data: memoryview, at: int, nbytes: int) -> memoryview:
    part = data[at : at + nbytes]
    if len(part) != nbytes:
        raise ValueError(f"{nbytes:,} bytes at {at:,} of {len(data):,}")
    return part


def _write_integer(value: int, pieces: list[Bytes]) -> None:
    pieces.append(value.to_bytes(_INTEGER_BYTES, "little", signed=True))


def _read_integer(data: memoryview, at: int) -> tuple[int, int]:
    return int.from_bytes(_part(data, at, _INTEGER_BYTES), "little", signed=True), at + _INTEGER_BYTES


def _write_float(value: float, pieces: list[Bytes]) -> None:
    pieces.append(_FLOAT.pack(value))


def _read_float(data: memoryview, at: int) -> tuple[float, int]:
    return _FLOAT.unpack(_part(data, at, _FLOAT.size))[0], at + _FLOAT.size


def _write_bool(value: bool, pieces: list[Bytes]) -> None:
    pieces.append(b"\1" if value else b"\0")


def _read_bool(data: memoryview, at: int) -> tuple[bool, int]:
    return _part(data, at, 1)[0] != 0, at + 1


def _write_bytes(data: Bytes, pieces: list[Bytes]) -> None:
    _write_integer(len(data), pieces)
    pieces.append(data)


def _read_bytes(data: memoryview, at: int) -> tuple[bytes, int]:
    length, at = _read_integer(data, at)
    return bytes(_part(data, at, length)), at + length


def _write_text(text: str, pieces: list[Bytes]) -> None:
    _write_bytes(text.encode("utf-8", "replace"), pieces)


def _read_text(data: memoryview, at: int) -> tuple[str, int]:
    text, at = _read_bytes(data, at)
    return text.decode(), at


_SIMPLE: Final = {
    int: Form(_write_integer, _read_integer),
    float: Form(_write_float, _read_float),
    bool: Form(_write_bool, _read_bool),
    bytes: Form(_write_bytes, _read_bytes),
    str: Form(_write_text, _read_text),
}

_form: Final[Callable[[Any], Form]] = cache(_form_of)
