"""The table of ops: every record, by name. It is complete when this module has been imported, and never changes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gradwire_engine.op import Op
from gradwire_engine.ops import (
    arithmetic,
    bitwise,
    contraction,
    convolution,
    creation,
    cumulative,
    indexing,
    linear_algebra,
    predicates,
    reductions,
    selection,
    shape,
    sorting,
    special,
    transcendental,
    windows,
)
from gradwire_engine.ops.control import barrier, call, checkpoint, cond, replay, scan, while_loop

OPSET: Final = 1
"""The version of the ops' meaning; programs say which one they were written for."""


def _closed(*families: tuple[Op, ...]) -> Mapping[str, Op]:
    table: dict[str, Op] = {}
    for record in (record for family in families for record in family):
        if record.name in table:
            raise TypeError(f"op {record.name} is defined twice")
        table[record.name] = record
    return MappingProxyType(table)


OPS: Final = _closed(
    creation.OPS,
    arithmetic.OPS,
    transcendental.OPS,
    special.OPS,
    bitwise.OPS,
    predicates.OPS,
    selection.OPS,
    shape.OPS,
    reductions.OPS,
    contraction.OPS,
    indexing.OPS,
    linear_algebra.OPS,
    windows.OPS,
    convolution.OPS,
    sorting.OPS,
    cumulative.OPS,
    (
        call.CALL,
        checkpoint.CHECKPOINT,
        cond.COND,
        scan.SCAN,
        while_loop.WHILE,
        replay.REPLAY,
        barrier.BARRIER,
    ),
)
