"""A dictionary of bounded size, for what is only kept to save work: what it forgets is found or made again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Bounded(Generic[Key, Item]):
    """A dictionary that forgets its oldest entries. Without locks, so that a fork finds none held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: dict[Key, Item] = {}
        self.get = self._items.get

    def put(self, key: Key, item: Item) -> None:
        """Add or replace an entry."""
        items = self._items
        items.pop(key, None)
        items[key] = item
        while len(items) > self._limit:
            try:
                items.pop(next(iter(items)), None)
            except (RuntimeError, StopIteration):  # another thread was faster
                return

    def discard(self, key: Key) -> None:
        """Remove an entry if it is there."""
        self._items.pop(key, None)

    def clear(self) -> None:
        """Remove all."""
        self._items.clear()

    def __contains__(self, key: Key) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)
