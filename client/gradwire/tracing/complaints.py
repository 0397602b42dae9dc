"""What is said to somebody whose code cannot be traced: the line, the reason, and what to write instead.

Python asks a traced value for its numbers in the same few ways whatever the user wrote. So complaints read the user's
own line, and name the function that stands there. The texts themselves are in `remedies`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any, Final

from gradwire.errors import ShapeError, TracingError
from gradwire.tracing import remedies
from gradwire.tracing.locations import at_line, at_user_line, calling_numpy_function, deepest_location, user_location
from gradwire_engine.types import TensorType


class MissingAttribute(TracingError, AttributeError):
    """An attribute that arrays may have and traced values do not."""

    reason = "UNTRACEABLE"


def error(what: str, type: TensorType) -> TracingError:
    """The complaint about one of the things that need numbers."""
    text = remedies.OF_NUMBERS[what].format(type=type)
    location = user_location()
    line = location.text if location else ""
    if what == "bool" and re.search(r"\bsorted\(|\.sort\(", line):
        text = f"sorted(x) compares the numbers behind traced values ({type}), which are not known. Write np.sort(x)"
    if what in ("float", "int", "index"):
        text = _about_math(line) or (remedies.WRITTEN.format(type=type) if _writes_element(line) else text)
    return TracingError(at_user_line(text))


def _writes_element(line: str) -> bool:
    return re.search(r"\w\s*\[[^\]]*\]\s*=[^=]", line) is not None


def _about_math(line: str) -> str | None:
    called = re.search(r"\bmath\.(\w+)", line)
    if called is None:
        return None
    name = called[1]
    instead = remedies.IN_NUMPY.get(name)
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
    name = next((name for name in re.findall(r"\w+", line) if name in remedies.NAMED_BY_SCIPY), None)
    if name is not None:
        return name, name
    signal = _SIGNAL.search(line)
    return None if signal is None else (signal[0], signal[1])


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
        text = remedies.WRITTEN.format(type=type)
    elif _has_ragged_list(line):
        text = remedies.RAGGED
    elif re.search(r"\bnp\.full\(", line):
        text = f"np.full takes no traced values ({type}). Write np.broadcast_to(x, shape)"
    elif type.dtype.is_integer and re.search(r"\w\s*\[", line):
        text = remedies.OF_NUMBERS["index"].format(type=type)
    else:
        text = (
            f"np.asarray(x), np.array([x, …]) and functions that call them need the numbers of a traced value ({type}),"
            " which are not known while the function is traced. Leave x as it is; build arrays with np.stack([x, y]) "
            "or np.concatenate"
        )
    return TracingError(at_user_line(text))


def _has_ragged_list(line: str) -> bool:
    try:
        tree = ast.parse(line)
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        if isinstance(node, (ast.List, ast.Tuple)):
            rows = [row for row in node.elts if isinstance(row, (ast.List, ast.Tuple))]
            if len(rows) == len(node.elts) and len({len(row.elts) for row in rows}) > 1:
                return True
    return False


def ragged_list(error: ValueError) -> ShapeError | None:
    """The complaint about what numpy refuses as a ragged nested list; None if that is not what it says."""
    if "inhomogeneous" not in str(error):
        return None
    return ShapeError(at_line(remedies.RAGGED, deepest_location(error)))


def unsupported_function(function: Callable[..., Any]) -> TracingError:
    """The complaint about a numpy function that has no meaning on traced values."""
    name = getattr(function, "__name__", str(function))
    module = getattr(function, "__module__", "numpy")
    shown = f"{module.replace('numpy', 'np', 1)}.{name}"
    if name in remedies.SHAPE_OF_VALUES:
        text = (
            f"{shown}: the shape of its result would depend on numbers that are not known while the function is traced."
            " Keep all elements and write np.where(mask, x, 0)"
        )
    elif name in remedies.OF_FUNCTIONS:
        text = f"{shown} cannot be traced: {remedies.OF_FUNCTIONS[name]}"
    else:
        text = f"{shown} cannot be traced; write it with operations that can"
    return TracingError(at_user_line(text), reason="UNSUPPORTED_FUNCTION")


def no_attribute(name: str) -> MissingAttribute:
    """The complaint about an attribute that traced values lack."""
    if name in remedies.IN_MEMORY:
        text = f"x.{name} needs the memory behind a traced value, which does not exist while the function is traced"
    elif name in remedies.CHANGES_IN_PLACE:
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
