"""Random valid graphs over every op of the table, as a Hypothesis strategy.

A graph grows node by node: an op is drawn, types for its operands are drawn to suit it, and earlier values are made to
fit them by ops that convert and move (`Drawing.fitted`). So every op meets the results of every other one.

With `tame`, operands of non-linear ops are first mapped into the domain that the op's record is tested on: values stay
finite and moderate, and two roads to one number agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from tests.engine.drawing import Draw, Drawing, array_of
from tests.engine.recipes import RECIPES

from gradwire_engine.graph import Graph
from gradwire_engine.types import DType, TensorType


@st.composite
def graphs(
    draw: Draw,
    *,
    max_nodes: int = 10,
    max_outputs: int = 5,
    dtypes: Sequence[DType] = tuple(DType),
    tame: bool = False,
    differentiable: bool = False,
) -> Graph:
    """A graph of a few inputs, nodes and outputs; with `differentiable`, input 0 and all outputs are floating point."""
    drawing = Drawing(draw, RECIPES, dtypes, tame)
    floating = [dtype for dtype in dtypes if dtype.is_floating]
    for index in range(drawing.integer(1, 3)):
        dtype = drawing.choose(floating if differentiable and index == 0 else dtypes)
        drawing.add([drawing.builder.input(f"x{index}", TensorType(dtype, drawing.shape()))])
    drawing.grow(drawing.integer(1, max_nodes))
    outputs = drawing.latest(drawing.integer(1, max_outputs), floating_only=differentiable)
    return drawing.builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


def points(graph: Graph, *, special: bool = False, rows: int | None = None) -> st.SearchStrategy[list[np.ndarray]]:
    """Arrays for the inputs of a graph; with `rows`, stacks of them."""

    def arrays(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        lead = () if rows is None else (rows,)
        return [array_of(rng, type, (*lead, *type.shape), special) for type in graph.input_types]

    return st.integers(0, 2**32 - 1).map(arrays)


def _array(rng: np.random.Generator, type: TensorType, shape: tuple[int, ...], special: bool) -> np.ndarray:
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


class _Drawing:
    """A graph under construction, and the values that may be used next."""

    def __init__(self, draw: Draw, dtypes: Sequence[DType], tame: bool, calls: bool) -> None:
        self.draw = draw
        self.dtypes = tuple(dtypes)
        self.tame = tame
        self.builder = GraphBuilder()
        self.pool: list[Value] = []
        kinds = {dtype.numpy.kind for dtype in dtypes}
        self.ops = [
            name
            for name in RECIPES
            if (calls or name != "call") and (name == "call" or kinds & set(OPS[name].tests.dtypes))
        ]

    # Choices

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

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
        low = max(domain.low, max(domain.avoid, default=-np.inf) + domain.clearance)
        return expit(value) * (domain.high - low) + low

    def masked(self, value: Value, mask: Value) -> Value:
        return where(mask, value, 0.0)

    def grow(self, position: int) -> None:
        """One more op, and whatever its operands need.

        Which op a draw means depends on the position: Hypothesis likes to draw the same number again.
        """
        order = np.random.default_rng(position).permutation(len(self.ops))
        name = self.ops[order[self.integer(0, len(order) - 1)]]
        self.add(RECIPES[name](self, OPS[name]))


Recipe = Callable[[_Drawing, Op], Sequence[Value]]


def _emit(d: _Drawing, op: Op, operands: Sequence[Value], attributes: a.Attributes = a.NONE) -> Sequence[Value]:
    return d.builder.emit_all(op, [d.moderate(x, op, i) for i, x in enumerate(operands)], attributes)


def _elementwise(d: _Drawing, op: Op) -> Sequence[Value]:
    case = op.tests.cases[0]
    fixed = case.dtypes or (None,) * len(case.shapes)
    type = TensorType(d.dtype(op.tests.dtypes), d.shape())
    operands = [d.of(type if name is None else type.with_dtype(DType(name))) for name in fixed]
    return _emit(d, op, operands)


def _masked_multiply(d: _Drawing, op: Op) -> Sequence[Value]:
    """Factors that are zero where they are said to be."""
    type = TensorType(d.dtype("f"), d.shape())
    masks = [d.of(type.with_dtype(DType.BOOL)) for _ in range(2)]
    factors = [d.masked(d.moderate(d.of(type), op, 0), mask) for mask in masks]
    return d.builder.emit_all(op, (*factors, *masks))


def _integer_pow(d: _Drawing, op: Op) -> Sequence[Value]:
    dtype = d.dtype("fi")
    exponent = d.integer(0 if dtype.is_integer else -2, 4)
    return _emit(d, op, [d.of(TensorType(dtype, d.shape()))], a.Exponent(exponent))


def _of_order(d: _Drawing, op: Op) -> Sequence[Value]:
    return _emit(d, op, [d.of(TensorType(d.dtype("f"), d.shape()))], a.Order(d.integer(0, 2)))


def _random_bits(d: _Drawing, op: Op) -> Sequence[Value]:
    type = TensorType(DType.INT64, d.shape())
    return _emit(d, op, [d.of(type), d.of(type)])


def _astype(d: _Drawing, op: Op) -> Sequence[Value]:
    return _emit(d, op, [d.any()], a.Cast(d.choose(d.dtypes)))


def _constant(d: _Drawing, op: Op) -> Sequence[Value]:
    type = TensorType(d.choose(d.dtypes), d.shape())
    array = _array(np.random.default_rng(d.integer(0, 99)), type, type.shape, not d.tame and d.flag())
    return d.builder.emit_all(op, (), a.Constant.of(array))


def _iota(d: _Drawing, op: Op) -> Sequence[Value]:
    shape = d.shape(1)
    return d.builder.emit_all(op, (), a.Iota(d.dtype("fi"), shape, d.integer(0, len(shape) - 1)))


def _broadcast_to(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    shape = [d.integer(0, 3) if n == 1 and d.flag() else n for n in x.shape]
    new = d.shape(0, 1) if len(shape) < 3 else ()
    return _emit(d, op, [x], a.Shape((*new, *shape)))


def _reshape(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    shape = list(d.permutation(len(x.shape)))
    lengths = [x.shape[axis] for axis in shape]
    if d.flag() and len(lengths) < 4:
        lengths.insert(d.integer(0, len(lengths)), 1)
    elif d.flag():
        lengths = [x.type.elements]
    return _emit(d, op, [x], a.Shape(tuple(lengths)))


def _permute_dims(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    return _emit(d, op, [x], a.Permutation(d.permutation(len(x.shape))))


def _slice(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    start = [d.integer(0, n) for n in x.shape]
    limit = [d.integer(first, n) for first, n in zip(start, x.shape, strict=True)]
    return _emit(d, op, [x], a.Slice(tuple(start), tuple(limit), tuple(d.integer(1, 2) for _ in x.shape)))


def _pad(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    low, high, interior = (tuple(d.integer(0, 1) for _ in x.shape) for _ in range(3))
    return _emit(d, op, [x, d.of(TensorType(x.dtype))], a.Pad(low, high, interior))


def _concat(d: _Drawing, op: Op) -> Sequence[Value]:
    first = d.of(TensorType(d.choose(d.dtypes), d.shape(1)))
    axis = d.integer(0, len(first.shape) - 1)
    others = []
    for _ in range(d.integer(0, 2)):
        shape = list(first.shape)
        shape[axis] = d.integer(0, 2)
        others.append(d.of(first.type.with_shape(tuple(shape))))
    return _emit(d, op, [first, *others], a.Axis(axis))


def _over_axes(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.of(TensorType(d.dtype(op.tests.dtypes), d.shape(0, 3)))
    return _emit(d, op, [x], a.Axes(d.axes(len(x.shape))))


def _along_axis(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.of(TensorType(d.dtype(op.tests.dtypes), d.shape(1, 3)))
    return _emit(d, op, [x], a.Axis(d.integer(0, len(x.shape) - 1)))


def _cumulative(d: _Drawing, op: Op) -> Sequence[Value]:
    x = d.of(TensorType(d.dtype(op.tests.dtypes), d.shape(1, 3)))
    return _emit(d, op, [x], a.Cumulative(d.integer(0, len(x.shape) - 1), d.flag()))


def _searchsorted(d: _Drawing, op: Op) -> Sequence[Value]:
    dtype, shared = d.dtype("fi"), d.shape(0, 1)
    table = d.of(TensorType(dtype, (*shared, *d.shape(1, 1))))
    values = d.of(TensorType(dtype, (*shared, *d.shape(0, 1))))
    return _emit(d, op, [table, values], a.SearchSorted(len(shared), d.flag()))


def _dot_general(d: _Drawing, op: Op) -> Sequence[Value]:
    dtype = d.dtype("fi")
    shared, summed = d.shape(0, 1), d.shape(0, 2)
    operands, axes = [], []
    for _ in range(2):
        lengths = (*shared, *summed, *d.shape(0, 1))
        order = d.permutation(len(lengths))
        operands.append(d.of(TensorType(dtype, tuple(lengths[i] for i in order))))
        places = [order.index(i) for i in range(len(shared) + len(summed))]
        axes.append((tuple(places[: len(shared)]), tuple(places[len(shared) :])))
    (lhs_batch, lhs_contract), (rhs_batch, rhs_contract) = axes
    return _emit(d, op, operands, a.DotGeneral(lhs_contract, rhs_contract, lhs_batch, rhs_batch))


def _indices(d: _Drawing, batch: tuple[int, ...], lengths: Sequence[int]) -> tuple[Value, tuple[int, ...]]:
    """Indices into axes of these lengths, mostly within them; and the shape of the index set."""
    inner = d.shape(0, 1)
    dtype = d.choose([DType.INT64, DType.INT32])
    found = d.of(TensorType(dtype, (*batch, *inner, len(lengths))))
    if d.integer(0, 3):
        limits = d.builder.constant(np.array([max(n, 1) for n in lengths], dtype=dtype.numpy))
        found = found.emit("remainder", broadcast_to(limits, found.shape))
    return found, inner


def _gather(d: _Drawing, op: Op) -> Sequence[Value]:
    batch, offset, rest = d.shape(0, 1), d.shape(0, 1), d.shape(0, 1)
    lengths = d.shape(1, 2)
    x = d.of(TensorType(d.choose(d.dtypes), (*batch, *offset, *lengths, *rest)))
    indices, _ = _indices(d, batch, lengths)
    return d.builder.emit_all(op, (x, indices), a.Gather(len(batch), len(offset), d.flag()))


def _scatter_add(d: _Drawing, op: Op) -> Sequence[Value]:
    batch, offset, rest = d.shape(0, 1), d.shape(0, 1), d.shape(0, 1)
    lengths = d.shape(1, 2)
    indices, inner = _indices(d, batch, lengths)
    updates = d.of(TensorType(d.dtype("fi"), (*batch, *offset, *inner, *rest)))
    attributes = a.Scatter(len(batch), len(offset), (*batch, *offset, *lengths, *rest))
    return d.builder.emit_all(op, (updates, indices), attributes)


def _matrices(d: _Drawing, shape: tuple[int, ...]) -> Value:
    """A stack of matrices; of regular ones, whose singular values differ, where values are to stay tame."""
    x = d.of(TensorType(d.dtype("f"), shape))
    if not d.tame:
        return x
    ramp = np.eye(*shape[-2:]) * 2.0 * np.arange(1, shape[-1] + 1)
    return expit(x) - 0.5 + broadcast_to(d.builder.constant(ramp.astype(x.dtype.numpy)), shape)


def _square(d: _Drawing, op: Op) -> Sequence[Value]:
    n = d.integer(0, 3)
    return d.builder.emit_all(op, [_matrices(d, (*d.shape(0, 1), n, n))])


def _system(d: _Drawing, op: Op) -> Sequence[Value]:
    n = d.integer(0, 3)
    matrices = _matrices(d, (*d.shape(0, 1), n, n))
    right = d.of(matrices.type.with_shape((*matrices.shape[:-1], d.integer(0, 2))))
    triangular = op.attributes is a.TriangularSolve
    attributes = a.TriangularSolve(d.flag(), d.flag(), d.flag()) if triangular else a.NONE
    return d.builder.emit_all(op, [matrices, right], attributes)


def _sliding(d: _Drawing, count: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides and dilations of a window, and what its extent leaves of each axis for more positions."""
    kernel, strides, dilations, more = ([d.integer(low, 2) for _ in range(count)] for low in (1, 1, 1, 0))
    return (
        kernel,
        strides,
        dilations,
        [(k - 1) * step + 1 + n for k, step, n in zip(kernel, dilations, more, strict=True)],
    )


