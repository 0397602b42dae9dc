"""How a RUN or EXPLAIN frame says where each tensor lies: blocks of an arena, or constants by their slot.

Shapes and dtypes are not sent: both sides know them from the plan. A block whose length disagrees is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from gradwire_server.frames import ChannelClosed

IN_ARENA = -1
_BLOCK = struct.Struct("<qqq")


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
