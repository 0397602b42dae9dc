"""Refusals and failures on their way from a child process to the front: of a whole task, or of some of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradwire_engine.errors import EngineError, LimitError, RowFailure
from gradwire_server.ipc.frames import ChannelClosed, pack_parts, unpack_parts
from gradwire_server.ipc.messages import Bytes, RowError

_MESSAGE = 4096
_LOG = 16384
_FIXED = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What went wrong, as plain data; see `TaskFailed` for the fields."""

    reason: str
    message: str
    path: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    log: str = ""

    @staticmethod
    def of(error: EngineError) -> Failure:
        """What the engine refused; a limit's details are its name, value, limit and unit."""
        details = {}
        if isinstance(error, LimitError):
            details = limit_details(name=error.name, value=error.value, limit=error.limit, unit=error.unit)
        return Failure(reason=error.reason, message=error.message, path=error.path, details=details)

    @staticmethod
    def internal(log: str) -> Failure:
        """A fault of ours: the client gets a fixed text, the log gets the rest."""
        return Failure(reason="INTERNAL", message="internal error", log=log)

    def pack(self) -> list[Bytes]:
        """As a payload; texts of unreasonable length are cut."""
        texts = [self.reason, self.message[:_MESSAGE], self.path[:_MESSAGE], self.log[-_LOG:]]
        for name, value in self.details.items():
            texts += [name, value]
        return pack_parts([text.encode("utf-8", "replace") for text in texts])

    @staticmethod
    def unpack(payload: memoryview) -> Failure:
        """From a payload."""
        texts = [bytes(part).decode("utf-8", "replace") for part in unpack_parts(payload)]
        if len(texts) < _FIXED or len(texts) % 2:
            raise ChannelClosed(f"a failure of {len(texts)} texts")
        reason, message, path, log, *details = texts
        return Failure(
            reason=reason,
            message=message,
            path=path,
            log=log,
            details=dict(zip(details[::2], details[1::2], strict=True)),
        )


def pack_rows(failures: Sequence[RowFailure]) -> list[Bytes]:
    """Rows without a result as a payload: reason, message and row numbers of those that failed alike."""
    alike: dict[tuple[str, str], list[int]] = {}
    for one in failures:
        alike.setdefault((one.reason, one.message[:_MESSAGE]), []).append(one.row)
    parts: list[Bytes] = []
    for (reason, message), rows in alike.items():
        parts += [reason.encode(), message.encode("utf-8", "replace"), np.asarray(rows, dtype=np.int64).tobytes()]
    return pack_parts(parts)


def unpack_rows(payload: memoryview) -> tuple[RowError, ...]:
    """From a payload, in the order of the rows."""
    parts = unpack_parts(payload)
    if len(parts) % 3 or any(len(rows) % 8 for rows in parts[2::3]):
        raise ChannelClosed(f"failed rows of {len(parts)} parts")
    found = []
    for reason, message, rows in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        texts = bytes(reason).decode("utf-8", "replace"), bytes(message).decode("utf-8", "replace")
        numbers = np.frombuffer(rows, dtype=np.int64).tolist()
        found += [RowError(row=row, reason=texts[0], message=texts[1]) for row in numbers]
    return tuple(sorted(found, key=lambda one: one.row))


def limit_details(*, limit: float, unit: str, name: str = "", value: float | None = None) -> dict[str, str]:
    """The details of an error about a limit: `name` if an option sets it, `value` if what was needed is known."""
    known = {"name": name, "limit": f"{limit:.15g}", "unit": unit, "value": "" if value is None else f"{value:.15g}"}
    return {key: text for key, text in known.items() if text}
