"""Every option of the server, in one table: its name, default, unit, help and how it is read.

A field of `ServerConfig` is an option: `max_queued_requests` is ``--max-queued-requests`` on the command line and
``GRADWIRE_MAX_QUEUED_REQUESTS`` in the environment; the command line wins over the environment, and that over the
default. Errors and `GetServerInfo` call limits by the option's name. Sizes are "64MiB" or a number of bytes, times
"500ms", "30s", "2m" or a number of seconds.

An environment variable GRADWIRE_… that is no option is an error that names the nearest one, apart from the client's own
and from those that Kubernetes makes for a Service of that name. Everything wrong is a ConfigError of one line.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

PREFIX = "GRADWIRE_"
_OF_THE_CLIENT = frozenset({"GRADWIRE_TARGET", "GRADWIRE_TOKEN"})
_OF_KUBERNETES = re.compile(r"GRADWIRE_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_.*)")

MIB = 1 << 20
GIB = 1 << 30


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
    """What is known of an option besides its name and default. `floor` is the least value; for those that `scale`, also
    the least value down to which they are scaled."""

    unit: str
    help: str
    read: Callable[[str], Any]
    floor: float = 0
    is_limit: bool = False
    scales: bool = False


def _size(default: int | None, help: str, *, floor: int = 1, scales: bool = False) -> Any:
    read = Option(unit="bytes", help=help, read=read_size, floor=floor, is_limit=True, scales=scales)
    return dataclasses.field(default=default, metadata={"option": read})


def _count(default: int | None, unit: str, help: str, *, floor: int = 1, is_limit: bool = True) -> Any:
    read = Option(unit=unit, help=help, read=read_count, floor=floor, is_limit=is_limit)
    return dataclasses.field(default=default, metadata={"option": read})


def _time(default: float, help: str, *, floor: float = 0.0, is_limit: bool = True) -> Any:
    read = Option(unit="seconds", help=help, read=read_seconds, floor=floor, is_limit=is_limit)
    return dataclasses.field(default=default, metadata={"option": read})


def _number(default: float, unit: str, help: str, *, floor: float = 0.0, is_limit: bool = False) -> Any:
    read = Option(unit=unit, help=help, read=read_number, floor=floor, is_limit=is_limit)
    return dataclasses.field(default=default, metadata={"option": read})


def _text(default: str, help: str, read: Callable[[str], str] = str) -> Any:
    return dataclasses.field(default=default, metadata={"option": Option(unit="", help=help, read=read)})


def read_size(text: str) -> int:
    """Bytes: "1048576", "64MiB", "2G" (of 1,024)."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])i?)?B?\s*", text, re.IGNORECASE)
    if not found:
        raise ValueError("expected a size such as 64MiB or 1048576")
    factor = 1 << 10 * (" KMGT".index(found[2].upper()) if found[2] else 0)
    return int(float(found[1]) * factor)


