"""The check of structural zeros: an op's masks say where tangents are zero, and are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.engine.applications import (
    Application,
    differences,
    directions,
    in_float64,
    random,
)

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.reference import compile
from gradwire_engine.op import Masked, Op, Zero
from gradwire_engine.ops import linear_algebra
from gradwire_engine.transforms.jvp import push_node
from gradwire_engine.transforms.linearize import linearize
from gradwire_engine.transforms.transpose import pull_back
from gradwire_engine.types import DType
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
        if isinstance(op.derivative, Zero) or not any(np.any(jacobian) for jacobian in jacobians):
            assert not any(np.any(jacobian) for jacobian in jacobians), f"{application}: not constant"
            continue
        for _ in range(4):
            moves = directions(application, rng)
            masks = [rng.random(move.shape) < 0.6 for move in moves]
            moves = [np.where(mask, move, 0.0) for move, mask in zip(moves, masks, strict=True)]
            value, mask = _masked_forward(application, operands, moves, masks)
            reached = sum(
                np.tensordot(jacobian != 0, mask.astype(int), mask.ndim)
                for jacobian, mask in zip(jacobians, masks, strict=True)
            )
            _require_mask(application, value, mask, np.asarray(reached) > 0)

            weights = np.asarray(rng.standard_normal(value.shape))
            active = np.asarray(rng.random(value.shape) < 0.6)
            weights = np.where(active, weights, 0.0)
            for (value, mask), jacobian in zip(
                _masked_reverse(application, operands, weights, active), jacobians, strict=True
            ):
                reached = np.tensordot(active.astype(int), jacobian != 0, active.ndim)
                _require_mask(application, value, mask, np.asarray(reached) > 0)


def _require_mask(what: Application, value: np.ndarray, mask: np.ndarray, reached: np.ndarray) -> None:
    assert mask.shape == value.shape, str(what)
    assert np.all(value[~mask] == 0.0), f"{what}: a tangent that is said to be zero is {value[~mask]}"
    assert np.all(mask[reached]), f"{what}: said to be zero, but depends on active inputs"
    if what.op.name not in UNTRACKED:
        np.testing.assert_array_equal(mask, reached, err_msg=f"{what}: not known to be zero, but is")


def _jacobians(application: Application, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """By central differences: a derivative for each result and operand element."""
    blocks = []
    for which, i in enumerate(application.varied):
        columns = []
        for unit in np.eye(operands[i].size).reshape((operands[i].size, *operands[i].shape)):
            moves = [np.zeros(operands[j].shape) for j in application.varied]
            moves[which] = unit
            columns.append(differences(application.graph, application.varied, operands, moves))
        shape = application.graph.output_types[0].shape
        block = np.stack(columns, axis=-1) if columns else np.zeros((*shape, 0))
        block = np.where(np.abs(block) < 1e-9, 0.0, block)
        blocks.append(block.reshape(shape + operands[i].shape))
    return blocks


def _masked_forward(
    application: Application,
    operands: Sequence[np.ndarray],
    moves: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    builder = GraphBuilder()
    values = [builder.input("x", type) for type in application.types]
    types = [application.types[i] for i in application.varied]
    seeds = [Masked(builder.input("t", type), builder.input("mask", type.with_dtype(DType.BOOL))) for type in types]
    tangents: list[Masked | None] = [None] * len(values)
    for i, seed in zip(application.varied, seeds, strict=True):
        tangents[i] = seed
    (node,) = application.graph.nodes
    _, (moved,) = push_node(builder, node, values, tangents)
    assert moved is not None, str(application)
    return _values_and_masks(builder, [moved], [*operands, *_interleaved(moves, masks)])[0]


def _masked_reverse(
    application: Application, operands: Sequence[np.ndarray], weights: np.ndarray, active: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = linearize(application.graph, application.varied, [0])
    builder = GraphBuilder()
    values = [builder.input("x", type) for type in application.types]
    type = application.graph.output_types[0]
    seed = Masked(builder.input("ct", type), builder.input("mask", type.with_dtype(DType.BOOL)))
    residuals = builder.inline(parts.primal, values)[1:]
    pulled = pull_back(builder, parts.linear, residuals, [seed])
    arrived = []
    for each in pulled:
        assert each is not None, str(application)
        arrived.append(each)
    return _values_and_masks(builder, arrived, [*operands, weights, active])


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
