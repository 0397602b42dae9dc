"""From the arguments of a call to the bytes of its request, and back: everything that can be known beforehand is.

A `RequestTemplate` belongs to one transformed function and one kind of call (structure, element types and shapes of the
arguments). It holds the request's constant parts ready made; a call only fills in the tensors' data, which are copied
once.

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

from gradwire.calls.arguments import Call, Leaves
from gradwire.calls.constants import Constant
from gradwire.calls.kept import KeptTrace, SerializedProgram
from gradwire.calls.signature import CallSignature, Port
from gradwire.errors import RequestError, RowError, TracingError
from gradwire.tracing.locations import at_line
from gradwire.tracing.trace import Captured
from gradwire.tracing.trees import Tree
from gradwire.wire.requests import evaluate_parts, id_field, input_head, join, program_field
from gradwire.wire.responses import Evaluated
from gradwire.wire.tensors import Buffer
from gradwire_engine.program import Layout
from gradwire_engine.types import DType

_NODE: Final = re.compile(r"graph\.nodes\[(\d{1,9})\]")
ALWAYS_INLINE: Final = 4096
"""Bytes of the largest program that is always sent whole."""

_PACK: Final[dict[DType, Callable[[Any], bytes]]] = {
    DType.FLOAT64: struct.Struct("<d").pack,
    DType.INT64: struct.Struct("<q").pack,
    DType.BOOL: struct.Struct("<?").pack,
}


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
class RequestTemplate:
    """How calls of one kind are sent and answered."""

    kept: KeptTrace
    signature: CallSignature
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

    @property
    def rows(self) -> int:
        """Rows of the request."""
        return 1 if self.signature.rows is None else self.signature.rows

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
        for leaf in self.results:
            if leaf.output >= 0 and outputs[leaf.output].shape != leaf.shape:
                raise _misfit(f"output {leaf.output} has shape {outputs[leaf.output].shape}, expected {leaf.shape}")
        if self.result is None:
            result = self.results[0].of(outputs)
        else:
            result = self.result.build([leaf.of(outputs) for leaf in self.results])
        if not evaluated.row_errors:
            return result
        first = evaluated.row_errors[0]
        rows = tuple([error.row for error in evaluated.row_errors])
        shown = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
        message = f"no result for row {shown}: {first.message}"
        raise self.row_error(RowError(message, rows=rows, reason=first.reason, result=result))

    def row_error(self, error: RowError) -> RowError:
        """The error, with the user's lines of the loops that may have exceeded their bound."""
        loops = [(f"max_steps = {bound:,}", line) for bound, line in self.kept.traced.loops if line is not None]
        exceeded = [loop for loop in loops if f"{loop[0]} steps" in str(error)] or loops
        message = "\n  at ".join([str(error), *[f"{line} ({bound})" for bound, line in exceeded]])
        return RowError(message, rows=error.rows, reason=error.reason, request_id=error.request_id, result=error.result)

    def located(self, error: RequestError) -> RequestError:
        """The error, with the user's line of the operation at fault where the service names one."""
        traced = self.kept.traced
        for path, _ in error.violations:
            node = _NODE.match(path)
            if node is not None and self.program.graph is traced.graph and int(node[1]) < len(traced.lines):
                error.args = (at_line(str(error), traced.lines[int(node[1])]),)
                break
        return error


def _misfit(difference: str) -> RequestError:
    return RequestError(f"the service's answer does not fit the request: {difference}", reason="MALFORMED_RESPONSE")


def make_template(kept: KeptTrace, signature: CallSignature, call: Call, snapshot_bytes: int = 0) -> RequestTemplate:
    """The template for a signature; for `snapshot_bytes` see `Program`."""
    program = kept.program(signature.graph, signature.transforms, snapshot_bytes)
    captured = dict(signature.captured)
    batched = signature.rows is not None or bool(captured)
    rows = signature.rows if signature.rows is not None else 1
    single = signature.rows is None and batched
    leaf_of_input = signature.leaf_of_input
    slots: list[Slot | int] = []
    extra: list[Constant] = []
    place_of = {id(array): place for place, array in enumerate(kept.arrays)}
    for index, port in enumerate(signature.inputs):
        if index in captured:
            array = captured[index]
            assert isinstance(array, Captured)
            place = place_of.get(id(array))
            if place is None:
                place = len(place_of) + len(extra)
                extra.append(Constant(array.array))
            slots.append(place)
        else:
            length = rows if port.axis is not None or single else None
            slots.append(_slot(leaf_of_input[index], port, length, rows, call))
    layout = _layout(signature, single) if batched else Layout()
    suffix = join(evaluate_parts(rows=rows if batched else None, layout=layout))
    return RequestTemplate(
        kept=kept,
        signature=signature,
        program=program,
        program_field=program_field(program.data),
        id_field=id_field(program.id),
        slots=tuple(slots),
        extra=tuple(extra),
        layout=layout,
        suffix=suffix,
        argument_bytes=sum([slot.nbytes for slot in slots if isinstance(slot, Slot)]),
        results=tuple([_result(signature, output, single, rows) for output in signature.results]),
        result=None if signature.result.is_leaf else signature.result,
        outputs=len(signature.outputs),
    )


def _layout(signature: CallSignature, single: bool) -> Layout:
    """How the rows lie; `single`: the call is one row of its own, and all but constants have an axis for it."""
    captured = dict(signature.captured)
    shared = [i for i, port in enumerate(signature.inputs) if i in captured or not (single or port.axis is not None)]
    summed = [] if single else [i for i, port in enumerate(signature.outputs) if port.axis is None]
    return Layout(tuple(shared), tuple(summed))


def _slot(leaf: int, port: Port, length: int | None, rows: int, call: Call) -> Slot:
    """An argument; `length` is that of its row axis on the wire, None without one."""
    dtype = port.type.dtype
    shape = port.type.shape if length is None else (length, *port.type.shape)
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    divisor = float(rows) ** port.power
    exact = call.weak[leaf] and call.types[leaf].dtype is dtype and divisor == 1.0
    return Slot(
        leaf=leaf,
        head=input_head(dtype, shape, nbytes),
        dtype=dtype.numpy.newbyteorder("<"),
        pack=_PACK.get(dtype) if exact else None,
        axis=port.axis or None,
        divisor=divisor,
        nbytes=nbytes,
    )


def _result(signature: CallSignature, output: int, single: bool, rows: int) -> Result:
    if output < 0:
        return Result(-1, (), False, None, 1.0)
    port = signature.outputs[output]
    stacked = port.axis is not None or single
    shape = (rows, *port.type.shape) if stacked else port.type.shape
    return Result(output, shape, single, port.axis or None, float(rows) ** port.power)
