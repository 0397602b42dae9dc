"""Operands of ops that refer to graphs, by group.

Such an op hands its operands to graphs and gives back what these return. What plays the same part forms a group, whose
members stand one after the other, and in the same order wherever the group occurs. `SIGNATURES` is the one description
of where the groups of each op occur; all index arithmetic follows from it. The groups:

    constants   the same for every step of a loop; what a branch or a checkpoint takes
    carries     go from step to step
    stacked     have an axis of steps, of which each step takes, or makes, one slice
    sums        terms that are added up over the steps
    outputs     of a graph that runs once
    count       of the steps of a loop: taken by a scan, found by a while
    predicate   says which branch, or whether a loop goes on
    tests       constants of the condition of a while
    recorded    carries as each step began or, of a loop with snapshots, as those began that `positions` lists
    snapshots   the same of the loop that a replay runs again; `loop_constants`, `loop_stacked` are what its body takes
    taped       of these, the carries that the body of the replay's scan takes

A mapping by group has its groups in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeVar

from gradwire_engine.attributes import Attributes, Cond, Replay, Rowwise, Scan, While
from gradwire_engine.graph import Graph, Node, Operation
from gradwire_engine.value import Builder, Value

Group = Literal[
    "constants", "carries", "stacked", "sums", "outputs", "count", "predicate", "tests", "recorded", "positions",
    "snapshots", "loop_constants", "loop_stacked", "taped",
]  # fmt: skip
Names = tuple[Group, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Signature:
    """Where the groups of an op occur."""

    operands: Names
    graphs: tuple[tuple[Names, Names], ...]
    """Inputs and outputs of each graph."""
    results: Names
    cotangents: Mapping[Group, Group] = field(default_factory=dict)
    """For each group of operands, the group of results that its cotangents are in the op's transpose; and the other way
    round: what a step reads from a constant, its cotangent adds to a sum."""


_ONCE: Final = (("constants",), ("outputs",))
_STEP: Final = (("constants", "carries", "stacked"), ("carries", "stacked", "sums"))

SIGNATURES: Final[Mapping[str, Signature]] = MappingProxyType(
    {
        "call": Signature(("constants",), (_ONCE,), ("outputs",)),
        "checkpoint": Signature(("constants",), (_ONCE,), ("outputs",), {"constants": "outputs"}),
        "cond": Signature(("predicate", "constants"), (_ONCE, _ONCE), ("outputs",), {"constants": "outputs"}),
        "scan": Signature(
            ("count", "constants", "carries", "stacked"),
            (_STEP,),
            ("carries", "stacked", "sums", "positions", "recorded"),
            {"constants": "sums", "carries": "carries", "stacked": "stacked"},
        ),
        "while": Signature(
            ("tests", "constants", "carries"),
            ((("tests", "carries"), ("predicate",)), (("constants", "carries"), ("carries",))),
            ("carries", "count", "positions", "recorded"),
        ),
        "replay": Signature(
            (
                "count", "positions", "snapshots", "loop_constants", "loop_stacked", "constants", "carries", "stacked",
            ),
            (
                (("loop_constants", "snapshots", "loop_stacked"), ("snapshots",)),
                (("constants", "carries", "stacked", "taped"), ("carries", "stacked", "sums")),
            ),
            ("carries", "stacked", "sums"),
        ),
    }
)  # fmt: skip


class Operand(NamedTuple):
    """An operand of a node in the making, and whether all rows share it."""

    value: Value
    shared: bool = False


class Groups:
    """Where the groups of one node stand: positions among its operands, its results, inputs and outputs of graphs."""

    def __init__(
        self, op: str, attributes: Attributes, operands: int, graphs: Sequence[Graph], results: int | None = None
    ) -> None:
        self._signature, self._attributes = SIGNATURES[op], attributes
        self._lengths, self._results = _lengths(attributes), results
        self.operands = _placed(self._signature.operands, self._lengths, operands)
        lengths, graph_groups = self._lengths, self._signature.graphs
        pairs = list(zip(graph_groups, graphs, strict=True))
        self.inputs = [_placed(inputs, lengths, len(graph.inputs)) for (inputs, _), graph in pairs]
        self.outputs = [_placed(outputs, lengths, len(graph.outputs)) for (_, outputs), graph in pairs]
        self.cotangents = self._signature.cotangents

    @cached_property
    def results(self) -> dict[Group, range]:
        """Of a node; a type rule does not know them yet."""
        return _placed(self._signature.results, self._lengths, present(self._results))

    @property
    def steps(self) -> tuple[int, ...]:
        """The graphs whose outputs become results: all but the condition of a loop."""
        results = self._signature.results
        return tuple([g for g, (_, outputs) in enumerate(self._signature.graphs) if outputs[0] in results])

    @property
    def row_axes(self) -> int:
        """How many leading axes the operands have that are not shared."""
        return self._attributes.row_axes if isinstance(self._attributes, Rowwise) else 0

    @property
    def shared(self) -> Sequence[int]:
        """The operands that are the same for all rows."""
        return self._attributes.shared if isinstance(self._attributes, Rowwise) else ()

    @property
    def recorded(self) -> Sequence[int]:
        """For each member of the group, which carry it is."""
        return self._attributes.recorded if isinstance(self._attributes, Scan | While) else ()

    @property
    def over_rows(self) -> list[bool]:
        """For each sum, whether it is one over the rows, too."""
        rows = self._attributes.row_sums if self.row_axes and isinstance(self._attributes, Scan | Replay) else ()
        return [k in rows for k in range(self._lengths.get("sums", 0))]

    def operands_of(self, graph: int) -> list[int]:
        """The operand of each input of a graph."""
        operands: list[int] = []
        for name in self.inputs[graph]:
            if name == "taped":
                assert isinstance(self._attributes, Replay)
                operands += [self.operands["snapshots"][k] for k in self._attributes.taped]
            else:
                operands += self.operands[name]
        return operands

    def carried_by(self, graph: int) -> list[int]:
        """The operands with which a graph begins its first step, and which it then takes from the step before."""
        both = self.inputs[graph].keys() & self.outputs[graph].keys() & {"carries", "snapshots"}
        return [i for name in both for i in self.operands[name]]

    def constants_of(self, graph: int) -> int:
        """How many inputs of a loop's graph are the same for every step: these come first."""
        return len(next(iter(self.inputs[graph].values())))

    def pick(self, values: Sequence[Value | None], positions: Iterable[int]) -> list[Operand]:
        """Some operands, which are there."""
        shared = self.shared
        return [Operand(present(values[i]), i in shared) for i in positions]

    def all(self, values: Sequence[Value | None]) -> dict[Group, list[Operand]]:
        """All operands."""
        return {name: self.pick(values, positions) for name, positions in self.operands.items()}


