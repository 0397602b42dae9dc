"""Protocol Buffers' wire format: the fields of one message, in order, without copying what they hold.

Why by hand: reading a `bytes` field through protobuf copies it, twice on the way to a handler, and large tensors are
what these messages are made of. Here a field of bytes is a pair of offsets into the message. Accepts exactly what a
conforming parser accepts: unknown fields, groups among them, are skipped; any order; repeated fields packed or not.
Everything else is a WireError. Work is linear in the number of fields; memory is constant.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradwire.wire.errors import WireError

VARINT = 0
FIXED64 = 1
BYTES = 2
_START_GROUP = 3
_END_GROUP = 4
FIXED32 = 5

MAX_FIELDS = 100_000
"""Fields of one message, unknown ones among them: what a peer can make us look at."""

_MAX_GROUP_DEPTH = 100
_MAX_TAG = 0xFFFFFFFF


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of the message in ``data[start:end]``: number, wire type, and two integers.

    The integers are the value (as unsigned 64 bits) and 0 for a VARINT, and the offsets where the content starts and
    ends for all others. Groups are skipped.
    """
    at = start
    try:
        for _ in range(MAX_FIELDS):
            if at >= end:
                return
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = _tag(data, at - 1)
            number = tag >> 3
            kind = tag & 7
            if number == 0:
                raise WireError(f"field number 0 at byte {at}")
            if kind == BYTES:
                length = data[at]
                at += 1
                if length >= 0x80:
                    length, at = varint(data, at - 1)
                first = at
                at += length
                if at > end:
                    raise WireError(f"field {number} says {length:,} bytes, {end - first:,} are left")
                yield number, BYTES, first, at
            elif kind == VARINT:
                value = data[at]
                at += 1
                if value >= 0x80:
                    value, at = varint(data, at - 1)
                if at > end:
                    raise WireError("ends inside a number")
                yield number, VARINT, value, 0
            elif kind in (FIXED64, FIXED32):
                first = at
                at += 8 if kind == FIXED64 else 4
                if at > end:
                    raise WireError("ends inside a number")
                yield number, kind, first, at
            elif kind == _START_GROUP:
                at = _after_group(data, at, end, number)
            else:
                raise WireError(f"field {number} has wire type {kind}, which does not belong here")
    except IndexError:
        raise WireError("ends inside a field") from None
    if at < end:
        raise WireError(f"more than {MAX_FIELDS:,} fields")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, as unsigned 64 bits, and the offset after it. IndexError where the data end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise WireError("a number of more than 10 bytes")


def signed(value: int) -> int:
    """An unsigned 64-bit value read as an int64."""
    return value - (1 << 64) if value >> 63 else value


def integers(data: bytes, kind: int, first: int, last: int, limit: int, path: str = "") -> list[int]:
    """The values, as unsigned 64 bits, of one field of a repeated integer: packed, or one alone.

    Stops with a WireError, for `path`, beyond `limit` values.
    """
    if kind == VARINT:
        return [first]
    if kind != BYTES:
        return []
    values = []
    at = first
    try:
        while at < last:
            value, at = varint(data, at)
            values.append(value)
            if len(values) > limit:
                raise WireError(f"more than {limit:,} numbers in a list", path=path)
    except IndexError:
        at = last + 1
    if at > last:
        raise WireError("ends inside a number", path=path)
    return values


def _tag(data: bytes, at: int) -> tuple[int, int]:
    tag, after = varint(data, at)
    if tag > _MAX_TAG or after - at > 5:
        raise WireError("a field number of more than 29 bits")
    return tag, after


def _after_group(data: bytes, at: int, end: int, number: int) -> int:
    """The offset after a group whose start tag has been read."""
    open_groups = [number]
    for _ in range(MAX_FIELDS):
        if not open_groups:
            break
        if at >= end:
            raise WireError("ends inside a group")
        tag, at = _tag(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0 in a group")
        if kind == _START_GROUP:
            open_groups.append(number)
            if len(open_groups) > _MAX_GROUP_DEPTH:
                raise WireError(f"groups nest more than {_MAX_GROUP_DEPTH} deep")
        elif kind == _END_GROUP:
            if open_groups.pop() != number:
                raise WireError("a group ends that was not open")
        elif kind == VARINT:
            _, at = varint(data, at)
        elif kind == BYTES:
            length, at = varint(data, at)
            at += length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"wire type {kind} in a group")
    if open_groups:
        raise WireError(f"more than {MAX_FIELDS:,} fields in a group")
    if at > end:
        raise WireError("ends inside a group")
    return at


def encoded_varint(value: int) -> bytes:
    """A non-negative integer below 2**64 as a varint."""
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, kind: int) -> int:
    """What a field begins with, as a varint: its number and its wire type."""
    return number << 3 | kind


def header(number: int, length: int) -> bytes:
    """What stands before the content of a field of `length` bytes."""
    return encoded_varint(number << 3 | BYTES) + encoded_varint(length)


def integer_field(number: int, value: int) -> bytes:
    """A whole integer field; nothing for 0, as proto3 has it."""
    return encoded_varint(number << 3) + encoded_varint(value & 0xFFFFFFFFFFFFFFFF) if value else b""


def bytes_field(number: int, content: bytes) -> bytes:
    """A whole field of bytes, text or a message; nothing where it is empty."""
    return header(number, len(content)) + content if content else b""


def packed_field(number: int, values: tuple[int, ...]) -> bytes:
    """A whole field of repeated integers; nothing where there are none."""
    return bytes_field(number, b"".join([encoded_varint(value & 0xFFFFFFFFFFFFFFFF) for value in values]))


_ONE_BYTE = tuple(bytes([value]) for value in range(0x80))
