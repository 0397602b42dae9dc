"""What to write instead of what cannot be traced: the texts of `complaints`, and the names that they are about.

``{type}`` stands for the type of the traced value at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LEAKED: Final = (
    "a traced value ({type}) is used after its function has returned; it has escaped through a global, a list or an "
    "attribute. Return it from the function instead"
)

IN_PLACE: Final = (
    "traced values cannot be changed in place. Write x = gw.special.at_set(x, index, values), a new array; likewise "
    "at_add, at_multiply, at_min, at_max"
)
"""The remedy for everything that would write into an array."""

OF_NUMBERS: Final[Mapping[str, str]] = {
    "bool": "the truth of a traced value ({type}) is not known while the function is traced: if, while, and, or, not, "
    "min() and max() need it. Write np.where(condition, a, b) or gw.cond, gw.while_loop, np.logical_and and np.maximum "
    "instead",
    "float": "float(x) needs the number behind a traced value ({type}), which is not known while the function is "
    "traced. Leave it as it is: a 0-d value works everywhere; to convert, write x.astype(np.float64)",
    "int": "int(x) needs the number behind a traced value ({type}), which is not known while the function is traced. "
    "To convert, write x.astype(np.int64); to truncate, np.trunc(x)",
    "complex": "complex(x) of a traced value ({type}): complex numbers are not supported",
    "index": "a traced value ({type}) is used as a Python integer (range, a list's or a numpy array's index, a shape), "
    "and is not known while the function is traced. Instead of range(n) write gw.fori_loop with max_steps=. To look up "
    "a traced index in a constant table, write np.take_along_axis(table, np.atleast_1d(i), 0)[0], or pass the table as "
    "an argument and write table[i]",
    "round": "round(x) needs the number behind a traced value ({type}). Write np.round(x)",
    "floor": "math.floor(x) needs the number behind a traced value ({type}). Write np.floor(x)",
    "ceil": "math.ceil(x) needs the number behind a traced value ({type}). Write np.ceil(x)",
    "setitem": "traced values ({type}) cannot be changed in place. Instead of x[i] = v write "
    "x = gw.special.at_set(x, i, v), instead of x[i] += v gw.special.at_add(x, i, v); or build the array with "
    "np.stack or np.concatenate",
    "contains": "`in` needs the numbers of a traced value ({type}). Write np.any(x == value)",
    "pickle": "a traced value ({type}) cannot be pickled or sent anywhere: it exists while its function is traced",
    "tolist": "x.tolist(), x.item() and x.tobytes() need the numbers behind a traced value ({type}), which are not "
    "known while the function is traced. Leave it as it is, or return it from the function",
    "inplace": "traced values ({type}) cannot be changed in place; use the function that returns a new array "
    "(np.sort(x) instead of x.sort())",
    "shape_of_values": "the shape of this result would depend on numbers that are not known while the function is "
    "traced ({type}). Keep all elements and write np.where(mask, x, 0) instead of x[mask]",
}
"""For what needs the numbers of a traced value, by the name that `complaints.error` is given."""

WRITTEN: Final = (
    "a traced value ({type}) cannot be written into a numpy array. Instead of y[i] = x write "
    "y = gw.special.at_set(y, i, x), or build the array from its parts with np.stack or np.concatenate"
)

RAGGED: Final = (
    "the rows of a nested list have different lengths, so they are no array. Fill them up to one length and leave the "
    "filling out with np.where(mask, rows, 0), or compute each row by itself"
)

_SAME_IN_NUMPY: Final = (
    "sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt",
    "cbrt", "hypot", "floor", "ceil", "trunc", "fmod", "copysign", "isnan", "isinf", "isfinite", "radians",
    "degrees", "gcd", "lcm", "ldexp", "frexp",
)  # fmt: skip
IN_NUMPY: Final[Mapping[str, str]] = {
    **{name: f"np.{name}" for name in _SAME_IN_NUMPY},
    "fabs": "np.abs", "pow": "np.power", "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan",
    "atan2": "np.arctan2", "asinh": "np.arcsinh", "acosh": "np.arccosh", "atanh": "np.arctanh", "fsum": "np.sum",
    "erf": "gw.special.erf", "erfc": "gw.special.erfc", "gamma": "gw.special.gamma",
    "lgamma": "gw.special.gammaln", "dist": "np.linalg.norm", "prod": "np.prod",
    "sumprod": "np.dot",
}  # fmt: skip
"""For functions of `math`: what does the same on traced values."""

NAMED_BY_SCIPY: Final = frozenset((
    "expit", "logit", "log_expit", "erf", "erfc", "logsumexp", "softmax", "log_softmax", "relu", "softplus",
    "polygamma", "multigammaln",
))  # fmt: skip
"""Functions that `gw.special` has by the name that they have in scipy and elsewhere."""

_TRANSFORMS: Final = (
    "fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "rfft", "irfft", "rfft2", "irfft2", "rfftn", "irfftn", "hfft",
    "ihfft",
)  # fmt: skip
OF_FUNCTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("eig", "eigvals"), "its results are complex; for a symmetric matrix write np.linalg.eigh"),
    "matrix_rank": "the rank does not vary with x, so it has no derivative; write np.sum(np.linalg.svdvals(x) > tol)",
    "arange": "shapes must be known while the function is traced",
    "copyto": "write np.where(mask, new, old)",
    "put": "write gw.special.at_set(np.ravel(x), indices, values).reshape(x.shape)",
    "put_along_axis": "write gw.special.at_set(x, (rows, indices), values), with rows = np.arange(len(x))[:, None]",
    "place": "write np.where(mask, values, x)",
    "putmask": "write np.where(mask, values, x)",
    "fill_diagonal": "write np.where(np.eye(n, dtype=bool), v, x)",
    **dict.fromkeys(
        ("histogram", "histogram2d", "histogramdd", "histogram_bin_edges"),
        "counts do not vary with x, so they have no derivative; for counts write gw.special.at_add(np.zeros(bins), "
        "np.digitize(x, edges) - 1, 1.0), for a derivative a smooth kernel",
    ),
    **dict.fromkeys(
        _TRANSFORMS,
        "complex numbers are not supported. For short signals multiply with the matrices np.cos(2*np.pi*j*k/n) and "
        "np.sin(…) by @",
    ),
    "savetxt": "return the value from the function, and write it outside",
    "save": "return the value from the function, and write it outside",
    "array2string": "print it where the function is called",
    "array_repr": "print it where the function is called",
    "array_str": "print it where the function is called",
}
"""For functions of numpy."""

SHAPE_OF_VALUES: Final = frozenset((
    "nonzero", "argwhere", "flatnonzero", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values",
    "extract", "compress", "trim_zeros", "intersect1d", "union1d", "setdiff1d", "setxor1d",
))  # fmt: skip
"""Functions of numpy whose results have a shape that depends on numbers."""

IN_MEMORY: Final = frozenset(
    ["item", "tolist", "tobytes", "dump", "dumps", "data", "ctypes", "view", "flat", "base", "strides", "flags"]
)
"""Attributes of arrays that are about their memory."""

CHANGES_IN_PLACE: Final = frozenset(
    ["sort", "partition", "fill", "put", "resize", "itemset", "setfield", "setflags", "byteswap"]
)
"""Methods of arrays that change them."""
