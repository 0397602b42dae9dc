"""What users write: numpy's functions and those of `gradwire.special`, each with its derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from tests.recorded.cases import definite, numbers, programs, regular

import gradwire as gw

sp: Final = gw.special
X: Final = numbers(6, seed=1)
P: Final = np.abs(numbers(6, seed=2)) / 4 + 0.125
M: Final = numbers(3, 4, seed=3)
S: Final = regular(3, 3, seed=4)
D: Final = definite(3, 3, seed=5)
N: Final = np.array([7, -3, 12, 0, 5, 2])

Function = Callable[..., Any]


def values(functions: Mapping[str, Function], *args: Any) -> Callable[[], Any]:
    """The values of several functions in one call."""
    return lambda: gw.remote(lambda *x: {name: f(*x) for name, f in functions.items()})(*args)


def both(functions: Mapping[str, Function], *args: Any) -> Callable[[], Any]:
    """The values of several functions, their tangents, and the gradient of all their sums."""

    def all_of(*x: Any) -> Any:
        return {name: f(*x) for name, f in functions.items()}

    def summed(*x: Any) -> Any:
        return sum(np.sum(one * (1 + n / 8)) for n, one in enumerate(all_of(*x).values()))

    tangents = tuple(
        [numbers(*one.shape, seed=20 + n) if one.dtype.kind == "f" else None for n, one in enumerate(args)]
    )
    varied = tuple([n for n, one in enumerate(args) if one.dtype.kind == "f"])
    return lambda: [gw.jvp(all_of, args, tangents), gw.value_and_grad(summed, argnums=varied)(*args)]


def named(module: Any, names: str) -> dict[str, Function]:
    """Functions by their names."""
    return {name: getattr(module, name) for name in names.split()}


ELEMENTWISE: Final[dict[str, Callable[[], Any]]] = {
    "exponentials": both(named(np, "exp exp2 expm1 sinh cosh tanh arcsinh arctan sin cos tan square fabs deg2rad"), X),
    "logarithms": both(named(np, "log log1p log2 log10 sqrt cbrt reciprocal arcsin arccos arctanh rad2deg"), P),
    "two operands": both(
        named(np, "add subtract multiply divide maximum minimum fmax fmin hypot arctan2 logaddexp logaddexp2 copysign"),
        X,
        numbers(6, seed=9),
    ),
    "powers": both(
        {"power": np.power, "float_power": np.float_power, "**": lambda a, b: a**b, "cube": lambda a, b: a**3}, P, X
    ),
    "remainders": both(named(np, "remainder fmod"), X, P),
    "rounding": values(named(np, "floor ceil trunc rint sign signbit modf frexp round fix"), X),
    "comparisons": values(
        named(np, "equal not_equal less less_equal greater greater_equal isclose"), X, numbers(6, seed=9)
    ),
    "logic": values(named(np, "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor"), X > 0, P > 0.5),
    "integers": values(
        named(np, "add multiply floor_divide remainder bitwise_and left_shift right_shift gcd lcm power divmod"),
        N,
        np.abs(N) % 5,
    ),
    "classes": values(
        named(np, "isnan isinf isfinite isposinf isneginf nan_to_num"), np.array([1.0, np.nan, np.inf, -np.inf])
    ),
    "choices": both(
        {
            "where": lambda x, p: np.where(x > 0, x, p),
            "select": lambda x, p: np.select([x > 1, x < -1], [x, p], 0.5),
            "clip": lambda x, p: np.clip(x, -p, p),
            "piecewise": lambda x, p: np.piecewise(x, [x > 0], [np.sin, lambda v: v * v]),
            "heaviside": np.heaviside,
            "ldexp": lambda x, p: np.ldexp(x, 3),
        },
        X,
        P,
    ),
}

ARRAYS: Final[dict[str, Callable[[], Any]]] = {
    "reductions": both(named(np, "sum prod max min mean var std ptp nansum nanmean cumsum cumprod"), X),
    "reductions along axes": both(
        {
            "sum": lambda m: np.sum(m, axis=(0, 1), keepdims=True),
            "max": lambda m: m.max(axis=1),
            "mean": lambda m: np.mean(m, axis=0, where=m > 0),
            "average": lambda m: np.average(m, axis=1, weights=np.arange(4.0)),
            "var": lambda m: np.var(m, axis=1, ddof=1),
            "reduce": lambda m: np.add.reduce(m, axis=0, initial=2.0),
            "accumulate": lambda m: np.maximum.accumulate(m, axis=1),
        },
        M,
    ),
    "positions and truth": values(named(np, "argmax argmin nanargmax count_nonzero any all"), M),
    "shapes": both(
        {
            "reshape": lambda m: m.reshape(2, 6),
            "transpose": np.transpose,
            "moveaxis": lambda m: np.moveaxis(m[None], 0, -1),
            "concatenate": lambda m: np.concatenate([m, m[:1] * 2]),
            "stack": lambda m: np.stack([m[0], m[1]], axis=1),
            "block": lambda m: np.block([[m, m], [m, m * 0]]),
            "split": lambda m: np.split(m, 2, axis=1)[1],
            "tile": lambda m: np.tile(m, (1, 2)),
            "repeat": lambda m: np.repeat(m, [1, 0, 2], axis=0),
            "pad": lambda m: np.pad(m, ((1, 0), (0, 2)), constant_values=2.0),
            "pad edge": lambda m: np.pad(m, 1, mode="edge"),
            "roll": lambda m: np.roll(m, 1, axis=1),
            "rot90": np.rot90,
            "flip": lambda m: np.flip(m, 0),
            "tril": np.tril,
            "diag": lambda m: np.diag(m[0]),
            "diagonal": np.diagonal,
            "delete": lambda m: np.delete(m, 1, axis=0),
            "insert": lambda m: np.insert(m, 1, 9.0, axis=1),
            "broadcast_to": lambda m: np.broadcast_to(m, (2, 3, 4)),
        },
        M,
    ),
    "indexing": both(
        {
            "slices": lambda m, i: m[::2, 1:-1],
            "new axis": lambda m, i: m[:, None, -1],
            "integers": lambda m, i: m[[2, 0, 2], [1, 1, -1]],
            "mask": lambda m, i: m[np.array([True, False, True])],
            "traced": lambda m, i: m[i % 3, i % 4],
            "take": lambda m, i: np.take(m, i % 12),
            "take along axis": lambda m, i: np.take_along_axis(m, i[None, :4] % 3, axis=0),
            "choose": lambda m, i: np.choose(i[:4] % 3, m),
            "at": lambda m, i: m.at[1, 2].set(5.0).at[:, 0].add(2.0),
        },
        M,
        N,
    ),
    "updates": both(
        {
            name: lambda x, i, name=name: getattr(sp, name)(x, i % 6, np.arange(6.0) / 4 + 0.5)
            for name in ("at_set", "at_add", "at_multiply", "at_min", "at_max")
        },
        X,
        N,
    ),
    "products": both(
        {
            "matmul": lambda m, s: s @ m,
            "dot": lambda m, s: np.dot(s, m[:, 0]),
            "inner": lambda m, s: np.inner(m.T, s),
            "outer": lambda m, s: np.outer(m[0], s[0]),
            "tensordot": lambda m, s: np.tensordot(s, m, axes=([0], [0])),
            "kron": lambda m, s: np.kron(m[:2, :2], s[:2, :2]),
            "cross": lambda m, s: np.cross(m[:, 0], s[0]),
            "vdot": lambda m, s: np.vdot(m[:, 0], s[0]),
            "trace": lambda m, s: np.trace(s),
            "einsum": lambda m, s: np.einsum("ij,jk,ki->k", s, m, m.T @ s),
            "einsum of one": lambda m, s: np.einsum("ii->i", s),
        },
        M,
        S,
    ),
    "sorting": both(
        {
            "sort": np.sort,
            "sort of columns": lambda x: np.sort(x.reshape(2, 3), axis=0),
            "partition": lambda x: np.partition(x, 2),
            "median": np.median,
            "quantile": lambda x: np.quantile(x, [0.1, 0.75]),
            "percentile": lambda x: np.percentile(x, 30, method="nearest"),
            "top_k": lambda x: sp.top_k(x, 3)[0],
        },
        X,
    ),
    "orders": values(
        {
            "argsort": np.argsort,
            "lexsort": lambda x: np.lexsort((x, np.round(x))),
            "searchsorted": lambda x: np.searchsorted(np.array([-1.0, 0.0, 1.5]), x, side="right"),
            "digitize": lambda x: np.digitize(x, np.array([-1.0, 0.0, 1.5])),
            "top_k": lambda x: sp.top_k(x, 2)[1],
            "one_hot": lambda x: sp.one_hot(np.argmax(x), 6),
        },
        X,
    ),
    "statistics": both(
        {
            "cov": lambda m: np.cov(m),
            "corrcoef": lambda m: np.corrcoef(m),
            "gradient": lambda m: np.gradient(m[0]),
            "diff": lambda m: np.diff(m, n=2, axis=1),
            "trapezoid": lambda m: np.trapezoid(m[0], dx=0.5),
            "interp": lambda m: np.interp(m[0], np.array([-2.0, 0.0, 3.0]), m[1, :3]),
            "polyval": lambda m: np.polyval(m[0], m[1]),
            "vander": lambda m: np.vander(m[0], 3),
            "unwrap": lambda m: np.unwrap(m[2] * 4),
            "convolve": lambda m: np.convolve(m[0], m[1], mode="same"),
        },
        M,
    ),
}

LINEAR_ALGEBRA: Final[dict[str, Callable[[], Any]]] = {
    "systems": both(
        {
            "solve": lambda s, m: np.linalg.solve(s, m),
            "inv": lambda s, m: np.linalg.inv(s),
            "det": lambda s, m: np.linalg.det(s),
            "slogdet": lambda s, m: np.linalg.slogdet(s)[1],
            "matrix_power": lambda s, m: np.linalg.matrix_power(s, 3),
            "lstsq": lambda s, m: np.linalg.lstsq(m.T, np.ones(4), rcond=None)[0],
            "pinv": lambda s, m: np.linalg.pinv(m),
            "norm": lambda s, m: np.linalg.norm(s),
            "norm of rows": lambda s, m: np.linalg.norm(m, axis=1, ord=1),
            "norm 2": lambda s, m: np.linalg.norm(s, 2),
        },
        S,
        M,
    ),
    "factors": both(
        {
            "cholesky": np.linalg.cholesky,
            "eigh": lambda d: np.linalg.eigh(d)[0],
            "eigvalsh": np.linalg.eigvalsh,
            "eigenvectors": lambda d: np.linalg.eigh(d)[1] ** 2,
            "qr": lambda d: np.linalg.qr(d)[1],
            "svd": lambda d: np.linalg.svd(d, compute_uv=False),
            "cho_solve": lambda d: sp.cho_solve(sp.cho_factor(d), d[0]),
            "solve_triangular": lambda d: sp.solve_triangular(d, d[0], lower=True),
            "expm": lambda d: sp.expm(d / 8),
        },
        D,
    ),
    "stacks of matrices": lambda: [
        gw.vmap(gw.grad(lambda s: np.linalg.slogdet(s)[1]))(regular(3, 2, 2)),
        gw.grad(lambda s: np.sum(np.linalg.inv(s)))(regular(2, 2, 2)),
        gw.vmap(np.linalg.solve, in_axes=(None, 0))(S, numbers(3, 3)),
    ],
    "a Gaussian's likelihood": lambda: gw.hessian(
        lambda k: np.linalg.slogdet(D * k)[1] + X[:3] @ np.linalg.solve(D * k, X[:3])
    )(1.5),
}

SPECIAL: Final[dict[str, Callable[[], Any]]] = {
    "error functions": both(named(sp, "erf erfc erfcx ndtr log_ndtr log_expit expit softplus exprel"), X),
    "inverses": both(named(sp, "erfinv erfcinv ndtri logit entr"), P),
    "gamma functions": both(
        {
            **named(sp, "gamma gammaln digamma psi rgamma gammasgn"),
            "polygamma": lambda x: sp.polygamma(2, x),
            "multigammaln": lambda x: sp.multigammaln(x + 2, 2),
        },
        P,
    ),
    "of two operands": both(named(sp, "beta betaln xlogy xlog1py rel_entr kl_div"), P, P[::-1]),
    "Bessel functions": both({**named(sp, "i0 i0e i1 i1e"), "np.i0": np.i0, "np.sinc": np.sinc}, X),
    "activations": both(
        {
            **named(sp, "relu elu gelu leaky_relu silu swish"),
            "gelu, approximate": lambda x: sp.gelu(x, approximate=True),
        },
        X,
    ),
    "normalisation": both(
        {
            "softmax": lambda m: sp.softmax(m, axis=1),
            "log_softmax": lambda m: sp.log_softmax(m, axis=0),
            "logsumexp": lambda m: sp.logsumexp(m, axis=1, b=np.arange(4.0)),
            "logaddexp.accumulate": lambda m: np.logaddexp.accumulate(m, axis=1),
        },
        M,
    ),
    "second derivatives": lambda: gw.vmap(
        gw.hessian(lambda x: sp.erf(x) + sp.gammaln(x + 4) + sp.log_ndtr(x) + sp.i0e(x) + sp.exprel(x) + np.sinc(x))
    )(X),
    "convolutions": both(
        {
            "conv": lambda x, w: sp.conv(x, w, padding=1),
            "conv_transpose": lambda x, w: sp.conv_transpose(x, np.swapaxes(w, 0, 1)[:2], strides=2),
            "convolve": lambda x, w: sp.convolve(x[0, 0], w[0, 0]),
            "correlate": lambda x, w: sp.correlate(x[0, 0], w[0, 0], mode="valid"),
            "avg_pool": lambda x, w: sp.avg_pool(x, 2),
            "max_pool": lambda x, w: sp.max_pool(x, 2, strides=1),
        },
        numbers(1, 2, 5, seed=6),
        numbers(2, 2, 3, seed=7),
    ),
    "random numbers": lambda: [
        gw.remote(lambda key: (sp.random_bits(key, (3,)), sp.random_uniform(key, (2, 2)), sp.random_normal(key, 3)))(
            42
        ),
        gw.vmap(lambda key, x: x * sp.random_uniform(key, (2,), np.float32), in_axes=(0, None))(np.arange(3), 2.0),
        gw.grad(lambda s: np.sum(s * sp.random_normal(7, (4,))))(2.0),
    ],
}

CASES: Final = programs(
    {
        f"{kind}: {name}": one
        for kind, found in (
            ("elements", ELEMENTWISE),
            ("arrays", ARRAYS),
            ("linear algebra", LINEAR_ALGEBRA),
            ("special", SPECIAL),
        )
        for name, one in found.items()
    }
)
