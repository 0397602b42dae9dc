"""Records of the engine to messages and back: a message has the fields of its record, by the same names.

Numbers, truths and lists of numbers stand in a message as they are, enums by the contract's numbers. So a new attribute
or a new argument of a transform is written down twice, in the record and in the contract, and nowhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from gradwire.v1 import program_pb2, tensor_pb2
from gradwire.wire.tensors import DTYPES, WIRE_DTYPES
from gradwire_engine.errors import GraphError
from gradwire_engine.program import JacobianMode
from gradwire_engine.types import DType

_MODES: Final[Mapping[JacobianMode, int]] = {
    JacobianMode.AUTO: program_pb2.JACOBIAN_MODE_UNSPECIFIED,
    JacobianMode.FORWARD: program_pb2.JACOBIAN_MODE_FORWARD,
    JacobianMode.REVERSE: program_pb2.JACOBIAN_MODE_REVERSE,
}
_MODES_BY_NUMBER: Final = {number: mode for mode, number in _MODES.items()}


def write_record(record: Any, message: Message, names: Sequence[str]) -> None:
    """Put these fields of a record into its message."""
    for name in names:
        value = getattr(record, name)
        if isinstance(value, tuple):
            getattr(message, name).extend(value)
        else:
            numbers = _NUMBERS.get(type(value))
            setattr(message, name, value if numbers is None else numbers[value])


def read_record(message: Message, names: Sequence[str], path: str) -> dict[str, Any]:
    """These fields of a message, as its record has them; GraphError for an enum's number that does not exist."""
    values: dict[str, Any] = {}
    for name in names:
        value = getattr(message, name)
        read = _READERS.get(name)
        if read is not None:
            values[name] = read(value, f"{path}.{name}")
        else:
            values[name] = value if isinstance(value, int | bool) else tuple(value)
    return values


def dtype_number(dtype: DType) -> tensor_pb2.DType.ValueType:
    """An element type's number."""
    return WIRE_DTYPES[dtype]


def read_dtype(number: int, path: str) -> DType:
    """An element type by its number; GraphError, with the path, where there is none."""
    dtype = DTYPES.get(number)
    if dtype is None:
        raise GraphError(f"element type {number} does not exist; 1 to {len(DTYPES)} do", path=path)
    return dtype


def _read_mode(number: int, path: str) -> JacobianMode:
    mode = _MODES_BY_NUMBER.get(number)
    if mode is None:
        raise GraphError(f"Jacobian mode {number} does not exist", path=path)
    return mode


_NUMBERS: Final[Mapping[type, Mapping[Any, int]]] = {DType: WIRE_DTYPES, JacobianMode: _MODES}
"""The enums that records hold, and the numbers that the contract has for them."""

_READERS: Final[Mapping[str, Callable[[int, str], Any]]] = {"dtype": read_dtype, "mode": _read_mode}
"""The fields that hold an enum. A field of such a name holds this enum in every message."""