def read_seconds(text: str) -> float:
    """Seconds: "1.5", "30s", "500ms", "2m", "1h"."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|)\s*", text)
    if not found:
        raise ValueError("expected a time such as 30s, 500ms or 2m")
    return float(found[1]) * {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def read_count(text: str) -> int:
    """A whole number, perhaps with thousands separators."""
    if not re.fullmatch(r"\s*[0-9][0-9_,]*\s*", text):
        raise ValueError("expected a whole number")
    return int(text.replace(",", "").replace("_", ""))


def read_number(text: str) -> float:
    """A finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def read_level(text: str) -> str:
    """A level of the log."""
    levels = ("debug", "info", "warning", "error")
    if text.lower() not in levels:
        raise ValueError(f"expected one of {', '.join(levels)}")
    return text.lower()


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The server's options. Immutable; sizes in bytes, times in seconds."""

    listen: str = _text("0.0.0.0:50051", "where to serve gRPC: HOST:PORT (port 0: any free one) or unix:PATH")
    http_listen: str = _text("0.0.0.0:9464", "where to serve metrics and probes over HTTP: HOST:PORT; empty: nowhere")
    workers: int = _count(1, "workers", "worker processes; default: the processors of the cgroup")
    log_level: str = _text("info", "debug, info, warning or error", read_level)

    max_message_bytes: int = _size(64 * MIB, "the largest message, both ways", floor=64 << 10)
    max_program_bytes: int = _size(8 * MIB, "the largest serialized program")
    max_program_nodes: int = _count(200_000, "nodes", "nodes of a program, after its transforms")
    max_rank: int = _count(16, "axes", "axes of a tensor")
    max_nesting: int = _count(32, "levels", "how deep subgraphs may nest", floor=0)
    max_transforms: int = _count(64, "transforms", "transforms of a program", floor=0)

    snapshot_bytes: int = _size(
        64 * MIB, "carries that the loops of one example keep for reverse mode, where the program does not say", floor=1
    )

    prepare_timeout: float = _time(30.0, "preparing one program", floor=0.01)
    prepare_memory: int = _size(2 * GIB, "memory for preparing one program", floor=128 * MIB, scales=True)
    preparers: int = _count(2, "processes", "programs prepared at once")
    waiting_programs: int = _count(64, "programs", "programs that wait to be prepared")
    waiting_requests: int = _count(256, "requests", "requests that wait for programs to be prepared")
    refusal_seconds: float = _time(60.0, "how long the refusal of a program is remembered")

    task_timeout: float = _time(30.0, "one task on a worker", floor=0.01)
    worker_memory: int = _size(2 * GIB, "memory of each worker for a task", floor=64 * MIB, scales=True)
    max_request_flops: float = _number(
        1e13, "floating-point operations", "bound on the operations of one request", floor=1, is_limit=True
    )
    max_explain_values: int = _count(1000, "values", "values in the trace table of an Explain")

    max_admitted_bytes: int = _size(512 * MIB, "tensors admitted and not yet answered", floor=16 * MIB, scales=True)
    max_queued_requests: int = _count(1000, "requests", "requests queued")
    max_queued_seconds: float = _time(2.0, "predicted seconds of work queued, per worker", floor=0.001)
    default_timeout: float = _time(60.0, "requests without a deadline", floor=0.01)
    max_streams: int = _count(64, "streams", "EvaluateStream calls open at once")
    max_stream_items: int = _count(64, "items", "unanswered items of a stream")
    max_stream_bytes: int = _size(64 * MIB, "unanswered items of a stream", floor=1)

    constant_store_bytes: int = _size(1 * GIB, "constants kept for clients", floor=16 * MIB, scales=True)
    max_constants: int = _count(2000, "constants", "constants kept for clients")
    program_store_bytes: int = _size(128 * MIB, "prepared programs kept", floor=8 * MIB, scales=True)
    max_programs: int = _count(1000, "programs", "prepared programs kept")
    tenant_share: float = _number(
        0.5, "of each store", "how much of the stores one tenant may fill", floor=0.01, is_limit=True
    )

    max_queue_delay: float = _time(0.0, "how long a request may wait for others to share its batch")
    max_batch_bytes: int = _size(64 * MIB, "inputs and outputs of a batch of several requests")
    max_batch_seconds: float = _time(0.1, "predicted seconds of a batch of several requests")
    short_seconds: float = _time(0.05, "predicted seconds below which work counts as short", is_limit=False)
    flops_per_second: float = _number(
        1e9, "operations per second", "what a worker is expected to do until measured", floor=1
    )

    drain_timeout: float = _time(40.0, "how long running and queued work may take after SIGTERM")
    max_connection_age: float = _time(600.0, "after which clients are asked to connect anew", floor=1)

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if isinstance(value, (int, float)) and value < option.floor:
                raise ConfigError(f"{flag(name)} is {value:,g}; it must be at least {option.floor:,g} {option.unit}")
        if self.tenant_share > 1:
            raise ConfigError(f"--tenant-share is {self.tenant_share:g}; it must be at most 1")

    def limit(self, name: str) -> Limit:
        """A limit by the name of its field."""
        return Limit(name.replace("_", "-"), getattr(self, name), OPTIONS[name].unit, flag(name))

    def limits(self) -> list[Limit]:
        """Every limit, in the order of the table."""
        return [self.limit(name) for name, option in OPTIONS.items() if option.is_limit]

    @property
    def worker_arena(self) -> int:
        """Bytes for a task's inputs and outputs: a message each way, or a batch, and what alignment costs."""
        return max(self.max_batch_bytes, 2 * self.max_message_bytes) + 2 * MIB


