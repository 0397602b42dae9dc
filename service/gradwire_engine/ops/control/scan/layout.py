"""Where the groups of a scan stand."""

from __future__ import annotations

from dataclasses import dataclass

from gradwire_engine.attributes import Scan
from gradwire_engine.graph import Node
from gradwire_engine.ops.control.bodies import operand_groups


@dataclass(frozen=True)
class Layout:
    """Where the groups of a scan stand: among the operands, among the body's inputs, outputs, and the results."""

    attributes: Scan
    operands: int
    outputs: int

    @property
    def first(self) -> int:
        """The operand of the body's input 0."""
        return int(self.attributes.counted)

    @property
    def inputs(self) -> list[range]:
        """The body's inputs: constants, carries, slices."""
        a = self.attributes
        return operand_groups(a.constants, a.carries, self.operands - self.first - a.constants - a.carries)

    @property
    def results(self) -> list[range]:
        """The body's outputs, and the results: carries, stacked outputs, sums."""
        a = self.attributes
        return operand_groups(a.carries, self.outputs - a.carries - a.sums, a.sums)


def layout_of(node: Node) -> Layout:
    """The layout of a node."""
    assert isinstance(node.attributes, Scan)
    return Layout(node.attributes, len(node.operands), len(node.subgraphs[0].outputs))
