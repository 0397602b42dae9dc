"""Bits of integers, whole-number division, and random numbers: piecewise constant, so the derivative is zero.

Random numbers are a function of a key and a counter, with no state: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror
and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Equal keys and counters give equal bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.errors import GraphError
from gradwire_engine.op import Array, Case, Op, TestData, Zero
from gradwire_engine.ops.arithmetic import SHAPES, elementwise
from gradwire_engine.ops.rules import describe, require_same, stacked
from gradwire_engine.types import DType, TensorType


def _whole(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    type = require_same(operands)
    if not type.dtype.is_integer:
        raise GraphError(f"got {describe(operands)}, expected int32 or int64")
    return (type,)


def _random_types(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    type = require_same(operands)
    if type.dtype is not DType.INT64:
        raise GraphError(f"got {describe(operands)}, expected int64; convert with astype")
    return (type,)


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry(key: Array, counter: Array) -> Any:
    """64 random bits for each counter, under a key. The low half of an integer is its first word."""
    first, second = key.astype(np.uint32), (key >> 32).astype(np.uint32)
    keys = (first, second, first ^ second ^ _PARITY)
    x, y = counter.astype(np.uint32), (counter >> 32).astype(np.uint32)
    x = x + keys[0]
    y = y + keys[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x = x + y
            y = ((y << np.uint32(distance)) | (y >> np.uint32(32 - distance))) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x.astype(np.int64) | (y.astype(np.int64) << 32)


def _bits(name: str, evaluate: Callable[..., Any], scratch: float = 0.0) -> Op:
    return elementwise(name, 2, evaluate, Zero(), types=_whole, scratch=scratch, dtypes="i")


OPS = (
    _bits("bitwise_and", np.bitwise_and),
    _bits("bitwise_or", np.bitwise_or),
    _bits("bitwise_xor", np.bitwise_xor),
    # numpy defines shifts by too much, and by less than nothing, which is the same as by too much.
    _bits("left_shift", np.left_shift),
    _bits("right_shift", np.right_shift),
    _bits("gcd", np.gcd),
    Op(
        name="random_bits",
        arity=2,
        types=_random_types,
        evaluate=lambda _, key, counter: threefry(key, counter),
        derivative=Zero(),
        batch=stacked("random_bits"),
        flops=120.0,
        scratch=2.0,
        elementwise=True,
        tests=TestData(cases=tuple(Case((shape, shape)) for shape in SHAPES), dtypes="i"),
    ),
)
