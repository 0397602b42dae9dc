"""saddle as its eval asks."""

from __future__ import annotations

from typing import Any

INPUT = {"start": [1.0, 1.0]}
GOLDEN = [8.246324826140356e-06] * 4


def expected(function: str, input: Any) -> list[float]:
    """The golden answer, the same for all modes."""
    return GOLDEN
