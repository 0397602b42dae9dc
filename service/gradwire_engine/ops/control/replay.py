"""replay: a scan backwards over the carries of a loop, which are computed again from snapshots.

The loop's body advances from a snapshot to the step that the scan is at; which steps are kept on the way is planned by
binomial checkpointing. It is made after differentiation, where the carries of every step would take more memory than
they may.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.attributes import Replay, Scan
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.op import Control, Refused
from gradwire_engine.ops.control.operands import Groups
from gradwire_engine.ops.control.records import control_op
from gradwire_engine.ops.control.rows import for_body, row_shape, slice_type, with_new_axis
from gradwire_engine.ops.control.scan import scan_types
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

Types = Sequence[TensorType]


def scan_attributes(attributes: Replay, groups: Groups) -> tuple[Scan, list[int]]:
    """The scan, without what it gets from the loop, and its operands."""
    a = attributes
    places = [i for name in ("count", "constants", "carries", "stacked") for i in groups.operands[name]]
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
            shared=tuple(p for p, place in enumerate(places) if place in a.shared),
            batched=a.batched,
        ),
        places,
    )


def _types(attributes: Replay, operands: Types, advance: Graph, body: Graph) -> tuple[TensorType, ...]:
    a = attributes
    sizes = (a.forward_constants, a.forward_carries, a.forward_stacked, a.constants, a.carries, a.sums, a.length)
    if min(*sizes) < 0 or a.snapshots < 1 or any(not 0 <= k < a.forward_carries for k in a.taped):
        raise GraphError(f"got {a}")
    if a.counted and a.reverse:
        raise GraphError("a counted loop runs from its first step")
    groups = Groups("replay", a, len(operands), [advance, body])
    places = groups.operands
    if places["loop_stacked"].stop > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    row_shape(a, operands)
    (positions,) = places["positions"]
    steps, axis = operands[positions], 0 if positions in a.shared else a.row_axes
    if steps.dtype is not DType.INT64 or steps.shape[axis:] != (a.snapshots,):
        raise GraphError(f"got {steps} as the steps of {a.snapshots} snapshots, expected int64")
    carries = [slice_type(a, i, operands[i], a.snapshots) for i in places["snapshots"]]
    slices = [slice_type(a, i, operands[i], a.length) for i in places["loop_stacked"]]
    given = (*(for_body(a, i, operands[i]) for i in places["loop_constants"]), *carries, *slices)
    if advance.input_types != given or advance.output_types != tuple(carries):
        raise GraphError(f"got a loop from ({describe(given)}) to ({describe(carries)}), its body does not fit")
    taped = [carries[k] for k in a.taped]
    if tuple(taped) != body.input_types[len(body.inputs) - len(taped) :]:
        raise GraphError(f"got taped carries ({describe(taped)}), the last inputs of the scan's body differ")
    scan, of_scan = scan_attributes(a, groups)
    return scan_types(scan, [operands[i] for i in of_scan], body, further=len(taped))


def _batch(
    attributes: Replay, operands: Sequence[Value], batched: Sequence[bool], size: int, advance: Graph, body: Graph
) -> tuple[Value, ...]:
    """A loop that all rows shared stays one for all of them if its operands do."""
    places = Groups("replay", attributes, len(operands), [advance, body]).operands
    always = [*places["carries"]]
    snapshots = [*places["positions"], *places["snapshots"]]
    if any(batched[i] for i in (*snapshots, *places["loop_constants"], *places["loop_stacked"])):
        always += snapshots
    new, spread = with_new_axis(attributes, operands, batched, size, always)
    return spread[0].builder.emit_all("replay", spread, new, [advance, body])


REPLAY = control_op("replay", _types, Refused("it is made after differentiation"), _batch, Control(), attributes=Replay)
