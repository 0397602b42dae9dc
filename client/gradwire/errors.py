"""What the SDK raises.

    GradwireError                   all of them; `reason` is stable, the message is for people
    ├── TracingError (TypeError)    code that cannot be traced or differentiated; says what to write instead
    │   └── ShapeError (ValueError) shapes or values that numpy would refuse too
    ├── CheckError                  check_grads found a derivative that is wrong             (an AssertionError)
    ├── ServiceError                no service can be reached or started                     (a ConnectionError)
    └── RequestError                the service's answer is an error; `reason` as in the table of serving
        ├── InvalidRequestError     what was sent is wrong, too large or too expensive       (a ValueError)
        ├── UnsupportedError        an op or opset that the server does not know
        ├── OverloadedError         full, or over a quota: try again; `retry_delay` in seconds
        ├── TimeLimitError          a deadline or a limit on time                            (a TimeoutError)
        ├── UnavailableError        starting, draining, gone                                 (a ConnectionError)
        └── RowError                rows that have no result; `rows`, and `result` of the others

`request_id` is the server's, as it stands in its logs; None where no server answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GradwireError(Exception):
    """Base of everything that Gradwire raises on purpose.

    `reason` is a stable name, `request_id` the server's id of the request, or None.
    """

    reason: str = "ERROR"
    request_id: str | None = None

    def __init__(self, message: str, *, reason: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        if request_id is not None:
            self.request_id = request_id


class TracingError(GradwireError, TypeError):
    """Code that cannot be traced or differentiated, or arguments of a wrong type."""

    reason = "UNTRACEABLE"


class ShapeError(TracingError, ValueError):
    """Shapes, axes or values that do not fit; numpy would refuse them too."""

    reason = "SHAPE_MISMATCH"


class OutOfRangeError(ShapeError, IndexError):
    """An index beyond the end."""

    reason = "INDEX_OUT_OF_RANGE"


class CheckError(GradwireError, AssertionError):
    """A derivative that does not agree with differences, or forward mode with reverse; the message has the numbers."""

    reason = "WRONG_DERIVATIVE"


class ServiceError(GradwireError, ConnectionError):
    """No service: the private one cannot start, or a channel cannot be used here."""

    reason = "NO_SERVICE"


class RequestError(GradwireError):
    """The service answered with an error; `metadata` and `violations` are what it said about it."""

    reason = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: tuple[tuple[str, str], ...] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, request_id=request_id)
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_delay = retry_delay


class InvalidRequestError(RequestError, ValueError):
    """What was sent is wrong, too large or too expensive; sending it again does not help."""


class UnsupportedError(RequestError):
    """An operation, opset or executor that the server does not know: it is older than the client."""


class OverloadedError(RequestError):
    """The server is full, or a limit on memory or a quota was reached; `retry_delay` says when to try again."""


class TimeLimitError(RequestError, TimeoutError):
    """A deadline that passed or cannot be met, or a limit on time."""


class UnavailableError(RequestError, ConnectionError):
    """The server is starting, draining, gone, or lost a worker."""


class RowError(RequestError):
    """Rows of a batch that have no result; `rows` lists them, the message says why.

    `result` is that of the call all the same, with NaN (0 for integers) in these rows; None where all rows are summed.
    """

    def __init__(
        self, message: str, *, rows: tuple[int, ...], reason: str, request_id: str | None = None, result: Any = None
    ) -> None:
        super().__init__(message, reason=reason, request_id=request_id)
        self.rows = rows
        self.result = result
