"""How a RUN or EXPLAIN frame says where each tensor lies: blocks of an arena, or constants by their slot.

In a RUN frame types are not sent: both sides know them from the plan, and a block whose length disagrees is refused. An
EXPLAIN frame has them, since nobody has compared them with the program yet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from gradwire_engine.types import DType, TensorType
from gradwire_server.ipc.frames import ChannelClosed

IN_ARENA = -1
_BLOCK = struct.Struct("<qqq")
_DTYPES = tuple(DType)


class Block(NamedTuple):
    """`nbytes` at `offset` of the arena, or all of the constant in `slot`."""

    offset: int
    nbytes: int
    slot: int = IN_ARENA


def pack_blocks(blocks: Sequence[Block]) -> bytes:
    """Blocks as a payload."""
    return b"".join([_BLOCK.pack(*block) for block in blocks])


def unpack_blocks(payload: memoryview, count: int) -> tuple[list[Block], memoryview]:
    """The first `count` blocks of a payload, and what follows them."""
    length = count * _BLOCK.size
    if count < 0 or length > len(payload):
        raise ChannelClosed(f"{count} blocks in a payload of {len(payload):,} bytes")
    return [Block(*fields) for fields in _BLOCK.iter_unpack(payload[:length])], payload[length:]


def pack_type(type: TensorType) -> bytes:
    """A type as one byte of element type and its lengths."""
    return struct.pack(f"<B{type.rank}q", _DTYPES.index(type.dtype), *type.shape)


def unpack_type(data: memoryview) -> TensorType:
    """The type that `pack_type` packed."""
    number, *shape = struct.unpack(f"<B{len(data) // 8}q", data)
    return TensorType(_DTYPES[number], tuple(shape))
