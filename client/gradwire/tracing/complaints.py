"""What is said to somebody whose code cannot be traced: the line, the reason, and what to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any, Final

from gradwire.errors import ShapeError, TracingError
from gradwire.tracing.locations import at_line, at_user_line, calling_numpy_function, deepest_location, user_location
from gradwire_engine.types import TensorType

LEAKED: Final = (
    "a traced value ({type}) is used after its function has returned; it has escaped through a global, a list or an "
    "attribute. Return it from the function instead"
)

IN_PLACE: Final = (
    "traced values cannot be changed in place. Write x = gw.special.at_set(x, index, values), a new array; likewise "
    "at_add, at_multiply, at_min, at_max"
)
"""The remedy for everything that would write into an array."""

_INSTEAD: Final = {
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

_MATH: Final = {
    "fabs": "np.abs", "pow": "np.power", "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan",
    "atan2": "np.arctan2", "asinh": "np.arcsinh", "acosh": "np.arccosh", "atanh": "np.arctanh", "fsum": "np.sum",
    "erf": "gw.special.erf", "erfc": "gw.special.erfc", "gamma": "gw.special.gamma",
    "lgamma": "gw.special.gammaln", "dist": "np.linalg.norm", "prod": "np.prod",
    "sumprod": "np.dot",
}  # fmt: skip
_SAME_IN_NUMPY: Final = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
        "exp",
        "expm1",
        "exp2",
        "log",
        "log1p",
        "log2",
        "log10",
        "sqrt",
        "cbrt",
        "hypot",
        "floor",
        "ceil",
        "trunc",
        "fmod",
        "copysign",
        "isnan",
        "isinf",
        "isfinite",
        "radians",
        "degrees",
        "gcd",
        "lcm",
        "ldexp",
        "frexp",
    ]
)

_SPECIAL: Final = frozenset(
    [
        "expit",
        "logit",
        "log_expit",
        "erf",
        "erfc",
        "logsumexp",
        "softmax",
        "log_softmax",
        "relu",
        "softplus",
        "polygamma",
        "multigammaln",
    ]
)

_INSTEAD_OF_FUNCTION: Final = {
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
        (
            "fft",
            "ifft",
            "fft2",
            "ifft2",
            "fftn",
            "ifftn",
            "rfft",
            "irfft",
            "rfft2",
            "irfft2",
            "rfftn",
            "irfftn",
            "hfft",
            "ihfft",
        ),
        "complex numbers are not supported. For short signals multiply with the matrices np.cos(2*np.pi*j*k/n) and "
        "np.sin(…) by @",
    ),
    "savetxt": "return the value from the function, and write it outside",
    "save": "return the value from the function, and write it outside",
    "array2string": "print it where the function is called",
    "array_repr": "print it where the function is called",
    "array_str": "print it where the function is called",
}
_SHAPE_OF_VALUES: Final = frozenset(
    [
        "nonzero",
        "argwhere",
        "flatnonzero",
        "unique",
        "unique_all",
        "unique_counts",
        "unique_inverse",
        "unique_values",
        "extract",
        "compress",
        "trim_zeros",
        "intersect1d",
        "union1d",
        "setdiff1d",
        "setxor1d",
    ]
)


class MissingAttribute(TracingError, AttributeError):
    """An attribute that arrays may have and traced values do not."""

    reason = "UNTRACEABLE"


def error(what: str, type: TensorType) -> TracingError:
    """The complaint about one of the things that need numbers."""
    text = _INSTEAD[what].format(type=type)
    location = user_location()
    line = location.text if location else ""
    if what == "bool" and re.search(r"\bsorted\(|\.sort\(", line):
        text = f"sorted(x) compares the numbers behind traced values ({type}), which are not known. Write np.sort(x)"
    if what in ("float", "int", "index"):
        text = _about_math(line) or (_WRITTEN.format(type=type) if _writes_element(line) else text)
    return TracingError(at_user_line(text))


_WRITTEN: Final = (
    "a traced value ({type}) cannot be written into a numpy array. Instead of y[i] = x write "
    "y = gw.special.at_set(y, i, x), or build the array from its parts with np.stack or np.concatenate"
)


def _writes_element(line: str) -> bool:
    return re.search(r"\w\s*\[[^\]]*\]\s*=[^=]", line) is not None


def _about_math(line: str) -> str | None:
    called = re.search(r"\bmath\.(\w+)", line)
    if called is None:
        return None
    name = called[1]
    instead = f"np.{name}" if name in _SAME_IN_NUMPY else _MATH.get(name)
    if instead is None:
        return f"math.{name} needs the number behind a traced value, which is not known while the function is traced"
    return (
        f"math.{name} needs the number behind a traced value, which is not known while the function is traced. "
        f"Write {instead} instead"
    )


def endless_recursion(function: str, error: RecursionError) -> TracingError:
    """The complaint about functions that call themselves until Python gives up."""
    text = (
        f"{function} calls functions that call themselves without end while it is traced: no condition on traced "
        "values ends the recursion, since np.where and gw.cond evaluate both sides. Write it as a loop, with "
        "gw.while_loop or gw.scan, or let it end by a Python number"
    )
    return TracingError(at_line(text, deepest_location(error)))


_SIGNAL: Final = re.compile(r"(?<!\bnp\.)(?<!\bnumpy\.)\b(?:fft|oa)?(convolve|correlate)(?:2d)?\b")


def _named_by_scipy(line: str) -> tuple[str, str] | None:
    """A function of scipy in a line, and the one of `gw.special` that does the same."""
    name = next((name for name in re.findall(r"\w+", line) if name in _SPECIAL), None)
    if name is not None:
        return name, name
    found = _SIGNAL.search(line)
    return None if found is None else (found[0], found[1])


def array_conversion(type: TensorType) -> TracingError:
    """The complaint about np.asarray, np.array and everything that calls them."""
    location = user_location()
    line = location.text if location else ""
    special = _named_by_scipy(line)
    if special is not None:
        name, ours = special
        return TracingError(at_user_line(f"{name} is not traced by its scipy name. Write gw.special.{ours}"))
    if calling_numpy_function().startswith("vectorize."):
        text = (
            f"np.vectorize calls its function with numbers, and those of a traced value ({type}) are not known while "
            "the function is traced. Write gw.vmap(function)(x), or call the function on the whole array"
        )
    elif re.search(r"\bnp\.linalg\.(\w+)|\bscipy\b", line):
        text = f"this function does not take traced values ({type})"
    elif _writes_element(line):
        text = _WRITTEN.format(type=type)
    elif _has_ragged_list(line):
        text = _RAGGED
    elif re.search(r"\bnp\.full\(", line):
        text = f"np.full takes no traced values ({type}). Write np.broadcast_to(x, shape)"
    elif type.dtype.is_integer and re.search(r"\w\s*\[", line):
        text = _INSTEAD["index"].format(type=type)
    else:
        text = (
            f"np.asarray(x), np.array([x, …]) and functions that call them need the numbers of a traced value ({type}),"
            " which are not known while the function is traced. Leave x as it is; build arrays with np.stack([x, y]) "
            "or np.concatenate"
        )
    return TracingError(at_user_line(text))


_RAGGED: Final = (
    "the rows of a nested list have different lengths, so they are no array. Fill them up to one length and leave the "
    "filling out with np.where(mask, rows, 0), or compute each row by itself"
)


def _has_ragged_list(line: str) -> bool:
    try:
        tree = ast.parse(line)
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        if isinstance(node, (ast.List, ast.Tuple)) and all(isinstance(one, (ast.List, ast.Tuple)) for one in node.elts):
            if len({len(one.elts) for one in node.elts if isinstance(one, (ast.List, ast.Tuple))}) > 1:
                return True
    return False


def ragged_list(error: ValueError) -> ShapeError | None:
    """The complaint about what numpy refuses as a ragged nested list; None if that is not what it says."""
    if "inhomogeneous" not in str(error):
        return None
    return ShapeError(at_line(_RAGGED, deepest_location(error)))


def unsupported_function(function: Callable[..., Any]) -> TracingError:
    """The complaint about a numpy function that has no meaning on traced values."""
    name = getattr(function, "__name__", str(function))
    module = getattr(function, "__module__", "numpy")
    shown = f"{module.replace('numpy', 'np', 1)}.{name}"
    if name in _SHAPE_OF_VALUES:
        text = (
            f"{shown}: the shape of its result would depend on numbers that are not known while the function is traced."
            " Keep all elements and write np.where(mask, x, 0)"
        )
    elif name in _INSTEAD_OF_FUNCTION:
        text = f"{shown} cannot be traced: {_INSTEAD_OF_FUNCTION[name]}"
    else:
        text = f"{shown} cannot be traced; write it with operations that can"
    return TracingError(at_user_line(text), reason="UNSUPPORTED_FUNCTION")


def no_attribute(name: str) -> MissingAttribute:
    """The complaint about an attribute that traced values lack."""
    if name in (
        "item",
        "tolist",
        "tobytes",
        "dump",
        "dumps",
        "data",
        "ctypes",
        "view",
        "flat",
        "base",
        "strides",
        "flags",
    ):
        text = f"x.{name} needs the memory behind a traced value, which does not exist while the function is traced"
    elif name in ("sort", "partition", "fill", "put", "resize", "itemset", "setfield", "setflags", "byteswap"):
        text = f"x.{name} would change a traced value in place. Write a function that returns a new array"
    else:
        text = f"a traced value has no attribute {name!r}"
    return MissingAttribute(at_user_line(text))


def output_argument(name: str) -> TracingError:
    """The complaint about ``out=`` and ``a += x``."""
    return TracingError(
        at_user_line(
            f"np.{name} would write a traced value into an array (out=…, or a += x with an array a). "
            "Write a = a + x, or leave out= away"
        )
    )


def unsupported_argument(function: str, argument: str, advice: str = "leave it away") -> TracingError:
    """The complaint about an argument of a numpy function that has no meaning on traced values."""
    return TracingError(at_user_line(f"np.{function}: the argument {argument} is not supported here; {advice}"))