def _options() -> dict[str, Option]:
    return {one.name: one.metadata["option"] for one in dataclasses.fields(ServerConfig)}


OPTIONS = _options()
"""By the name of the field, in order."""


def flag(name: str) -> str:
    """The option on the command line."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """The option in the environment."""
    return PREFIX + name.upper()


def shown_value(value: object, unit: str) -> str:
    """A value as people write it."""
    if unit == "bytes" and isinstance(value, int) and value % MIB == 0:
        return f"{value // MIB}MiB"
    number = f"{value:,g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return f"{number} {unit}" if unit else number or "none"


def read_options(given: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The options that somebody set, by field: those `given` as text, and those of the environment."""
    names = {variable(name): name for name in OPTIONS}
    found: dict[str, Any] = {}
    for key, text in sorted(environment.items()):
        if key in names:
            found[names[key]] = _read(names[key], text, key)
        elif key.startswith(PREFIX) and key not in _OF_THE_CLIENT and not _OF_KUBERNETES.fullmatch(key):
            nearest = difflib.get_close_matches(key, names, n=1, cutoff=0)[0]
            raise ConfigError(f"the environment variable {key} is not an option; the nearest one is {nearest}")
    for name, text in given.items():
        found[name] = _read(name, text, flag(name))
    return found


def _read(name: str, text: str, called: str) -> Any:
    try:
        return OPTIONS[name].read(text)
    except ValueError as error:
        raise ConfigError(f"{called} is {text!r}: {error}") from None


def resolve(set_options: Mapping[str, Any], *, processors: int, memory: int) -> ServerConfig:
    """The configuration of a server that may use so many processors and bytes.

    `workers` that nobody set is the number of processors. What may `scale` and nobody set is scaled down, all by the
    same factor, until everything together fits 80 % of `memory`; where that is not possible, ConfigError says what is
    too much.
    """
    config = ServerConfig(**{"workers": processors, **set_options})
    budget = int(memory * 0.8)
    times = {"worker_memory": config.workers, "prepare_memory": config.preparers}
    scalable = {name: times.get(name, 1) for name, option in OPTIONS.items() if option.scales}
    free = [name for name in scalable if name not in set_options]
    fixed = config.workers * config.worker_arena + sum(
        getattr(config, name) * count for name, count in scalable.items() if name not in free
    )
    wanted = {name: getattr(config, name) for name in free}
    least = fixed + sum(int(OPTIONS[name].floor) * scalable[name] for name in free)
    if least > budget:
        lower = ", ".join(_largest(config, set_options, scalable))
        raise ConfigError(
            f"{config.workers} workers, their arenas, the stores and what is admitted need {_mib(least)}; "
            f"80 % of the {_mib(memory)} that there are is {_mib(budget)}; lower {lower}"
        )
    scaled: dict[str, Any] = dict(_scaled(wanted, scalable, budget - fixed))
    return dataclasses.replace(config, **scaled)


def _scaled(wanted: Mapping[str, int], times: Mapping[str, int], budget: int) -> dict[str, int]:
    """Each value times one factor of at most 1, but not below its floor, so that all together fit the budget."""
    held: dict[str, int] = {}
    while True:
        rest = {name: value for name, value in wanted.items() if name not in held}
        needed = sum(value * times[name] for name, value in rest.items())
        left = budget - sum(value * times[name] for name, value in held.items())
        factor = min(1.0, left / needed) if needed else 1.0
        scaled = {name: int(value * factor) for name, value in rest.items()}
        low = {name: int(OPTIONS[name].floor) for name, value in scaled.items() if value < OPTIONS[name].floor}
        if not low:
            return {**held, **scaled}
        held.update(low)


def _largest(config: ServerConfig, set_options: Mapping[str, Any], times: Mapping[str, int]) -> list[str]:
    """The options to lower, those that take most first."""
    takes = {name: getattr(config, name) * count for name, count in times.items() if name in set_options}
    takes["workers"] = config.workers * (config.worker_arena + int(OPTIONS["worker_memory"].floor))
    return [flag(name) for name in sorted(takes, key=lambda name: -takes[name])]


def _mib(nbytes: int) -> str:
    return f"{nbytes / MIB:,.0f} MiB"
