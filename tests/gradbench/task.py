"""What an eval's function makes of its input: something to time, and how to write its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Input = Any
"""An input as it comes out of JSON."""


def plain(result: Any) -> Any:
    """Numbers and arrays, nested in dicts, lists and tuples, as JSON has them."""
    if isinstance(result, Mapping):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [plain(value) for value in result]
    return result.tolist() if isinstance(result, (np.ndarray, np.generic)) else result


class Task(NamedTuple):
    """One question of an eval, decoded: JSON is read before and written after, and is no part of what is timed."""

    run: Callable[[], Any]
    """Asks the service, whole: arrays to arrays."""
    answer: Callable[[Any], Any] = plain
    """The result as the eval wants it in JSON."""


Functions = Mapping[str, Callable[[Input], Task]]
"""What an eval's module offers: the functions that the eval asks for, by name."""
