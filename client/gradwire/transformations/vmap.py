"""vmap: a function on each row of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradwire.transformations.remote import Remote
from gradwire.transformations.rows import Axes, VmapStep

Function = Callable[..., Any]


def vmap(fun: Function, in_axes: Any = 0, out_axes: Any = 0, reduce: Any = None) -> Remote:
    """The function on each row of its arguments, in one request.

    `in_axes`: where the rows stand in each argument; None for what is the same for all; an integer for all arguments,
    or a tuple with one entry each, which may be nested like the argument. Keyword arguments have their rows at axis 0.
    `out_axes`: where the rows stand in the result. `reduce`: "sum" or "mean" adds up over the rows instead, computed
    without the parts. `out_axes` and `reduce` may be nested like the result.
    """
    return Remote.of(fun).then(VmapStep(Axes.of(in_axes), Axes.of(out_axes), Axes.of(reduce)))
