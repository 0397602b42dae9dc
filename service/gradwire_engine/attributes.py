"""The attributes of ops: one frozen record a family, named like the message of the wire contract that carries it.

Each family knows two things about the batch axis: `shifted(size)`, the same attributes for operands that have got a
new axis 0 of length `size` (possibly `ROWS`), and `with_rows(rows)`, the attributes once the number of rows is known.
Equality is by typed bytes: a constant -0.0 differs from 0.0, and a NaN equals itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from gradwire_engine.types import ROWS, DType, TensorType


@dataclass(frozen=True, slots=True)
class Attributes:
    """No attributes; the base of all families."""

    def shifted(self, size: int) -> Self:
        """The attributes of the op on operands that all have a new axis 0 of length `size`."""
        return self

    def with_rows(self, rows: int) -> Self:
        """The attributes with `ROWS` replaced by a number."""
        return self

    @property
    def mentions_rows(self) -> bool:
        """Whether `with_rows` changes anything."""
        return False


NONE = Attributes()


def _resolved(shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
    return (rows, *shape[1:]) if shape and shape[0] == ROWS else shape


@dataclass(frozen=True, slots=True)
class Constant(Attributes):
    """An immutable array, held as its bytes so that equality and hash are exact."""

    type: TensorType
    data: bytes

    @staticmethod
    def of(array: np.ndarray) -> Constant:
        """From any array of a supported dtype, whatever its strides or byte order."""
        kind = TensorType.of(array)
        return Constant(kind, np.ascontiguousarray(array, dtype=kind.dtype.numpy).tobytes())

    @property
    def array(self) -> np.ndarray:
        """The value, read-only."""
        return np.frombuffer(self.data, dtype=self.type.dtype.numpy).reshape(self.type.shape)


@dataclass(frozen=True, slots=True)
class Iota(Attributes):
    """Element type, shape and counting axis of an iota."""

    dtype: DType
    shape: tuple[int, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class Exponent(Attributes):
    """A static integer exponent."""

    exponent: int


@dataclass(frozen=True, slots=True)
class Order(Attributes):
    """The order of a function within its family: of a derivative, or of a Bessel function."""

    order: int


@dataclass(frozen=True, slots=True)
class Cast(Attributes):
    """The element type to convert to."""

    dtype: DType


@dataclass(frozen=True, slots=True)
class Shape(Attributes):
    """The shape of the result."""

    shape: tuple[int, ...]

    def shifted(self, size: int) -> Shape:
        return Shape((size, *self.shape))

    def with_rows(self, rows: int) -> Shape:
        return Shape(_resolved(self.shape, rows))

    @property
    def mentions_rows(self) -> bool:
        return ROWS in self.shape


@dataclass(frozen=True, slots=True)
class Permutation(Attributes):
    """Axis i of the result is axis permutation[i] of the operand."""

    permutation: tuple[int, ...]

    def shifted(self, size: int) -> Permutation:
        return Permutation((0, *(axis + 1 for axis in self.permutation)))


@dataclass(frozen=True, slots=True)
class Slice(Attributes):
    """A strided box: for each axis start, start + stride, … below limit."""

    start: tuple[int, ...]
    limit: tuple[int, ...]
    stride: tuple[int, ...]

    def shifted(self, size: int) -> Slice:
        return Slice((0, *self.start), (size, *self.limit), (1, *self.stride))

    def with_rows(self, rows: int) -> Slice:
        return Slice(self.start, _resolved(self.limit, rows), self.stride)

    @property
    def mentions_rows(self) -> bool:
        return ROWS in self.limit


@dataclass(frozen=True, slots=True)
class Pad(Attributes):
    """How many elements stand before, after and between the operand's, for each axis."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    interior: tuple[int, ...]

    def shifted(self, size: int) -> Pad:
        return Pad((0, *self.low), (0, *self.high), (0, *self.interior))


@dataclass(frozen=True, slots=True)
class Axis(Attributes):
    """One axis."""

    axis: int

    def shifted(self, size: int) -> Axis:
        return Axis(self.axis + 1)


@dataclass(frozen=True, slots=True)
class Axes(Attributes):
    """A set of axes, ascending."""

    axes: tuple[int, ...]

    def shifted(self, size: int) -> Axes:
        return Axes(tuple(axis + 1 for axis in self.axes))


@dataclass(frozen=True, slots=True)
class Cumulative(Attributes):
    """The axis along which a running reduction runs, from its first element or, reversed, from its last."""

    axis: int
    reverse: bool = False

    def shifted(self, size: int) -> Cumulative:
        return Cumulative(self.axis + 1, self.reverse)


