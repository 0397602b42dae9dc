"""hello as its eval asks: squares and doubles by turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ANSWERS = (1, 2, 4, 8, 64, 128, 16384, 32768)


def inputs() -> Iterator[tuple[str, str, Any]]:
    """(function, description, input): each input is the answer before it."""
    for turn, input in enumerate((1.0, *map(float, ANSWERS[:-1]))):
        yield ("double" if turn % 2 else "square"), f"turn {turn}", input


def expected(function: str, input: Any) -> Any:
    """The golden answer."""
    return 2.0 * input if function == "double" else input * input
