"""How each op is drawn: types for its operands, operands that have them, and attributes.

An op that has no recipe here is drawn as its record tests it, so a new op is drawn from the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from tests.kit.engine import control_recipes
from tests.kit.engine.applications import Application, applications
from tests.kit.engine.drawing import Drawing, Recipe, array_of

from gradwire_engine import attributes as a
from gradwire_engine.op import Op, Refused
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value, full
from gradwire_engine.vocabulary import broadcast_to, expit


def _emit(d: Drawing, op: Op, operands: Sequence[Value], attributes: a.Attributes = a.NONE) -> Sequence[Value]:
    return d.builder.emit_all(op, [d.moderate(x, op, i) for i, x in enumerate(operands)], attributes)


def _elementwise(d: Drawing, op: Op) -> Sequence[Value]:
    case = op.tests.cases[0]
    fixed = case.dtypes or (None,) * len(case.shapes)
    type = TensorType(d.dtype(op.tests.dtypes), d.shape())
    operands = [d.of(type if name is None else type.with_dtype(DType(name))) for name in fixed]
    return _emit(d, op, operands)


def _masked_multiply(d: Drawing, op: Op) -> Sequence[Value]:
    """Factors that are zero where they are said to be."""
    type = TensorType(d.dtype("f"), d.shape())
    masks = [d.of(type.with_dtype(DType.BOOL)) for _ in range(2)]
    factors = [d.masked(d.moderate(d.of(type), op, 0), mask) for mask in masks]
    return d.builder.emit_all(op, (*factors, *masks))


def _integer_pow(d: Drawing, op: Op) -> Sequence[Value]:
    dtype = d.dtype("fi")
    exponent = d.integer(0 if dtype.is_integer else -2, 4)
    return _emit(d, op, [d.of(TensorType(dtype, d.shape()))], a.Exponent(exponent))


def _of_order(d: Drawing, op: Op) -> Sequence[Value]:
    return _emit(d, op, [d.of(TensorType(d.dtype("f"), d.shape()))], a.Order(d.integer(0, 2)))


def _random_bits(d: Drawing, op: Op) -> Sequence[Value]:
    type = TensorType(DType.INT64, d.shape())
    return _emit(d, op, [d.of(type), d.of(type)])


def _astype(d: Drawing, op: Op) -> Sequence[Value]:
    return _emit(d, op, [d.any()], a.Cast(d.choose(d.dtypes)))


def _constant(d: Drawing, op: Op) -> Sequence[Value]:
    type = TensorType(d.choose(d.dtypes), d.shape())
    array = array_of(np.random.default_rng(d.integer(0, 99)), type, type.shape, not d.tame and d.flag())
    return d.builder.emit_all(op, (), a.Constant.of(array))


def _iota(d: Drawing, op: Op) -> Sequence[Value]:
    shape = d.shape(1)
    return d.builder.emit_all(op, (), a.Iota(d.dtype("fi"), shape, d.integer(0, len(shape) - 1)))


def _broadcast_to(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    shape = [d.integer(0, 3) if n == 1 and d.flag() else n for n in x.shape]
    new = d.shape(0, 1) if len(shape) < 3 else ()
    return _emit(d, op, [x], a.Shape((*new, *shape)))


def _reshape(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    shape = list(d.permutation(len(x.shape)))
    lengths = [x.shape[axis] for axis in shape]
    if d.flag() and len(lengths) < 4:
        lengths.insert(d.integer(0, len(lengths)), 1)
    elif d.flag():
        lengths = [x.type.elements]
    return _emit(d, op, [x], a.Shape(tuple(lengths)))


def _permute_dims(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    return _emit(d, op, [x], a.Permutation(d.permutation(len(x.shape))))


def _slice(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    start = [d.integer(0, n) for n in x.shape]
    limit = [d.integer(first, n) for first, n in zip(start, x.shape, strict=True)]
    return _emit(d, op, [x], a.Slice(tuple(start), tuple(limit), tuple(d.integer(1, 2) for _ in x.shape)))


def _pad(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.any()
    low, high, interior = (tuple(d.integer(0, 1) for _ in x.shape) for _ in range(3))
    return _emit(d, op, [x, d.of(TensorType(x.dtype))], a.Pad(low, high, interior))


def _concat(d: Drawing, op: Op) -> Sequence[Value]:
    first = d.of(TensorType(d.choose(d.dtypes), d.shape(1)))
    axis = d.integer(0, len(first.shape) - 1)
    others = []
    for _ in range(d.integer(0, 2)):
        shape = list(first.shape)
        shape[axis] = d.integer(0, 2)
        others.append(d.of(first.type.with_shape(tuple(shape))))
    return _emit(d, op, [first, *others], a.Axis(axis))


def _over_axes(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.of(TensorType(d.dtype(op.tests.dtypes), d.shape(0, 3)))
    return _emit(d, op, [x], a.Axes(d.axes(len(x.shape))))


def _along_axis(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.of(TensorType(d.dtype(op.tests.dtypes), d.shape(1, 3)))
    return _emit(d, op, [x], a.Axis(d.integer(0, len(x.shape) - 1)))


def _cumulative(d: Drawing, op: Op) -> Sequence[Value]:
    x = d.of(TensorType(d.dtype(op.tests.dtypes), d.shape(1, 3)))
    return _emit(d, op, [x], a.Cumulative(d.integer(0, len(x.shape) - 1), d.flag()))


def _searchsorted(d: Drawing, op: Op) -> Sequence[Value]:
    dtype, shared = d.dtype("fi"), d.shape(0, 1)
    table = d.of(TensorType(dtype, (*shared, *d.shape(1, 1))))
    values = d.of(TensorType(dtype, (*shared, *d.shape(0, 1))))
    return _emit(d, op, [table, values], a.SearchSorted(len(shared), d.flag()))


def _dot_general(d: Drawing, op: Op) -> Sequence[Value]:
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


def _indices(d: Drawing, batch: tuple[int, ...], lengths: Sequence[int]) -> tuple[Value, tuple[int, ...]]:
    """Indices into axes of these lengths, mostly within them; and the shape of the index set."""
    inner = d.shape(0, 1)
    dtype = d.choose([DType.INT64, DType.INT32])
    found = d.of(TensorType(dtype, (*batch, *inner, len(lengths))))
    if d.integer(0, 3):
        limits = d.builder.constant(np.array([max(n, 1) for n in lengths], dtype=dtype.numpy))
        found = found.emit("remainder", broadcast_to(limits, found.shape))
    return found, inner


def _gather(d: Drawing, op: Op) -> Sequence[Value]:
    batch, offset, rest = d.shape(0, 1), d.shape(0, 1), d.shape(0, 1)
    lengths = d.shape(1, 2)
    x = d.of(TensorType(d.choose(d.dtypes), (*batch, *offset, *lengths, *rest)))
    indices, _ = _indices(d, batch, lengths)
    return d.builder.emit_all(op, (x, indices), a.Gather(len(batch), len(offset), d.flag()))


def _scatter_add(d: Drawing, op: Op) -> Sequence[Value]:
    batch, offset, rest = d.shape(0, 1), d.shape(0, 1), d.shape(0, 1)
    lengths = d.shape(1, 2)
    indices, inner = _indices(d, batch, lengths)
    updates = d.of(TensorType(d.dtype("fi"), (*batch, *offset, *inner, *rest)))
    attributes = a.Scatter(len(batch), len(offset), (*batch, *offset, *lengths, *rest))
    return d.builder.emit_all(op, (updates, indices), attributes)


def _matrices(d: Drawing, shape: tuple[int, ...]) -> Value:
    """A stack of matrices; of regular ones, whose singular values differ, where values are to stay tame."""
    x = d.of(TensorType(d.dtype("f"), shape))
    if not d.tame:
        return x
    ramp = np.eye(*shape[-2:]) * 2.0 * np.arange(1, shape[-1] + 1)
    return expit(x) - 0.5 + broadcast_to(d.builder.constant(ramp.astype(x.dtype.numpy)), shape)


def _square(d: Drawing, op: Op) -> Sequence[Value]:
    n = d.integer(0, 3)
    return d.builder.emit_all(op, [_matrices(d, (*d.shape(0, 1), n, n))])


def _rectangular(d: Drawing, op: Op) -> Sequence[Value]:
    return d.builder.emit_all(op, [_matrices(d, (*d.shape(0, 1), d.integer(0, 3), d.integer(0, 3)))])


def _pinv(d: Drawing, op: Op) -> Sequence[Value]:
    matrices = _matrices(d, (*d.shape(0, 1), d.integer(0, 3), d.integer(0, 3)))
    tolerance = full(d.builder, matrices.type.with_shape(matrices.shape[:-2]), 1e-6)
    return d.builder.emit_all(op, [matrices, tolerance])


def _cofactors_along(d: Drawing, op: Op) -> Sequence[Value]:
    n = d.integer(0, 3)
    matrices = _matrices(d, (*d.shape(0, 1), n, n))
    return d.builder.emit_all(op, [matrices, d.of(matrices.type)])


def _system(d: Drawing, op: Op) -> Sequence[Value]:
    n = d.integer(0, 3)
    matrices = _matrices(d, (*d.shape(0, 1), n, n))
    right = d.of(matrices.type.with_shape((*matrices.shape[:-1], d.integer(0, 2))))
    triangular = op.attributes is a.TriangularSolve
    attributes = a.TriangularSolve(d.flag(), d.flag(), d.flag()) if triangular else a.NONE
    return d.builder.emit_all(op, [matrices, right], attributes)


def _sliding(d: Drawing, count: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides and dilations of a window, and what its extent leaves of each axis for more positions."""
    kernel, strides, dilations, more = ([d.integer(low, 2) for _ in range(count)] for low in (1, 1, 1, 0))
    return (
        kernel,
        strides,
        dilations,
        [(k - 1) * step + 1 + n for k, step, n in zip(kernel, dilations, more, strict=True)],
    )


