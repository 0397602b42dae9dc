"""Responses: written by a server and read by a client, each with one copy of the tensors.

What a server sends is trusted no more than what a client sends: a response that does not parse is a WireError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from gradwire.v1 import service_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.fields import BYTES, VARINT, bytes_field, encoded_varint, fields, header, integer_field
from gradwire.wire.requests import size_of
from gradwire.wire.status import StatusDetails, decode_error
from gradwire.wire.tensors import Buffer, read_array, tensor_head
from gradwire_engine.errors import RowFailure
from gradwire_engine.types import TensorType

EXECUTORS: Final = {"": 0, "reference": 1, "native": 2}
"""The numbers of the enum `Executor` of the wire contract, by the names used in code."""

_EXECUTOR_NAMES: Final = {number: name for name, number in EXECUTORS.items()}
_SECONDS: Final = struct.Struct("<BdBdBd")


RowError = RowFailure
"""A row that has no result while the others have, by the name of its message."""


class RunReport(NamedTuple):
    """How a request was run: the batch it shared, its own times in seconds, and what ran it."""

    batch_rows: int
    batch_requests: int
    queue_seconds: float
    compute_seconds: float
    prepare_seconds: float
    executor: str
    server_version: str


class Evaluated(NamedTuple):
    """The result of an evaluation; outputs are new, writable arrays."""

    outputs: list[np.ndarray]
    row_errors: tuple[RowError, ...]
    report: RunReport


class StreamAnswer(NamedTuple):
    """The answer to a stream's item: its result, why it failed, or the digest of the constant that was stored."""

    id: int
    content: Evaluated | StatusDetails | bytes


def output_head(type: TensorType) -> bytes:
    """What stands before the data of an output of this type in an EvaluateResponse."""
    nbytes = type.elements * type.dtype.itemsize
    head = tensor_head(type.dtype, type.shape, nbytes)
    return header(1, len(head) + nbytes) + head


def evaluated_parts(
    outputs: Iterable[tuple[bytes, memoryview]], row_errors: Sequence[RowError], report: RunReport
) -> list[Buffer]:
    """An EvaluateResponse in parts: `join(parts)` is the message, and the only copy of the outputs.

    Each output is its `output_head` and its data: little-endian, in C order.
    """
    parts: list[Buffer] = []
    for output in outputs:
        parts += output
    for error in row_errors:
        message = service_pb2.RowError(row=error.row, reason=error.reason, message=error.message)
        parts.append(bytes_field(2, message.SerializeToString()) or header(2, 0))
    content = _report(report)
    parts.append(header(3, len(content)) + content)
    return parts


def stream_result_parts(id: int, evaluated: Sequence[Buffer]) -> list[Buffer]:
    """An EvaluateStreamResponse in parts, from those of its EvaluateResponse."""
    return [integer_field(1, id), header(2, size_of(evaluated)), *evaluated]


def stream_error(id: int, error: bytes) -> bytes:
    """An EvaluateStreamResponse that says why an item failed; `error` is the serialized Error."""
    return integer_field(1, id) + header(3, len(error)) + error


def decode_evaluated(data: bytes, start: int = 0, end: int | None = None) -> Evaluated:
    """The EvaluateResponse in ``data[start:end]``."""
    outputs: list[np.ndarray] = []
    row_errors: list[RowError] = []
    report = service_pb2.Report()
    try:
        for number, kind, a, b in fields(data, start, len(data) if end is None else end):
            if number == 1 and kind == BYTES:
                outputs.append(read_array(data, a, b))
            elif number == 2 and kind == BYTES:
                error = service_pb2.RowError.FromString(data[a:b])
                row_errors.append(RowError(error.row, error.reason, error.message))
            elif number == 3 and kind == BYTES:
                report.MergeFromString(data[a:b])
    except DecodeError:
        raise WireError("an EvaluateResponse that does not parse") from None
    return Evaluated(
        outputs,
        tuple(row_errors),
        RunReport(
            report.batch_rows,
            report.batch_requests,
            report.queue_seconds,
            report.compute_seconds,
            report.prepare_seconds,
            _EXECUTOR_NAMES.get(report.executor, ""),
            report.server_version,
        ),
    )


def decode_stream_answer(data: bytes) -> StreamAnswer:
    """The EvaluateStreamResponse in `data`."""
    id = 0
    content: tuple[int, int, int] | None = None
    for number, kind, a, b in fields(data, 0, len(data)):
        if number == 1 and kind == VARINT:
            id = a
        elif number in (2, 3, 4) and kind == BYTES:
            content = (number, a, b)
    if content is None:
        raise WireError("an answer on a stream that is neither a result nor an error")
    number, start, end = content
    if number == 2:
        return StreamAnswer(id, decode_evaluated(data, start, end))
    try:
        if number == 3:
            return StreamAnswer(id, decode_error(data[start:end]))
        return StreamAnswer(id, service_pb2.Stored.FromString(data[start:end]).digest)
    except DecodeError:
        raise WireError("an answer on a stream that does not parse") from None


def _report(report: RunReport) -> bytes:
    """The fields of a Report in order of their numbers; the seconds stand there even where they are 0."""
    return b"".join(
        (
            integer_field(1, report.batch_rows),
            integer_field(2, report.batch_requests),
            _SECONDS.pack(
                3 << 3 | 1, report.queue_seconds, 4 << 3 | 1, report.compute_seconds, 5 << 3 | 1, report.prepare_seconds
            ),
            encoded_varint(6 << 3) + encoded_varint(EXECUTORS[report.executor]),
            bytes_field(7, report.server_version.encode()),
        )
    )
