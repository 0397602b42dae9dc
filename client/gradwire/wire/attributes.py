"""The attributes of nodes to messages and back.

A family's message has the fields of its record (`records`); only what differs is written out here: constants, what a
gather does out of range, and how operands lie on rows, which is a message of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from gradwire.v1 import graph_pb2
from gradwire.wire.records import dtype_number, read_dtype, read_record, write_record
from gradwire_engine import attributes as a
from gradwire_engine.attributes import NONE, Attributes
from gradwire_engine.errors import GraphError
from gradwire_engine.op import Op
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.verify import verify_type

_FIELD_OF_NODE: Final[Mapping[type[Attributes], str]] = {
    family: "".join("_" + c.lower() if c.isupper() else c for c in family.__name__).removeprefix("_")
    for family in dict.fromkeys(op.attributes for op in OPS.values())
    if family is not Attributes
} | {a.Cast: "dtype"}
"""For each family the field of `Node` that carries it."""

_ROWS: Final = tuple(field.name for field in fields(a.Rowwise))
"""What the message about rows holds."""

_NAMES: Final = {
    family: tuple(field.name for field in fields(family) if field.name not in _ROWS) for family in _FIELD_OF_NODE
}
"""For each family the other fields of its message."""


def write_attributes(value: Attributes, entry: graph_pb2.Node) -> None:
    """Put attributes into a node's message."""
    if value is NONE:
        return
    family = type(value)
    message = getattr(entry, _FIELD_OF_NODE[family])
    message.SetInParent()
    write = _WRITERS.get(family)
    if write is not None:
        write(value, message)
        return
    write_record(value, message, _NAMES[family])
    if isinstance(value, a.Rowwise):
        message.rows.SetInParent()
        write_record(value, message.rows, _ROWS)


def read_attributes(op: Op, entry: graph_pb2.Node) -> Attributes:
    """The attributes of a node's message; GraphError where they are not what the op takes."""
    field = entry.WhichOneof("attributes")
    family = op.attributes
    if family is Attributes:
        if field is not None:
            raise GraphError(f"{op.name} takes no attributes, got {field}", path=field)
        return NONE
    expected = _FIELD_OF_NODE[family]
    if field != expected:
        raise GraphError(f"{op.name}: got attributes {field or 'none'}, expected {expected}", path=field or expected)
    message = getattr(entry, field)
    read = _READERS.get(family)
    if read is not None:
        return read(message)
    values = read_record(message, _NAMES[family], field)
    if issubclass(family, a.Rowwise):
        values |= read_record(message.rows, _ROWS, f"{field}.rows")
    attributes = family(**values)
    if isinstance(attributes, a.Scatter | a.OverlapAdd):
        _require_shape(attributes.shape, f"{field}.shape")
    return attributes


def _require_shape(shape: tuple[int, ...], path: str) -> None:
    """The shape of a result that no operand tells."""
    if any(length < 0 for length in shape[1:]) or any(length < ROWS for length in shape[:1]):
        raise GraphError(f"got shape {shape}, expected lengths of at least 0", path=path)


def _write_constant(value: a.Constant, message: graph_pb2.ConstantAttributes) -> None:
    tensor = message.value
    tensor.dtype, tensor.data = dtype_number(value.type.dtype), value.data
    tensor.shape.extend(value.type.shape)


def _read_constant(message: graph_pb2.ConstantAttributes) -> a.Constant:
    tensor = message.value
    if tensor.digest:
        raise GraphError("a constant is inline, without digest", path="constant.value.digest")
    type = TensorType(read_dtype(tensor.dtype, "constant.value.dtype"), tuple(tensor.shape))
    verify_type(type, "constant.value.shape")
    if type.dtype is DType.BOOL and tensor.data and np.frombuffer(tensor.data, np.uint8).max() > 1:
        raise GraphError("a bool is the byte 0 or 1, nothing else", path="constant.value.data")
    return a.Constant(type, tensor.data)


def _write_gather(value: a.Gather, message: graph_pb2.GatherAttributes) -> None:
    message.batch_dims, message.offset_dims = value.batch_dims, value.offset_dims
    message.out_of_range = graph_pb2.OUT_OF_RANGE_ZERO if value.fill_zero else graph_pb2.OUT_OF_RANGE_NAN


def _read_gather(message: graph_pb2.GatherAttributes) -> a.Gather:
    if message.out_of_range not in (graph_pb2.OUT_OF_RANGE_NAN, graph_pb2.OUT_OF_RANGE_ZERO):
        raise GraphError(f"got {message.out_of_range}, expected NAN or ZERO", path="gather.out_of_range")
    zero = message.out_of_range == graph_pb2.OUT_OF_RANGE_ZERO
    return a.Gather(message.batch_dims, message.offset_dims, zero)


_WRITERS: Final[Mapping[type[Attributes], Callable[[Any, Any], None]]] = {
    a.Constant: _write_constant,
    a.Gather: _write_gather,
}
_READERS: Final[Mapping[type[Attributes], Callable[[Any], Attributes]]] = {
    a.Constant: _read_constant,
    a.Gather: _read_gather,
}
