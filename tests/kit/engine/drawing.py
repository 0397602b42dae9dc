"""A graph under construction from Hypothesis's draws: choices, and earlier values made to fit a type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.op import Domain, Linear, Op, Zero
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype, broadcast_to, expit, pad, reshape, slice_of, where

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]
DEEPEST = 2
"""How deep graphs are nested."""
_SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan, 1e-310, 1e300)


def array_of(rng: np.random.Generator, type: TensorType, shape: tuple[int, ...], special: bool) -> np.ndarray:
    """An array of small numbers; with `special`, of those at which rules break."""
    dtype = type.dtype.numpy
    if type.dtype is DType.BOOL:
        return np.asarray(rng.random(shape) < 0.5)
    if type.dtype.is_integer:
        limits = np.iinfo(dtype)
        extremes = [0, 1, -1, 5, limits.min, limits.max] if special else range(-4, 5)
        return np.asarray(rng.choice(np.array(extremes, dtype=dtype), shape))
    if special:
        with np.errstate(over="ignore"):
            return np.asarray(rng.choice(np.array(_SPECIAL, dtype=dtype), shape))
    return np.asarray(rng.uniform(-2.0, 2.0, shape)).astype(dtype)


class Drawing:
    """A graph under construction, and the values that may be used next."""

    def __init__(
        self, draw: Draw, recipes: Mapping[str, Recipe], dtypes: Sequence[DType], tame: bool, depth: int = 0
    ) -> None:
        self.draw = draw
        self.recipes = recipes
        self.dtypes = tuple(dtypes)
        self.tame = tame
        self.depth = depth
        self.builder = GraphBuilder()
        self.pool: list[Value] = []
        kinds = {dtype.numpy.kind for dtype in dtypes}
        self.structured = [name for name in recipes if OPS[name].subgraphs and depth < DEEPEST]
        self.plain = [name for name in recipes if not OPS[name].subgraphs and kinds & set(OPS[name].tests.dtypes)]

    # Choices

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(_integers(low, high)))

    def flag(self) -> bool:
        return bool(self.draw(st.booleans()))

    def choose(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def shape(self, low: int = 0, high: int = 2) -> tuple[int, ...]:
        """Mostly a few short axes; sometimes one without elements."""
        lengths = (2, 1, 3, 0) if self.integer(0, 7) == 0 else (2, 1, 3)
        return tuple(self.choose(lengths) for _ in range(self.integer(low, high)))

    def dtype(self, kinds: str) -> DType:
        return self.choose([dtype for dtype in self.dtypes if dtype.numpy.kind in kinds])

    def axes(self, rank: int) -> tuple[int, ...]:
        return tuple(axis for axis in range(rank) if self.flag())

    def permutation(self, rank: int) -> tuple[int, ...]:
        return tuple(self.draw(st.permutations(range(rank))))

    # Values

    def add(self, values: Sequence[Value]) -> None:
        self.pool.extend(values)

    def any(self) -> Value:
        """An earlier value, more often a late one."""
        return self.choose(self.pool[-4:] if self.flag() else self.pool)

    def of(self, type: TensorType) -> Value:
        """An earlier value, made to fit a type."""
        return self.fitted(self.any(), type)

    def fitted(self, value: Value, type: TensorType) -> Value:
        value = astype(value, type.dtype)
        if value.shape == type.shape:
            return value
        have, want = value.type.elements, type.elements
        if have == 1:
            return broadcast_to(reshape(value, ()), type.shape)
        line = reshape(value, (have,))
        if have > want:
            line = slice_of(line, [have - want], [have])
        elif have < want:
            line = pad(line, [0], [want - have], fill=1)
        return reshape(line, type.shape)

    def moderate(self, value: Value, op: Op, index: int) -> Value:
        """The value within the domain that the op is tested on."""
        if not self.tame or not value.dtype.is_floating or isinstance(op.derivative, Linear | Zero):
            return value
        domain = op.tests.domains[min(index, len(op.tests.domains) - 1)]
        low, high = _widest(domain)
        found = expit(value) * (high - low) + low
        if domain.ramp and len(value.shape) >= 2:
            ramp = np.eye(*value.shape[-2:]) * domain.ramp * np.arange(1, value.shape[-1] + 1)
            found = found + broadcast_to(self.builder.constant(ramp.astype(value.dtype.numpy)), value.shape)
        return found

    def masked(self, value: Value, mask: Value) -> Value:
        return where(mask, value, 0.0)

    # Graphs

    def grow(self, count: int) -> None:
        """So many more ops, and whatever their operands need.

        Which op a draw means depends on the position: Hypothesis likes to draw the same number again. Ops that refer to
        graphs come more often than their number says.
        """
        for position in range(count):
            names = self.structured if self.structured and self.integer(0, 7) == 3 else self.plain
            order = np.random.default_rng(position).permutation(len(names))
            name = names[order[self.integer(0, len(order) - 1)]]
            self.add(self.recipes[name](self, OPS[name]))

    def latest(self, count: int, floating_only: bool = False) -> list[Value]:
        """The last values: what a graph returns."""
        return [value for value in self.pool if value.dtype.is_floating or not floating_only][-count:]

    def inside(self, inputs: Sequence[TensorType]) -> Drawing:
        """Another graph, to which an op of this one refers."""
        inner = Drawing(self.draw, self.recipes, self.dtypes, self.tame, self.depth + 1)
        inner.add([inner.builder.input(f"x{index}", type) for index, type in enumerate(inputs)])
        return inner


@cache
def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def _widest(domain: Domain) -> tuple[float, float]:
    """The longest part of a domain between points to stay away from."""
    inside = sorted(point for point in domain.avoid if domain.low <= point <= domain.high)
    starts = [domain.low, *(point + domain.clearance for point in inside)]
    ends = [*(point - domain.clearance for point in inside), domain.high]
    return max(zip(starts, ends, strict=True), key=lambda part: part[1] - part[0])


Recipe = Callable[[Drawing, Op], Sequence[Value]]
"""How an op is drawn: its results."""
