"""Requests: written by a client with one copy of its tensors, sliced by a server with none.

A sliced request is what its bytes say, checked as far as that is possible without knowing the program: forms, ranges
and limits. Tensors are views of the request's bytes. Only small messages inside (Batch, Options) go through protobuf,
whose rule for repeated occurrences, that they merge, is that of their concatenated bytes. WireError for everything
else.

The work is linear in the number of tensors, at most `MAX_TENSORS`, whatever their size (but for bools, which are read).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from gradwire.v1 import service_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.fields import BYTES, VARINT, bytes_field, fields, header, integer_field, integers
from gradwire.wire.service import EXECUTOR_NAMES
from gradwire.wire.tensors import Buffer, OutgoingTensor, TensorView, read_tensors, tensor_head, tensor_parts
from gradwire_engine.program import Layout
from gradwire_engine.types import DType

MAX_TENSORS: Final = 10_000
"""Tensors in a request, and indices in each list of a batch layout."""

MAX_ROWS: Final = (1 << 31) - 1
"""Rows of a request."""

MAX_LAYOUTS: Final = 64
"""Batch layouts in a RegisterRequest."""

_PROGRAM_ID: Final = service_pb2.EvaluateRequest.PROGRAM_ID_FIELD_NUMBER
_PROGRAM: Final = service_pb2.EvaluateRequest.PROGRAM_FIELD_NUMBER
_INPUTS: Final = service_pb2.EvaluateRequest.INPUTS_FIELD_NUMBER
_BATCH: Final = service_pb2.EvaluateRequest.BATCH_FIELD_NUMBER
_OUTPUTS: Final = service_pb2.EvaluateRequest.OUTPUTS_FIELD_NUMBER
_OPTIONS: Final = service_pb2.EvaluateRequest.OPTIONS_FIELD_NUMBER

_EXPLAIN_PROGRAM_ID: Final = service_pb2.ExplainRequest.PROGRAM_ID_FIELD_NUMBER
_EXPLAIN_PROGRAM: Final = service_pb2.ExplainRequest.PROGRAM_FIELD_NUMBER
_EXPLAIN_INPUTS: Final = service_pb2.ExplainRequest.INPUTS_FIELD_NUMBER
_EXPLAIN_MODE: Final = service_pb2.ExplainRequest.MODE_FIELD_NUMBER
_EXPLAIN_SEEDS: Final = service_pb2.ExplainRequest.SEEDS_FIELD_NUMBER
_EXPLAIN_OPTIONS: Final = service_pb2.ExplainRequest.OPTIONS_FIELD_NUMBER

_REGISTER_PROGRAM: Final = service_pb2.RegisterRequest.PROGRAM_FIELD_NUMBER
_REGISTER_LAYOUTS: Final = service_pb2.RegisterRequest.LAYOUTS_FIELD_NUMBER

_ITEM_ID: Final = service_pb2.EvaluateStreamRequest.ID_FIELD_NUMBER
_ITEM_EVALUATE: Final = service_pb2.EvaluateStreamRequest.EVALUATE_FIELD_NUMBER
_ITEM_KINDS: Final[Mapping[int, Literal["evaluate", "blob"]]] = {
    _ITEM_EVALUATE: "evaluate",
    service_pb2.EvaluateStreamRequest.BLOB_FIELD_NUMBER: "blob",
}
"""The contents that an item of a stream may have, by their field."""

_MAX_SMALL_MESSAGE = 256 << 10  # a Batch of two full lists of indices is below this
_PROGRAM_ID_FORM = re.compile(rb"sha256:[0-9a-f]{64}")
_NO_LAYOUT = Layout()
_Message = TypeVar("_Message", bound=Message)


class RequestOptions(NamedTuple):
    """How to run: `timeout` in seconds from arrival, None if absent; `executor` as in the enum Executor."""

    timeout: float | None = None
    executor: int = 0


_NO_OPTIONS = RequestOptions()


class SlicedEvaluate(NamedTuple):
    """An EvaluateRequest. `program_id` and `program` are empty where absent; `rows` is None without a batch."""

    program_id: str
    program: bytes
    inputs: tuple[TensorView, ...]
    rows: int | None
    layout: Layout
    options: RequestOptions


class SlicedExplain(NamedTuple):
    """An ExplainRequest."""

    program_id: str
    program: bytes
    inputs: tuple[TensorView, ...]
    mode: Literal["forward", "reverse"]
    seeds: tuple[TensorView, ...]
    options: RequestOptions


class SlicedRegister(NamedTuple):
    """A RegisterRequest."""

    program: bytes
    layouts: tuple[Layout, ...]


class SlicedStreamItem(NamedTuple):
    """An EvaluateStreamRequest; its content is ``data[start:end]``, nothing if `kind` is empty."""

    id: int
    kind: Literal["", "evaluate", "blob"]
    data: bytes
    start: int
    end: int


def slice_evaluate(data: bytes, start: int = 0, end: int | None = None) -> SlicedEvaluate:
    """The EvaluateRequest in ``data[start:end]``."""
    program_id = ""
    program = b""
    inputs: list[tuple[int, int]] = []
    batch: bytes | None = None
    outputs: list[int] = []
    options = b""
    for number, kind, a, b in fields(data, start, len(data) if end is None else end):
        if number == _INPUTS and kind == BYTES:
            inputs.append((a, b))
        elif number == _PROGRAM_ID and kind == BYTES:
            program_id = _program_id(data[a:b])
        elif number == _PROGRAM and kind == BYTES:
            program = data[a:b]
        elif number == _BATCH and kind == BYTES:
            batch = (batch or b"") + _small(data, a, b, "batch")
        elif number == _OUTPUTS and kind in (BYTES, VARINT):
            outputs += [value & 0xFFFFFFFF for value in integers(data, kind, a, b, MAX_TENSORS, "outputs")]
        elif number == _OPTIONS and kind == BYTES:
            options += _small(data, a, b, "options")
    if len(outputs) > MAX_TENSORS:
        raise WireError(f"more than {MAX_TENSORS:,} indices", path="outputs")
    views = _tensors(data, inputs, "inputs")
    if batch is None:
        rows, layout = None, Layout(outputs=tuple(outputs)) if outputs else _NO_LAYOUT
    else:
        rows, layout = _batch(batch, tuple(outputs))
    return SlicedEvaluate(program_id, program, views, rows, layout, _options(options))


def slice_explain(data: bytes) -> SlicedExplain:
    """The ExplainRequest in `data`."""
    program_id = ""
    program = b""
    tensors: dict[int, list[tuple[int, int]]] = {_EXPLAIN_INPUTS: [], _EXPLAIN_SEEDS: []}
    mode = 0
    options = b""
    for number, kind, a, b in fields(data, 0, len(data)):
        if number in tensors and kind == BYTES:
            tensors[number].append((a, b))
        elif number == _EXPLAIN_PROGRAM_ID and kind == BYTES:
            program_id = _program_id(data[a:b])
        elif number == _EXPLAIN_PROGRAM and kind == BYTES:
            program = data[a:b]
        elif number == _EXPLAIN_MODE and kind == VARINT:
            mode = a & 0xFFFFFFFF
        elif number == _EXPLAIN_OPTIONS and kind == BYTES:
            options += _small(data, a, b, "options")
    if mode > service_pb2.EXPLAIN_MODE_REVERSE:
        raise WireError(f"mode {mode} does not exist; use 1 (forward) or 2 (reverse)", path="mode")
    named: Literal["forward", "reverse"] = "reverse" if mode == service_pb2.EXPLAIN_MODE_REVERSE else "forward"
    inputs = _tensors(data, tensors[_EXPLAIN_INPUTS], "inputs")
    seeds = _tensors(data, tensors[_EXPLAIN_SEEDS], "seeds")
    return SlicedExplain(program_id, program, inputs, named, seeds, _options(options))


def slice_register(data: bytes) -> SlicedRegister:
    """The RegisterRequest in `data`."""
    program = b""
    layouts: list[Layout] = []
    for number, kind, a, b in fields(data, 0, len(data)):
        if number == _REGISTER_PROGRAM and kind == BYTES:
            program = data[a:b]
        elif number == _REGISTER_LAYOUTS and kind == BYTES:
            if len(layouts) == MAX_LAYOUTS:
                raise WireError(f"more than {MAX_LAYOUTS} layouts", path="layouts")
            path = f"layouts[{len(layouts)}]"
            layouts.append(_batch(_small(data, a, b, path), (), path)[1])
    return SlicedRegister(program, tuple(layouts))


def slice_stream_item(data: bytes) -> SlicedStreamItem:
    """The EvaluateStreamRequest in `data`; its content is not looked at."""
    item = SlicedStreamItem(0, "", data, 0, 0)
    for number, kind, a, b in fields(data, 0, len(data)):
        if number == _ITEM_ID and kind == VARINT:
            item = item._replace(id=a)
        elif number in _ITEM_KINDS and kind == BYTES:
            named = _ITEM_KINDS[number]
            if named == item.kind:
                merged = item.data[item.start : item.end] + data[a:b]
                item = SlicedStreamItem(item.id, named, merged, 0, len(merged))
            else:
                item = SlicedStreamItem(item.id, named, data, a, b)
    return item


def evaluate_parts(
    *,
    program_id: str = "",
    program: bytes = b"",
    inputs: Iterable[OutgoingTensor] = (),
    rows: int | None = None,
    layout: Layout = _NO_LAYOUT,
    options: RequestOptions = _NO_OPTIONS,
) -> list[Buffer]:
    """An EvaluateRequest in parts: `join(parts)` is the message. `rows` None leaves the batch out."""
    parts: list[Buffer] = [id_field(program_id), program_field(program)]
    for tensor in inputs:
        parts += tensor_parts(_INPUTS, tensor)
    if rows is not None:
        batch = service_pb2.Batch(
            rows=rows, shared_inputs=layout.shared_inputs, summed_outputs=layout.summed_outputs
        ).SerializeToString()
        parts += [header(_BATCH, len(batch)), batch]
    if layout.outputs:
        parts.append(service_pb2.EvaluateRequest(outputs=layout.outputs).SerializeToString())
    parts.append(_options_field(_OPTIONS, options))
    return parts


def id_field(program_id: str) -> bytes:
    """The field of an EvaluateRequest that names its program; nothing for ""."""
    return bytes_field(_PROGRAM_ID, program_id.encode())


def program_field(program: bytes) -> bytes:
    """The field of an EvaluateRequest that holds its program; nothing where that is empty."""
    return bytes_field(_PROGRAM, program)


def input_head(dtype: DType, shape: tuple[int, ...], nbytes: int, digest: bytes = b"") -> bytes:
    """What stands before an input's `nbytes` of data in an EvaluateRequest: none of them where a digest names them."""
    head = tensor_head(dtype, shape, nbytes, digest)
    return header(_INPUTS, len(head) + nbytes) + head


