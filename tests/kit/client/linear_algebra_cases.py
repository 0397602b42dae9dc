"""numpy.linalg on matrices that it does not refuse: each function, how it is called, and shapes of random arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Case = tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]

SQUARE, STACK, TALL, WIDE = (3, 3), (2, 3, 3), (4, 2), (2, 3)


def regular(x: Any) -> Any:
    """Square matrices whose diagonals outweigh the rest, in the type of x; of bool, in int32."""
    n = x.shape[-1]
    return x + np.diag(9 * np.arange(1, n + 1)).astype(np.int32 if x.dtype.kind == "b" else x.dtype)


def symmetric(x: Any) -> Any:
    """Symmetric matrices that are positive definite."""
    return regular(x) + np.matrix_transpose(regular(x))


CASES: list[Case] = [
    *[
        (function, lambda x, f=function: f(regular(x)), (shape,))
        for function in (np.linalg.inv, np.linalg.det, np.linalg.slogdet, np.linalg.pinv)
        for shape in (SQUARE, STACK, (1, 1), *[(0, 0)] * (function is not np.linalg.pinv))
    ],
    *[
        (function, lambda x, f=function: f(symmetric(x)), (shape,))
        for function in (np.linalg.cholesky, np.linalg.eigh, np.linalg.eigvalsh)
        for shape in (SQUARE, STACK, (1, 1), (0, 0))
    ],
    (np.linalg.cholesky, lambda x: np.linalg.cholesky(symmetric(x), upper=True), (SQUARE,)),
    *[(np.linalg.eigh, lambda x, t=triangle: np.linalg.eigh(regular(x), t), (SQUARE,)) for triangle in "LU"],
    (np.linalg.eigvalsh, lambda x: np.linalg.eigvalsh(regular(x), UPLO="U"), (STACK,)),
    *[
        (np.linalg.solve, lambda a, b: np.linalg.solve(regular(a), b), shapes)
        for shapes in ((SQUARE, (3,)), (SQUARE, (3, 2)), (STACK, (3,)), (STACK, (3, 2)), (SQUARE, (4, 3, 2)),
                       ((2, 1, 3, 3), (4, 3, 1)), ((0, 0), (0, 2)))
    ],
    (np.linalg.tensorsolve, lambda a, b: np.linalg.tensorsolve(np.reshape(regular(a), (2, 3, 6)), b), ((6, 6), (2, 3))),
    (
        np.linalg.tensorsolve,
        lambda a, b: np.linalg.tensorsolve(np.reshape(regular(a), (2, 2, 3, 3)), b, axes=(0, 2)),
        ((6, 6), (2, 3)),
    ),
    (np.linalg.tensorinv, lambda a: np.linalg.tensorinv(np.reshape(regular(a), (2, 3, 6))), ((6, 6),)),
    (np.linalg.tensorinv, lambda a: np.linalg.tensorinv(np.reshape(regular(a), (6, 3, 2)), ind=1), ((6, 6),)),
    *[(np.linalg.qr, lambda x: np.linalg.qr(x + 0.5), (shape,)) for shape in (SQUARE, TALL, WIDE, (2, 4, 2), (0, 2))],
    (np.linalg.qr, lambda x: np.linalg.qr(x + 0.5, mode="r"), (TALL,)),
    (np.linalg.qr, lambda x: np.linalg.qr(x + 0.5, "complete"), (WIDE,)),
    (np.linalg.svd, lambda x: np.linalg.svd(regular(x)), (STACK,)),
    *[(np.linalg.svd, lambda x: np.linalg.svd(x, full_matrices=False)[1], (shape,)) for shape in (TALL, WIDE, (0, 2))],
    (np.linalg.svd, lambda x: np.linalg.svd(x, compute_uv=False), (TALL,)),
    (np.linalg.svd, lambda x: np.linalg.svd(symmetric(x), hermitian=True)[1], (SQUARE,)),
    (np.linalg.svdvals, np.linalg.svdvals, ((2, 4, 2),)),
    *[(np.linalg.pinv, lambda x: np.linalg.pinv(x + 0.5), (shape,)) for shape in (TALL, WIDE)],
    (np.linalg.pinv, lambda x: np.linalg.pinv(np.outer(x, x) + 0.5, rtol=None), ((3,),)),
    (np.linalg.pinv, lambda x: np.linalg.pinv(regular(x), np.array([1e-9, 0.4])), (STACK,)),
    (np.linalg.pinv, lambda x: np.linalg.pinv(symmetric(x), hermitian=True), (SQUARE,)),
    *[
        (np.linalg.lstsq, lambda a, b: np.linalg.lstsq(np.tri(*a.shape) + 0.1 * a, b), shapes)
        for shapes in (((4, 2), (4,)), ((4, 2), (4, 3)), ((2, 3), (2,)), ((2, 2), (2,)))
    ],
    *[(np.linalg.cond, lambda x, p=p: np.linalg.cond(regular(x), p), (STACK,))
      for p in (None, 1, -1, 2, -2, "fro", np.inf)],
    *[(np.linalg.norm, lambda x, p=p: np.linalg.norm(x, p, axis=(0, 2)), (STACK,)) for p in (2, -2, "nuc")],
    (np.linalg.norm, lambda x: np.linalg.norm(x, "nuc", axis=(2, 0), keepdims=True), (STACK,)),
    (np.linalg.norm, lambda x: np.linalg.norm(x, 2), (TALL,)),
    (np.linalg.matrix_norm, lambda x: np.linalg.matrix_norm(x, ord=2, keepdims=True), (STACK,)),
]  # fmt: skip
