"""Executors: what runs a plan. Here stands what all of them promise; each has a folder of its own.

An executor optimises nothing and imports no pass: it gets a `Plan`, which says what runs, in which order, how often and
in which slices of rows, and turns that into calls or code of its own. What a row gives depends on nothing but the row,
up to rounding; NaN, infinities and overflow are values, never errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gradwire_engine.errors import RowFailure


class Executable(Protocol):
    """A plan that can be run; immutable, may be shared between threads."""

    def run_rows(
        self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None
    ) -> tuple[Sequence[np.ndarray], Sequence[RowFailure]]:
        """The outputs for a batch of `rows`; `inputs` as the graph's input types say, with `ROWS` replaced by `rows`.

        And the rows that have no result, in order: theirs is NaN, or 0 where there is none. `memory_bytes` bounds the
        live buffers, inputs and outputs of the whole batch not counted, as far as slices of single rows can. Raises
        GraphError for inputs that do not fit, MemoryError where memory cannot be had.
        """
