"""The check of structural zeros: an op's masks say where tangents are zero, and are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.kit.engine.applications import (
    Application,
    differences,
    directions,
    in_float64,
    random,
    random_like,
)

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.op import Masked, Op, Zero
from gradwire_engine.ops import linear_algebra
from gradwire_engine.transforms.jvp import push_node
from gradwire_engine.transforms.linearize import linearize
from gradwire_engine.transforms.transpose import pull_back
from gradwire_engine.types import DType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import true

UNTRACKED = frozenset({"dot_general", "convolution", *(op.name for op in linear_algebra.OPS)})
"""Ops that need not say where their tangents are zero, only be right where they do."""


def check_masks(op: Op) -> None:
    """A mask is false where the tangent is zero whatever the active inputs are, and nowhere else.

    In forward mode and in reverse mode, with some elements of the incoming tangents known to be zero.
    """
    for application in in_float64(op):
        rng = random(3)
        operands = application.operands(rng)
        jacobians = _jacobians(application, operands)
        constant = not any(np.any(block) for blocks in jacobians for block in blocks)
        if isinstance(op.derivative, Zero) or constant:
            assert constant, f"{application}: not constant"
            continue
        for _ in range(4):
            moves = directions(application, rng)
            masks = [rng.random(move.shape) < 0.6 for move in moves]
            moves = [np.where(mask, move, 0.0) for move, mask in zip(moves, masks, strict=True)]
            pushed = _masked_forward(application, operands, moves, masks)
            for (value, mask), blocks in zip(pushed, jacobians, strict=True):
                counts = [
                    np.tensordot(block != 0, m.astype(int), m.ndim) for block, m in zip(blocks, masks, strict=True)
                ]
                _require_mask(application, value, mask, sum(counts, np.zeros(value.shape)) > 0)

            weights = random_like([application.graph.output_types[i] for i in application.floating], rng)
            active = [np.asarray(rng.random(weight.shape) < 0.6) for weight in weights]
            weights = [np.where(mask, weight, 0.0) for weight, mask in zip(weights, active, strict=True)]
            pulled = _masked_reverse(application, operands, weights, active)
            for which, (value, mask) in enumerate(pulled):
                counts = [
                    np.tensordot(m.astype(int), blocks[which] != 0, m.ndim)
                    for blocks, m in zip(jacobians, active, strict=True)
                ]
                _require_mask(application, value, mask, sum(counts, np.zeros(value.shape)) > 0)


def _require_mask(what: Application, value: np.ndarray, mask: np.ndarray, reached: np.ndarray) -> None:
    assert mask.shape == value.shape, str(what)
    assert np.all(value[~mask] == 0.0), f"{what}: a tangent that is said to be zero is {value[~mask]}"
    assert np.all(mask[reached]), f"{what}: said to be zero, but depends on active inputs"
    if what.op.name not in UNTRACKED:
        np.testing.assert_array_equal(mask, reached, err_msg=f"{what}: not known to be zero, but is")


def _jacobians(application: Application, operands: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """By central differences: for each floating-point result, and each varied operand, a derivative of each element."""
    shapes = [application.graph.output_types[i].shape for i in application.floating]
    found: list[list[np.ndarray]] = [[] for _ in shapes]
    for which, i in enumerate(application.varied):
        columns = []
        for unit in np.eye(operands[i].size).reshape((operands[i].size, *operands[i].shape)):
            moves = [np.zeros(operands[j].shape) for j in application.varied]
            moves[which] = unit
            columns.append(differences(application.graph, application.varied, operands, moves))
        for result, shape in enumerate(shapes):
            elements = [column[result] for column in columns]
            block = np.stack(elements, axis=-1) if elements else np.zeros((*shape, 0))
            block = np.where(np.abs(block) < 1e-9, 0.0, block)
            found[result].append(block.reshape(shape + operands[i].shape))
    return found


def _masked_forward(
    application: Application,
    operands: Sequence[np.ndarray],
    moves: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
) -> list[tuple[np.ndarray, np.ndarray]]:
    builder = GraphBuilder()
    values = [builder.input("x", type) for type in application.types]
    types = [application.types[i] for i in application.varied]
    seeds = [Masked(builder.input("t", type), builder.input("mask", type.with_dtype(DType.BOOL))) for type in types]
    tangents: list[Masked | None] = [None] * len(values)
    for i, seed in zip(application.varied, seeds, strict=True):
        tangents[i] = seed
    (node,) = application.graph.nodes
    results, moved = push_node(builder, node, values, tangents)
    found = [_or_nothing(results[i], moved[i]) for i in application.floating]
    return _values_and_masks(builder, found, [*operands, *_interleaved(moves, masks)])


def _or_nothing(value: Value, tangent: Masked | None) -> Masked:
    """The tangent; zeros that are known to be zero where there is none."""
    return tangent or Masked(value.like(0.0), ~true(value.builder, value.shape))


def _masked_reverse(
    application: Application,
    operands: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    active: Sequence[np.ndarray],
) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = linearize(application.graph, application.varied, application.floating)
    builder = GraphBuilder()
    values = [builder.input("x", type) for type in application.types]
    types = [application.graph.output_types[i] for i in application.floating]
    seeds = [Masked(builder.input("ct", type), builder.input("mask", type.with_dtype(DType.BOOL))) for type in types]
    residuals = builder.inline(parts.primal, values)[len(application.graph.outputs) :]
    pulled = pull_back(builder, parts.linear, residuals, [seeds[i] for i in parts.active])
    arrived = [_or_nothing(values[i], each) for i, each in zip(application.varied, pulled, strict=True)]
    return _values_and_masks(builder, arrived, [*operands, *_interleaved(weights, active)])


def _interleaved(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [each for pair in zip(first, second, strict=True) for each in pair]


def _values_and_masks(
    builder: GraphBuilder, tangents: Sequence[Masked], inputs: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    outputs = [
        each for value, mask in tangents for each in (value, true(builder, value.shape) if mask is None else mask)
    ]
    found = compile(builder.finish(outputs)).run(inputs, 1)
    return list(zip(found[::2], found[1::2], strict=True))
