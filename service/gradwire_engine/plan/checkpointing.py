"""Which states of a loop to keep, so that it can be gone through backwards with few: binomial checkpointing.

`split` says where the next snapshot goes, so that the fewest steps run that can (`ops.control.binomial`).

Where the number of steps is only known at the end, snapshots are placed as the loop runs, at strides that double each
time all are taken (`DoublingStrides`). Run backwards from there, with the slots that become free, a loop takes a few
per cent more steps than the optimum, and up to a third more just after a doubling.
"""

from __future__ import annotations

from gradwire_engine.ops.control.binomial import reach, repetitions


def split(steps: int, snapshots: int) -> int:
    """After how many steps the next snapshot is best taken; there are at least two steps and two snapshots."""
    r = repetitions(steps, snapshots)
    highest = min(reach(snapshots, r - 1), steps - reach(snapshots - 1, r - 1))
    lowest = max(reach(snapshots, r - 2), steps - reach(snapshots - 1, r))
    return min(max(highest, lowest, 1), steps - 1)


def placement(steps: int, snapshots: int) -> list[int]:
    """At which steps the snapshots of the first run are taken, ascending, beginning with 0."""
    positions = [0]
    while snapshots > 1 and steps - positions[-1] > 1:
        positions.append(positions[-1] + split(steps - positions[-1], snapshots))
        snapshots -= 1
    return positions


class DoublingStrides:
    """The snapshots of a loop that ends nobody knows when. Slots are numbered from 0.

    Every step takes one until no slot is free; then every second is given up, and from there on every second step takes
    one, and so on. The first step keeps its own for ever.
    """

    def __init__(self, snapshots: int) -> None:
        self._stride = 1
        self._slots: dict[int, int] = {}
        self._free = list(range(snapshots))[::-1]
        self._count = snapshots

    def slot(self, step: int) -> int | None:
        """The slot that takes the state as `step` begins; None if it is not kept. Asked for every step, in order."""
        if not self._free and not step % self._stride:
            self._stride *= 2
            for position in [position for position in self._slots if position % self._stride]:
                self._free.append(self._slots.pop(position))
        if step % self._stride or not self._free:
            return None
        slot = self._slots[step] = self._free.pop()
        return slot

    @property
    def positions(self) -> list[int]:
        """For each slot the step whose beginning it holds, -1 where it holds none."""
        positions = [-1] * self._count
        for position, slot in self._slots.items():
            positions[slot] = position
        return positions
