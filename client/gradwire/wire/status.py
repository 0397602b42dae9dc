"""Why a call or an item of a stream failed: google.rpc.Status, and the same content as our own Error message.

The status is read by hand because the SDK does without googleapis' packages: three small messages with numbers that
never change. What does not parse gives a status without details, never an exception: it is read on the way to an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gradwire.v1 import service_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.fields import BYTES, VARINT, fields, signed

MAX_MESSAGE_CHARACTERS: Final = 1024
"""Longer messages are cut: gRPC drops statuses that do not fit its metadata."""

MAX_VIOLATIONS: Final = 20
"""More violations are summed up in one line."""

_TYPES: Final = "type.googleapis.com/google.rpc."
_CODE, _MESSAGE, _DETAILS = 1, 2, 3
"""The fields of google.rpc.Status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusDetails:
    """A failure: google.rpc.Code as a number, the stable reason ("" without one), and what belongs to it.

    `violations` are pairs of a field's path and what is wrong with it. `retry_delay` is in seconds, None where trying
    again does not help or nothing was said.
    """

    code: int
    message: str
    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_delay: float | None = None


def decode_status(data: bytes) -> StatusDetails:
    """The serialized google.rpc.Status in `data` (the trailer ``grpc-status-details-bin``)."""
    code = 0
    message = ""
    details: list[tuple[int, int]] = []
    try:
        for number, kind, a, b in fields(data, 0, len(data)):
            if number == _CODE and kind == VARINT:
                code = signed(a)
            elif number == _MESSAGE and kind == BYTES:
                message = _text(data, a, b)
            elif number == _DETAILS and kind == BYTES:
                details.append((a, b))
        status = StatusDetails(code=code, message=message)
        for start, end in details:
            status = _with_detail(status, data, start, end)
        return status
    except WireError:
        return StatusDetails(code=code, message=message)


def encode_error(details: StatusDetails) -> bytes:
    """The serialized Error message of a stream's answer."""
    error = service_pb2.Error(
        code=details.code,
        reason=details.reason,
        message=details.message,
        metadata=details.metadata,
        violations=[service_pb2.FieldViolation(field=path, description=what) for path, what in details.violations],
    )
    if details.retry_delay is not None:
        error.retry_delay.FromNanoseconds(round(details.retry_delay * 1e9))
    return error.SerializeToString()


def decode_error(data: bytes) -> StatusDetails:
    """The serialized Error message in `data`; google.protobuf's DecodeError where it does not parse."""
    error = service_pb2.Error.FromString(data)
    delay = error.retry_delay
    return StatusDetails(
        code=error.code,
        message=error.message,
        reason=error.reason,
        domain="gradwire" if error.reason else "",
        metadata=dict(error.metadata),
        violations=tuple([(violation.field, violation.description) for violation in error.violations]),
        retry_delay=delay.seconds + delay.nanos * 1e-9 if error.HasField("retry_delay") else None,
    )


def _with_detail(status: StatusDetails, data: bytes, start: int, end: int) -> StatusDetails:
    """The status with what one google.protobuf.Any of it says."""
    type_url = ""
    first = last = start
    for number, kind, a, b in fields(data, start, end):
        if number == 1 and kind == BYTES:
            type_url = _text(data, a, b)
        elif number == 2 and kind == BYTES:
            first, last = a, b
    if type_url == _TYPES + "ErrorInfo":
        return _with_error_info(status, data, first, last)
    if type_url == _TYPES + "BadRequest":
        return replace(status, violations=tuple([_pair(data, a, b) for a, b in _messages(data, first, last)]))
    if type_url == _TYPES + "RetryInfo":
        return replace(status, retry_delay=sum([_seconds(data, a, b) for a, b in _messages(data, first, last)]))
    return status


def _messages(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Where the messages in field 1 stand: what a BadRequest or a RetryInfo holds."""
    return [(a, b) for number, kind, a, b in fields(data, start, end) if number == 1 and kind == BYTES]


def _with_error_info(status: StatusDetails, data: bytes, start: int, end: int) -> StatusDetails:
    reason = domain = ""
    metadata: dict[str, str] = {}
    for number, kind, a, b in fields(data, start, end):
        if kind != BYTES:
            continue
        if number == 1:
            reason = _text(data, a, b)
        elif number == 2:
            domain = _text(data, a, b)
        elif number == 3:
            key, value = _pair(data, a, b)
            metadata[key] = value
    return replace(status, reason=reason, domain=domain, metadata=metadata)


def _pair(data: bytes, start: int, end: int) -> tuple[str, str]:
    """Fields 1 and 2 as text: an entry of a map, or a FieldViolation."""
    texts = {1: "", 2: ""}
    for number, kind, a, b in fields(data, start, end):
        if number in texts and kind == BYTES:
            texts[number] = _text(data, a, b)
    return texts[1], texts[2]


def _seconds(data: bytes, start: int, end: int) -> float:
    """A google.protobuf.Duration."""
    parts = {1: 0, 2: 0}
    for number, kind, a, _ in fields(data, start, end):
        if number in parts and kind == VARINT:
            parts[number] = signed(a)
    return parts[1] + parts[2] * 1e-9


def _text(data: bytes, start: int, end: int) -> str:
    return data[start:end].decode("utf-8", errors="replace")
