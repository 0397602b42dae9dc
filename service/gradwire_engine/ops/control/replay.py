"""replay: a scan backwards over the carries of a loop, which are computed again from snapshots.

The loop's body advances from a snapshot to the step that the scan is at; which steps are kept on the way is planned by
binomial checkpointing. It is made after differentiation, where the carries of every step would take more memory than
they may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gradwire_engine.attributes import Replay, Scan
from gradwire_engine.bounds import Bound
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import Control, Refused
from gradwire_engine.ops.control.binomial import least_steps
from gradwire_engine.ops.control.operands import Groups, groups_of
from gradwire_engine.ops.control.records import control_op
from gradwire_engine.ops.control.rows import for_body, row_shape, slice_type, with_new_axis
from gradwire_engine.ops.control.scan import scan_types
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

Types = Sequence[TensorType]
_SNAPSHOT_BYTES: Final = 48
"""For each snapshot: where it stands, in Python objects."""


def scan_attributes(attributes: Replay, groups: Groups) -> tuple[Scan, list[int]]:
    """The scan, without what it gets from the loop, and its operands."""
    a = attributes
    positions = [i for name in ("count", "constants", "carries", "stacked") for i in groups.operands[name]]
    return (
        Scan(
            constants=a.constants,
            carries=a.carries,
            length=a.length,
            reverse=not a.reverse,
            counted=a.counted,
            sums=a.sums,
            row_sums=a.row_sums,
            row_axes=a.row_axes,
            shared=tuple(k for k, i in enumerate(positions) if i in a.shared),
            batched=a.batched,
        ),
        positions,
    )


def _types(attributes: Replay, operands: Types, advance: Graph, body: Graph) -> tuple[TensorType, ...]:
    a = attributes
    sizes = (a.forward_constants, a.forward_carries, a.forward_stacked, a.constants, a.carries, a.sums, a.length)
    if min(*sizes) < 0 or a.snapshots < 1 or any(not 0 <= k < a.forward_carries for k in a.taped):
        raise GraphError(f"got {a}")
    if a.counted and a.reverse:
        raise GraphError("a counted loop runs from its first step")
    groups = Groups("replay", a, len(operands), [advance, body])
    members = groups.operands
    if members["loop_stacked"].stop > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    row_shape(a, operands)
    (positions,) = members["positions"]
    steps, axis = operands[positions], 0 if positions in a.shared else a.row_axes
    if steps.dtype is not DType.INT64 or steps.shape[axis:] != (a.snapshots,):
        raise GraphError(f"got {steps} as the steps of {a.snapshots} snapshots, expected int64")
    carries = [slice_type(a, i, operands[i], a.snapshots) for i in members["snapshots"]]
    slices = [slice_type(a, i, operands[i], a.length) for i in members["loop_stacked"]]
    taken = (*(for_body(a, i, operands[i]) for i in members["loop_constants"]), *carries, *slices)
    if advance.input_types != taken or advance.output_types != tuple(carries):
        raise GraphError(f"got a loop from ({describe(taken)}) to ({describe(carries)}), its body does not fit")
    taped = [carries[k] for k in a.taped]
    if tuple(taped) != body.input_types[len(body.inputs) - len(taped) :]:
        raise GraphError(f"got taped carries ({describe(taped)}), the last inputs of the scan's body differ")
    scan, of_scan = scan_attributes(a, groups)
    return scan_types(scan, [operands[i] for i in of_scan], body, further=len(taped))


def _batch(
    attributes: Replay, operands: Sequence[Value], batched: Sequence[bool], size: int, advance: Graph, body: Graph
) -> tuple[Value, ...]:
    """A loop that all rows shared stays one for all of them if its operands do."""
    members = Groups("replay", attributes, len(operands), [advance, body]).operands
    always = [*members["carries"]]
    snapshots = [*members["positions"], *members["snapshots"]]
    if any(batched[i] for i in (*snapshots, *members["loop_constants"], *members["loop_stacked"])):
        always += snapshots
    new, spread = with_new_axis(attributes, operands, batched, size, always)
    return spread[0].builder.emit_all("replay", spread, new, [advance, body])


def _flops(node: Node, bounds: Sequence[Bound], over_rows: Callable[[Bound], Bound]) -> Bound:
    """Of the scan, and of the loop as often as its steps are run again; a loop that all rows share runs once."""
    a, groups = node.attributes, groups_of(node)
    assert isinstance(a, Replay)
    again, steps = max(least_steps(a.length, a.snapshots), 1), max(a.length, 1)
    once = all(i in groups.shared for i in groups.operands["positions"])
    loop, scan = bounds[0] if once else over_rows(bounds[0]), over_rows(bounds[1])
    per_row = 0 if once else loop.per_row * again
    return Bound(scan.constant * steps + loop.constant * again, scan.per_row * steps + per_row)


REPLAY = control_op(
    "replay",
    _types,
    Refused("it is made after differentiation"),
    _batch,
    Control(
        repeats=True,
        flops=_flops,
        snapshot_bytes=lambda attributes: _SNAPSHOT_BYTES * attributes.snapshots,
    ),
    attributes=Replay,
)