def explain_parts(
    *,
    program: bytes,
    inputs: Iterable[OutgoingTensor] = (),
    mode: Literal["forward", "reverse"] = "forward",
    seeds: Iterable[OutgoingTensor] = (),
    options: RequestOptions = _NO_OPTIONS,
) -> list[Buffer]:
    """An ExplainRequest in parts, as in `evaluate_parts`."""
    parts: list[Buffer] = [bytes_field(_EXPLAIN_PROGRAM, program)]
    for tensor in inputs:
        parts += tensor_parts(_EXPLAIN_INPUTS, tensor)
    parts.append(integer_field(_EXPLAIN_MODE, service_pb2.ExplainMode.Value(f"EXPLAIN_MODE_{mode.upper()}")))
    for tensor in seeds:
        parts += tensor_parts(_EXPLAIN_SEEDS, tensor)
    parts.append(_options_field(_EXPLAIN_OPTIONS, options))
    return parts


def stream_item_parts(id: int, evaluate: Sequence[Buffer]) -> list[Buffer]:
    """An EvaluateStreamRequest in parts, from those of its EvaluateRequest."""
    return [integer_field(_ITEM_ID, id), header(_ITEM_EVALUATE, size_of(evaluate)), *evaluate]


def join(parts: Iterable[Buffer]) -> bytes:
    """The message that the parts make: the one copy of its tensors."""
    return b"".join(parts)  # type: ignore[arg-type]  # arrays are buffers, too


