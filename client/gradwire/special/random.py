"""Random numbers without state: a function of a key and of the place in the array.

Equal keys give equal numbers, on every server and in plain Python: bits and uniform numbers bit by bit, normal ones to
rounding. They have no derivative. Keys of one's own come out of a key: ``k1, k2 = random_bits(key, 2)``; as keys are
values, every row of a batch may have its own.

Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradwire.numpy_functions.operands import Array, as_dtype, broadcast, cast, emit, integer, shape_of, wrong, xp
from gradwire.special.elementwise import FUNCTIONS
from gradwire.tracing.trace import Tracer
from gradwire_engine.ops.bitwise import threefry
from gradwire_engine.types import DType
from gradwire_engine.vocabulary import iota, reshape

__all__ = ["random_bits", "random_normal", "random_uniform"]

_BITS = {np.dtype(np.float64): 52, np.dtype(np.float32): 23}
"""One bit fewer than a mantissa holds: the middle between two multiples of its last bit is exact."""


def random_bits(key: Any, shape: Any = ()) -> Array:
    """int64 of `shape`, all 64 bits random: the same for the same `key`, an integer, traced or not, on every server."""
    lengths = shape_of(shape)
    if any(length < 0 for length in lengths):
        raise wrong(f"random_bits: got shape {lengths}, expected lengths of at least 0")
    if isinstance(key, Tracer):
        if key.dtype.kind != "i" or key.ndim:
            raise wrong(f"random_bits: key is {key.dtype} of shape {key.shape}, expected one integer")
        builder = key._trace.builder
        counter = key._trace.wrap(reshape(iota(builder, DType.INT64, (math.prod(lengths),), 0), lengths))
        return emit(broadcast(cast(key, np.dtype(np.int64)), lengths), "random_bits", counter)
    number = integer(key, "random_bits: key")
    if not -(2**63) <= number < 2**63:
        raise wrong(f"random_bits: key is {number}, expected a 64-bit integer")
    counts = np.arange(math.prod(lengths), dtype=np.int64).reshape(lengths)
    with np.errstate(over="ignore"):
        return threefry(np.asarray(number, dtype=np.int64), counts)[()]


def random_uniform(key: Any, shape: Any = (), dtype: Any = np.float64) -> Array:
    """Uniform numbers in (0, 1), neither 0 nor 1, out of `random_bits`; float64 or float32."""
    wanted = as_dtype(dtype)
    if wanted not in _BITS:
        raise wrong(f"random numbers are float64 or float32, got dtype {wanted}")
    bits = _BITS[wanted]
    whole = (random_bits(key, shape) >> (64 - bits)) & ((1 << bits) - 1)
    return (whole.astype(wanted) + xp.asarray(0.5, wanted)[()]) * xp.asarray(0.5**bits, wanted)[()]


def random_normal(key: Any, shape: Any = (), dtype: Any = np.float64) -> Array:
    """Standard normal numbers, the `ndtri` of as many uniform ones; float64 or float32."""
    return FUNCTIONS["ndtri"](random_uniform(key, shape, dtype))
