"""What the front has a worker hold, of one kind: plans, or constants. The front alone decides; the worker obeys."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Held(Generic[Key]):
    """What a worker holds of one kind: slots by key, least recently used first, bounded by count and by bytes."""

    def __init__(self, count: int, nbytes: int | None = None) -> None:
        self._most = count
        self._most_bytes = nbytes
        self._slots: OrderedDict[Key, tuple[int, int]] = OrderedDict()
        self._bytes = 0
        self._numbers = itertools.count()

    def __contains__(self, key: Key) -> bool:
        return key in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def use(self, key: Key) -> int | None:
        """The slot of what is held, now the most recently used; None if it is not held."""
        entry = self._slots.get(key)
        if entry is None:
            return None
        self._slots.move_to_end(key)
        return entry[0]

    def add(self, key: Key, nbytes: int) -> int:
        """A slot for something new."""
        slot = next(self._numbers)
        self._slots[key] = slot, nbytes
        self._bytes += nbytes
        return slot

    def forget(self, key: Key) -> int | None:
        """Hold it no longer; its slot, if it was held."""
        entry = self._slots.pop(key, None)
        if entry is None:
            return None
        self._bytes -= entry[1]
        return entry[0]

    def shrink(self, keep: int) -> list[int]:
        """Forget what is over the bounds, but not the `keep` most recently used; the slots that became free."""
        freed = []
        while len(self._slots) > keep and self._is_over():
            _, (slot, nbytes) = self._slots.popitem(last=False)
            self._bytes -= nbytes
            freed.append(slot)
        return freed

    def _is_over(self) -> bool:
        return len(self._slots) > self._most or (self._most_bytes is not None and self._bytes > self._most_bytes)
