"""From the arguments of a call to the bytes of its request, and back: everything that can be known beforehand is.

A `Plan` belongs to one transformed function and one signature (structure, element types and shapes of the arguments).
It holds the request's constant parts ready made; a call only fills in the tensors' data, which are copied once.

A call without a batch is one row. Where the program takes constants, the request has a batch of one row all the same,
in which they are shared, so that requests with the same constants can be merged.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradwire.calls.memory import INPUTS, Constant, Remembered, SerializedProgram
from gradwire.calls.signature import Arrangement, Call, Port
from gradwire.errors import RequestError, RowError, TracingError
from gradwire.tracing.locations import at_line
from gradwire.tracing.promotion import supported
from gradwire.tracing.trace import Captured, Tracer
from gradwire.tracing.trees import Tree, flatten
from gradwire.wire.fields import bytes_field, header
from gradwire.wire.requests import evaluate_parts, join
from gradwire.wire.responses import Evaluated
from gradwire.wire.tensors import Buffer, tensor_head
from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType

Leaves = Sequence[Any]

_NODE: Final = re.compile(r"graph\.nodes\[(\d{1,9})\]")
ALWAYS_INLINE: Final = 4096
"""Bytes of the largest program that is always sent whole."""

_PACK: Final[dict[DType, Callable[[Any], bytes]]] = {
    DType.FLOAT64: struct.Struct("<d").pack,
    DType.INT64: struct.Struct("<q").pack,
    DType.BOOL: struct.Struct("<?").pack,
}
_OF_PYTHON: Final[dict[type, TensorType]] = {
    float: TensorType(DType.FLOAT64),
    int: TensorType(DType.INT64),
    bool: TensorType(DType.BOOL),
}


# signatures


def signature_key(positional: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Leaves]:
    """A key that is equal for calls of one signature, and the leaves of the arguments."""
    if not keywords:
        key: list[Any] = []
        for one in positional:
            kind = type(one)
            if kind is np.ndarray:
                key.append((one.dtype.num, one.shape))
            elif kind is float or kind is int or kind is bool or isinstance(one, np.generic):
                key.append(kind)
            else:
                break
        else:
            return tuple(key), positional
    leaves, tree = flatten((positional, keywords))
    return (tree, tuple([_kind(leaf) for leaf in leaves])), leaves


def _kind(leaf: Any) -> Any:
    return (leaf.dtype.num, leaf.shape) if isinstance(leaf, np.ndarray) else type(leaf)


def leaf_type(leaf: Any, name: str) -> TensorType:
    """The type of an argument as it is; TracingError, naming the cast, for what is no number or array."""
    found = _OF_PYTHON.get(type(leaf))
    if found is not None:
        return found
    if isinstance(leaf, Tracer):
        type_of: TensorType = leaf._value.type
        return type_of
    if isinstance(leaf, (np.ndarray, np.generic)):
        return TensorType(supported(leaf.dtype, f"argument {name}"), leaf.shape)
    if isinstance(leaf, (bool, int, float)):
        return leaf_type(np.asarray(leaf), name)
    advice = (
        "pass real and imaginary parts as two arguments" if isinstance(leaf, complex) else "pass numbers and arrays"
    )
    if hasattr(leaf, "__array__"):
        advice = "convert it with np.asarray"
    raise TracingError(
        f"argument {name} is a {type(leaf).__name__}; {advice}, nested in tuples, lists and dicts if you like"
    )


def call_of(leaves: Leaves, tree: Tree, names: Sequence[str]) -> Call:
    """The call that these arguments make."""
    types = tuple([leaf_type(leaf, name) for leaf, name in zip(leaves, names, strict=True)])
    weak = tuple([type(leaf) in _OF_PYTHON for leaf in leaves])
    return Call(tree, types, weak, tuple(names))


# requests


@dataclass(frozen=True)
class Slot:
    """One input of a request that is an argument: which leaf, and how it is written."""

    leaf: int
    head: bytes
    """The field up to the data."""
    dtype: np.dtype[Any]
    """Little-endian."""
    pack: Callable[[Any], bytes] | None
    """How a Python number is written; None for arrays."""
    axis: int | None
    """Where the rows stand, if not in front."""
    divisor: float
    """What it is divided by, 1 for nothing."""
    nbytes: int

    def data(self, leaf: Any) -> Buffer:
        """The leaf's data: little-endian, in C order, rows first."""
        if self.pack is not None:
            try:
                return self.pack(leaf)
            except struct.error:
                raise TracingError(f"the integer {leaf} does not fit int64; pass it as a float") from None
        array = np.asarray(leaf)
        if self.divisor != 1.0:
            array = array / array.dtype.type(self.divisor)
        if self.axis is not None:
            array = np.moveaxis(array, self.axis, 0)
        return np.asarray(array, dtype=self.dtype, order="C")


