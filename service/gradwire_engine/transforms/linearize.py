"""Linearization: forward mode with its two halves told apart.

    f: x -> y      becomes      primal: x -> (y, residuals)      and      linear: (residuals, ẋ) -> ẏ

`primal` is the forward pass, which keeps the intermediate values that the derivative needs; `linear` is a linear map of
the tangents, with those values as coefficients. Reverse mode is the transpose of `linear`: there is no second set of
derivative rules. (Radul et al., "You Only Linearize Once", POPL 2023.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import Halves, Masked, Structured, op_of
from gradwire_engine.transforms.jvp import push_forward
from gradwire_engine.value import Value

_CONSTANT, _PRIMAL, _LINEAR = 0, 1, 2


@dataclass(frozen=True)
class Linearized:
    """The two halves of a derivative, sharing residuals."""

    primal: Graph
    """Inputs of the function -> its outputs, then the residuals."""
    linear: Graph
    """Residuals, then a tangent for each varied input -> tangents of the outputs listed in `active`."""
    residuals: int
    active: tuple[int, ...]
    """Which of the requested outputs depend on the varied inputs at all, as positions in that request."""


def linearize(graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Linearized:
    """Linearize with respect to `inputs`, for the given `outputs` (indices into the graph's outputs)."""
    builder = GraphBuilder()
    values = [builder.input(parameter.name, parameter.type) for parameter in graph.inputs]
    tangents: list[Masked | None] = [None] * len(values)
    for index in inputs:
        tangents[index] = Masked(builder.input(f"d_{graph.inputs[index].name}", graph.inputs[index].type))
    results, pushed = push_forward(builder, graph, values, tangents)
    requested = [pushed[index] for index in outputs]
    active = tuple(i for i, tangent in enumerate(requested) if tangent is not None)
    joint = builder.finish([*results, *(tangent.value for tangent in requested if tangent is not None)])
    flags = [number >= len(values) for number in range(len(joint.inputs))]
    primal, linear, residuals = split(joint, flags, range(len(results)), range(len(results), len(joint.outputs)))
    return Linearized(primal, linear, residuals, active)


def split(
    joint: Graph, varied: Sequence[bool], primal_outputs: Sequence[int], linear_outputs: Sequence[int]
) -> tuple[Graph, Graph, int]:
    """Cut a graph of values and tangents in two, where tangents begin to matter.

    `varied` marks the inputs that are tangents. The primal graph takes the others to `primal_outputs` (positions),
    which depend on no tangent, and to the residuals; the linear graph takes residuals and tangents to `linear_outputs`.
    The last result is the number of residuals.
    """
    cut = _Cut(joint, varied)
    residuals = cut.residuals(linear_outputs)
    backward = GraphBuilder()
    linear: list[Value | None] = [None] * len(joint.types)
    for index, number in enumerate(residuals):
        linear[number] = backward.input(f"residual{index}", joint.types[number])
    passed = {
        first: [backward.input(f"residual{first}_{index}", value.type) for index, value in enumerate(values)]
        for first, values in cut.further.items()
    }
    for number, parameter in enumerate(joint.inputs):
        if cut.kinds[number] == _LINEAR:
            linear[number] = backward.input(parameter.name, parameter.type)
    for first, node in joint.numbered():
        numbers = range(first, first + len(node.results))
        if first in cut.halves:
            results = cut.halves[first].linear(backward, [linear[n] for n in node.operands], passed[first])
            for number, value in zip([n for n in numbers if cut.kinds[n] == _LINEAR], results, strict=True):
                linear[number] = value
        elif cut.kinds[first] in (_CONSTANT, _LINEAR):
            linear[first : first + len(node.results)] = backward.copy(node, [_known(linear[n]) for n in node.operands])
    kept = [_known(cut.primal[n]) for n in residuals] + [value for values in cut.further.values() for value in values]
    return (
        cut.forward.finish([*(_known(cut.primal[joint.outputs[i]]) for i in primal_outputs), *kept]),
        backward.finish([_known(linear[joint.outputs[i]]) for i in linear_outputs]),
        len(kept),
    )


def primal_part(graph: Graph, varied: Sequence[bool], outputs: Sequence[int]) -> Graph:
    """Some outputs (positions) of a graph that depend on no tangent, as a graph of the other inputs."""
    cut = _Cut(graph, varied)
    return cut.forward.finish([_known(cut.primal[graph.outputs[i]]) for i in outputs])


class _Cut:
    """A graph of values and tangents with its forward pass made: its values in `forward`, None for what is linear."""

    def __init__(self, joint: Graph, varied: Sequence[bool]) -> None:
        self._joint = joint
        self.kinds = kinds = [_LINEAR if is_tangent else _PRIMAL for is_tangent in varied]
        self.halves: dict[int, Halves] = {}
        self.forward = GraphBuilder()
        self.primal: list[Value | None] = [
            None if kind == _LINEAR else self.forward.input(parameter.name, parameter.type)
            for parameter, kind in zip(joint.inputs, kinds, strict=True)
        ]
        self.further: dict[int, list[Value]] = {}
        """Residuals that are no values of the joint graph, by node."""
        for first, node in joint.numbered():
            kind = max([kinds[n] for n in node.operands], default=_CONSTANT)
            if node.subgraphs and kind == _LINEAR:
                self._divide(first, node)
                continue
            kinds.extend([kind] * len(node.results))
            if kind == _LINEAR:
                self.primal.extend([None] * len(node.results))
            else:
                self.primal.extend(self.forward.copy(node, [_known(self.primal[n]) for n in node.operands]))

    def _divide(self, first: int, node: Node) -> None:
        """A node that may have results of both kinds."""
        rule = op_of(node).derivative
        assert isinstance(rule, Structured)
        linear = [self.kinds[n] == _LINEAR for n in node.operands]
        self.kinds.extend([_LINEAR if moves else _PRIMAL for moves in rule.linear_results(node, linear)])
        self.halves[first] = halves = rule.divide(node, linear, primal_part)
        results, self.further[first] = halves.primal(self.forward, [self.primal[n] for n in node.operands])
        self.primal.extend(results)

    def residuals(self, linear_outputs: Sequence[int]) -> list[int]:
        """The primal values that linear nodes use, in order of first use."""
        joint, kinds = self._joint, self.kinds
        used: dict[int, None] = {}
        for first, node in joint.numbered():
            if first in self.halves:
                needed = [node.operands[i] for i in sorted(self.halves[first].needed)]
                used.update({n: None for n in needed if kinds[n] == _PRIMAL})
            elif kinds[first] == _LINEAR:
                used.update({n: None for n in node.operands if kinds[n] == _PRIMAL})
        used.update({n: None for i in linear_outputs if kinds[n := joint.outputs[i]] == _PRIMAL})
        return list(used)


def _known(value: Value | None) -> Value:
    assert value is not None
    return value