def size_of(parts: Iterable[Buffer]) -> int:
    """Bytes of a message in parts."""
    return sum([part.nbytes if not isinstance(part, bytes) else len(part) for part in parts])


def _options_field(number: int, options: RequestOptions) -> bytes:
    if options == (None, 0):
        return b""
    message = service_pb2.Options(executor=options.executor)  # type: ignore[arg-type]  # enums are plain numbers here
    if options.timeout is not None:
        message.timeout.FromNanoseconds(round(options.timeout * 1e9))
    return bytes_field(number, message.SerializeToString())


def _tensors(data: bytes, spans: list[tuple[int, int]], name: str) -> tuple[TensorView, ...]:
    if len(spans) > MAX_TENSORS:
        raise WireError(f"{len(spans):,} tensors; at most {MAX_TENSORS:,} are allowed", path=name)
    return read_tensors(data, spans, name)


def _program_id(text: bytes) -> str:
    if text and not _PROGRAM_ID_FORM.fullmatch(text):
        raise WireError(f'{text[:80]!r}; expected "sha256:" and 64 lower-case hexadecimal digits', path="program_id")
    return text.decode("ascii")


def _small(data: bytes, start: int, end: int, path: str) -> bytes:
    if end - start > _MAX_SMALL_MESSAGE:
        raise WireError(f"{end - start:,} bytes; at most {_MAX_SMALL_MESSAGE:,} are allowed", path=path)
    return data[start:end]


