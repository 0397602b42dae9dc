"""The ops of linear algebra for independent engines.

Matrices that are symmetric to an op are made symmetric here too, so that gradients agree. Where an engine has no
function of its own, the result is built from others: a triangular system is solved as a general one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[..., Any]


def numpy_like(xp: Any) -> dict[str, Function]:
    """In a namespace like numpy's, with its `linalg`."""

    def symmetric(a: Any) -> Any:
        return (a + xp.swapaxes(a, -1, -2)) / 2.0

    def triangular_solve(attributes: Any, a: Any, b: Any) -> Any:
        ones = np.ones(a.shape)
        offset = int(attributes.unit_diagonal)
        triangle = a * (np.tril(ones, -offset) if attributes.lower else np.triu(ones, offset))
        if attributes.unit_diagonal:
            triangle = triangle + np.eye(a.shape[-1])
        return solve(xp.swapaxes(triangle, -1, -2) if attributes.transposed else triangle, b)

    def solve(a: Any, b: Any) -> Any:
        return xp.linalg.solve(a + np.zeros((*b.shape[:-2], 1, 1)), b)

    return {
        "cholesky": lambda _, a: xp.linalg.cholesky(symmetric(a)),
        "triangular_solve": triangular_solve,
        "solve": lambda _, a, b: solve(a, b),
        "det": lambda _, a: xp.linalg.det(a),
        "cofactors": lambda _, a: cofactors(xp, a),
        "cofactors_along": lambda _, a, x: cofactors_along(xp, a, x),
        "slogdet": lambda _, a: tuple(xp.linalg.slogdet(a)),
        "qr": lambda _, a: qr(xp, a),
        "eigh": lambda _, a: tuple(xp.linalg.eigh(symmetric(a))),
        "svd": lambda _, a: tuple(xp.linalg.svd(a, full_matrices=False)),
        "pinv": lambda _, a, rtol: pinv(xp, a) + 0.0 * xp.sum(rtol),
    }


def cofactors(xp: Any, a: Any) -> Any:
    """Of regular matrices: the determinant times the inverse, transposed."""
    return xp.linalg.det(a)[..., None, None] * xp.swapaxes(xp.linalg.inv(a), -1, -2)


def cofactors_along(xp: Any, a: Any, x: Any) -> Any:
    """Of regular matrices: what the product rule makes of `cofactors`."""
    inverse, unit = xp.linalg.inv(a), xp.eye(a.shape[-1], dtype=a.dtype)
    turned = inverse @ x
    trace = xp.sum(turned * unit, (-2, -1))[..., None, None]
    return xp.linalg.det(a)[..., None, None] * xp.swapaxes((trace * unit - turned) @ inverse, -1, -2)


def pinv(xp: Any, a: Any) -> Any:
    """Of matrices of full rank: by the normal equations."""
    turned = xp.swapaxes(a, -1, -2)
    if a.shape[-2] >= a.shape[-1]:
        return xp.linalg.solve(turned @ a, turned)
    return turned @ xp.linalg.inv(a @ turned)


def qr(xp: Any, a: Any) -> tuple[Any, Any]:
    """By the Cholesky factor of AᵀA, with the signs that LAPACK chooses."""
    m, n = a.shape[-2:]
    first = a[..., :, : min(m, n)]
    factor = xp.linalg.cholesky(xp.swapaxes(first, -1, -2) @ first)
    plain = getattr(a, "_value", a)
    signs = np.sign(np.diagonal(np.linalg.qr(np.asarray(plain)).R, axis1=-2, axis2=-1))
    q = first @ xp.linalg.inv(xp.swapaxes(factor, -1, -2)) * signs[..., None, :]
    return q, xp.swapaxes(q, -1, -2) @ a


def jax_functions(xp: Any) -> dict[str, Function]:
    """What jax has, and autograd has not."""

    def qr(a: Any) -> tuple[Any, Any]:
        """Of the columns that make Q: jax does not differentiate it where there are more."""
        q = xp.linalg.qr(a[..., : min(a.shape[-2:])]).Q
        return q, xp.swapaxes(q, -1, -2) @ a

    return {"qr": lambda _, a: qr(a)}


def torch_functions(torch: Any) -> dict[str, Function]:
    """In torch."""
    from torch._functorch import pyfunctorch

    def symmetric(a: Any) -> Any:
        return (a + a.mT) / 2.0

    def triangular_solve(attributes: Any, a: Any, b: Any) -> Any:
        matrix = a.mT if attributes.transposed else a
        return torch.linalg.solve_triangular(
            matrix, b, upper=attributes.lower is attributes.transposed, unitriangular=attributes.unit_diagonal
        )

    def plain(a: Any) -> np.ndarray:
        """The numbers of a tensor that is being differentiated."""
        while torch._C._functorch.is_functorch_wrapped_tensor(a):
            a = torch._C._functorch.get_unwrapped(a)
        with pyfunctorch.temporarily_clear_interpreter_stack():
            return np.asarray(a.detach().tolist()).reshape(tuple(a.shape))

    def svd(a: Any) -> tuple[Any, Any, Any]:
        """With the signs of LAPACK, which torch's library chooses otherwise where there are more columns than rows."""
        u, s, vh = torch.linalg.svd(a, full_matrices=False)
        expected = np.linalg.svd(plain(a), full_matrices=False).U
        signs = torch.tensor(np.sign(np.sum(expected * plain(u), axis=-2)))
        return u * signs[..., None, :], s, vh * signs[..., :, None]

    return {
        "cholesky": lambda _, a: torch.linalg.cholesky(symmetric(a)),
        "triangular_solve": triangular_solve,
        "solve": lambda _, a, b: torch.linalg.solve(a, b),
        "det": lambda _, a: torch.linalg.det(a),
        "cofactors": lambda _, a: cofactors(torch, a),
        "cofactors_along": lambda _, a, x: cofactors_along(torch, a, x),
        "slogdet": lambda _, a: tuple(torch.linalg.slogdet(a)),
        "qr": lambda _, a: tuple(torch.linalg.qr(a)),
        "eigh": lambda _, a: tuple(torch.linalg.eigh(symmetric(a))),
        "svd": lambda _, a: svd(a),
        "pinv": lambda _, a, rtol: torch.linalg.pinv(a) + 0.0 * rtol.sum(),
    }
