"""What each refusal is on the wire: its gRPC code, whether to try again, and the google.rpc.Status that says so.

This is the only module that names gRPC's codes. gRPC retries by code alone, so an answer with a code that clients
retry, but which must not be retried, carries the pushback -1. Texts are bounded, because gRPC drops a status whose
metadata are too large: a message has at most 1,024 characters, and there are at most 20 violations.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from gradwire.wire.status import MAX_MESSAGE_CHARACTERS, MAX_VIOLATIONS, StatusDetails
from gradwire_server.refusal import Refusal, internal

DOMAIN: Final = "gradwire"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
REQUEST_ID_KEY: Final = "x-request-id"

_Code = grpc.StatusCode
_RETRIED_BY_CLIENTS: Final = (_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED)
_MAX_MESSAGE_BYTES: Final = 1200  # in the header of its own every byte that is not ASCII takes three
_MAX_DETAILS_BYTES: Final = 3000


class Retry(enum.Enum):
    """Whether the same request may succeed when it is sent again."""

    NEVER = "never"
    LATER = "later"  # here, after the delay that the answer names
    ELSEWHERE = "elsewhere"  # another replica, or here once it has started


REASONS: Final = {
    "MALFORMED_REQUEST": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "INVALID_GRAPH": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "INPUT_MISMATCH": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "PROGRAM_TOO_EXPENSIVE": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "RESPONSE_TOO_LARGE": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "PROGRAM_HASH_MISMATCH": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "CONSTANT_HASH_MISMATCH": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "MAX_STEPS_EXCEEDED": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "EXPLAIN_TOO_LARGE": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "DUPLICATE_STREAM_ID": (_Code.INVALID_ARGUMENT, Retry.NEVER),
    "PROGRAM_NOT_FOUND": (_Code.NOT_FOUND, Retry.NEVER),
    "CONSTANT_NOT_FOUND": (_Code.NOT_FOUND, Retry.NEVER),
    "SERVICE_NOT_FOUND": (_Code.NOT_FOUND, Retry.NEVER),
    "QUEUE_FULL": (_Code.RESOURCE_EXHAUSTED, Retry.LATER),
    "QUOTA_EXCEEDED": (_Code.RESOURCE_EXHAUSTED, Retry.LATER),
    "TASK_TIME_LIMIT": (_Code.RESOURCE_EXHAUSTED, Retry.NEVER),
    "TASK_MEMORY_LIMIT": (_Code.RESOURCE_EXHAUSTED, Retry.NEVER),
    "PREPARE_TIME_LIMIT": (_Code.RESOURCE_EXHAUSTED, Retry.NEVER),
    "PREPARE_MEMORY_LIMIT": (_Code.RESOURCE_EXHAUSTED, Retry.NEVER),
    "DEADLINE_INFEASIBLE": (_Code.DEADLINE_EXCEEDED, Retry.NEVER),
    "EXPIRED_IN_QUEUE": (_Code.DEADLINE_EXCEEDED, Retry.NEVER),
    "EXPIRED_WHILE_PREPARING": (_Code.DEADLINE_EXCEEDED, Retry.NEVER),
    "EXPIRED_WHILE_RUNNING": (_Code.DEADLINE_EXCEEDED, Retry.NEVER),
    "SERVER_STARTING": (_Code.UNAVAILABLE, Retry.ELSEWHERE),
    "SERVER_DRAINING": (_Code.UNAVAILABLE, Retry.ELSEWHERE),
    "WORKER_LOST": (_Code.UNAVAILABLE, Retry.NEVER),
    "PROGRAM_QUARANTINED": (_Code.FAILED_PRECONDITION, Retry.NEVER),
    "UNAUTHENTICATED": (_Code.UNAUTHENTICATED, Retry.NEVER),
    "UNSUPPORTED_OP": (_Code.UNIMPLEMENTED, Retry.NEVER),
    "UNSUPPORTED_OPSET": (_Code.UNIMPLEMENTED, Retry.NEVER),
    "UNSUPPORTED_EXECUTOR": (_Code.UNIMPLEMENTED, Retry.NEVER),
    "UNSUPPORTED_BLOB": (_Code.UNIMPLEMENTED, Retry.NEVER),
    "TOO_MANY_WATCHES": (_Code.UNIMPLEMENTED, Retry.NEVER),
    "CANCELLED": (_Code.CANCELLED, Retry.NEVER),
    "INTERNAL": (_Code.INTERNAL, Retry.NEVER),
}
"""Every reason that an answer may carry."""


@dataclass(frozen=True)
class RpcStatus(grpc.Status):
    """How a call ends: what `ServicerContext.abort_with_status` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


