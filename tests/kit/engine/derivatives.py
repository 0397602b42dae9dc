"""The derivatives of a graph at a point, by every road that the engine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tests.kit.engine.building import run

from gradwire_engine.graph import Graph
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Layout, Program, Transform
from gradwire_engine.transforms.jacobian import jacobian_forward, jacobian_reverse
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp

Point = Sequence[Any]


def by_jvp(graph: Graph, point: Point) -> list[np.ndarray]:
    """Output 0 by each input, column by column: a sweep for every unit tangent."""
    return _columns(graph, lambda i, seed: run(jvp(graph, [i]), *point, seed)[len(graph.outputs)])


def by_vjp(graph: Graph, point: Point) -> list[np.ndarray]:
    """Output 0 by each input, row by row: a sweep for every unit cotangent."""
    inputs = list(range(len(graph.inputs)))
    pulled = vjp(graph, inputs)
    return _rows(graph, lambda seeds: run(pulled, *point, *seeds)[len(graph.outputs) :])


def _columns(graph: Graph, push: Callable[[int, np.ndarray], np.ndarray]) -> list[np.ndarray]:
    blocks = []
    for i, type in enumerate(graph.input_types):
        block = np.empty(graph.output_types[0].shape + type.shape)
        for place in np.ndindex(*type.shape):
            seed = np.zeros(type.shape)
            seed[place] = 1.0
            block[(..., *place)] = push(i, seed)
        blocks.append(block)
    return blocks


def _rows(graph: Graph, pull: Callable[[list[np.ndarray]], list[np.ndarray]]) -> list[np.ndarray]:
    shape = graph.output_types[0].shape
    blocks = [np.empty(shape + type.shape) for type in graph.input_types]
    for place in np.ndindex(*shape):
        seeds = [np.zeros(type.shape) for type in graph.output_types]
        seeds[0][place] = 1.0
        for block, row in zip(blocks, pull(seeds), strict=True):
            block[place] = row
    return blocks


def by_jacobian_forward(graph: Graph, point: Point) -> list[np.ndarray]:
    """As the transform makes it, without any pass."""
    return run(jacobian_forward(graph, range(len(graph.inputs))), *point)[: len(graph.inputs)]


def by_jacobian_reverse(graph: Graph, point: Point) -> list[np.ndarray]:
    """As the transform makes it, without any pass."""
    return run(jacobian_reverse(graph, range(len(graph.inputs))), *point)[: len(graph.inputs)]


def _served(transform: Transform) -> Callable[[Graph, Point], list[np.ndarray]]:
    """The whole road: passes, transform, batch, passes; the point is the middle one of three rows."""

    def derivative(graph: Graph, point: Point) -> list[np.ndarray]:
        prepared = prepare(Program(graph, (transform,)), Layout())
        rows = [
            np.stack([np.full(type.shape, 1.5), np.asarray(x, float), np.full(type.shape, 2.5)])
            for x, type in zip(point, graph.input_types, strict=True)
        ]
        return [found[1] for found in run(prepared.graph, *rows, rows=3)][: len(graph.inputs)]

    return derivative


def roads(graph: Graph) -> dict[str, Callable[[Graph, Point], list[np.ndarray]]]:
    """Every way to all derivatives of output 0, by name."""
    everything = tuple(range(len(graph.inputs)))
    found: dict[str, Callable[[Graph, Point], list[np.ndarray]]] = {
        "jvp": by_jvp,
        "vjp": by_vjp,
        "jacobian forward": by_jacobian_forward,
        "jacobian reverse": by_jacobian_reverse,
        "served, forward": _served(Jacobian(everything, JacobianMode.FORWARD)),
        "served, reverse": _served(Jacobian(everything, JacobianMode.REVERSE)),
    }
    if not graph.output_types[0].shape:
        found["grad"] = lambda graph, point: run(grad(graph, everything), *point)[: len(everything)]
        found["served grad"] = _served(Grad(everything))
    return found


def higher(graph: Graph, order: int) -> dict[str, Graph]:
    """The derivative of this order of a scalar function of one scalar, by every mixture of the modes."""
    graphs = {"": graph}
    for _ in range(order):
        graphs = {
            f"{name} {mode}": transformed
            for name, inner in graphs.items()
            for mode, transformed in (
                ("forward", jacobian_forward(inner, [0])),
                ("reverse", grad(inner, [0])),
            )
        }
    return graphs


def second(graph: Graph, first: int, then: int) -> dict[str, Graph]:
    """The mixed second derivative of output 0, by both modes in both places."""
    modes = {"forward": jacobian_forward, "reverse": jacobian_reverse}
    return {
        f"{outer} over {inner}": modes[outer](_only_output(modes[inner](_only_output(graph), [first])), [then])
        for outer in modes
        for inner in modes
    }


def _only_output(graph: Graph) -> Graph:
    return Graph(graph.inputs, graph.nodes, graph.outputs[:1])
