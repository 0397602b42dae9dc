"""How the server says no: one exception, from whoever finds that a request cannot go on to the status of the call.

A refusal is raised in the front or in a child. A child packs it, and the front raises what it unpacks: the same one.
Its reason is one of the table in `rpc/status`; its message says what was got, what was expected and what to do. What
the engine and the wire refuse is an EngineError until `from_engine` translates it, in either process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from gradwire_engine.errors import EngineError, LimitError
from gradwire_server.config.option import Limit, flag
from gradwire_server.config.table import OPTIONS

INTERNAL_MESSAGE = "internal error; the server's log says more under this request id"

_PASSING: Final = frozenset({"QUEUE_FULL", "SERVER_DRAINING", "WORKER_LOST", "INTERNAL"})
_MOST_CHARACTERS: Final = 4096  # of a packed text
_MOST_LOG_CHARACTERS: Final = 16384


@dataclass(eq=False, repr=False)
class Refusal(Exception):
    """A request, or an item of a stream, that gets an error instead of an answer.

    `details` are values that belong to the reason, `violations` pairs of a path in the request and what is wrong there.
    `retry_after` is in seconds, None where trying again here does not help. `log` never reaches a client.
    """

    reason: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    violations: Sequence[tuple[str, str]] = field(default=(), kw_only=True)
    retry_after: float | None = field(default=None, kw_only=True)
    log: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        super().__init__(f"{self.reason}: {self.message}")
        self.violations = tuple([(path, what) for path, what in self.violations])

    @property
    def is_lasting(self) -> bool:
        """Whether a program that was refused so would be refused again: the refusal may be remembered."""
        return self.reason not in _PASSING

    def copy(self) -> Refusal:
        """An exception of its own for each thread that raises it."""
        return replace(self)

    def pack(self) -> list[bytes]:
        """The refusal as bytes. The end of a text of unreasonable length is lost, of a log the beginning."""
        cut = replace(
            self,
            message=self.message[:_MOST_CHARACTERS],
            violations=[(path[:_MOST_CHARACTERS], what[:_MOST_CHARACTERS]) for path, what in self.violations],
            log=self.log[-_MOST_LOG_CHARACTERS:],
        )
        return [json.dumps(asdict(cut)).encode()]

    @staticmethod
    def unpack(packed: bytes | memoryview) -> Refusal:
        """The refusal that was packed; ValueError where the bytes are none."""
        try:
            return Refusal(**json.loads(bytes(packed)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"not a refusal: {error}") from None


def over_limit(
    reason: str, what: str, limit: Limit, value: float, *, advice: str, retry_after: float | None = None
) -> Refusal:
    """A limit that a request goes over: what it asked for, the limit and the option that sets it."""
    message = f"{what}: {value:,.15g} {limit.unit}; {limit}; {advice}"
    return Refusal(reason, message, details=limit.details(value), retry_after=retry_after)


def internal(log: str = "") -> Refusal:
    """A fault of ours: fixed text for the client."""
    return Refusal("INTERNAL", INTERNAL_MESSAGE, log=log)


def draining() -> Refusal:
    """The server is about to end."""
    return Refusal("SERVER_DRAINING", "the server is shutting down; use another one")


def from_engine(error: EngineError) -> Refusal:
    """What the engine or the wire refused: its reason, its path as a violation, and its limit by the option's name."""
    details: Mapping[str, str] = {}
    if isinstance(error, LimitError):
        option = error.name.replace("-", "_")
        setting = flag(option) if option in OPTIONS else ""
        details = Limit(error.name, error.limit, error.unit, setting).details(error.value)
    if not error.path:
        return Refusal(error.reason, error.message, details=details)
    message = f"{error.path}: {error.message}"
    return Refusal(error.reason, message, details=details, violations=[(error.path, error.message)])