def _windows(d: Drawing, op: Op) -> Sequence[Value]:
    kernel, strides, dilations, lengths = _sliding(d, d.integer(0, 2))
    x = d.of(TensorType(d.choose(d.dtypes), (*d.shape(0, 1), *lengths)))
    return _emit(d, op, [x], a.Windows(tuple(kernel), tuple(strides), tuple(dilations)))


def _overlap_add(d: Drawing, op: Op) -> Sequence[Value]:
    kernel, strides, dilations, lengths = _sliding(d, d.integer(0, 2))
    counts = [
        (n - (k - 1) * step - 1) // stride + 1
        for n, k, stride, step in zip(lengths, kernel, strides, dilations, strict=True)
    ]
    x = d.of(TensorType(d.dtype("fi"), (*d.shape(0, 1), *counts, *kernel)))
    return _emit(d, op, [x], a.OverlapAdd(tuple(strides), tuple(dilations), tuple(lengths)))


def _convolution(d: Drawing, op: Op) -> Sequence[Value]:
    kernel, strides, dilations, lengths = _sliding(d, d.integer(1, 2))
    low, high = (tuple(d.integer(0, 1) for _ in kernel) for _ in range(2))
    shared, groups, inputs, outputs = d.shape(0, 1), d.integer(1, 2), d.integer(1, 2), d.integer(1, 2)
    dtype = d.dtype("fi")
    x = d.of(TensorType(dtype, (*shared, *d.shape(0, 1), groups * inputs, *lengths)))
    w = d.of(TensorType(dtype, (*shared, groups * outputs, inputs, *kernel)))
    attributes = a.Convolution(tuple(strides), low, high, tuple(dilations), groups, len(shared))
    return _emit(d, op, [x, w], attributes)


