"""The hand-written reader of the wire format accepts what protobuf accepts, and sees the same fields."""

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradwire.v1 import service_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.fields import (
    BYTES,
    FIXED32,
    FIXED64,
    MAX_FIELDS,
    VARINT,
    encoded_varint,
    fields,
    integers,
    signed,
    varint,
)

numbers = st.integers(0, 2**64 - 1)


def varint_of(value: int) -> bytes:
    """Written apart from the code under test."""
    digits = []
    while True:
        digits.append(value % 128)
        value //= 128
        if not value:
            break
    return bytes([digit + 128 for digit in digits[:-1]] + digits[-1:])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Mostly well-formed fields of all kinds, groups among them, then perhaps a cut."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from([VARINT, FIXED64, BYTES, FIXED32, 3, 4, 6]))
        number = draw(st.integers(0, 20) | st.integers(0, 2**29 + 5))
        parts.append(varint_of(number << 3 | kind))
        if kind == VARINT:
            parts.append(varint_of(draw(numbers)))
        elif kind == BYTES:
            content = draw(st.binary(max_size=200))
            parts.append(varint_of(draw(st.just(len(content)) | st.integers(0, 300))) + content)
        elif kind in (FIXED64, FIXED32):
            parts.append(draw(st.binary(min_size=4, max_size=8)))
        elif kind == 3:
            inner = varint_of(1 << 3) + varint_of(draw(numbers))
            parts.append(inner * draw(st.integers(0, 3)) + varint_of(draw(st.just(number)) << 3 | 4))
    whole = b"".join(parts)
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


def is_message(data: bytes) -> bool:
    """As protobuf for Python sees it, but for field number 0, which the specification forbids and this parser takes."""
    try:
        return not has_number_0(UnknownFieldSet(Empty.FromString(data)))
    except DecodeError:
        return False


def has_number_0(found: UnknownFieldSet) -> bool:
    return any(one.field_number == 0 or (one.wire_type == 3 and has_number_0(one.data)) for one in found)


@given(messages() | st.binary(max_size=60))
@settings(max_examples=500)
@example(b"\x0b\x0c")
@example(b"\x0b\x14")
@example(b"\x0b" * 101 + b"\x0c" * 101)
@example(b"\x08" + b"\xff" * 9 + b"\x7f")
@example(b"\x08" + b"\xff" * 10 + b"\x01")
@example(b"\x88\x80\x80\x80\x80\x00\x01")
@example(b"\x88\x80\x80\x80\x00\x01")
def test_the_same_bytes_are_a_message_for_both(data: bytes) -> None:
    if is_message(data):
        list(fields(data, 0, len(data)))
    else:
        with pytest.raises(WireError):
            list(fields(data, 0, len(data)))


@given(messages())
@settings(max_examples=300)
def test_both_see_the_same_fields(data: bytes) -> None:
    if not is_message(data):
        return
    unknown = UnknownFieldSet(Empty.FromString(data))
    expected = [(one.field_number, one.wire_type, one.data) for one in unknown if one.wire_type not in (3, 4)]
    found = []
    for number, kind, a, b in fields(data, 0, len(data)):
        content = a if kind == VARINT else data[a:b] if kind == BYTES else int.from_bytes(data[a:b], "little")
        found.append((number, kind, content))
    assert found == expected


@given(numbers)
def test_a_varint_is_written_as_it_is_read(value: int) -> None:
    assert encoded_varint(value) == varint_of(value)
    assert varint(varint_of(value), 0) == (value, len(varint_of(value)))


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_is_twos_complement(value: int) -> None:
    assert signed(value & (2**64 - 1)) == value


@given(st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_a_packed_list_is_read_like_protobuf(values: list[int]) -> None:
    data = service_pb2.EvaluateRequest(outputs=values).SerializeToString()
    assert [v for _, kind, a, b in fields(data, 0, len(data)) for v in integers(data, kind, a, b, 30)] == values


def test_a_list_stops_at_its_limit() -> None:
    data = bytes(1000)
    with pytest.raises(WireError, match="more than 10 numbers"):
        integers(data, BYTES, 0, len(data), 10)


@pytest.mark.parametrize("fields_", [b"\x08\x01", b"\x12\x00"])
def test_the_number_of_fields_is_bounded(fields_: bytes) -> None:
    assert len(list(fields(fields_ * MAX_FIELDS, 0, 2 * MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(WireError, match="more than 100,000 fields"):
        list(fields(fields_ * (MAX_FIELDS + 1), 0, 2 * MAX_FIELDS + 2))
    group = b"\x0b" + fields_ * MAX_FIELDS + b"\x0c"
    with pytest.raises(WireError, match="more than 100,000 fields in a group"):
        list(fields(group, 0, len(group)))


def test_a_nested_message_ends_where_it_says() -> None:
    data = b"\x08\x01" + b"\x08\x80\x01"
    assert list(fields(data, 0, 2)) == [(1, VARINT, 1, 0)]
    with pytest.raises(WireError):
        list(fields(data, 2, 4))
