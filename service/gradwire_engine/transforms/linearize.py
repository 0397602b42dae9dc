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
from gradwire_engine.graph import Graph
from gradwire_engine.op import Masked
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
    values = [builder.input(one.name, one.type) for one in graph.inputs]
    tangents: list[Masked | None] = [None] * len(values)
    for index in inputs:
        tangents[index] = Masked(builder.input(f"d_{graph.inputs[index].name}", graph.inputs[index].type))
    results, pushed = push_forward(builder, graph, values, tangents)
    moved = [pushed[index] for index in outputs]
    active = tuple(i for i, tangent in enumerate(moved) if tangent is not None)
    joint = builder.finish([*results, *(tangent.value for tangent in moved if tangent is not None)])
    return split(joint, len(values), len(results), active)


def split(joint: Graph, primal_inputs: int, primal_outputs: int, active: tuple[int, ...]) -> Linearized:
    """Cut a graph of values and tangents in two, where tangents begin to matter.

    Its inputs are `primal_inputs` values, then tangents; its outputs `primal_outputs` values, then the tangents of the
    outputs `active`.
    """
    kinds = [_PRIMAL] * primal_inputs + [_LINEAR] * (len(joint.inputs) - primal_inputs)
    for node in joint.nodes:
        kind = max([kinds[n] for n in node.operands], default=_CONSTANT)
        kinds.extend([kind] * len(node.results))

    residuals: dict[int, None] = {}  # in order of first use
    for first, node in joint.numbered():
        if kinds[first] == _LINEAR:
            residuals.update({n: None for n in node.operands if kinds[n] == _PRIMAL})
    tangent_outputs = joint.outputs[primal_outputs:]
    residuals.update({n: None for n in tangent_outputs if kinds[n] == _PRIMAL})

    forward, backward = GraphBuilder(), GraphBuilder()
    primal: dict[int, Value] = {}
    linear: dict[int, Value] = {}
    for number, one in enumerate(joint.inputs[:primal_inputs]):
        primal[number] = forward.input(one.name, one.type)
    for index, number in enumerate(residuals):
        linear[number] = backward.input(f"residual{index}", joint.types[number])
    for number, one in enumerate(joint.inputs[primal_inputs:], start=primal_inputs):
        linear[number] = backward.input(one.name, one.type)

    for first, node in joint.numbered():
        for builder, known, wanted in ((forward, primal, _PRIMAL), (backward, linear, _LINEAR)):
            if kinds[first] not in (_CONSTANT, wanted):
                continue
            results = builder.copy(node, [known[n] for n in node.operands])
            known.update(zip(range(first, first + len(results)), results, strict=True))
    return Linearized(
        primal=forward.finish([primal[n] for n in (*joint.outputs[:primal_outputs], *residuals)]),
        linear=backward.finish([linear[n] for n in tangent_outputs]),
        residuals=len(residuals),
        active=active,
    )
