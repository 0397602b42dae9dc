"""How a program travels to a preparing process, and what is known of it back: lists of parts, numbers as structs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gradwire_engine.bounds import Bound, Cost
from gradwire_engine.graph import Input
from gradwire_engine.program import Layout
from gradwire_server.ipc.blocks import pack_type, unpack_type
from gradwire_server.ipc.frames import ChannelClosed, pack_parts, unpack_parts
from gradwire_server.ipc.messages import Bytes, PreparedProgram

_NUMBERS = struct.Struct("<5Q?2I")
"""Flops constant and per row, bytes constant and per row, nodes, whether the cost is open-ended; inputs, outputs."""

_FIXED = 4  # plan id, plan, mode, numbers


def pack_request(program: bytes, layout: Layout) -> list[Bytes]:
    """A PREPARE payload."""
    indices = [layout.shared_inputs, layout.summed_outputs, layout.outputs]
    return pack_parts([program, *[struct.pack(f"<{len(one)}I", *one) for one in indices]])


def unpack_request(payload: memoryview) -> tuple[bytes, Layout]:
    """The program and layout of a PREPARE payload."""
    program, *indices = unpack_parts(payload)
    shared, summed, outputs = [struct.unpack(f"<{len(one) // 4}I", one) for one in indices]
    return bytes(program), Layout(shared, summed, outputs)


def pack_prepared(
    *, plan_id: str, plan: bytes, mode: str, cost: Cost, inputs: Sequence[Input], outputs: Sequence[Input]
) -> list[Bytes]:
    """A PREPARED payload."""
    bounds = cost.flops.constant, cost.flops.per_row, cost.bytes.constant, cost.bytes.per_row
    parts: list[Bytes] = [
        plan_id.encode(),
        plan,
        mode.encode(),
        _NUMBERS.pack(*bounds, cost.nodes, cost.open_ended, len(inputs), len(outputs)),
    ]
    for name, type in (*inputs, *outputs):
        parts += [name.encode(), pack_type(type)]
    return pack_parts(parts)


def unpack_prepared(payload: memoryview, prepare_seconds: float) -> PreparedProgram:
    """What a PREPARED payload says; ChannelClosed where it is not of that form."""
    parts = unpack_parts(payload)
    try:
        plan_id, plan, mode, numbers = parts[:_FIXED]
        flops, flops_per_row, nbytes, bytes_per_row, nodes, open_ended, *counts = _NUMBERS.unpack(numbers)
        input_count, output_count = counts
        names = [str(part, "utf-8") for part in parts[_FIXED::2]]
        values = [Input(*one) for one in zip(names, map(unpack_type, parts[_FIXED + 1 :: 2]), strict=True)]
    except (ValueError, IndexError, struct.error) as error:
        raise ChannelClosed(f"not a prepared program: {error}") from error
    if len(values) != input_count + output_count:
        raise ChannelClosed(f"{len(values)} values, expected {input_count} + {output_count}")
    return PreparedProgram(
        plan_id=str(plan_id, "utf-8"),
        plan=bytes(plan),
        inputs=tuple(values[:input_count]),
        outputs=tuple(values[input_count:]),
        cost=Cost(Bound(flops, flops_per_row), Bound(nbytes, bytes_per_row), nodes, open_ended),
        mode=str(mode, "utf-8"),
        prepare_seconds=prepare_seconds,
    )
