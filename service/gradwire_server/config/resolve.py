"""From what somebody set to the configuration of a server on this machine.

The command line wins over the environment, and that over the default. An environment variable GRADWIRE_… that is no
option is an error that names the nearest one, apart from the client's own and from those that Kubernetes makes for a
Service of that name. On a machine with little memory, what nobody set gives way. Everything wrong is a ConfigError of
one line.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any, Final

from gradwire_server.config.option import ConfigError, Value, flag
from gradwire_server.config.table import OPTIONS, ServerConfig
from gradwire_server.config.texts import shown_bytes

PREFIX: Final = "GRADWIRE_"
MEMORY_SHARE: Final = 0.8
"""How much of the machine's memory the server plans to use."""

_OF_THE_CLIENT: Final = frozenset({"GRADWIRE_TARGET", "GRADWIRE_TOKEN"})
_OF_KUBERNETES: Final = re.compile(r"GRADWIRE_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_.*)")


def variable(name: str) -> str:
    """The option in the environment."""
    return PREFIX + name.upper()


def read_options(arguments: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Value]:
    """The options that somebody set, by field: those of the command line, and those of the environment."""
    fields = {variable(name): name for name in OPTIONS}
    values: dict[str, Value] = {}
    for key, text in sorted(environment.items()):
        if key in fields:
            values[fields[key]] = _read(fields[key], text, key)
        elif key.startswith(PREFIX) and key not in _OF_THE_CLIENT and not _OF_KUBERNETES.fullmatch(key):
            nearest = difflib.get_close_matches(key, fields, n=1, cutoff=0)[0]
            raise ConfigError(f"the environment variable {key} is not an option; the nearest one is {nearest}")
    for name, text in arguments.items():
        values[name] = _read(name, text, flag(name))
    return values


def _read(name: str, text: str, called: str) -> Value:
    try:
        return OPTIONS[name].read(text)
    except ValueError as error:
        raise ConfigError(f"{called} is {text!r}: {error}") from None


def resolve(set_options: Mapping[str, Value], *, processors: int, memory: int) -> ServerConfig:
    """The configuration of a server that may use so many processors and bytes.

    What nobody set and may scale is scaled down, all by the same factor, until everything together fits 80 % of
    `memory`. Where that is not possible, ConfigError says what is too much.
    """
    machine = {"processors": processors}
    measured = {name: machine[option.of_machine] for name, option in OPTIONS.items() if option.of_machine}
    config = _configured(ServerConfig(), {**measured, **set_options})
    counts = {name: _count(config, name) for name, option in OPTIONS.items() if option.scales}
    free = {name: getattr(config, name) for name in counts if name not in set_options}
    fixed = config.workers * config.worker_arena + sum(
        [getattr(config, name) * count for name, count in counts.items() if name not in free]
    )
    budget = int(memory * MEMORY_SHARE)
    least = fixed + sum([int(OPTIONS[name].floor) * counts[name] for name in free])
    if least > budget:
        raise ConfigError(
            f"{config.workers} workers, their arenas, the stores and what is admitted need {shown_bytes(least)}; "
            f"80 % of the {shown_bytes(memory)} that there are is {shown_bytes(budget)}; "
            f"lower {', '.join(_largest(config, set_options, counts))}"
        )
    return _configured(config, _scaled(free, counts, budget - fixed))


def _configured(config: ServerConfig, values: Mapping[str, Value]) -> ServerConfig:
    """The configuration with other values, as their own readers made them."""
    changes: dict[str, Any] = dict(values)
    return dataclasses.replace(config, **changes)


def _count(config: ServerConfig, name: str) -> int:
    """How many of an option's bytes there are."""
    times = OPTIONS[name].times
    return int(getattr(config, times)) if times else 1


def _scaled(wanted: Mapping[str, int], counts: Mapping[str, int], budget: int) -> dict[str, int]:
    """Each value times one factor of at most 1, but not below its floor, so that all together fit the budget."""
    at_floor: dict[str, int] = {}
    while True:
        rest = {name: value for name, value in wanted.items() if name not in at_floor}
        needed = sum([value * counts[name] for name, value in rest.items()])
        left = budget - sum([value * counts[name] for name, value in at_floor.items()])
        factor = min(1.0, left / needed) if needed else 1.0
        scaled = {name: int(value * factor) for name, value in rest.items()}
        too_low = {name: int(OPTIONS[name].floor) for name, value in scaled.items() if value < OPTIONS[name].floor}
        if not too_low:
            return {**at_floor, **scaled}
        at_floor.update(too_low)


def _largest(config: ServerConfig, set_options: Mapping[str, Value], counts: Mapping[str, int]) -> list[str]:
    """The options to lower, those that take most first."""
    takes = {name: getattr(config, name) * count for name, count in counts.items() if name in set_options}
    takes["workers"] = config.workers * (config.worker_arena + int(OPTIONS["worker_memory"].floor))
    return [flag(name) for name in sorted(takes, key=lambda name: -takes[name])]