UNKNOWN_METHOD: Final = _Code.UNIMPLEMENTED.name
"""The code that gRPC itself gives to a call of a method that does not exist."""

OK: Final = _Code.OK.name
"""The code of a call that ended well."""


def code_name(reason: str) -> str:
    """The gRPC code of a reason as text, for metrics and logs."""
    return _known(reason)[0].name


def name_of(code: grpc.StatusCode | None) -> str:
    """The name of a code that a handler set, "OK" for none."""
    return OK if code is None else code.name


def status_details(refusal: Refusal) -> StatusDetails:
    """What a client learns of the refusal, within the bounds on texts."""
    code, retry = _known(refusal.reason)
    if refusal.reason not in REASONS:
        refusal = internal()
    return StatusDetails(
        code=code.value[0],
        message=_cut(refusal.message, MAX_MESSAGE_CHARACTERS, _MAX_MESSAGE_BYTES),
        reason=refusal.reason,
        domain=DOMAIN,
        metadata={name: _cut(value, 1400, 1400) for name, value in refusal.details.items()},
        violations=_bounded(refusal.violations),
        retry_delay=refusal.retry_after if retry is Retry.LATER else None,
    )


def rpc_status(refusal: Refusal, request_id: str) -> RpcStatus:
    """The refusal as the end of a call: code, text, and trailing metadata with the google.rpc.Status."""
    details = status_details(refusal)
    code, retry = _known(refusal.reason)
    trailers: list[tuple[str, str | bytes]] = [(REQUEST_ID_KEY, request_id), (_DETAILS_KEY, encode_status(details))]
    if details.retry_delay is not None:
        trailers.append((_PUSHBACK_KEY, str(max(0, round(details.retry_delay * 1000)))))
    elif retry is Retry.NEVER and code in _RETRIED_BY_CLIENTS:
        trailers.append((_PUSHBACK_KEY, "-1"))
    return RpcStatus(code, details.message, tuple(trailers))


def encode_status(details: StatusDetails) -> bytes:
    """A serialized google.rpc.Status."""
    info = error_details_pb2.ErrorInfo(reason=details.reason, domain=details.domain, metadata=details.metadata)
    packed = [_packed(info)]
    if details.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=path, description=what)
            for path, what in details.violations
        ]
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if details.retry_delay is not None:
        delay = Duration()
        delay.FromNanoseconds(round(details.retry_delay * 1e9))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(code=details.code, message=details.message, details=packed)
    return bytes(status.SerializeToString())


def _packed(detail: object) -> Any:
    wrapped = Any()
    wrapped.Pack(detail)  # type: ignore[arg-type]  # googleapis' messages have no types
    return wrapped


def _known(reason: str) -> tuple[grpc.StatusCode, Retry]:
    return REASONS.get(reason, REASONS["INTERNAL"])


def _bounded(violations: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """At most 20 violations and so many bytes; the last one says how many more there are."""
    kept: list[tuple[str, str]] = []
    room = _MAX_DETAILS_BYTES
    for index, (path, what) in enumerate(violations):
        violation = _cut(path, 300, 400), _cut(what, 300, 600)
        room -= sum([len(text.encode("utf-8", "replace")) for text in violation])
        if room < 0 or (len(kept) == MAX_VIOLATIONS - 1 and index < len(violations) - 1):
            kept.append(("", f"+{len(violations) - index} more"))
            break
        kept.append(violation)
    return tuple(kept)


def _cut(text: str, characters: int, nbytes: int) -> str:
    """The text, or its beginning and an ellipsis: at most so many characters, and so many bytes in UTF-8."""
    encoded = text.encode("utf-8", "replace")
    if len(text) <= characters and len(encoded) <= nbytes:
        return encoded.decode("utf-8")
    shorter = encoded[: nbytes - 3].decode("utf-8", "ignore")
    return shorter[: characters - 1] + "…"
