"""Reports: how the service ran each call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from gradwire.wire.responses import RunReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How one call was run."""

    rows: int
    """Rows of the batch in which it ran, its own included."""
    requests: int
    """Requests merged in that batch, this one included."""
    queue_seconds: float
    compute_seconds: float
    """Of the whole batch."""
    prepare_seconds: float
    """0 where the service knew the program."""
    request_bytes: int
    response_bytes: int
    executor: str
    server_version: str


Collectors = tuple[list[Report], ...]

_COLLECTORS: Final[ContextVar[Collectors]] = ContextVar("gradwire_reports", default=())


def collectors() -> Collectors:
    """The lists that want the reports of calls made here."""
    return _COLLECTORS.get()


@contextmanager
def reports() -> Iterator[list[Report]]:
    """Collect the report of each call made inside, in the order in which they are answered; a list.

    Calls made by other threads inside are not seen, those by ``.submit`` and ``.map`` are.
    """
    collected: list[Report] = []
    token = _COLLECTORS.set((*_COLLECTORS.get(), collected))
    try:
        yield collected
    finally:
        _COLLECTORS.reset(token)


def collect(into: Collectors, run: RunReport, request_bytes: int, response_bytes: int) -> None:
    """Note how a call was run."""
    report = Report(
        rows=run.batch_rows,
        requests=run.batch_requests,
        queue_seconds=run.queue_seconds,
        compute_seconds=run.compute_seconds,
        prepare_seconds=run.prepare_seconds,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        executor=run.executor,
        server_version=run.server_version,
    )
    for collected in into:
        collected.append(report)