@dataclass(frozen=True)
class Result:
    """One leaf of the result: which output, and what is done with it."""

    output: int
    """-1: None."""
    shape: tuple[int, ...]
    """What the response must hold."""
    is_row: bool
    """The only row is taken out."""
    axis: int | None
    """Where the rows are put, if not in front."""
    divisor: float

    def of(self, outputs: Sequence[np.ndarray]) -> Any:
        """The leaf."""
        if self.output < 0:
            return None
        array: Any = outputs[self.output]
        if self.is_row:
            array = array[0]
        if self.divisor != 1.0:
            with np.errstate(all="ignore"):
                array = array / array.dtype.type(self.divisor)
        if self.axis is not None:
            array = np.ascontiguousarray(np.moveaxis(array, 0, self.axis))
        return array if array.shape else array[()]


@dataclass(frozen=True, eq=False)
class Plan:
    """How calls of one signature are sent and answered."""

    remembered: Remembered
    arrangement: Arrangement
    program: SerializedProgram
    program_field: bytes
    id_field: bytes
    slots: tuple[Slot | int, ...]
    """Inputs in order; an integer is the place of a constant."""
    extra: tuple[Constant, ...]
    """Constants that the steps added, after those of the trace."""
    layout: Layout
    suffix: bytes
    argument_bytes: int
    """Data of all arguments."""
    results: tuple[Result, ...]
    result: Tree | None
    """None where the result is one leaf."""
    outputs: int

    @property
    def is_small(self) -> bool:
        """Whether the program always travels with the request."""
        return len(self.program.data) <= ALWAYS_INLINE

    def request(self, leaves: Leaves, constants: Sequence[Constant], *, by_id: bool, known: Any) -> bytes:
        """The request. `by_id` leaves the program out; `known` has the digests of constants that are left out."""
        parts: list[Buffer] = [self.id_field if by_id else self.program_field]
        for slot in self.slots:
            if isinstance(slot, int):
                constant = constants[slot] if slot < len(constants) else self.extra[slot - len(constants)]
                if constant.digest in known:
                    parts.append(constant.reference)
                else:
                    parts += constant.parts
            else:
                parts.append(slot.head)
                parts.append(slot.data(leaves[slot.leaf]))
        parts.append(self.suffix)
        return join(parts)

    def constants(self, of_trace: Sequence[Constant]) -> tuple[Constant, ...]:
        """All constants of the request."""
        return (*of_trace, *self.extra)

    def answer(self, evaluated: Evaluated) -> Any:
        """The result of a call. RowError for rows that failed, RequestError for a response that does not fit."""
        outputs = evaluated.outputs
        if len(outputs) != self.outputs:
            raise _misfit(f"got {len(outputs)} outputs, expected {self.outputs}")
        for one in self.results:
            if one.output >= 0 and outputs[one.output].shape != one.shape:
                raise _misfit(f"output {one.output} has shape {outputs[one.output].shape}, expected {one.shape}")
        if self.result is None:
            result = self.results[0].of(outputs)
        else:
            result = self.result.build([one.of(outputs) for one in self.results])
        if not evaluated.row_errors:
            return result
        first = evaluated.row_errors[0]
        rows = tuple([one.row for one in evaluated.row_errors])
        shown = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
        message = f"no result for row {shown}: {first.message}"
        raise self.row_error(RowError(message, rows=rows, reason=first.reason, result=result))

    def row_error(self, error: RowError) -> RowError:
        """The error, with the user's lines of the loops that may have exceeded their bound."""
        loops = [(f"max_steps = {bound:,}", line) for bound, line in self.remembered.captures.loops if line is not None]
        said = [one for one in loops if f"{one[0]} steps" in str(error)] or loops
        message = "\n  at ".join([str(error), *[f"{line} ({bound})" for bound, line in said]])
        return RowError(message, rows=error.rows, reason=error.reason, request_id=error.request_id, result=error.result)

    def located(self, error: RequestError) -> RequestError:
        """The error, with the user's line of the operation at fault where the service names one."""
        captures = self.remembered.captures
        for path, _ in error.violations:
            node = _NODE.match(path)
            if node is not None and self.program.graph is captures.graph and int(node[1]) < len(captures.lines):
                error.args = (at_line(str(error), captures.lines[int(node[1])]),)
                break
        return error

    @property
    def rows(self) -> int:
        """Rows of the request."""
        return 1 if self.arrangement.rows is None else self.arrangement.rows


