"""What `.map` shows of its progress: a bar of tqdm where that is installed, else one line on stderr, or nothing."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol


class ProgressBar(Protocol):
    """A context manager that is told how many rows are done."""

    def advance(self, rows: int) -> None:
        """So many rows more are done."""

    def __enter__(self) -> ProgressBar: ...

    def __exit__(self, *error: object) -> None: ...


def progress_bar(rows: int, wanted: bool) -> ProgressBar:
    """A bar for so many rows, if one is wanted."""
    if not wanted:
        return _NoBar()
    try:
        from tqdm.auto import tqdm  # lazy: an optional package, and slow to load
    except ImportError:
        return _PlainBar(rows)
    return _TqdmBar(tqdm(total=rows, unit="row", unit_scale=True))


class _NoBar:
    def advance(self, rows: int) -> None:
        pass

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class _TqdmBar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, rows: int) -> None:
        self._bar.update(rows)

    def __enter__(self) -> _TqdmBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


@dataclass
class _PlainBar:
    """One line on stderr, written again at most ten times a second."""

    rows: int
    done: int = 0
    written: float = 0.0

    def advance(self, rows: int) -> None:
        self.done += rows
        now = time.monotonic()
        if now - self.written >= 0.1 or self.done == self.rows:
            self.written = now
            share = self.done / self.rows if self.rows else 1.0
            filled = "#" * int(30 * share)
            sys.stderr.write(f"\r{share:4.0%} [{filled:<30}] {self.done:,}/{self.rows:,} rows")
            sys.stderr.flush()

    def __enter__(self) -> _PlainBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.written:
            sys.stderr.write("\n")