def _parsed(message: _Message, data: bytes, path: str) -> _Message:
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireError("does not parse", path=path) from None
    return message


def _batch(data: bytes, outputs: tuple[int, ...], path: str = "batch") -> tuple[int, Layout]:
    batch = _parsed(service_pb2.Batch(), data, path)
    rows = batch.rows
    if rows > MAX_ROWS:
        raise WireError(f"{rows:,} rows; at most {MAX_ROWS:,} are allowed", path=f"{path}.rows")
    shared = _ascending(batch.shared_inputs, f"{path}.shared_inputs")
    summed = _ascending(batch.summed_outputs, f"{path}.summed_outputs")
    return rows, Layout(shared, summed, outputs)


def _ascending(indices: Sequence[int], path: str) -> tuple[int, ...]:
    if not indices:
        return ()
    if len(indices) > MAX_TENSORS:
        raise WireError(f"more than {MAX_TENSORS:,} indices", path=path)
    numbers = tuple(indices)
    if any(numbers[i] >= numbers[i + 1] for i in range(len(numbers) - 1)):
        raise WireError("indices must be ascending, none twice", path=path)
    return numbers


def _options(data: bytes) -> RequestOptions:
    if not data:
        return _NO_OPTIONS
    options = _parsed(service_pb2.Options(), data, "options")
    if options.executor not in EXECUTOR_NAMES:
        known = " or ".join(f"{number} ({name})" for number, name in EXECUTOR_NAMES.items() if name)
        raise WireError(f"executor {options.executor} does not exist; use {known}", path="options")
    if not options.HasField("timeout"):
        return RequestOptions(None, options.executor)
    return RequestOptions(options.timeout.seconds + options.timeout.nanos * 1e-9, options.executor)
