"""What numpy's functions mean on traced values: compositions of the engine's operations.

One table for functions (NEP 18), one for ufuncs (NEP 13), one for array methods; each family of functions in a module
of its own, and nothing is registered elsewhere. A function that stands in no table is refused by name. Functions take
numpy's arguments, have numpy's result types and shapes, and refuse what numpy refuses, at the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from gradwire.numpy_functions import (
    contractions,
    einsum,
    indexing,
    interpolation,
    joining,
    linalg,
    lines,
    norms,
    polynomials,
    quantiles,
    reductions,
    running,
    selection,
    shaping,
    sliding,
    sorting,
    statistics,
    taking,
    ufuncs,
    updates,
)
from gradwire.tracing import complaints
from gradwire.tracing.stand_in import StandIn
from gradwire.tracing.trace import Tracer

Function = Callable[..., Any]


def _closed(*tables: Mapping[Any, Function]) -> Mapping[Function, Function]:
    meanings: dict[Function, Function] = {}
    for table in tables:
        for function, meaning in table.items():
            if meanings.get(function, meaning) is not meaning:
                raise TypeError(f"{function.__name__} is defined twice")
            meanings[function] = meaning
    return MappingProxyType(meanings)


FUNCTIONS: Final = _closed(
    contractions.TABLE,
    einsum.TABLE,
    interpolation.TABLE,
    joining.TABLE,
    linalg.TABLE,
    lines.TABLE,
    norms.TABLE,
    polynomials.TABLE,
    quantiles.TABLE,
    reductions.TABLE,
    running.TABLE,
    selection.TABLE,
    shaping.TABLE,
    sliding.TABLE,
    sorting.TABLE,
    statistics.TABLE,
    taking.TABLE,
)
"""numpy function -> its meaning."""


def _needs_numbers(self: Tracer, *args: Any, **options: Any) -> Any:
    raise complaints.error("tolist", self._value.type)


def _of_unknown_shape(self: Tracer, *args: Any, **options: Any) -> Any:
    raise complaints.error("shape_of_values", self._value.type)


def _in_place(self: Tracer, *args: Any, **options: Any) -> Any:
    raise complaints.error("inplace", self._value.type)


_METHODS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        **{
            name: FUNCTIONS[getattr(np, name)]
            for name in [
                "all",
                "any",
                "argmax",
                "argmin",
                "argpartition",
                "argsort",
                "choose",
                "clip",
                "copy",
                "cumprod",
                "cumsum",
                "diagonal",
                "dot",
                "max",
                "mean",
                "min",
                "prod",
                "ravel",
                "repeat",
                "round",
                "searchsorted",
                "squeeze",
                "std",
                "sum",
                "swapaxes",
                "take",
                "trace",
                "var",
                "matrix_transpose",
                "zeros_like",
                "astype",
            ]
        },
        "compress": lambda x, condition, axis=None, out=None: FUNCTIONS[np.compress](condition, x, axis, out),
        "flatten": FUNCTIONS[np.ravel],
        "reshape": shaping.reshape_method,
        "transpose": shaping.transpose_method,
        "conj": lambda x: x,
        "conjugate": lambda x: x,
        **dict.fromkeys(("item", "tolist", "tobytes"), _needs_numbers),
        "nonzero": _of_unknown_shape,
        **dict.fromkeys(("sort", "fill", "put", "partition", "resize", "itemset"), _in_place),
    }
)


class NumpyLibrary:
    """All of numpy that can be traced: the `Library` of every trace."""

    functions: Mapping[Function, Function] = FUNCTIONS

    def apply_ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """A ufunc, or one of its methods, on tracers and arrays."""
        return ufuncs.apply_ufunc(ufunc, method, inputs, options)

    def getitem(self, x: StandIn, index: Any) -> Any:
        """``x[index]``."""
        return indexing.getitem(x, index)

    def at(self, x: StandIn) -> updates.At:
        """``x.at``."""
        return updates.At(x)

    def method(self, name: str) -> Function:
        """The function behind an array method; KeyError where there is none."""
        return _METHODS[name]


LIBRARY: Final = NumpyLibrary()
