"""How long a plan will take on so many rows: a line, constant + per_row * rows, learnt from what it took before.

A guess from the bound on its operations serves until the plan has run. Then a least-squares line through the runs, each
weighing a tenth less than the next; where all runs had about the same rows, the guess's line scaled to their mean.
Never negative, never decreasing in the rows. Not synchronised: the dispatcher's lock guards it.
"""

from __future__ import annotations

from typing import Final

from gradwire_engine.bounds import Bound

_DECAY: Final = 0.9
_CALL_SECONDS: Final = 50e-6  # of a worker, whatever the plan
_LEAST_SPREAD: Final = 0.01  # of the rows' mean, squared


class Prediction:
    """The line of one plan; `flops_per_second` is what a worker is expected to do until measured."""

    def __init__(self, flops: Bound, flops_per_second: float) -> None:
        self._constant = _CALL_SECONDS + flops.constant / flops_per_second
        self._per_row = flops.per_row / flops_per_second
        self._guess = (self._constant, self._per_row)
        self._weight = self._rows = self._seconds = self._rows_squared = self._product = 0.0

    @property
    def is_measured(self) -> bool:
        """Whether the plan has run."""
        return self._weight > 0

    @property
    def per_row(self) -> float:
        """Seconds that one more row takes."""
        return self._per_row

    def seconds(self, rows: int) -> float:
        """Predicted seconds of a worker for a batch of `rows`."""
        return self._constant + self._per_row * rows

    def measured(self, rows: int, seconds: float) -> None:
        """A batch of `rows` took so long."""
        self._weight = self._weight * _DECAY + 1
        self._rows = self._rows * _DECAY + rows
        self._seconds = self._seconds * _DECAY + seconds
        self._rows_squared = self._rows_squared * _DECAY + rows * rows
        self._product = self._product * _DECAY + rows * seconds
        self._constant, self._per_row = self._line()

    def _line(self) -> tuple[float, float]:
        rows, seconds = self._rows / self._weight, self._seconds / self._weight
        spread = self._rows_squared / self._weight - rows * rows
        if spread <= _LEAST_SPREAD * rows * rows:
            constant, per_row = self._guess
            factor = seconds / (constant + per_row * rows)
            return constant * factor, per_row * factor
        per_row = max(0.0, (self._product / self._weight - rows * seconds) / spread)
        constant = seconds - per_row * rows
        if constant < 0:
            return 0.0, self._product / self._rows_squared
        return constant, per_row
