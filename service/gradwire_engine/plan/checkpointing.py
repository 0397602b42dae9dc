"""Which states of a loop to keep, so that it can be gone through backwards with few: binomial checkpointing.

With s snapshots and at most r runs of any step, a loop of up to beta(s, r) = C(s + r, s) steps can be reversed, and the
fewest steps that takes in all are t(l, s) = r l - beta(s + 1, r - 1), for the least r that suffices. `split` says where
the next snapshot goes. (Griewank and Walther, "Algorithm 799: revolve", ACM TOMS 26(1), 2000.)

Where the number of steps is only known at the end, snapshots are placed as the loop runs (`OnlinePlacement`): when all
are taken, the two neighbours are merged whose merging costs least. That is within a few per cent of the optimum.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

_LINES: Final = 8
"""Repetitions that are told apart while snapshots are placed."""

_DECISIONS: Final = 1024
"""Each time a loop has become longer by one in so many steps, a snapshot may be placed: finer gains nothing."""


def reach(snapshots: int, repetitions: int) -> int:
    """beta: how many steps can be reversed, if each may run so often."""
    return math.comb(snapshots + repetitions, snapshots) if repetitions >= 0 else 0


def repetitions(steps: int, snapshots: int) -> int:
    """How often a step must run at most, with so many snapshots, the state at the beginning being one of them."""
    r = 0
    while reach(snapshots, r) < steps:
        r += 1
    return r


def least_steps(steps: int, snapshots: int) -> int:
    """t: how many steps must run in all so that each can be followed by its reverse, which itself is not counted."""
    if steps <= 1:
        return 0
    r = repetitions(steps, snapshots)
    return r * steps - reach(snapshots + 1, r - 1)


def split(steps: int, snapshots: int) -> int:
    """After how many steps the next snapshot is best taken; there are at least two steps and two snapshots."""
    r = repetitions(steps, snapshots)
    highest = min(reach(snapshots, r - 1), steps - reach(snapshots - 1, r - 1))
    lowest = max(reach(snapshots, r - 2), steps - reach(snapshots - 1, r))
    return min(max(highest, lowest, 1), steps - 1)


def placement(steps: int, snapshots: int) -> list[int]:
    """At which steps the snapshots of the first run are taken, ascending, beginning with 0."""
    found = [0]
    while snapshots > 1 and steps - found[-1] > 1:
        found.append(found[-1] + split(steps - found[-1], snapshots))
        snapshots -= 1
    return found


class OnlinePlacement:
    """The snapshots of a loop that ends nobody knows when. Slots are numbered from 0."""

    def __init__(self, snapshots: int) -> None:
        self._most = snapshots
        self._positions: list[int] = []
        self._slots: list[int] = []
        # beta(s + 1, r - 1) by r, then for s from one more than all slots downwards.
        slots = range(snapshots + 1, -1, -1)
        self._offsets = [np.array([float(reach(s + 1, r - 1)) for s in slots]) for r in range(_LINES)]

    def store(self, step: int) -> int | None:
        """The slot that takes the state as `step` begins; None if it is not kept. Asked for every step, in order."""
        if len(self._positions) < self._most:
            slot = len(self._positions)
        elif step - self._positions[-1] < max(1, step // min(4 * self._most, _DECISIONS)):
            return None
        else:
            merged = self._cheapest(step + 1)
            if merged is None:
                return None
            self._positions.pop(merged)
            slot = self._slots.pop(merged)
        self._positions.append(step)
        self._slots.append(slot)
        return slot

    @property
    def positions(self) -> list[int]:
        """For each slot the step whose beginning it holds, -1 where it holds none."""
        found = [-1] * self._most
        for slot, position in zip(self._slots, self._positions, strict=True):
            found[slot] = position
        return found

    def _cheapest(self, steps: int) -> int | None:
        """Which snapshot to give up so that a new one at the last step pays; None if keeping all is better."""
        gaps = np.diff([*self._positions, steps]).astype(np.float64)
        if gaps.size < 2:
            return None
        costs, moved_up = self._least_steps(gaps, 1), self._least_steps(gaps, 0)
        joint = gaps[:-1] + gaps[1:]
        joint[-1] -= 1  # the new snapshot stands at the last step
        before = np.cumsum(costs) - costs
        after = np.cumsum(moved_up[::-1])[::-1]
        merged = before[:-1] + self._least_steps(joint, 1)
        merged[:-1] += after[2:]
        best = int(np.argmin(merged))
        return best + 1 if merged[best] < before[-1] + costs[-1] else None

    def _least_steps(self, stretches: np.ndarray, first: int) -> np.ndarray:
        """`least_steps` of stretches, the first of which may use all slots (`first` 1), or one more than all (0).

        It is the largest of the lines r l - beta(s + 1, r - 1), which are tangents of a convex function; of these as
        many as tell stretches apart that are worth keeping.
        """
        found = np.zeros(stretches.shape)
        for r, offsets in enumerate(self._offsets):
            np.maximum(found, r * stretches - offsets[first : first + stretches.size], out=found)
        return found
