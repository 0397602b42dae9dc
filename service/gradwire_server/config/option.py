"""What an option is: one record of all that is known of it. And a limit, as errors and GetServerInfo name it.

A record belongs to a field of `table.ServerConfig`: `size`, `count`, `seconds`, `number` and `text` make the field's
default with the record beside it. Whatever else speaks of an option (the command line, the environment, the checks, the
limits that errors name, the share of a small machine's memory) reads the record.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from gradwire_server.config import texts

Value: TypeAlias = int | float | str

_KEY: Final = "option"


class ConfigError(ValueError):
    """An option that is wrong, unknown, or does not fit with the others; the message is one line."""


class Limit(NamedTuple):
    """A limit in force, as errors and GetServerInfo name it."""

    name: str
    value: float
    unit: str
    setting: str

    def details(self, value: float | None = None) -> dict[str, str]:
        """What belongs to the error of a request that asked for `value`, if that is known."""
        known = {
            "name": self.name,
            "limit": f"{self.value:.15g}",
            "unit": self.unit,
            "value": "" if value is None else f"{value:.15g}",
            "setting": self.setting,
        }
        return {key: text for key, text in known.items() if text}

    def __str__(self) -> str:
        return f"{self.name} is {self.value:,.15g} {self.unit} (set by {self.setting})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """What is known of an option besides its name and default.

    `read` makes a value of a text; `check` raises ValueError for a value that is wrong, `floor` and `ceiling` bound it.
    An option that `scales` gives way on a machine with little memory, down to its floor; `times` names the option that
    says how many of it there are, where there is more than one. The default of an option `of_machine` is what the
    machine has of that.
    """

    unit: str
    help: str
    read: Callable[[str], Value]
    check: Callable[[str], object] | None = None
    floor: float = 0
    ceiling: float = math.inf
    is_limit: bool = False
    scales: bool = False
    times: str = ""
    of_machine: str = ""

    def verify(self, name: str, value: Value) -> None:
        """Raise ConfigError where the option cannot have this value."""
        if isinstance(value, str):
            try:
                if self.check is not None:
                    self.check(value)
            except ValueError as error:
                raise ConfigError(f"{flag(name)} is {value!r}: {error}") from None
        elif value < self.floor:
            raise ConfigError(f"{flag(name)} is {value:,g}; it must be at least {self.floor:,g} {self.unit}")
        elif value > self.ceiling:
            raise ConfigError(f"{flag(name)} is {value:,g}; it must be at most {self.ceiling:,g}")

    def shown(self, default: Value) -> str:
        """The help of the option, with its default."""
        return self.help if self.of_machine else f"{self.help} [{texts.shown(default, self.unit)}]"


def size(
    default: int, help: str, *, floor: int = 1, is_limit: bool = True, scales: bool = False, times: str = ""
) -> int:
    """A field that is a number of bytes."""
    option = Option(
        unit="bytes", help=help, read=texts.read_size, floor=floor, is_limit=is_limit, scales=scales, times=times
    )
    return dataclasses.field(default=default, metadata={_KEY: option})


def count(default: int, unit: str, help: str, *, floor: int = 1, is_limit: bool = True, of_machine: str = "") -> int:
    """A field that is a whole number of something."""
    option = Option(unit=unit, help=help, read=texts.read_count, floor=floor, is_limit=is_limit, of_machine=of_machine)
    return dataclasses.field(default=default, metadata={_KEY: option})


def seconds(default: float, help: str, *, floor: float = 0.0, is_limit: bool = True) -> float:
    """A field that is a time."""
    option = Option(unit="seconds", help=help, read=texts.read_seconds, floor=floor, is_limit=is_limit)
    return dataclasses.field(default=default, metadata={_KEY: option})


def number(
    default: float, unit: str, help: str, *, floor: float, ceiling: float = math.inf, is_limit: bool = False
) -> float:
    """A field that is a number, whole or not."""
    option = Option(unit=unit, help=help, read=texts.read_number, floor=floor, ceiling=ceiling, is_limit=is_limit)
    return dataclasses.field(default=default, metadata={_KEY: option})


def text(
    default: str, help: str, *, read: Callable[[str], str] = str, check: Callable[[str], object] | None = None
) -> str:
    """A field that is a text."""
    return dataclasses.field(default=default, metadata={_KEY: Option(unit="", help=help, read=read, check=check)})


def options_of(table: type) -> Mapping[str, Option]:
    """The records of a table's fields by name, in order."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(table)}


def flag(name: str) -> str:
    """The option on the command line."""
    return f"--{name.replace('_', '-')}"
