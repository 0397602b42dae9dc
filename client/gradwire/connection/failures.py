"""From a failed RPC to the error that the caller sees: by the reason in its status, never by its text."""

from __future__ import annotations

from typing import Any, Final

from gradwire.connection.channel import grpc
from gradwire.errors import (
    GradwireError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    RowError,
    TimeLimitError,
    UnavailableError,
    UnsupportedError,
)
from gradwire.wire.status import StatusDetails, decode_status

_Code = grpc.StatusCode

MAX_STEPS_EXCEEDED: Final = "MAX_STEPS_EXCEEDED"

_BY_REASON: Final[dict[str, type[RequestError]]] = {
    "TASK_TIME_LIMIT": TimeLimitError,
    "PREPARE_TIME_LIMIT": TimeLimitError,
    "CONSTANT_NOT_FOUND": RequestError,
    "PROGRAM_NOT_FOUND": RequestError,
    "PROGRAM_QUARANTINED": InvalidRequestError,
}
_BY_CODE: Final[dict[grpc.StatusCode, type[RequestError]]] = {
    _Code.INVALID_ARGUMENT: InvalidRequestError,
    _Code.RESOURCE_EXHAUSTED: OverloadedError,
    _Code.DEADLINE_EXCEEDED: TimeLimitError,
    _Code.UNAVAILABLE: UnavailableError,
    _Code.UNIMPLEMENTED: UnsupportedError,
}


def error_of(failed: Any, target: str, timeout: float) -> GradwireError:
    """The error for a call that ended with a grpc.RpcError; `timeout` in seconds is what it was given."""
    code = failed.code() if hasattr(failed, "code") else None
    trailers = dict(failed.trailing_metadata() or ()) if hasattr(failed, "trailing_metadata") else {}
    request_id = trailers.get("x-request-id")
    details = trailers.get("grpc-status-details-bin")
    status = decode_status(details) if details is not None else None
    if status is None or not status.reason:
        return _of_grpc_itself(failed, code, request_id, target, timeout)
    if status.reason == MAX_STEPS_EXCEEDED:
        row = status.metadata.get("row", "")
        rows = (int(row),) if row.isdecimal() else ()
        return RowError(_text(status), rows=rows, reason=status.reason, request_id=request_id)
    kind = _BY_REASON.get(status.reason) or (_BY_CODE.get(code) if code is not None else None) or RequestError
    return kind(
        _text(status),
        reason=status.reason,
        request_id=request_id,
        metadata=status.metadata,
        violations=status.violations,
        retry_delay=status.retry_delay,
    )


def _text(status: StatusDetails) -> str:
    lines = [f"{status.message} [{status.reason}]"]
    lines += [f"  {path}: {violation}" for path, violation in status.violations if violation not in status.message]
    return "\n".join(lines)


def _of_grpc_itself(failed: Any, code: Any, request_id: str | None, target: str, timeout: float) -> GradwireError:
    """What gRPC says without asking the service."""
    details = (failed.details() if hasattr(failed, "details") else None) or str(failed)
    if code is _Code.DEADLINE_EXCEEDED:
        return TimeLimitError(
            f"no answer from {target} within {timeout:g} s; allow more with gw.connect(…, timeout=…)",
            reason="DEADLINE_EXCEEDED",
            request_id=request_id,
        )
    if code is _Code.UNAVAILABLE:
        return UnavailableError(
            f"no service can be reached at {target}; is `gradwire serve` running there? ({details})",
            reason="UNREACHABLE",
            request_id=request_id,
        )
    if code is _Code.RESOURCE_EXHAUSTED:
        return InvalidRequestError(
            f"a message is larger than a limit: {details}. Send fewer rows at a time (.map), or raise "
            "--max-message-bytes of the service and max_message_bytes of gw.connect",
            reason="MESSAGE_TOO_LARGE",
            request_id=request_id,
        )
    if code is _Code.UNIMPLEMENTED:
        return UnsupportedError(
            f"what answers at {target} is not this service, or an older one: {details}",
            reason="UNIMPLEMENTED",
            request_id=request_id,
        )
    name = code.name if code is not None else "UNKNOWN"
    return RequestError(f"the call to {target} failed: {details}", reason=name, request_id=request_id)
