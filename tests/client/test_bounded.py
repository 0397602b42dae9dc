"""A dictionary of bounded size."""

from __future__ import annotations

from gradwire.bounded import Bounded


def test_the_oldest_entries_give_way() -> None:
    bounded: Bounded[int, int] = Bounded(3)
    for i in range(10):
        bounded.put(i, i)
    assert [i for i in range(10) if i in bounded] == [7, 8, 9]
    assert len(bounded) == 3