def _windows(d: _Drawing, op: Op) -> Sequence[Value]:
    kernel, strides, dilations, lengths = _sliding(d, d.integer(0, 2))
    x = d.of(TensorType(d.choose(d.dtypes), (*d.shape(0, 1), *lengths)))
    return _emit(d, op, [x], a.Windows(tuple(kernel), tuple(strides), tuple(dilations)))


def _overlap_add(d: _Drawing, op: Op) -> Sequence[Value]:
    kernel, strides, dilations, lengths = _sliding(d, d.integer(0, 2))
    counts = [
        (n - (k - 1) * step - 1) // stride + 1
        for n, k, stride, step in zip(lengths, kernel, strides, dilations, strict=True)
    ]
    x = d.of(TensorType(d.dtype("fi"), (*d.shape(0, 1), *counts, *kernel)))
    return _emit(d, op, [x], a.OverlapAdd(tuple(strides), tuple(dilations), tuple(lengths)))


def _convolution(d: _Drawing, op: Op) -> Sequence[Value]:
    kernel, strides, dilations, lengths = _sliding(d, d.integer(1, 2))
    low, high = (tuple(d.integer(0, 1) for _ in kernel) for _ in range(2))
    shared, groups, inputs, outputs = d.shape(0, 1), d.integer(1, 2), d.integer(1, 2), d.integer(1, 2)
    dtype = d.dtype("fi")
    x = d.of(TensorType(dtype, (*shared, *d.shape(0, 1), groups * inputs, *lengths)))
    w = d.of(TensorType(dtype, (*shared, groups * outputs, inputs, *kernel)))
    attributes = a.Convolution(tuple(strides), low, high, tuple(dilations), groups, len(shared))
    return _emit(d, op, [x, w], attributes)


