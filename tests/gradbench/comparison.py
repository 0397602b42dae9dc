"""Whether an answer is the golden one, as GradBench compares them, but to 1e-8 instead of 1e-4, and no NaN passes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

TOLERANCE = 1e-8


def distance(x: float, y: float) -> float:
    """|x − y| / max(1, |x| + |y|): absolute for small numbers, relative for large ones."""
    return abs(x - y) / max(1.0, abs(x) + abs(y))


def mismatches(expected: Any, actual: Any, tolerance: float = TOLERANCE, place: str = "output") -> Iterator[str]:
    """Where two JSON values differ, each as a line of text.

    The same keys, the same lengths, the same types, where an integer may stand for a floating-point number; numbers
    within `tolerance` by `distance`. A NaN or an infinity on either side is a mismatch.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted({*expected, *actual}):
            if key not in expected or key not in actual:
                yield f"{place}.{key}: {'unexpected' if key in actual else 'missing'}"
            else:
                yield from mismatches(expected[key], actual[key], tolerance, f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{place}: {len(expected)} elements expected, got {len(actual)}"
        for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from mismatches(one, other, tolerance, f"{place}[{index}]")
    elif _is_number(expected) and _is_number(actual):
        both_whole = isinstance(expected, int) and isinstance(actual, int)
        finite = math.isfinite(expected) and math.isfinite(actual)
        if (both_whole and expected != actual) or not finite or not distance(expected, actual) <= tolerance:
            yield f"{place}: {expected!r} expected, got {actual!r}"
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{place}: {expected!r} expected, got {actual!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def require_equal(expected: Any, actual: Any, tolerance: float = TOLERANCE) -> None:
    """AssertionError with the first ten differences, if there are any."""
    found = list(mismatches(expected, actual, tolerance))
    assert not found, "\n".join([f"{len(found)} differences:", *found[:10]])
