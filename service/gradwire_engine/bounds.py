"""What a graph may need at most, as data: bounds of the form constant + per_row * rows, saturating.

`plan` finds them, the rules of ops give their part of them, and the server admits and predicts by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SATURATED: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Bound:
    """constant + per_row * rows, at most 2**64 - 1."""

    constant: int = 0
    per_row: int = 0

    def at(self, rows: int) -> int:
        """The bound for a batch of `rows`."""
        return min(self.constant + self.per_row * rows, SATURATED)

    def saturated(self) -> Bound:
        """Each part at most 2**64 - 1, as it travels."""
        return Bound(min(self.constant, SATURATED), min(self.per_row, SATURATED))

    def __add__(self, other: Bound) -> Bound:
        return Bound(self.constant + other.constant, self.per_row + other.per_row).saturated()


def largest(bounds: Sequence[Bound]) -> Bound:
    """What suffices for each of them."""
    return Bound(max(bound.constant for bound in bounds), max(bound.per_row for bound in bounds))


@dataclass(frozen=True, slots=True)
class Cost:
    """Bounds on what a plan needs, and its number of nodes."""

    flops: Bound
    bytes: Bound
    nodes: int
    open_ended: bool = False
    """Whether there is a loop whose number of steps only the run knows: the bound on the operations is then far above
    what most runs take."""
