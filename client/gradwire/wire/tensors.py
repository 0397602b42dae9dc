"""Tensor messages: numpy arrays to bytes, bytes to arrays or to views of a message, and digests.

Data are little-endian, in C order, without padding. Decoding is strict: the length must be what type and shape say, a
bool is the byte 0 or 1, a digest has 32 bytes, a rank is at most 16; everything else is a WireError that names the
field. A view does not copy and keeps the message alive; arrays made from a message are copied once, and writable.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from gradwire.v1 import tensor_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.fields import (
    BYTES,
    VARINT,
    bytes_field,
    fields,
    header,
    integer_field,
    integers,
    packed_field,
    signed,
)
from gradwire_engine.types import MAX_RANK, DType, TensorType

Buffer = bytes | memoryview | np.ndarray
"""Bytes that are passed on without a copy; an array is C-contiguous and little-endian."""

DIGEST_BYTES: Final = 32

_DTYPE: Final = tensor_pb2.Tensor.DTYPE_FIELD_NUMBER
_SHAPE: Final = tensor_pb2.Tensor.SHAPE_FIELD_NUMBER
_DATA: Final = tensor_pb2.Tensor.DATA_FIELD_NUMBER
_DIGEST: Final = tensor_pb2.Tensor.DIGEST_FIELD_NUMBER

WIRE_DTYPES: Final[Mapping[DType, tensor_pb2.DType.ValueType]] = {
    DType.FLOAT32: tensor_pb2.DTYPE_FLOAT32,
    DType.FLOAT64: tensor_pb2.DTYPE_FLOAT64,
    DType.INT32: tensor_pb2.DTYPE_INT32,
    DType.INT64: tensor_pb2.DTYPE_INT64,
    DType.BOOL: tensor_pb2.DTYPE_BOOL,
}
"""The numbers of the enum `DType` of the wire contract."""

DTYPES: Final[Mapping[int, DType]] = {number: dtype for dtype, number in WIRE_DTYPES.items()}
"""The element types by these numbers."""

_LITTLE_ENDIAN: Final = {dtype: dtype.numpy.newbyteorder("<") for dtype in DType}


class OutgoingTensor(NamedTuple):
    """A tensor to be sent: inline (`data`, as `packed_array` makes them), by `digest` (data is None), or both."""

    dtype: DType
    shape: tuple[int, ...]
    data: np.ndarray | None
    digest: bytes = b""

    @staticmethod
    def inline(array: np.ndarray, digest: bytes = b"") -> OutgoingTensor:
        """An array, copied only where it is not little-endian and in C order; with `digest`, to be kept."""
        dtype = DType.of(array.dtype)
        return OutgoingTensor(dtype, array.shape, packed_array(array, dtype), digest)


class TensorView(NamedTuple):
    """A tensor in a message: `data` is a view of the message, None where the tensor is sent by its digest alone.

    `digest` is empty where none was sent. With both, the sender asks that the data be kept; nobody has compared them
    yet.
    """

    dtype: DType
    shape: tuple[int, ...]
    data: memoryview | None
    digest: bytes

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return TensorType(self.dtype, self.shape)


def tensor_digest(dtype: DType, shape: tuple[int, ...], data: bytes | memoryview) -> bytes:
    """The 32 bytes that name an array: SHA-256 over dtype, rank, lengths and data, as the wire contract has it."""
    hashed = hashlib.sha256(bytes((WIRE_DTYPES[dtype], len(shape))))
    hashed.update(b"".join([length.to_bytes(8, "little") for length in shape]))
    hashed.update(data)
    return hashed.digest()


def read_tensor(data: bytes, start: int, end: int) -> TensorView:
    """The Tensor message in ``data[start:end]``; WireError, with the field's name as its path, where it is none."""
    number_of_dtype = 0
    shape: tuple[int, ...] = ()
    first = last = 0
    digest = b""
    for number, kind, a, b in fields(data, start, end):
        if number == _DATA and kind == BYTES:
            first, last = a, b
        elif number == _SHAPE and kind in (BYTES, VARINT):
            shape += tuple([signed(length) for length in integers(data, kind, a, b, MAX_RANK, "shape")])
            if len(shape) > MAX_RANK:
                raise WireError(f"{len(shape)} axes; at most {MAX_RANK} are allowed", path="shape")
        elif number == _DTYPE and kind == VARINT:
            number_of_dtype = a
        elif number == _DIGEST and kind == BYTES:
            digest = data[a:b]
    return _checked(data, number_of_dtype, shape, first, last, digest)