def groups_of(node: Node) -> Groups:
    """The groups of a node."""
    return Groups(node.op.name, node.attributes, len(node.operands), node.subgraphs, len(node.results))


def by_group(positions: Mapping[Group, range], values: Sequence[T]) -> dict[Group, list[T]]:
    """What belongs to the members of each group."""
    return {name: list(values[group.start : group.stop]) for name, group in positions.items()}


def emit(
    builder: Builder,
    op: str | Operation,
    attributes: Attributes,
    operands: Mapping[Group, Sequence[Operand]],
    graphs: Sequence[Graph],
    over_rows: Sequence[bool] = (),
) -> dict[Group, list[Value]]:
    """The results of a node of these operands, by group.

    What the attributes say of lengths and positions follows from the operands and `over_rows`, which has an entry for
    each sum: whether it is one over the rows, too.
    """
    name = op if isinstance(op, str) else op.name
    ordered = [operand for group in SIGNATURES[name].operands for operand in operands.get(group, ())]
    shared = tuple([i for i, operand in enumerate(ordered) if operand.shared])
    row_sums = tuple([k for k, summed in enumerate(over_rows) if summed])
    lengths = {group: len(members) for group, members in operands.items()}
    attributes = _fitted(attributes, lengths, shared, len(over_rows), row_sums)
    results = builder.emit_all(op, [operand.value for operand in ordered], attributes, graphs)
    return by_group(_placed(SIGNATURES[name].results, _lengths(attributes), len(results)), results)


