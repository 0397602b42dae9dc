"""The two halves of a node of values and tangents, as `linearize` tells them apart: its values, and what is linear.

Neither half passes intermediate values of a graph to the other. The linear half computes again what it needs, from the
operands and, in a loop, from the carries with which each step began: the primal half returns these, its *tapes*, and
the linear half takes them as stacked operands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import Halves, PrimalPart
from gradwire_engine.ops.control.bodies import dependent_outputs, needed_inputs, rearranged
from gradwire_engine.ops.control.operands import Group, Groups, Operand, by_group, emit, groups_of, in_order
from gradwire_engine.value import Builder, Value


class LinearMembers(NamedTuple):
    """What is linear in a node: inputs of its last graph, and outputs; carries that become so by a step included."""

    inputs: list[bool]
    outputs: list[bool]

    @staticmethod
    def of(node: Node, groups: Groups, operands: Sequence[bool]) -> LinearMembers:
        """If it is linear in these operands."""
        linear = by_group(groups.operands, operands)
        while True:
            inputs = [flag for name in groups.inputs[-1] for flag in linear[name]]
            by_graph = [dependent_outputs(node.subgraphs[g], inputs) for g in groups.steps]
            outputs = by_group(groups.outputs[-1], [any(flags) for flags in zip(*by_graph, strict=True)])
            if "carries" in outputs:
                before = linear["carries"]
                outputs["carries"] = [a or b for a, b in zip(before, outputs["carries"], strict=True)]
                if outputs["carries"] != before:
                    linear["carries"] = outputs["carries"]
                    continue
            return LinearMembers(inputs, [flag for group in outputs.values() for flag in group])


def linear_results(node: Node, linear: Sequence[bool]) -> Sequence[bool]:
    """Which results are linear, if these operands are."""
    groups = groups_of(node)
    outputs = by_group(groups.outputs[-1], LinearMembers.of(node, groups, linear).outputs)
    flags: list[bool] = []
    for name, positions in groups.results.items():
        if name == "recorded":
            flags += [outputs["carries"][k] for k in groups.recorded]
        else:
            flags += outputs.get(name, [False] * len(positions))
    return flags


def divide(node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> Halves:
    """The halves of a node that is linear in some operands, where both are nodes of its own kind."""
    division = _Division(node, linear, primal_part)
    return Halves(division.primal, division.needed(linear), division.linear)


class _Division:
    """What goes where: inputs of the graphs and outputs, by position; an input's operand is `_operands_of[input]`."""

    def __init__(self, node: Node, linear: Sequence[bool], primal_part: PrimalPart) -> None:
        self._node, self._primal_part = node, primal_part
        self._groups = groups = groups_of(node)
        self._flags = flags = LinearMembers.of(node, groups, linear)
        inputs = groups.inputs[-1]
        self._operands_of = groups.operands_of(len(node.subgraphs) - 1)
        self._direct = {name: group for name, group in groups.operands.items() if name not in inputs}
        self._primal_outputs = [j for j, moves in enumerate(flags.outputs) if not moves]
        self._linear_outputs = [j for j, moves in enumerate(flags.outputs) if moves]
        needed = set[int]().union(*(needed_inputs(graph, self._linear_outputs) for graph in node.subgraphs))
        carries = inputs.get("carries", range(0))
        self._taped = [i for i in carries if i in needed and not flags.inputs[i]]
        self._kept = {
            name: [i for i in positions if flags.inputs[i] or (i in needed and i not in carries)]
            for name, positions in inputs.items()
        }
        self._witness = self._row_witness()
        if self._witness is not None:
            self._kept["stacked" if self._witness in inputs.get("stacked", ()) else "constants"].append(self._witness)

    def _row_witness(self) -> int | None:
        """An input with rows, where the linear half needs none that has them: it tells how many there are."""
        shared = self._groups.shared
        operands = [*(operand for group in self._direct.values() for operand in group)]
        operands += [self._operands_of[i] for inputs in self._kept.values() for i in inputs]
        if not self._groups.row_axes or self._taped or not all(operand in shared for operand in operands):
            return None
        return next(i for i, operand in enumerate(self._operands_of) if operand not in shared)

    def needed(self, linear: Sequence[bool]) -> frozenset[int]:
        """The operands that the linear half takes, besides those that are linear."""
        inputs = {i for each in self._kept.values() for i in each}
        operands = {self._operands_of[i] for i in inputs}
        return frozenset(
            [*(operand for group in self._direct.values() for operand in group)]
            + [operand for operand in operands if not linear[operand]]
        )

    def _arguments(
        self, operands: Sequence[Value | None], kept: Mapping[Group, Sequence[int]]
    ) -> dict[Group, list[Operand]]:
        """The operands of some inputs, and those that no graph takes."""
        return {name: self._groups.pick(operands, group) for name, group in self._direct.items()} | {
            name: self._groups.pick(operands, [self._operands_of[i] for i in inputs]) for name, inputs in kept.items()
        }

    def _sums(self, outputs: Sequence[int]) -> list[bool]:
        """Of the sums among some outputs, whether each is one over the rows, too."""
        sums = zip(self._groups.results.get("sums", ()), self._groups.over_rows, strict=True)
        return [over_rows for j, over_rows in sums if j in outputs]

    def primal(self, builder: Builder, operands: Sequence[Value | None]) -> tuple[list[Value | None], list[Value]]:
        """The results that are not linear, and the tapes."""
        node, groups, outputs = self._node, self._groups, self._primal_outputs
        results: list[Value | None] = [None] * len(node.results)
        if not outputs and not self._taped:
            return results, []
        known = {
            name: [i for i in positions if not self._flags.inputs[i]] for name, positions in groups.inputs[-1].items()
        }
        parts = [self._primal_part(graph, self._flags.inputs, outputs) for graph in node.subgraphs]
        if self._taped:
            parts = [self._with_tapes(part, [i for inputs in known.values() for i in inputs]) for part in parts]
        by_name = emit(builder, node.op, node.attributes, self._arguments(operands, known), parts, self._sums(outputs))
        tapes: list[Value] = []
        for name, positions in groups.results.items():
            kept = [j for j in positions if j in outputs]
            for j, value in zip(kept, by_name[name], strict=False):
                results[j] = value
            tapes += by_name[name][len(kept) :]
        return results, tapes

    def _with_tapes(self, part: Graph, known: Sequence[int]) -> Graph:
        """The primal part of a step, which returns the carries that it began with after its other stacked outputs."""
        primal = dict(zip(self._primal_outputs, part.outputs, strict=True))
        outputs: list[int] = []
        for name, positions in self._groups.outputs[-1].items():
            outputs += [primal[j] for j in positions if j in primal]
            outputs += [known.index(i) for i in self._taped] if name == "stacked" else []
        return Graph(part.inputs, part.nodes, tuple(outputs))

    def linear(self, builder: Builder, operands: Sequence[Value | None], residuals: Sequence[Value]) -> list[Value]:
        """The results that are linear."""
        node, outputs = self._node, self._linear_outputs
        if not outputs:
            return []
        arguments = self._arguments(operands, self._kept)
        if self._taped:
            arguments["stacked"] += [Operand(tape) for tape in residuals]
        inputs = [*(i for each in self._kept.values() for i in each), *self._taped]
        graphs = [rearranged(builder, graph, inputs, outputs) for graph in node.subgraphs]
        return in_order(emit(builder, node.op, node.attributes, arguments, graphs, self._sums(outputs)))
