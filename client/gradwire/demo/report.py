"""What the demo says, and whether every number that it showed was right."""

from __future__ import annotations

from typing import TextIO

import numpy as np


class Report:
    """Lines for people, and a list of what was wrong."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._wrong: list[str] = []
        self._checks = 0

    def say(self, text: str = "") -> None:
        """One or more lines."""
        self._out.write(text + "\n")
        self._out.flush()

    def heading(self, text: str) -> None:
        """The title of a part."""
        self.say(f"\n{text}\n{'-' * len(text)}")

    def check(self, what: str, got: object, expected: object, tolerance: float) -> float:
        """Compare; the largest error relative to max(1, |expected|). What is not within `tolerance` is reported.

        A NaN is an error, and so is a different shape.
        """
        computed, exact = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        self._checks += 1
        if computed.shape != exact.shape:
            self._fail(f"{what}: got shape {computed.shape}, expected {exact.shape}")
            return float("inf")
        error = float(np.max(np.abs(computed - exact) / np.maximum(1.0, np.abs(exact)), initial=0.0))
        if not error <= tolerance:
            self._fail(f"{what}: relative error {error:.2e}, allowed {tolerance:.0e}")
        return error

    def require(self, what: str, holds: bool) -> None:
        """A condition that must hold."""
        self._checks += 1
        if not holds:
            self._fail(what)

    def _fail(self, text: str) -> None:
        self._wrong.append(text)
        self.say(f"  WRONG  {text}")

    def finish(self) -> int:
        """The verdict: 0 if nothing was wrong, else 1."""
        self.say()
        if self._wrong:
            self.say(f"{len(self._wrong)} of {self._checks} checks failed:")
            for text in self._wrong:
                self.say(f"  {text}")
            return 1
        self.say(f"All {self._checks} checks passed.")
        return 0