def in_order(grouped: Mapping[Group, Sequence[Value]]) -> list[Value]:
    """The values of all groups, one group after the other."""
    return [value for group in grouped.values() for value in group]


def with_recorded(attributes: Attributes, carries: Iterable[int], *, counted: bool = True) -> Attributes:
    """The attributes with other carries recorded; of an op that has none, the same.

    Where none are, a while needs its count only if that is asked for.
    """
    recorded = tuple(carries)
    match attributes:
        case Scan():
            return attributes if recorded == attributes.recorded else replace(attributes, recorded=recorded)
        case While():
            counted = attributes.counted and (counted or bool(recorded))
            return replace(attributes, recorded=recorded, counted=counted)
        case _:
            return attributes


def present(value: T | None) -> T:
    """What is there."""
    assert value is not None
    return value


def with_snapshots(attributes: Attributes, carries: Iterable[int], snapshots: int) -> Attributes:
    """The attributes of a loop that keeps so many snapshots of some carries, and records nothing else."""
    assert isinstance(attributes, Scan | While)
    return replace(attributes, recorded=tuple(carries), snapshots=snapshots)


def _lengths(attributes: Attributes) -> dict[Group, int]:
    """Of all groups but the one of each place that has what is left: the same wherever a group occurs."""
    match attributes:
        case Scan() as a:
            return {
                "count": a.counted, "constants": a.constants, "carries": a.carries, "sums": a.sums,
                "positions": a.snapshots > 0, "recorded": len(a.recorded),
            }  # fmt: skip
        case While() as a:
            return {
                "count": a.counted, "predicate": 1, "tests": a.condition_constants, "constants": a.body_constants,
                "positions": a.snapshots > 0, "recorded": len(a.recorded),
            }  # fmt: skip
        case Cond():
            return {"predicate": 1}
        case Replay() as a:
            return {
                "count": a.counted, "positions": 1, "snapshots": a.forward_carries,
                "loop_constants": a.forward_constants, "loop_stacked": a.forward_stacked,
                "constants": a.constants, "carries": a.carries, "sums": a.sums, "taped": len(a.taped),
            }  # fmt: skip
        case _:
            return {}


def _fitted(
    attributes: Attributes,
    lengths: Mapping[Group, int],
    shared: tuple[int, ...],
    sums: int,
    row_sums: tuple[int, ...],
) -> Attributes:
    """The attributes for groups of other lengths."""
    match attributes:
        case Cond():
            return replace(attributes, shared=shared)
        case While():
            constants = lengths["constants"]
            return replace(attributes, condition_constants=lengths["tests"], body_constants=constants, shared=shared)
        case Scan():
            return replace(
                attributes,
                constants=lengths.get("constants", 0),
                carries=lengths.get("carries", 0),
                counted=bool(lengths.get("count")),
                shared=shared,
                sums=sums,
                row_sums=row_sums,
            )
        case Replay():
            return replace(
                attributes,
                forward_constants=lengths["loop_constants"],
                forward_carries=lengths["snapshots"],
                forward_stacked=lengths["loop_stacked"],
                constants=lengths["constants"],
                carries=lengths["carries"],
                counted=bool(lengths["count"]),
                shared=shared,
                sums=sums,
                row_sums=row_sums,
            )
        case _:
            return attributes


def _placed(names: Names, lengths: Mapping[Group, int], total: int) -> dict[Group, range]:
    """Where groups stand that take up `total` positions; one may have no length of its own, but what is left."""
    places, start = {}, 0
    for name in names:
        if name in lengths:
            stop = start + lengths[name]
        else:
            stop = total
            for after in reversed(names):
                if after == name:
                    break
                stop -= lengths[after]
        places[name] = range(start, stop)
        start = stop
    return places
