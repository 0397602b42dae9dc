"""replay: a scan backwards over the carries of a loop, which are computed again from snapshots.

The loop's body advances from a snapshot to the step that the scan is at; which steps are kept on the way is the plan of
`snapshots`. It is made after differentiation, where the carries of every step would take more memory than they may.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_engine.attributes import Replay, Scan
from gradwire_engine.errors import GraphError
from gradwire_engine.graph import Graph
from gradwire_engine.op import Case, Op, Refused, TestData
from gradwire_engine.ops.control.bodies import operand_groups
from gradwire_engine.ops.control.cond import refused_evaluation
from gradwire_engine.ops.control.rows import for_body, row_shape, with_new_axis
from gradwire_engine.ops.control.scan.push import scan_types
from gradwire_engine.ops.rules import describe
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

Types = Sequence[TensorType]


def groups(attributes: Replay, operands: int) -> list[range]:
    """Operands: count, positions, snapshots, constants and stacked inputs of the loop; all those of the scan."""
    a = attributes
    loop = [int(a.counted), 1, a.forward_carries, a.forward_constants, a.forward_stacked]
    return operand_groups(*loop, operands - sum(loop))


def scan_attributes(attributes: Replay, operands: int) -> tuple[Scan, list[int]]:
    """The scan, without what it gets from the loop, and its operands."""
    a = attributes
    count, *_, scan = groups(a, operands)
    places = [*count, *scan]
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


def loop_operands(attributes: Replay, operands: int) -> list[int]:
    """The operands of the body that advances, those of the snapshots standing for the carries."""
    _, _, snapshots, constants, stacked, _ = groups(attributes, operands)
    return [*constants, *snapshots, *stacked]


def is_shared(attributes: Replay, operands: int) -> bool:
    """Whether the loop is the same for all rows."""
    return groups(attributes, operands)[1].start in attributes.shared or attributes.row_axes == 0


def _types(attributes: Replay, operands: Types, advance: Graph, body: Graph) -> tuple[TensorType, ...]:
    a = attributes
    sizes = (a.forward_constants, a.forward_carries, a.forward_stacked, a.constants, a.carries, a.sums, a.length)
    if min(*sizes) < 0 or a.snapshots < 1 or any(not 0 <= k < a.forward_carries for k in a.taped):
        raise GraphError(f"got {a}")
    if a.counted and a.reverse:
        raise GraphError("a counted loop runs from its first step")
    count, (positions,), snapshots, constants, stacked, _ = groups(a, len(operands))
    if count.stop + 1 + a.forward_carries + a.forward_constants + a.forward_stacked > len(operands):
        raise GraphError(f"got {len(operands)} operands with {a}")
    row_shape(a, operands, len(operands))
    axis = {i: 0 if i in a.shared else a.row_axes for i in range(len(operands))}
    at = operands[positions]
    if at.dtype is not DType.INT64 or at.shape[axis[positions] :] != (a.snapshots,):
        raise GraphError(f"got {at} as the steps of {a.snapshots} snapshots, expected int64")
    carries = [_one_of(a, i, operands[i], axis[i], a.snapshots) for i in snapshots]
    slices = [_one_of(a, i, operands[i], axis[i], a.length) for i in stacked]
    given = (*(for_body(a, i, operands[i]) for i in constants), *carries, *slices)
    if advance.input_types != given or advance.output_types != tuple(carries):
        raise GraphError(f"got a loop from ({describe(given)}) to ({describe(carries)}), its body does not fit")
    scan, places = scan_attributes(a, len(operands))
    taped = [carries[k] for k in a.taped]
    if tuple(taped) != body.input_types[len(body.inputs) - len(taped) :]:
        raise GraphError(f"got taped carries ({describe(taped)}), the last inputs of the scan's body differ")
    return scan_types(scan, [operands[place] for place in places], body, further=len(taped))


def _one_of(a: Replay, index: int, operand: TensorType, axis: int, length: int) -> TensorType:
    """What one snapshot, or step, of an operand is for a body."""
    if operand.rank <= axis or operand.shape[axis] != length:
        raise GraphError(f"got {operand}, expected {length} along axis {axis}")
    return for_body(a, index, operand.with_shape(operand.shape[:axis] + operand.shape[axis + 1 :]))


def _batch(
    attributes: Replay, operands: Sequence[Value], batched: Sequence[bool], size: int, advance: Graph, body: Graph
) -> tuple[Value, ...]:
    scan, places = scan_attributes(attributes, len(operands))
    first = int(scan.counted) + scan.constants
    always = [places[first + k] for k in range(scan.carries)]
    _, positions, snapshots, constants, stacked, _ = groups(attributes, len(operands))
    if any(batched[i] for i in (*positions, *snapshots, *constants, *stacked)):
        always += [*positions, *snapshots]
    new, moved = with_new_axis(attributes, operands, batched, size, always)
    results: tuple[Value, ...] = moved[0].builder.emit_all("replay", moved, new, [advance, body])
    return results


REPLAY = Op(
    name="replay",
    arity=None,
    types=_types,
    evaluate=refused_evaluation,
    derivative=Refused("it is made after differentiation"),
    batch=_batch,
    attributes=Replay,
    subgraphs=2,
    tests=TestData(cases=(Case(((),)),)),
)
