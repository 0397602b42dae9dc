"""Element types and tensor types.

A `TensorType` is a dtype and a shape. Shapes describe one example, with static lengths; in a graph that has been given
the request's batch, axis 0 of a type may have the symbolic length `ROWS`, and no other axis may.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradwire_engine.errors import GraphError

ROWS: Final = -1
"""The length of the batch axis: known only when a request runs. Occurs at axis 0 only."""

MAX_RANK: Final = 16
"""Axes of an array, the batch axis included."""

MAX_ELEMENTS: Final = 1 << 59
"""Elements of an array, or of one row of it: fewer than an address space can hold. A cost limit comes long before."""


class DType(enum.Enum):
    """The element types; nothing else exists."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"

    __hash__ = object.__hash__  # Enum's own hashes the name in Python, and types are hashed for every node

    is_floating: bool
    is_integer: bool
    itemsize: int
    numpy: np.dtype[np.generic]

    def __init__(self, name: str) -> None:
        self.numpy = np.dtype(name)
        self.itemsize = self.numpy.itemsize
        self.is_floating = self.numpy.kind == "f"
        self.is_integer = self.numpy.kind == "i"

    @staticmethod
    def of(dtype: np.dtype[np.generic]) -> DType:
        """The DType of a numpy dtype, of either byte order; GraphError for one that does not exist here."""
        found = _BY_NUMPY.get(dtype) or _BY_NUMPY.get(dtype.newbyteorder("="))
        if found is None:
            supported = ", ".join(d.value for d in DType)
            raise GraphError(f"dtype {dtype} is not supported; use one of {supported} (x.astype(np.float64))")
        return found


_BY_NUMPY: Final[dict[np.dtype[np.generic], DType]] = {d.numpy: d for d in DType}


@dataclass(frozen=True, slots=True)
class TensorType:
    """The static type of a value: element type and shape."""

    dtype: DType
    shape: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def is_batched(self) -> bool:
        """Whether axis 0 is the request's batch."""
        return bool(self.shape) and self.shape[0] == ROWS

    @property
    def elements(self) -> int:
        """Number of elements; of one row, where the type is batched."""
        return math.prod(self.shape[1:] if self.is_batched else self.shape)

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        """The same element type with another shape."""
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        """The same shape with another element type."""
        return TensorType(dtype, self.shape)

    def with_rows(self, rows: int) -> TensorType:
        """The type once the batch is known."""
        return TensorType(self.dtype, (rows, *self.shape[1:])) if self.is_batched else self

    def __str__(self) -> str:
        lengths = ",".join("B" if n == ROWS else str(n) for n in self.shape)
        return f"{self.dtype.value}[{lengths}]" if self.shape else self.dtype.value

    def require_sound(self) -> None:
        """GraphError unless an array of this type can exist: rank, lengths, and the batch axis in front only."""
        shape = self.shape
        if len(shape) > MAX_RANK:
            raise GraphError(f"got rank {len(shape)}, the largest is {MAX_RANK}, the batch axis included")
        if shape and (shape[0] < ROWS or min(shape[1:], default=0) < 0):
            raise GraphError(f"got shape {shape}, expected lengths of at least 0")
        if math.prod([abs(length) or 1 for length in shape]) > MAX_ELEMENTS:
            raise GraphError(f"got {self}, more than the {MAX_ELEMENTS} elements that an array can have")

    @staticmethod
    def of(array: np.ndarray) -> TensorType:
        """The type of an array."""
        return TensorType(DType.of(array.dtype), array.shape)