@dataclass(frozen=True, slots=True)
class SearchSorted(Attributes):
    """Leading axes that tables and values share, and whether a value stands after its equals."""

    batch_dims: int = 0
    right: bool = False

    def shifted(self, size: int) -> SearchSorted:
        return SearchSorted(self.batch_dims + 1, self.right)


@dataclass(frozen=True, slots=True)
class DotGeneral(Attributes):
    """Which axes are summed over and which are shared and kept, in pairs."""

    lhs_contract: tuple[int, ...]
    rhs_contract: tuple[int, ...]
    lhs_batch: tuple[int, ...] = ()
    rhs_batch: tuple[int, ...] = ()

    def shifted(self, size: int) -> DotGeneral:
        def up(axes: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(axis + 1 for axis in axes)

        return DotGeneral(
            up(self.lhs_contract), up(self.rhs_contract), (0, *up(self.lhs_batch)), (0, *up(self.rhs_batch))
        )


@dataclass(frozen=True, slots=True)
class Gather(Attributes):
    """Leading shared axes, axes kept whole before the indexed ones, and what stands where an index is out of range."""

    batch_dims: int
    offset_dims: int
    fill_zero: bool = False

    def shifted(self, size: int) -> Gather:
        return Gather(self.batch_dims + 1, self.offset_dims, self.fill_zero)


@dataclass(frozen=True, slots=True)
class Scatter(Attributes):
    """Leading shared axes, axes kept whole before the indexed ones, and the shape of the result."""

    batch_dims: int
    offset_dims: int
    shape: tuple[int, ...]

    def shifted(self, size: int) -> Scatter:
        return Scatter(self.batch_dims + 1, self.offset_dims, (size, *self.shape))

    def with_rows(self, rows: int) -> Scatter:
        return Scatter(self.batch_dims, self.offset_dims, _resolved(self.shape, rows))

    @property
    def mentions_rows(self) -> bool:
        return ROWS in self.shape


@dataclass(frozen=True, slots=True)
class TriangularSolve(Attributes):
    """Which triangle of the matrix is read, whether it is transposed, and whether ones stand for its diagonal."""

    lower: bool = True
    transposed: bool = False
    unit_diagonal: bool = False

    def turned(self) -> TriangularSolve:
        """The same with the transposed matrix."""
        return TriangularSolve(self.lower, not self.transposed, self.unit_diagonal)


@dataclass(frozen=True, slots=True)
class Windows(Attributes):
    """Lengths, steps between positions and steps between elements of a window on the last axes."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OverlapAdd(Attributes):
    """Steps between positions and between elements of the windows, and the lengths of the axes that they saw."""

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Convolution(Attributes):
    """Steps between positions, padding, steps between elements of the kernel, groups, and leading shared axes."""

    strides: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    batch_dims: int = 0

    def shifted(self, size: int) -> Convolution:
        return Convolution(self.strides, self.low, self.high, self.dilations, self.groups, self.batch_dims + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rowwise(Attributes):
    """Of ops that refer to graphs: the graphs describe one example, and are applied to every row apart.

    Operands have `row_axes` leading axes, one entry a row, except those listed in `shared`, which are the same for all
    rows. `batched` says that the graphs have been given the rows as their own axis 0, of symbolic length; an operand is
    then shared if the graph's input has no such axis.
    """

    row_axes: int = 0
    shared: tuple[int, ...] = ()
    batched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cond(Rowwise):
    """Rows alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan(Rowwise):
    """How many operands and results there are of each group (`ops.control.operands`), but the stacked ones.

    `row_sums` are those sums that are sums over the rows, too. With `snapshots`, the carries listed in `recorded`
    are results as so many steps began.
    """

    constants: int
    carries: int
    length: int
    reverse: bool = False
    counted: bool = False
    sums: int = 0
    row_sums: tuple[int, ...] = ()
    snapshots: int = 0
    recorded: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class While(Rowwise):
    """How many operands there are of each group (`ops.control.operands`), but carries; and the bound on the steps.

    The carries listed in `recorded` are results as every step began, stacked, with zeros after the last; with
    `snapshots`, as so many steps did.
    """

    condition_constants: int
    body_constants: int
    max_steps: int
    counted: bool = False
    recorded: tuple[int, ...] = ()
    snapshots: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay(Rowwise):
    """A loop that is gone through backwards from snapshots, beside a scan in that direction.

    The loop runs from the first step to the last, or the other way if `reverse`; the scan always the opposite way. The
    carries of the loop that are listed in `taped`, as each step began, are further stacked inputs of the scan's body.
    """

    length: int
    snapshots: int
    forward_constants: int
    forward_carries: int
    forward_stacked: int
    taped: tuple[int, ...]
    constants: int
    carries: int
    reverse: bool = False
    counted: bool = False
    sums: int = 0
    row_sums: tuple[int, ...] = ()
