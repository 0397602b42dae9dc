"""Slots: what a worker holds, and what goes first."""

from __future__ import annotations

from gradwire_server.processes.held import Held


def test_the_least_recently_used_go_first_but_never_those_in_use() -> None:
    held: Held[str] = Held(3, 100)
    slots = {key: held.add(key, 10) for key in "abc"}
    assert held.use("a") == slots["a"]
    held.add("d", 10)
    assert held.shrink(keep=1) == [slots["b"]]
    assert "b" not in held
    assert held.use("b") is None
    big = held.add("e", 1000)
    assert len(held.shrink(keep=1)) == 3
    assert held.use("e") == big
    assert held.forget("e") == big
    assert held.forget("e") is None
    assert len(held) == 0
    for key in "abcdefgh":
        held.add(key, 10)
    assert len(held.shrink(keep=5)) == 3
    assert [key for key in "abcdefgh" if key in held] == list("defgh")
