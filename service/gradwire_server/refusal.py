"""How the server says no. One exception, raised wherever a request cannot go on, and turned into an answer by `status`.

The reason is one of the table in `status`; the message says what was got, what was expected and what to do. What
another package refused keeps its reason: `from_engine`, `from_preparing` and `from_task` translate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradwire_engine.errors import EngineError, LimitError
from gradwire_server.config.option import Limit, flag
from gradwire_server.config.table import OPTIONS
from gradwire_server.ipc.failures import limit_details
from gradwire_server.ipc.messages import PrepareRefused, TaskFailed

INTERNAL_MESSAGE = "internal error; the server's log says more under this request id"


class Refusal(Exception):
    """A request, or an item of a stream, that gets an error instead of an answer.

    `details` are values that belong to the reason, `violations` pairs of a path in the request and what is wrong there.
    `retry_after` is in seconds, None where trying again here does not help. `log` never reaches a client.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        details: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
        log: str = "",
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.details: Mapping[str, str] = details or {}
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.log = log

    def copy(self) -> Refusal:
        """An exception of its own for each thread that raises it."""
        return Refusal(
            self.reason,
            self.message,
            details=self.details,
            violations=self.violations,
            retry_after=self.retry_after,
            log=self.log,
        )


def over_limit(
    reason: str, what: str, limit: Limit, value: float, *, advice: str, retry_after: float | None = None
) -> Refusal:
    """A limit that a request goes over: what it asked for, the limit and the option that sets it."""
    message = f"{what}: {value:,.15g} {limit.unit}; {limit}; {advice}"
    return Refusal(reason, message, details=limit.details(value), retry_after=retry_after)


def internal(log: str = "") -> Refusal:
    """A fault of ours: fixed text for the client."""
    return Refusal("INTERNAL", INTERNAL_MESSAGE, log=log)


def from_engine(error: EngineError) -> Refusal:
    """What the engine or the wire refused."""
    details = {}
    if isinstance(error, LimitError):
        details = limit_details(name=error.name, limit=error.limit, unit=error.unit, value=error.value)
    return _translated(error.reason, error.message, error.path, details)


def from_preparing(error: PrepareRefused) -> Refusal:
    """Why a program was not prepared."""
    refusal = _translated(error.reason, error.message, error.path, error.details, error.log)
    refusal.retry_after = error.retry_after
    return refusal


def from_task(error: TaskFailed) -> Refusal:
    """Why a task has no result."""
    return _translated(error.reason, error.message, error.path, error.details, error.log)


def _translated(reason: str, message: str, path: str, details: Mapping[str, str], log: str = "") -> Refusal:
    if reason == "INTERNAL":
        return internal(log)
    known = dict(details)
    if "name" in known:
        field = known["name"].replace("-", "_")
        known["name"] = field.replace("_", "-")
        if field in OPTIONS:
            known["setting"] = flag(field)
    violations = [(path, message)] if path else []
    text = f"{path}: {message}" if path else message
    return Refusal(reason, text, details=known, violations=violations, log=log)