def _misfit(what: str) -> RequestError:
    return RequestError(f"the service's answer does not fit the request: {what}", reason="MALFORMED_RESPONSE")


def make_plan(remembered: Remembered, arrangement: Arrangement, call: Call, snapshot_bytes: int = 0) -> Plan:
    """The plan for an arrangement; for `snapshot_bytes` see `Program`."""
    program = remembered.program(arrangement.graph, arrangement.transforms, snapshot_bytes)
    carried = dict(arrangement.carried)
    batched = arrangement.rows is not None or bool(carried)
    rows = arrangement.rows if arrangement.rows is not None else 1
    single = arrangement.rows is None and batched
    leaf_of = {index: leaf for leaf, index in enumerate(arrangement.arguments) if index >= 0}
    slots: list[Slot | int] = []
    extra: list[Constant] = []
    of_trace = {id(one): place for place, one in enumerate(_arrays(remembered))}
    for index, port in enumerate(arrangement.inputs):
        if index in carried:
            array = carried[index]
            assert isinstance(array, Captured)
            place = of_trace.get(id(array))
            if place is None:
                place = len(of_trace) + len(extra)
                extra.append(Constant(array.array))
            slots.append(place)
        else:
            slots.append(_slot(leaf_of[index], port, rows if port.axis is not None or single else None, rows, call))
    layout = Layout()
    if batched:
        shared = [
            i for i, port in enumerate(arrangement.inputs) if i in carried or not (single or port.axis is not None)
        ]
        summed = [] if single else [i for i, port in enumerate(arrangement.outputs) if port.axis is None]
        layout = Layout(tuple(shared), tuple(summed))
    suffix = join(evaluate_parts(rows=rows if batched else None, layout=layout))
    return Plan(
        remembered=remembered,
        arrangement=arrangement,
        program=program,
        program_field=bytes_field(2, program.data),
        id_field=bytes_field(1, program.id.encode()),
        slots=tuple(slots),
        extra=tuple(extra),
        layout=layout,
        suffix=suffix,
        argument_bytes=sum([slot.nbytes for slot in slots if isinstance(slot, Slot)]),
        results=tuple([_result(arrangement, output, single, rows) for output in arrangement.results]),
        result=None if arrangement.result.is_leaf else arrangement.result,
        outputs=len(arrangement.outputs),
    )


def _arrays(remembered: Remembered) -> list[Captured]:
    return [one for one in remembered.captures.captured if isinstance(one, Captured)]


def _slot(leaf: int, port: Port, length: int | None, rows: int, call: Call) -> Slot:
    """An argument; `length` is that of its row axis on the wire, None without one."""
    dtype = port.type.dtype
    shape = port.type.shape if length is None else (length, *port.type.shape)
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    head = tensor_head(dtype, shape, nbytes)
    divisor = float(rows) ** port.power
    exact = call.weak[leaf] and call.types[leaf].dtype is dtype and divisor == 1.0
    return Slot(
        leaf=leaf,
        head=header(INPUTS, len(head) + nbytes) + head,
        dtype=dtype.numpy.newbyteorder("<"),
        pack=_PACK.get(dtype) if exact else None,
        axis=port.axis or None,
        divisor=divisor,
        nbytes=nbytes,
    )


def _result(arrangement: Arrangement, output: int, single: bool, rows: int) -> Result:
    if output < 0:
        return Result(-1, (), False, None, 1.0)
    port = arrangement.outputs[output]
    stacked = port.axis is not None or single
    shape = (rows, *port.type.shape) if stacked else port.type.shape
    return Result(output, shape, single, port.axis or None, float(rows) ** port.power)
