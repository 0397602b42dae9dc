"""What a case of the recording is, and what comes of it: the calls it makes, and what the SDK makes of the answers.

A case is a program for the SDK, which calls `gradwire` functions as a user would, or a list of requests as any client
could send them. Its outcome is text: every number exactly, every error with all that it says. Places in files have no
folders and line numbers, so that a case may move.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

import numpy as np
from tests.recorded.exchanges import Sent

import gradwire as gw

_LONGEST: Final = 3
"""Numbers of an array that are written out; longer ones are told by their digest."""

_PLACE: Final = re.compile(r"""(?:[^\s'"(]*/)?(\w+\.py)(?::\d+)?""")


@dataclass(frozen=True)
class Case:
    """One entry of the recording: a program for the SDK, or else the requests of another client."""

    name: str
    program: Callable[..., Any] | None = None
    requests: tuple[Sent, ...] = ()
    connect: Mapping[str, Any] = field(default_factory=dict)
    """Options of `gw.connect`."""
    takes_client: bool = False
    """The program is called with the client."""
    any_order: bool = False
    """Calls do not depend on each other: several may be under way at the same time, and come in any order."""


def programs(found: Mapping[str, Callable[[], Any]], **options: Any) -> list[Case]:
    """Cases for the SDK."""
    return [Case(name, program, **options) for name, program in found.items()]


def environment() -> dict[str, str]:
    """This process's environment without settings of Gradwire's, and with what makes printed text the same anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRADWIRE_", "GRPC_"))}
    return {**kept, "COLUMNS": "120", "NO_COLOR": "1"}


def outcome(case: Case, target: str) -> list[str]:
    """What a program gives when it is run with a client of its own."""
    assert case.program is not None
    with mock.patch.dict(os.environ, environment(), clear=True), gw.connect(target, **case.connect) as client:
        try:
            lines = list(described(case.program(*[client] * case.takes_client)))
        except Exception as error:
            lines = list(_raised(error))
    return [_PLACE.sub(r"\1", line).replace(target, "TARGET").replace(gw.__version__, "VERSION") for line in lines]


def described(value: Any, path: str = "") -> Iterator[str]:
    """A value as text, one leaf a line."""
    if isinstance(value, gw.TraceTable):
        # columns are as wide as line numbers make them
        yield from described(re.sub(r"([ -])\1{2,}", r"\1\1", str(value)), path)
    elif isinstance(value, gw.Graph):
        yield from described((str(value), repr(value)), path)
    elif dataclasses.is_dataclass(value):
        yield f"{path or 'result'}: {type(value).__name__}"
        for one in dataclasses.fields(value):
            yield from described(getattr(value, one.name), f"{path}.{one.name}")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield f"{path or 'result'}: {type(value).__name__}"
        for name in value._fields:
            yield from described(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, (tuple, list)):
        yield f"{path or 'result'}: {type(value).__name__} of {len(value)}"
        for index, one in enumerate(value):
            yield from described(one, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield f"{path or 'result'}: {type(value).__name__} of {len(value)}"
        for key, one in value.items():
            yield from described(one, f"{path}[{key!r}]")
    elif isinstance(value, (np.ndarray, np.generic)):
        yield f"{path or 'result'}: {_array(value)}"
    elif isinstance(value, str) and "\n" in value:
        yield f"{path or 'result'}: text"
        yield from [f"  {line}" for line in value.splitlines()]
    elif isinstance(value, Exception):
        yield from _raised(value, path)
    else:
        yield f"{path or 'result'}: {type(value).__name__} {value!r}"


def _array(value: Any) -> str:
    kind = f"{value.dtype}{list(value.shape) if isinstance(value, np.ndarray) else ''}"
    if value.size > _LONGEST:
        return f"{kind} #{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:8]}"
    return " ".join([kind, *[repr(one) for one in np.ravel(value).tolist()]])


def _raised(error: Exception, path: str = "raised") -> Iterator[str]:
    """An error with all that it says."""
    bases = [one.__name__ for one in type(error).__mro__ if one not in (object, BaseException, Exception)]
    yield f"{path}: {' '.join(bases)}"
    yield from [f"  {line}" for line in str(error).splitlines()]
    yield from [f"  note: {line}" for line in getattr(error, "__notes__", ())]
    for name in ("reason", "rows", "metadata", "violations", "retry_delay", "request_id", "result"):
        found = getattr(error, name, None)
        if not (found is None or (isinstance(found, (str, tuple, dict)) and not found)):
            yield from described(found, f"{path}.{name}")


# Numbers


def numbers(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Numbers between -3 and 3 that are exact in every floating-point type, mostly different, and far from regular."""
    count = int(np.prod(shape, dtype=np.int64))
    return ((((np.arange(count) + 3 * seed) * 37 + 11 * seed) % 97 - 48) / 16).reshape(shape).astype(dtype)


def regular(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Matrices without repeated eigenvalues, far from singular."""
    ramp = 4.0 * np.arange(1, shape[-1] + 1)
    return (numbers(*shape, seed=seed) / 4 + np.eye(*shape[-2:]) * ramp).astype(dtype)


def definite(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Symmetric positive definite matrices."""
    a = regular(*shape, seed=seed)
    return ((a + np.swapaxes(a, -1, -2)) / 2).astype(dtype)
