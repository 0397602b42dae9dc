from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_server.ipc.records import pack, unpack


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    name: str
    data: bytes
    colour: Colour
    mode: Literal["light", "dark"]
    is_framed: bool
    corners: tuple[Point, ...]
    words: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Empty:
    pass


@dataclass(frozen=True)
class Loose:
    anything: object


WHOLE = st.integers(-(2**63), 2**64 - 1)
PICTURES = st.builds(
    Picture,
    name=st.text(),
    data=st.binary(),
    colour=st.sampled_from(Colour),
    mode=st.sampled_from(["light", "dark"]),
    is_framed=st.booleans(),
    corners=st.lists(st.builds(Point, WHOLE, st.floats(allow_nan=False)), max_size=4).map(tuple),
    words=st.lists(st.text(), max_size=3).map(tuple),
    size=WHOLE,
)


@given(PICTURES)
def test_a_record_arrives_as_it_was_packed(picture: Picture) -> None:
    assert unpack(Picture, memoryview(b"".join(pack(picture)))) == picture


def test_a_record_may_be_empty() -> None:
    assert pack(Empty()) == []
    assert unpack(Empty, memoryview(b"")) == Empty()


@given(PICTURES, st.data())
def test_what_is_cut_or_longer_is_refused(picture: Picture, data: st.DataObject) -> None:
    packed = b"".join(pack(picture))
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    for wrong in (cut, packed + b"\0"):
        with pytest.raises(ValueError, match="bytes"):
            unpack(Picture, memoryview(wrong))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    try:
        assert isinstance(unpack(Picture, memoryview(data)), Picture)
    except ValueError:
        return


def test_long_bytes_are_not_copied() -> None:
    data = bytes(1 << 20)
    picture = Picture(name="", data=data, colour=Colour.RED, mode="dark", is_framed=True, corners=(), words=(), size=0)
    assert any(piece is data for piece in pack(picture))


def test_a_record_that_holds_something_else_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="object"):
        pack(Loose(1))
