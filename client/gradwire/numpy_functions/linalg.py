"""numpy.linalg: factorisations, solutions, determinants, on stacks of matrices.

Where numpy raises LinAlgError for a whole stack, the matrices at fault have NaN and the others their results. What is a
symmetric matrix to numpy is (a + aᵀ) / 2 here, so that derivatives are symmetric; with UPLO= one triangle is read.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import (
    Array,
    Table,
    broadcast,
    broadcast_shapes,
    cast,
    emit,
    entries,
    floating,
    integer,
    lift,
    lifted,
    promoted,
    wrong,
    xp,
)
from gradwire.tracing.complaints import unsupported_argument
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Tracer
from gradwire_engine.vocabulary import identity


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors in columns."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """Orthonormal columns, and an upper triangle."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """A determinant as its sign and the logarithm of its size."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """Left vectors in columns, singular values in descending order, right vectors in rows."""

    U: Any
    S: Any
    Vh: Any


# Operands


def require_matrices(what: str, x: Tracer) -> Tracer:
    """The tracer itself, or ShapeError where it has fewer than two axes."""
    if x.ndim < 2:
        raise wrong(f"{what}: expected matrices in the last two axes, got shape {x.shape}")
    return x


def require_square(what: str, x: Tracer) -> Tracer:
    """The tracer itself, or ShapeError where the last two axes differ."""
    require_matrices(what, x)
    if x.shape[-1] != x.shape[-2]:
        raise wrong(f"{what}: expected square matrices in the last two axes, got shape {x.shape}")
    return x


def several(x: Tracer, op: str) -> list[Tracer]:
    """All results of an op of the engine."""
    return [x._trace.wrap(value) for value in x._trace.builder.emit_all(op, (x._value,))]


def identity_like(x: Tracer) -> Tracer:
    """Identity matrices of the shape and type of x."""
    return x._trace.wrap(identity(x._value))


def stacked_alike(what: str, a: Any, b: Any) -> tuple[Tracer, Tracer]:
    """Square matrices and right-hand sides with as many rows, of one type; matrices may lack axes in front."""
    x, y = promoted((floating(a), floating(b)), what)
    require_square(what, x)
    if y.ndim < 2 or y.shape[-2] != x.shape[-1]:
        raise wrong(f"{what}: matrices of shape {x.shape} do not fit right-hand sides of shape {y.shape}")
    stack = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if stack[len(stack) - (x.ndim - 2) :] != x.shape[:-2]:
        x = broadcast(x, stack + x.shape[-2:])
    return x, broadcast(y, stack + y.shape[-2:])


# Solutions


def solve(a: Any, b: Any) -> Array:
    """numpy.linalg.solve: b is a vector if it has one axis, else a stack of matrices."""
    vector = lift(b).ndim == 1
    x, y = stacked_alike("linalg.solve", a, xp.expand_dims(lift(b), -1) if vector else b)
    solution = emit(x, "solve", y)
    return xp.squeeze(solution, -1) if vector else solution


def inv(a: Any) -> Array:
    """numpy.linalg.inv."""
    x = require_square("linalg.inv", floating(a))
    return emit(x, "solve", identity_like(x))


def tensorsolve(a: Any, b: Any, axes: Any = None) -> Array:
    """numpy.linalg.tensorsolve: x whose product with a, over the last axes of a, is b."""
    x, y = promoted((floating(a), floating(b)), "linalg.tensorsolve")
    if axes is not None:
        x = xp.moveaxis(x, axes, range(x.ndim - len(entries(axes)), x.ndim))
    kept = x.shape[y.ndim :]
    if math.prod(kept) != y.size or x.size != y.size**2:
        raise wrong(f"linalg.tensorsolve: shapes {x.shape} and {y.shape} are not those of a square system")
    return xp.reshape(solve(xp.reshape(x, (y.size, y.size)), xp.reshape(y, -1)), kept)


def tensorinv(a: Any, ind: Any = 2) -> Array:
    """numpy.linalg.tensorinv: the inverse of the map from the axes from `ind` on to those before."""
    x, first = floating(a), integer(ind, "ind")
    rows, columns = x.shape[:first], x.shape[first:]
    if first <= 0 or math.prod(rows) != math.prod(columns):
        raise wrong(f"linalg.tensorinv: shape {x.shape} with ind={first} is not that of a square map")
    return xp.reshape(inv(xp.reshape(x, (math.prod(rows),) * 2)), columns + rows)


def pinv(a: Any, rcond: Any = None, hermitian: Any = False, *, rtol: Any = np._NoValue) -> Array:
    """numpy.linalg.pinv; its derivative holds where the rank does not change."""
    x = require_matrices("linalg.pinv", floating(a))
    if rcond is not None and rtol is not np._NoValue:
        raise wrong("linalg.pinv: got both rcond and rtol, which are the same")
    if rcond is None:
        rcond = 1e-15 if rtol is np._NoValue else rtol
    if rcond is None:
        rcond = max(x.shape[-2:]) * np.finfo(x.dtype).eps
    return _pinv(_mirrored(x, "L") if hermitian else x, rcond)


def _pinv(x: Tracer, rtol: Any) -> Array:
    x, tolerance = lifted(x, rtol)
    tolerance = cast(tolerance, x.dtype)
    stack = broadcast_shapes(x.shape[:-2], tolerance.shape)
    return emit(broadcast(x, stack + x.shape[-2:]), "pinv", broadcast(tolerance, stack))


def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Array, Array, Array, Array]:
    """numpy.linalg.lstsq. The residuals are there whenever there are more rows than columns, whatever the rank is."""
    x, y = promoted((floating(a), floating(b)), "linalg.lstsq")
    if x.ndim != 2 or y.ndim not in (1, 2) or x.shape[0] != y.shape[0]:
        raise wrong(f"linalg.lstsq: got shapes {x.shape} and {y.shape}")
    if rcond is None:
        rcond = max(x.shape) * np.finfo(x.dtype).eps
    elif np.ndim(rcond) == 0 and not isinstance(rcond, Tracer) and rcond < 0:
        rcond = np.finfo(x.dtype).eps
    s = svdvals(x)
    solution = xp.matmul(_pinv(x, rcond), y)
    rank = xp.sum(s > rcond * xp.max(s, initial=0), dtype=np.int32)
    missed = xp.sum(xp.square(y - xp.matmul(x, solution)), axis=0)
    residuals = xp.reshape(missed, -1) if x.shape[0] > x.shape[1] else xp.reshape(missed, -1)[:0]
    return solution, residuals, rank, s


# Determinants


def det(a: Any) -> Array:
    """numpy.linalg.det; its first and second derivatives are exact at singular matrices too."""
    return emit(require_square("linalg.det", floating(a)), "det")


def slogdet(a: Any) -> SlogdetResult:
    """numpy.linalg.slogdet."""
    return SlogdetResult(*several(require_square("linalg.slogdet", floating(a)), "slogdet"))


# Factorisations


def cholesky(a: Any, /, *, upper: bool = False) -> Array:
    """numpy.linalg.cholesky; NaN where a matrix is not positive definite."""
    factor = emit(require_square("linalg.cholesky", floating(a)), "cholesky")
    return xp.matrix_transpose(factor) if upper else factor


def qr(a: Any, mode: str = "reduced") -> Any:
    """numpy.linalg.qr, in the modes that keep as many columns as have a derivative."""
    x = require_matrices("linalg.qr", floating(a))
    if mode not in ("reduced", "r", "complete"):
        raise unsupported_argument("linalg.qr", f"mode={mode!r}", "write mode='reduced' or 'r'")
    if mode == "complete" and x.shape[-2] > x.shape[-1]:
        raise unsupported_argument(
            "linalg.qr",
            "mode='complete'",
            "the columns that complete Q are not determined by the matrix; write mode='reduced'",
        )
    q, r = several(x, "qr")
    return r if mode == "r" else QRResult(q, r)


def _mirrored(x: Tracer, triangle: str) -> Tracer:
    """The symmetric matrices that have this triangle."""
    kept, rest = (xp.tril(x), xp.tril(x, -1)) if triangle == "L" else (xp.triu(x), xp.triu(x, 1))
    return lift(kept + xp.matrix_transpose(rest))


def eigh(a: Any, UPLO: Any = None) -> EighResult:
    """numpy.linalg.eigh; without UPLO of (a + aᵀ) / 2."""
    x = require_square("linalg.eigh", floating(a))
    if UPLO is not None:
        if str(UPLO).upper() not in ("L", "U"):
            raise TracingError(at_user_line(f"linalg.eigh: UPLO is {UPLO!r}, expected 'L' or 'U'"))
        x = _mirrored(x, str(UPLO).upper())
    return EighResult(*several(x, "eigh"))


def eigvalsh(a: Any, UPLO: Any = None) -> Array:
    """numpy.linalg.eigvalsh."""
    return eigh(a, UPLO).eigenvalues


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """numpy.linalg.svd, with as many vectors as there are singular values."""
    x = require_matrices("linalg.svd", floating(a))
    if hermitian:
        x = _mirrored(require_square("linalg.svd", x), "L")
    u, s, vh = several(x, "svd")
    if not compute_uv:
        return s
    if full_matrices and x.shape[-1] != x.shape[-2]:
        raise unsupported_argument(
            "linalg.svd",
            "full_matrices=True",
            "the vectors beyond the singular values are not determined by the matrix; write full_matrices=False",
        )
    return SVDResult(u, s, vh)


def svdvals(x: Any, /) -> Array:
    """numpy.linalg.svdvals."""
    return svd(x, compute_uv=False)


TABLE: Table = {
    np.linalg.solve: solve,
    np.linalg.inv: inv,
    np.linalg.tensorsolve: tensorsolve,
    np.linalg.tensorinv: tensorinv,
    np.linalg.pinv: pinv,
    np.linalg.lstsq: lstsq,
    np.linalg.det: det,
    np.linalg.slogdet: slogdet,
    np.linalg.cholesky: cholesky,
    np.linalg.qr: qr,
    np.linalg.eigh: eigh,
    np.linalg.eigvalsh: eigvalsh,
    np.linalg.svd: svd,
    np.linalg.svdvals: svdvals,
}