def _call(d: _Drawing, op: Op) -> Sequence[Value]:
    callee = d.draw(graphs(max_nodes=3, dtypes=d.dtypes, tame=d.tame, calls=False))
    operands = [d.of(type) for type in callee.input_types]
    return d.builder.emit_all(op, operands, subgraphs=[callee])


_BY_NAME: dict[str, Recipe] = {
    "masked_multiply": _masked_multiply,
    "integer_pow": _integer_pow,
    "random_bits": _random_bits,
    "astype": _astype,
    "constant": _constant,
    "iota": _iota,
    "broadcast_to": _broadcast_to,
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "dot_general": _dot_general,
    "searchsorted": _searchsorted,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "cholesky": _square,
    "triangular_solve": _system,
    "solve": _system,
    "windows": _windows,
    "overlap_add": _overlap_add,
    "convolution": _convolution,
    "call": _call,
}


def _recipe(op: Op) -> Recipe:
    if op.name in _BY_NAME:
        return _BY_NAME[op.name]
    if op.attributes is a.Axes:
        return _over_axes
    if op.attributes is a.Axis:
        return _along_axis
    if op.attributes is a.Cumulative:
        return _cumulative
    if op.attributes is a.Order:
        return _of_order
    if op.attributes is a.Attributes and op.elementwise:
        return _elementwise
    raise TypeError(f"no recipe for graphs with {op.name}")


RECIPES: dict[str, Recipe] = {name: _recipe(op) for name, op in OPS.items()}