def read_tensors(data: bytes, places: list[tuple[int, int]], name: str) -> tuple[TensorView, ...]:
    """The Tensor messages at these offsets; `name` is what a WireError calls the list."""
    views = []
    try:
        for start, end in places:
            views.append(read_tensor(data, start, end))
    except WireError as error:
        raise error.at(f"{name}[{len(views)}]") from None
    return tuple(views)


def _checked(
    data: bytes, number_of_dtype: int, shape: tuple[int, ...], first: int, last: int, digest: bytes
) -> TensorView:
    dtype = DTYPES.get(number_of_dtype)
    if dtype is None:
        supported = ", ".join(f"{number} ({known.value})" for number, known in DTYPES.items())
        raise WireError(f"element type {number_of_dtype} does not exist; use one of {supported}", path="dtype")
    if shape and min(shape) < 0:
        raise WireError(f"shape {list(shape)} has a negative length", path="shape")
    if digest and len(digest) != DIGEST_BYTES:
        raise WireError(f"{len(digest)} bytes; a digest has {DIGEST_BYTES}", path="digest")
    nbytes = dtype.itemsize * math.prod(shape)
    if last - first != nbytes:
        if first == last and digest:
            return TensorView(dtype, shape, None, digest)
        raise WireError(
            f"{last - first:,} bytes; {TensorType(dtype, shape)} has {nbytes:,}"
            + ("" if last - first else " (only a tensor with a digest may come without data)"),
            path="data",
        )
    content = memoryview(data)[first:last]
    if dtype is DType.BOOL and nbytes and np.frombuffer(content, np.uint8).max() > 1:
        raise WireError("a bool is the byte 0 or 1, nothing else", path="data")
    return TensorView(dtype, shape, content, digest)


def read_array(data: bytes, start: int, end: int) -> np.ndarray:
    """The inline Tensor message in ``data[start:end]`` as a new, writable array in the machine's byte order."""
    view = read_tensor(data, start, end)
    if view.data is None:
        raise WireError("sent by digest where data are expected", path="data")
    return array_of(view.dtype, view.shape, view.data)


def array_of(dtype: DType, shape: tuple[int, ...], data: bytes | memoryview) -> np.ndarray:
    """Little-endian bytes in C order as a new, writable array in the machine's byte order."""
    return np.frombuffer(data, _LITTLE_ENDIAN[dtype]).reshape(shape).astype(dtype.numpy)


def packed_array(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The array as it travels: little-endian, C order; the same object where it is so already."""
    return np.asarray(array, dtype=_LITTLE_ENDIAN[dtype], order="C")


def tensor_head(dtype: DType, shape: tuple[int, ...], nbytes: int, digest: bytes = b"") -> bytes:
    """A Tensor message up to its data: to be followed by exactly `nbytes` bytes of data, if that is not 0."""
    shape_field = packed_field(_SHAPE, shape) if shape else b""
    data_header = header(_DATA, nbytes) if nbytes else b""
    return b"".join((_DTYPE_FIELDS[dtype], shape_field, bytes_field(_DIGEST, digest), data_header))


def tensor_parts(number: int, tensor: OutgoingTensor) -> list[Buffer]:
    """A whole Tensor as field `number` of a message, in parts to be joined."""
    nbytes = 0 if tensor.data is None else tensor.data.nbytes
    head = tensor_head(tensor.dtype, tensor.shape, nbytes, tensor.digest)
    parts: list[Buffer] = [header(number, len(head) + nbytes), head]
    if tensor.data is not None:
        parts.append(tensor.data)
    return parts


_DTYPE_FIELDS: Final = {dtype: integer_field(_DTYPE, number) for dtype, number in WIRE_DTYPES.items()}
