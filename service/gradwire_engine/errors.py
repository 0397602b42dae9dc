"""What the engine refuses, and how it says so.

    EngineError                 everything the engine raises on purpose
    ├── GraphError              a graph, program or argument that cannot be right       INVALID_GRAPH
    ├── UnsupportedError        an op, or opset, that this engine does not know         UNSUPPORTED_OP (or _OPSET)
    ├── LimitError              a graph that is right but larger than a limit allows    PROGRAM_TOO_EXPENSIVE
    └── RowFailed               an evaluation that has no result for a row              MAX_STEPS_EXCEEDED

`reason` is stable and meant for programs; the message is meant for people and says what was got, what was expected and
what to do. `path` names the part of the program at fault, for example ``graph.nodes[17].operands[0]``.

`RowFailure` is no error but data: a batch goes on without the rows that have no result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

_MOST_CHARACTERS: Final = 4096  # of a packed message


class EngineError(Exception):
    """Base of all deliberate refusals; `reason`, `path` and a message for people."""

    reason = "INVALID_GRAPH"

    def __init__(self, message: str, *, path: str = "", reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        if reason is not None:
            self.reason = reason

    def at(self, path: str) -> EngineError:
        """Say where: puts `path` before what is already known; returns the same error."""
        self.path = f"{path}.{self.path}" if self.path else path
        return self


class GraphError(EngineError):
    """A graph, transform or argument that cannot be right."""


class UnsupportedError(EngineError):
    """An operation, attribute or opset that this engine does not know."""

    reason = "UNSUPPORTED_OP"


class RowFailed(EngineError):
    """An evaluation that was asked for all rows and has no result for one."""

    reason = "MAX_STEPS_EXCEEDED"


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row of a batch that has no result, and why. Executors, processes and the wire all speak of it in this form."""

    row: int
    reason: str
    message: str

    @staticmethod
    def pack_all(failures: Sequence[RowFailure]) -> bytes:
        """Failures as bytes, together where they differ in the row only; the end of an unreasonable message is lost."""
        alike: dict[tuple[str, str], list[int]] = {}
        for failure in failures:
            alike.setdefault((failure.reason, failure.message[:_MOST_CHARACTERS]), []).append(failure.row)
        return json.dumps([(*why, rows) for why, rows in alike.items()]).encode()

    @staticmethod
    def unpack_all(packed: bytes | memoryview) -> tuple[RowFailure, ...]:
        """The failures that were packed, in the order of their rows; ValueError where the bytes are none."""
        alike = json.loads(bytes(packed))
        failures = [RowFailure(row, reason, message) for reason, message, rows in alike for row in rows]
        return tuple(sorted(failures, key=attrgetter("row")))


class LimitError(EngineError):
    """A program that is valid but exceeds a limit; carries the limit's name, value, unit and what was found."""

    reason = "PROGRAM_TOO_EXPENSIVE"

    def __init__(self, what: str, *, value: float, limit: float, unit: str, name: str, path: str = "") -> None:
        super().__init__(f"{what}: {value:,.0f} {unit}; the limit {name} is {limit:,.0f} {unit}", path=path)
        self.value = value
        self.limit = limit
        self.unit = unit
        self.name = name