@cache
def _tested(op: Op) -> list[Application]:
    return list(applications(op, op.tests.dtypes))


def _as_tested(d: Drawing, op: Op) -> Sequence[Value]:
    """A case on which the op's record is tested, in the element types that may appear."""

    def fits(application: Application) -> bool:
        types = (*application.types, *application.graph.output_types)
        return all(type.dtype in d.dtypes or not type.dtype.is_floating for type in types)

    application = d.choose([one for one in _tested(op) if fits(one)])
    return _emit(d, op, [d.of(type) for type in application.types], application.case.attributes)


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
    "det": _square,
    "cofactors": _square,
    "cofactors_along": _cofactors_along,
    "slogdet": _square,
    "qr": _rectangular,
    "eigh": _square,
    "svd": _rectangular,
    "pinv": _pinv,
    "windows": _windows,
    "overlap_add": _overlap_add,
    "convolution": _convolution,
    **control_recipes.RECIPES,
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
    if not op.subgraphs:
        return _as_tested
    raise TypeError(f"no recipe for graphs with {op.name}")


RECIPES: dict[str, Recipe] = {
    name: _recipe(op) for name, op in OPS.items() if name == "call" or not isinstance(op.derivative, Refused)
}
"""Of all ops of programs; barriers and replays are made once everything has been differentiated."""
