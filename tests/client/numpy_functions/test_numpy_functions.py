"""Every numpy function of the table against numpy itself, in every element type, on small, empty and 0-d arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_like_numpy, traced
from tests.kit.client.linear_algebra_cases import CASES as LINEAR_ALGEBRA
from tests.kit.client.linear_algebra_cases import regular

from gradwire.errors import TracingError
from gradwire.numpy_functions import FUNCTIONS

DTYPES = (np.float64, np.float32, np.int64, np.int32, np.bool_)

VECTOR, MATRIX, SQUARE, CUBE, SCALAR = (5,), (3, 4), (3, 3), (2, 3, 4), ()
INDICES = np.array([[0, 2], [-1, 1]])

Case = tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]

CASES: list[Case] = [
    # reductions
    *[
        (function, call, (CUBE,))
        for function in (np.sum, np.prod, np.max, np.amax, np.min, np.amin, np.any, np.all, np.mean, np.nansum,
                         np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.ptp, np.var, np.std, np.count_nonzero)
        for call in (
            lambda x, f=function: f(x),
            lambda x, f=function: f(x, axis=1),
            lambda x, f=function: f(x, axis=(0, -1), keepdims=True),
        )
    ],
    *[(function, lambda x, f=function: f(x), (SCALAR,)) for function in (np.sum, np.max, np.mean, np.any, np.std)],
    *[(function, lambda x, f=function: f(x), ((0, 2),)) for function in (np.sum, np.prod, np.any, np.all)],
    *[(function, lambda x, f=function: f(x, axis=1), ((0, 2),)) for function in (np.sum, np.max, np.mean)],
    (np.sum, lambda x: np.sum(x, where=x > 0, initial=3), (CUBE,)),
    (np.sum, lambda x: np.sum(x, dtype=np.float32), (CUBE,)),
    (np.max, lambda x: np.max(x, axis=0, initial=0, where=x > 0), (CUBE,)),
    (np.mean, lambda x: np.mean(x, where=x > -5, axis=1), (CUBE,)),
    (np.var, lambda x: np.var(x, axis=0, ddof=1), (CUBE,)),
    (np.std, lambda x: np.std(x, correction=1), (CUBE,)),
    (np.var, lambda x: np.var(x, axis=1, ddof=1, where=[[True], [True], [False]], keepdims=True), (CUBE,)),
    (np.std, lambda x: np.std(x, where=[True, False, True, True]), (CUBE,)),
    *[
        (function, call, (CUBE,))
        for function in (np.argmax, np.argmin)
        for call in (
            lambda x, f=function: f(x),
            lambda x, f=function: f(x, axis=1),
            lambda x, f=function: f(x, axis=-1, keepdims=True),
            lambda x, f=function: f(x, keepdims=True),
        )
    ],
    *[
        (function, call, (MATRIX,))
        for function in (np.cumsum, np.cumprod)
        for call in (lambda x, f=function: f(x), lambda x, f=function: f(x, axis=1), lambda x, f=function: f(x, 0))
    ],
    *[
        (function, lambda x, f=function: f(x, axis=0, include_initial=True), (MATRIX,))
        for function in (np.cumulative_sum, np.cumulative_prod)
    ],
    *[
        (function, lambda x, f=function: f(x, axis=1), (MATRIX,))
        for function in (np.nancumsum, np.nancumprod, np.nanvar, np.nanstd, np.nanargmax, np.nanargmin)
    ],
    *[
        (function, lambda x, f=function: f(x, axis=(0, -1), keepdims=True, ddof=1), (CUBE,))
        for function in (np.nanvar, np.nanstd)
    ],
    (np.apply_along_axis, lambda x: np.apply_along_axis(np.max, 1, x), (CUBE,)),
    (np.apply_along_axis, lambda x: np.apply_along_axis(np.cumsum, 0, x), (CUBE,)),
    (np.apply_along_axis, lambda x: np.apply_along_axis(lambda row: np.outer(row, x[0]), -1, x), ((2, 3),)),
    (np.apply_over_axes, lambda x: np.apply_over_axes(np.sum, x, (0, 2)), (CUBE,)),
    (np.average, lambda x: np.average(x), (MATRIX,)),
    (np.average, lambda x, w: np.average(x, axis=1, weights=np.abs(w) + 1.0), (MATRIX, (4,))),
    (np.average, lambda x, w: np.average(x, weights=np.abs(w) + 1.0, returned=True), (MATRIX, MATRIX)),
    # norms
    *[
        (np.linalg.norm, lambda x, o=order: np.linalg.norm(x, o, axis=1), (MATRIX,))
        for order in (None, 0, 1, 2, 3, np.inf, -np.inf)
    ],
    *[
        (np.linalg.norm, lambda x, o=order: np.linalg.norm(x, o), (MATRIX,))
        for order in (None, "fro", 1, -1, np.inf, -np.inf)
    ],
    (np.linalg.norm, lambda x: np.linalg.norm(x), (CUBE,)),
    (np.linalg.norm, lambda x: np.linalg.norm(x, axis=(0, 2), keepdims=True), (CUBE,)),
    (np.linalg.norm, lambda x: np.linalg.norm(x, 1, axis=(2, 0)), (CUBE,)),
    (np.linalg.vector_norm, lambda x: np.linalg.vector_norm(x, axis=(0, 1)), (CUBE,)),
    (np.linalg.vector_norm, lambda x: np.linalg.vector_norm(x, ord=1), (CUBE,)),
    (np.linalg.matrix_norm, lambda x: np.linalg.matrix_norm(x, ord=1), (CUBE,)),
    # contractions
    *[
        (np.matmul, np.matmul, shapes)
        for shapes in (((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
                       ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 2)),
                       ((5, 2, 3), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 3)))
    ],
    (np.vecdot, np.vecdot, ((2, 3), (3,))),
    (np.vecdot, lambda x, y: np.vecdot(x, y, axis=0), ((3, 2), (3, 2))),
    *[(getattr(np, name), getattr(np, name), shapes) for name, shapes in
      (("matvec", ((5, 2, 3), (3,))), ("vecmat", ((5, 3), (5, 3, 4)))) if hasattr(np, name)],
    *[(np.dot, np.dot, shapes) for shapes in (((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3, 5)), ((), (3,)))],
    (np.vdot, np.vdot, ((2, 3), (2, 3))),
    *[(np.inner, np.inner, shapes) for shapes in (((3,), (3,)), ((2, 3), (4, 3)), ((), (2,)))],
    (np.outer, np.outer, ((2, 2), (3,))),
    (np.linalg.outer, np.linalg.outer, ((2,), (3,))),
    (np.tensordot, np.tensordot, ((2, 3, 4), (3, 4, 5))),
    (np.tensordot, lambda x, y: np.tensordot(x, y, axes=([0, -1], [1, 0])), ((2, 3, 4), (4, 2, 5))),
    (np.tensordot, lambda x, y: np.tensordot(x, y, axes=0), ((2,), (3,))),
    (np.linalg.tensordot, lambda x, y: np.linalg.tensordot(x, y, axes=1), ((2, 3), (3, 4))),
    (np.kron, np.kron, ((2, 3), (3, 2))),
    (np.kron, np.kron, ((2,), (3, 2))),
    (np.cross, np.cross, ((4, 3), (3,))),
    (np.cross, lambda x, y: np.cross(x, y, axis=0), ((3, 2), (3, 2))),
    (np.linalg.cross, np.linalg.cross, ((3,), (3,))),
    (np.linalg.matmul, np.linalg.matmul, ((2, 3), (3, 2))),
    (np.linalg.vecdot, np.linalg.vecdot, ((2, 3), (3,))),
    (np.linalg.multi_dot, lambda x, y, z: np.linalg.multi_dot([x, y, z]), ((2, 5), (5, 3), (3, 4))),
    (np.linalg.multi_dot, lambda x, y, z: np.linalg.multi_dot([x, y, z]), ((5,), (5, 3), (3,))),
    *[(np.linalg.matrix_power, lambda x, n=n: np.linalg.matrix_power(x, n), (SQUARE,)) for n in (0, 1, 2, 5)],
    *[(np.linalg.matrix_power, lambda x, n=n: np.linalg.matrix_power(regular(x), n), (SQUARE,)) for n in (-1, -3)],
    # linear algebra
    *LINEAR_ALGEBRA,
    # shapes
    *[(np.reshape, lambda x, s=shape: np.reshape(x, s), (CUBE,)) for shape in ((6, 4), -1, (2, -1, 2), [4, 6])],
    (np.reshape, lambda x: np.reshape(x, (4, 6), order="F"), (CUBE,)),
    (np.ravel, np.ravel, (CUBE,)),
    (np.transpose, np.transpose, (CUBE,)),
    (np.transpose, lambda x: np.transpose(x, (1, -1, 0)), (CUBE,)),
    (np.permute_dims, lambda x: np.permute_dims(x, (2, 0, 1)), (CUBE,)),
    (np.matrix_transpose, np.matrix_transpose, (CUBE,)),
    (np.linalg.matrix_transpose, np.linalg.matrix_transpose, (CUBE,)),
    (np.swapaxes, lambda x: np.swapaxes(x, 0, -1), (CUBE,)),
    (np.moveaxis, lambda x: np.moveaxis(x, 0, -1), (CUBE,)),
    (np.moveaxis, lambda x: np.moveaxis(x, (0, 2), (1, 0)), (CUBE,)),
    *[(np.rollaxis, lambda x, a=a, s=s: np.rollaxis(x, a, s), (CUBE,)) for a in (0, 1, 2) for s in (0, 1, 3)],
    (np.expand_dims, lambda x: np.expand_dims(x, (0, -1)), (MATRIX,)),
    (np.squeeze, np.squeeze, ((1, 3, 1),)),
    (np.squeeze, lambda x: np.squeeze(x, -1), ((1, 3, 1),)),
    (np.broadcast_to, lambda x: np.broadcast_to(x, (2, 3, 4)), ((3, 1),)),
    (np.broadcast_arrays, np.broadcast_arrays, ((3, 1), (4,))),
    *[(f, f, (shape,)) for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d)
      for shape in (SCALAR, VECTOR, MATRIX, CUBE)],
    (np.flip, np.flip, (CUBE,)),
    (np.flip, lambda x: np.flip(x, (0, -1)), (CUBE,)),
    (np.flipud, np.flipud, (MATRIX,)),
    (np.fliplr, np.fliplr, (MATRIX,)),
    *[(np.rot90, lambda x, k=k: np.rot90(x, k, (0, -1)), (CUBE,)) for k in (0, 1, 2, 3, -1)],
    (np.roll, lambda x: np.roll(x, 2), (CUBE,)),
    (np.roll, lambda x: np.roll(x, (1, -2), (0, 2)), (CUBE,)),
    (np.roll, lambda x: np.roll(x, 7, axis=1), (CUBE,)),
    *[(f, lambda x, f=f, k=k: f(x, k), (CUBE,)) for f in (np.tril, np.triu) for k in (-1, 0, 2)],
    (np.tril, np.tril, (VECTOR,)),
    *[(np.diagonal, lambda x, k=k: np.diagonal(x, k), (MATRIX,)) for k in (-3, -1, 0, 1, 9)],
    (np.diagonal, lambda x: np.diagonal(x, 1, 2, 0), (CUBE,)),
    (np.linalg.diagonal, lambda x: np.linalg.diagonal(x, offset=1), (CUBE,)),
    *[(np.diag, lambda x, k=k: np.diag(x, k), (shape,)) for k in (-2, 0, 1) for shape in (VECTOR, MATRIX)],
    (np.diagflat, np.diagflat, ((2, 2),)),
    (np.trace, np.trace, (CUBE,)),
    (np.trace, lambda x: np.trace(x, 1, 1, 2), (CUBE,)),
    (np.linalg.trace, lambda x: np.linalg.trace(x), (CUBE,)),
    (np.astype, lambda x: np.astype(x, np.float32), (VECTOR,)),
    (np.copy, np.copy, (VECTOR,)),
    # joining and taking apart
    (np.concatenate, lambda x, y: np.concatenate([x, y], axis=1), ((2, 3), (2, 1))),
    (np.concatenate, lambda x, y: np.concatenate((x, y, [1.5]), axis=None), ((2, 3), (2,))),
    (np.concatenate, lambda x: np.concatenate(x), (MATRIX,)),
    (np.stack, lambda x, y: np.stack([x, y], axis=-1), (MATRIX, MATRIX)),
    (np.stack, lambda x: np.stack([x[0], 2.0, x[1]]), (VECTOR,)),
    (np.vstack, lambda x, y: np.vstack([x, y]), (VECTOR, (2, 5))),
    (np.hstack, lambda x, y: np.hstack([x, y]), (VECTOR, (2,))),
    (np.hstack, lambda x, y: np.hstack([x, y]), (MATRIX, (3, 2))),
    (np.dstack, lambda x, y: np.dstack([x, y]), (MATRIX, MATRIX)),
    (np.column_stack, lambda x, y: np.column_stack([x, y]), (VECTOR, (5, 2))),
    (np.block, lambda x, y: np.block([[x, y], [y, x]]), (SQUARE, SQUARE)),
    (np.block, lambda x, y: np.block([x, 1.0, y]), (VECTOR, VECTOR)),
    (np.append, lambda x: np.append(x, 1), (VECTOR,)),
    (np.append, lambda x, y: np.append(x, y, axis=0), (MATRIX, MATRIX)),
    (np.split, lambda x: np.split(x, 2, axis=1), (MATRIX,)),
    (np.split, lambda x: np.split(x, [1, 3]), (VECTOR,)),
    (np.array_split, lambda x: np.array_split(x, 3), (VECTOR,)),
    (np.vsplit, lambda x: np.vsplit(x, 3), (MATRIX,)),
    (np.hsplit, lambda x: np.hsplit(x, 2), (MATRIX,)),
    (np.dsplit, lambda x: np.dsplit(x, 2), (CUBE,)),
    (np.unstack, lambda x: np.unstack(x, axis=1), (MATRIX,)),
    (np.tile, lambda x: np.tile(x, (2, 1, 3)), (MATRIX,)),
    (np.tile, lambda x: np.tile(x, 3), (MATRIX,)),
    (np.repeat, lambda x: np.repeat(x, 2), (MATRIX,)),
    (np.repeat, lambda x: np.repeat(x, 3, axis=1), (MATRIX,)),
    (np.repeat, lambda x: np.repeat(x, [1, 0, 2], axis=0), (MATRIX,)),
    *[(np.pad, lambda x, w=width: np.pad(x, w), (MATRIX,)) for width in (1, (1, 2), ((0, 1), (2, 0)))],
    (np.pad, lambda x: np.pad(x, 1, constant_values=((1, 2), (3, 4))), (MATRIX,)),
    *[(np.pad, lambda x, m=mode: np.pad(x, ((1, 2), (0, 1)), mode=m), (MATRIX,))
      for mode in ("edge", "wrap", "reflect", "symmetric")],
    (np.meshgrid, np.meshgrid, (VECTOR, (3,))),
    (np.meshgrid, lambda x, y: np.meshgrid(x, y, indexing="ij", sparse=True), (VECTOR, (3,))),
    (np.delete, lambda x: np.delete(x, [0, -1], axis=1), (MATRIX,)),
    # indexing
    (np.take, lambda x: np.take(x, INDICES, axis=1), (CUBE,)),
    (np.take, lambda x: np.take(x, INDICES), (CUBE,)),
    (np.take, lambda x: np.take(x, [5, -7], axis=0, mode="wrap"), (CUBE,)),
    (np.take, lambda x: np.take(x, [5, -7], axis=0, mode="clip"), (CUBE,)),
    (np.take_along_axis, lambda x: np.take_along_axis(x, np.argmax(x, axis=1, keepdims=True), 1), (CUBE,)),
    (np.take_along_axis, lambda x: np.take_along_axis(x, INDICES, -1), ((2, 4),)),
    (np.choose, lambda x, y: np.choose((x > 0).astype(np.int64), [x, y]), (MATRIX, (4,))),
    # selection and small compositions
    (np.where, lambda x, y: np.where(x > y, x, y), (MATRIX, (4,))),
    (np.where, lambda x: np.where(x, 1.0, x), (MATRIX,)),
    (np.where, lambda x: np.where([True, False, True, False], x, 2), (MATRIX,)),
    (np.select, lambda x: np.select([x > 1, x > 0], [x, x * 2], default=-1), (MATRIX,)),
    (np.clip, lambda x: np.clip(x, -1, 1), (MATRIX,)),
    (np.clip, lambda x: np.clip(x, None, 0.5), (MATRIX,)),
    (np.clip, lambda x: np.clip(x, min=-1.0), (MATRIX,)),
    (np.diff, lambda x: np.diff(x, n=2), (MATRIX,)),
    (np.diff, lambda x: np.diff(x, axis=0, prepend=0, append=x[:1]), (MATRIX,)),
    (np.ediff1d, lambda x: np.ediff1d(x), (MATRIX,)),
    (np.round, lambda x: np.round(x), (MATRIX,)),
    (np.round, lambda x: np.round(x, 1), (MATRIX,)),
    (np.around, np.around, (MATRIX,)),
    (np.fix, np.fix, (MATRIX,)),
    (np.nan_to_num, lambda x: np.nan_to_num(x / 0.0), (MATRIX,)),
    (np.isclose, lambda x, y: np.isclose(x, y, equal_nan=True), (MATRIX, MATRIX)),
    (np.allclose, lambda x: np.allclose(x, x), (MATRIX,)),
    (np.array_equal, lambda x: np.array_equal(x, x), (MATRIX,)),
    (np.isneginf, lambda x: np.isneginf(x / 0.0), (MATRIX,)),
    (np.isposinf, lambda x: np.isposinf(x / 0.0), (MATRIX,)),
    (np.isreal, np.isreal, (MATRIX,)),
    (np.iscomplex, np.iscomplex, (MATRIX,)),
    (np.iscomplexobj, np.iscomplexobj, (MATRIX,)),
    (np.isrealobj, np.isrealobj, (MATRIX,)),
    (np.real, np.real, (MATRIX,)),
    (np.imag, np.imag, (MATRIX,)),
    (np.polyval, lambda p, x: np.polyval(p, x), ((3,), VECTOR)),
    (np.polyval, lambda x: np.polyval([1.0, -2.0, 3.0], x), (VECTOR,)),
    (np.vander, lambda x: np.vander(x, 3), (VECTOR,)),
    (np.vander, lambda x: np.vander(x, increasing=True), ((3,),)),
    (np.trapezoid, lambda x: np.trapezoid(x, dx=0.5), (MATRIX,)),
    (np.trapezoid, lambda x: np.trapezoid(x, np.arange(3.0) ** 2, axis=0), (MATRIX,)),
    (np.sinc, np.sinc, (MATRIX,)),
    (np.i0, np.i0, (MATRIX,)),
    (np.piecewise, lambda x: np.piecewise(x, [x < -1, x > 1], [-1, lambda y: y * 2, lambda y: y * y]), (MATRIX,)),
    (np.piecewise, lambda x: np.piecewise(x, x > 0, [1, 2]), (VECTOR,)),
    (np.gradient, np.gradient, (MATRIX,)),
    (np.gradient, lambda x: np.gradient(x, 0.5, axis=1, edge_order=2), (MATRIX,)),
    (np.gradient, lambda x: np.gradient(x, np.arange(3.0) ** 2, 2.0, edge_order=2), (MATRIX,)),
    (np.gradient, lambda x: np.gradient(x, np.array([0.0, 1.0, 3.0]), axis=0), (MATRIX,)),
    (np.unwrap, lambda x: np.unwrap(x * 3.0), (MATRIX,)),
    (np.unwrap, lambda x: np.unwrap(x * 3.0, axis=0, discont=4.0, period=5.0), (MATRIX,)),
    (np.linspace, lambda x: np.linspace(x[0], x[1], 5), (VECTOR,)),
    (np.linspace, lambda x: np.linspace(x, 9.0, 4, axis=1, endpoint=False, retstep=True), (MATRIX,)),
    (np.linspace, lambda x: np.linspace(0.0, x, 1), (SCALAR,)),
    # the order of elements
    *[
        (np.sort, call, (CUBE,))
        for call in (np.sort, lambda x: np.sort(x, axis=0), lambda x: np.sort(x, axis=None, kind="stable"))
    ],
    (np.argsort, lambda x: np.argsort(x, axis=0, stable=True), (CUBE,)),
    (np.argsort, lambda x: np.argsort(x, axis=None, kind="stable"), (CUBE,)),
    (np.partition, lambda x: np.partition(x, 1, axis=1)[:, 1], (CUBE,)),
    (np.partition, lambda x: np.partition(x, [0, -1], axis=None)[[0, -1]], (CUBE,)),
    (np.argpartition, lambda x: np.take_along_axis(x, np.argpartition(x, 2), -1)[..., 2], (MATRIX,)),
    (np.lexsort, lambda x, y: np.lexsort((x, y > 0)), (VECTOR, VECTOR)),
    (np.lexsort, lambda x: np.lexsort(x > 0, axis=0), (CUBE,)),
    *[
        (np.searchsorted, lambda x, v, s=side: np.searchsorted(np.sort(x), v, s), (VECTOR, MATRIX))
        for side in ("left", "right")
    ],
    (np.searchsorted, lambda x: np.searchsorted(x, 0.5, sorter=np.argsort(x, kind="stable")), (VECTOR,)),
    (np.searchsorted, lambda x: np.searchsorted([-1, 0, 1], x), (MATRIX,)),
    *[
        (np.digitize, lambda x, b=bins, r=right: np.digitize(x, b, r), (MATRIX,))
        for bins in ([-1.0, 0.0, 1.0], [1, 0, -1], [0.0], [])
        for right in (False, True)
    ],
    (np.digitize, lambda x, b: np.digitize(x, np.sort(b)[::-1]), (MATRIX, VECTOR)),
    (np.digitize, lambda x, b: np.digitize(x, np.sort(b), right=True), (MATRIX, VECTOR)),
    *[
        (function, call, (CUBE,))
        for function in (np.median, np.nanmedian)
        for call in (
            lambda x, f=function: f(x),
            lambda x, f=function: f(x, axis=1),
            lambda x, f=function: f(x, axis=(0, -1), keepdims=True),
        )
    ],
    *[
        (function, call, (CUBE,))
        for function in (np.quantile, np.nanquantile)
        for call in (
            lambda x, f=function: f(x, 0.3),
            lambda x, f=function: f(x, np.array([[0.0, 0.25], [0.5, 1.0]]), axis=1),
            lambda x, f=function: f(x, [0.1, 0.9], axis=(0, -1), keepdims=True),
            lambda x, f=function: f(x, 1, axis=0),
        )
    ],
    *[
        (function, call, (CUBE,))
        for function in (np.percentile, np.nanpercentile)
        for call in (lambda x, f=function: f(x, 30), lambda x, f=function: f(x, np.float32([10, 95.5]), axis=2))
    ],
    *[
        (function, lambda x, f=function, m=method: f(x, np.linspace(0, 1, 9), axis=0, method=m), ((6, 2),))
        for function in (np.quantile, np.nanquantile)
        for method in ("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf",
                       "hazen", "weibull", "linear", "median_unbiased", "normal_unbiased", "lower", "higher",
                       "midpoint", "nearest")
    ],
    *[
        (np.interp, call, (MATRIX, VECTOR, VECTOR))
        for call in (
            lambda x, n, v: np.interp(x, np.sort(n), v),
            lambda x, n, v: np.interp(x, np.arange(-2.0, 3.0), v, left=-9, right=v[0]),
            lambda x, n, v: np.interp(x, n, v, period=2.5),
            lambda x, n, v: np.interp(0.25, np.sort(n), v),
            lambda x, n, v: np.interp(x, [0.5], v[:1]),
        )
    ],
    *[(np.logspace, lambda x, b=base: np.logspace(x[0] / 3, x[1] / 3, 4, base=b), (VECTOR,)) for base in (10.0, 2)],
    (np.logspace, lambda x: np.logspace(0.0, 1.0, 4, base=x), (SCALAR,)),
    *[(function, function, shapes) for function in (np.polyadd, np.polysub)
      for shapes in (((3,), (2,)), ((1,), (4,)))],
    (np.polymul, lambda x, y: np.polymul(np.append(1, x), np.append(2, y)), ((2,), (3,))),
    *[(np.polyder, lambda x, m=order: np.polyder(x, m), (VECTOR,)) for order in (0, 1, 2, 5)],
    (np.polyint, np.polyint, (VECTOR,)),
    (np.polyint, lambda x: np.polyint(x, 2, [1.0, x[0]]), (VECTOR,)),
    (np.polyfit, lambda y: np.polyfit(np.arange(5.0), y, 2), (VECTOR,)),
    (np.polyfit, lambda y: np.polyfit([0.0, 1.0, 3.0], y, 1, w=[1.0, 2.0, 0.5]), (MATRIX,)),
    (np.array_equiv, lambda x: np.array_equiv(x, x[0]), (MATRIX,)),
    (np.array_equiv, lambda x: np.array_equiv(x, x[:2, :2]), (MATRIX,)),
    (np.isin, lambda x: np.isin(x, np.stack([x[0, 0], x[1, 2]])), (MATRIX,)),
    (np.isin, lambda x: np.isin([[1, 2]], x, invert=True), (MATRIX,)),
    (np.insert, lambda x: np.insert(x, 1, 7), (MATRIX,)),
    (np.insert, lambda x: np.insert(x, [0, 2, 2], x[:3]), (VECTOR,)),
    (np.insert, lambda x: np.insert(x, 1, x[:, 0], axis=1), (SQUARE,)),
    (np.insert, lambda x: np.insert(x, [1], x[:, :1], axis=1), (SQUARE,)),
    (np.insert, lambda x: np.insert(x, slice(0, 3, 2), 5, axis=0), (SQUARE,)),
    (np.insert, lambda x: np.insert(x, -1, [1, 2], axis=0), ((4, 2),)),
    *[(np.resize, lambda x, s=shape: np.resize(x, s), (MATRIX,)) for shape in (5, (4, 4), (0,))],
    (np.compress, lambda x: np.compress([True, False, True], x, axis=0), (MATRIX,)),
    (np.compress, lambda x: x.compress([0, 1, 1, 0]), (MATRIX,)),
    (np.extract, lambda x: np.extract(np.eye(3, dtype=bool), x), (SQUARE,)),
    (np.tril_indices_from, lambda x: x[np.tril_indices_from(x, -1)], (MATRIX,)),
    (np.triu_indices_from, lambda x: x[np.triu_indices_from(x, 1)], (MATRIX,)),
    (np.diag_indices_from, lambda x: x[np.diag_indices_from(x)], (SQUARE,)),
    (np.unravel_index, lambda x: np.unravel_index(np.argmax(x), (3, 4)), (MATRIX,)),
    (np.ravel_multi_index, lambda x: np.ravel_multi_index((np.argmax(x, axis=0), 1), (3, 4)), (MATRIX,)),
    (np.cov, np.cov, (MATRIX,)),
    (np.cov, lambda x: np.cov(x, rowvar=False, bias=True), (MATRIX,)),
    (np.cov, lambda x, y: np.cov(x, y, ddof=0), (MATRIX, (4,))),
    (np.cov, lambda x, y: np.cov(x, y, rowvar=False), (MATRIX, (3,))),
    (np.cov, lambda x: np.cov(x, fweights=[1, 2, 3, 1]), (MATRIX,)),
    (np.cov, lambda x: np.cov(x, fweights=[1, 2, 3, 1], aweights=[0.5, 1.0, 2.0, 0.1]), (MATRIX,)),
    (np.cov, np.cov, (VECTOR,)),
    (np.corrcoef, np.corrcoef, (MATRIX,)),
    (np.corrcoef, lambda x, y: np.corrcoef(x, y), (VECTOR, VECTOR)),
    (np.bincount, lambda w: np.bincount([1, 3, 1, 0, 5], w), (VECTOR,)),
    (np.bincount, lambda w: np.bincount([1, 3, 1, 0, 1], w, minlength=7), (VECTOR,)),
    (np.full_like, lambda x: np.full_like(x, 3), (MATRIX,)),
    (np.full_like, lambda x: np.full_like(x, 1.5, dtype=np.float64, shape=(2,)), (MATRIX,)),
    (np.zeros_like, np.zeros_like, (MATRIX,)),
    (np.ones_like, np.ones_like, (MATRIX,)),
    (np.empty_like, lambda x: np.isfinite(np.empty_like(x)) | True, (MATRIX,)),
    (np.shape, np.shape, (MATRIX,)),
    (np.ndim, np.ndim, (MATRIX,)),
    (np.size, lambda x: np.size(x, 1), (MATRIX,)),
    # sliding windows
    *[
        (function, lambda x, y, f=function, m=mode: f(x, y, m), (VECTOR, (3,)))
        for function in (np.convolve, np.correlate)
        for mode in ("full", "same", "valid")
    ],
    (np.lib.stride_tricks.sliding_window_view, lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 1), (MATRIX,)),
    (np.result_type, lambda x: x.astype(np.result_type(x, np.float32)), (MATRIX,)),
    # subscripts
    *[
        (np.einsum, lambda *operands, s=subscripts: np.einsum(s, *operands), shapes)
        for subscripts, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 4))), ("ii", (SQUARE,)), ("ii->i", (SQUARE,)),
            ("ijk->ki", (CUBE,)), ("i,j->ji", ((2,), (3,))), ("ij,ij->", (MATRIX, MATRIX)), ("...j,j", (CUBE, (4,))),
            ("i...,i...->...", (CUBE, CUBE)), ("bij,bjk->bik", ((5, 2, 3), (5, 3, 4))),
            ("ij,kj,kl,l->i", ((2, 3), (4, 3), (4, 5), (5,))), ("ij,ij->ij", ((1, 3), (2, 3))), ("i,i->", ((1,), (3,))),
            ("iij,j->i", ((3, 3, 2), (2,))), (",i->i", ((), (3,))), ("i->", ((0,),)),
        )
    ],
    (np.einsum, lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [0, 2]), ((2, 3), (3, 4))),
]  # fmt: skip


def sample(dtype: type, shape: tuple[int, ...], seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-3.0, 3.0, shape)
    return values.astype(dtype)


def name_of(function: Callable[..., Any]) -> str:
    module = "linalg." if getattr(np.linalg, function.__name__, None) is function else ""
    return module + function.__name__


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    ("function", "call", "shapes"), CASES, ids=[f"{name_of(case[0])}-{i}" for i, case in enumerate(CASES)]
)
def test_a_function_does_what_numpy_does(
    function: Callable[..., Any], call: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], dtype: type
) -> None:
    arrays = [sample(dtype, shape, seed) for seed, shape in enumerate(shapes)]
    try:
        with np.errstate(all="ignore"):
            expected = call(*arrays)
    except TypeError:  # numpy itself has no meaning for this type, or computes in one that is not supported
        expected = None
    results = expected if isinstance(expected, (tuple, list)) else [expected]
    unsupported = any(np.asarray(one).dtype not in DTYPES for one in results if one is not None)
    if expected is None or unsupported:
        with pytest.raises(TracingError):
            traced(call, *arrays)
        return
    assert_like_numpy(call, *arrays)


def test_every_function_of_the_table_has_a_case() -> None:
    assert set(FUNCTIONS) - {case[0] for case in CASES} == set()


def test_what_is_known_without_numbers_is_known() -> None:
    def function(x: Any) -> Any:
        assert (np.shape(x), np.ndim(x), np.size(x), len(x), x.nbytes, x.itemsize) == ((2, 3), 2, 6, 2, 48, 8)
        assert x.dtype == np.float64
        return x

    traced(function, np.zeros((2, 3)))


METHODS = {
    "reshape": lambda x: x.reshape(2, -1) + x.reshape((2, 6)),
    "transpose": lambda x: (x.transpose(), x.transpose(1, 0), x.transpose((0, 1)), x.T, x.mT),
    "flatten": lambda x: (x.flatten(), x.ravel(), x.copy(), x.conj(), x.real, x.imag),
    "sum": lambda x: (x.sum(), x.sum(0), x.sum(axis=1, keepdims=True), x.mean(), x.prod(1), x.max(0), x.min(), x.var()),
    "std": lambda x: (x.std(axis=0), x.argmax(), x.argmin(1), x.any(), x.all(0), x.cumsum(1), x.cumprod(0)),
    "dot": lambda x: (x.dot(x.T), x @ x.T, x.trace(), x.diagonal(), x.squeeze(), x.swapaxes(0, 1)),
    "clip": lambda x: (x.clip(-1, 1), x.round(1), x.take([0, 1], axis=1), x.repeat(2), x.astype(np.float32)),
}


@pytest.mark.parametrize("call", METHODS.values(), ids=METHODS)
def test_methods_do_what_arrays_do(call: Callable[..., Any]) -> None:
    assert_like_numpy(call, sample(np.float64, MATRIX, 1))


def test_unpacking_and_iterating() -> None:
    assert_like_numpy(lambda x: (lambda a, b, c: a * b + c)(*x), sample(np.float64, MATRIX, 2))
    assert_like_numpy(lambda x: sum(row * i for i, row in enumerate(x)), sample(np.float64, MATRIX, 3))


def test_numpy_arrays_on_the_left_defer() -> None:
    table = sample(np.float64, (3, 4), 4)
    x = sample(np.float64, (4,), 5)
    assert_like_numpy(lambda x: table @ x + np.float64(2.0) * x[:3] - table[:, 0], x)
    assert_like_numpy(lambda x: np.matmul(table, x) * np.dot(table, x), x)
    assert_like_numpy(lambda x: np.where(table[0] > 0, x, table[1]), x)
    assert_like_numpy(lambda x: np.concatenate([table[0], x, [1.0, 2.0]]), x)


def test_norms_of_what_numpy_lacks_are_refused_by_name() -> None:
    with pytest.raises(TracingError, match=r"ord=3.*write ord='fro'"):
        traced(lambda x: np.linalg.norm(x, 3), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.reshape(x, (7, 2)), "cannot reshape array of size 12 into shape"),
        (lambda x: np.max(x[:0]), "zero-size array"),
        (lambda x: np.transpose(x, (0, 0)), "axes"),
        (lambda x: np.sum(x, axis=2), "axis 2 is out of bounds for array of dimension 2"),
        (lambda x: np.sum(x, axis=(0, 0)), "duplicate"),
        (lambda x: x @ x, "do not match"),
        (lambda x: np.concatenate([x, x[0]]), "must be equal"),
        (lambda x: np.stack([x, x[0]]), "same shape"),
        (lambda x: np.einsum("ij,ij->k", x, x), "names letters that no operand has"),
        (lambda x: np.einsum("ij,ji", x, x), "lengths 3 and 4|lengths 4 and 3"),
        (lambda x: np.squeeze(x, 0), "size not equal to one"),
        (lambda x: np.split(x, 5), "equal division"),
    ],
)  # fmt: skip
def test_what_numpy_refuses_is_refused(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        traced(call, np.zeros((3, 4)))


@pytest.mark.parametrize("call", [np.unique, np.nonzero, np.histogram, np.fft.fft])
def test_functions_without_meaning_are_refused_by_name(call: Callable[..., Any]) -> None:
    with pytest.raises(TracingError, match=rf"np\.(fft\.)?{call.__name__}"):
        traced(call, np.ones((2, 2)))
