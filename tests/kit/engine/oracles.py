"""The ops written again for independent engines: what values and derivatives are compared with.

Three engines: autograd (always there), jax and torch (absent on small machines). Ops that move elements are defined
once, by loops over indices as the wire contract describes them, and handed to every engine as one table look-up; the
others are written in each engine's own functions. Nothing here imports the evaluation or the rules of the ops.
"""

from __future__ import annotations

import importlib.util
import math
import string
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from tests.kit.engine import oracles_linear_algebra, oracles_sorting, oracles_special
from tests.kit.engine.oracles_convolution import autograd_functions, jax_functions, torch_functions
from tests.kit.engine.places import MOVES, landing, moved

Function = Callable[..., Any]
"""(attributes, *arrays of the engine) -> array of the engine, or a tuple of several."""

NAMES = ("autograd", "torch", "jax")


class Oracle(Protocol):
    """An engine that knows some of the ops. Of an op's results, only those of floating point are spoken of."""

    functions: Mapping[str, Function]

    def values(self, name: str, attributes: Any, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results."""

    def forward(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        moves: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """The tangents of the results."""

    def reverse(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        weights: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """The gradients by the varied operands."""


def available(name: str) -> bool:
    """Whether an engine is installed."""
    return importlib.util.find_spec(name) is not None


@cache
def oracle(name: str) -> Oracle:
    """An engine by its name; importing one takes a second or two."""
    return {"autograd": _Autograd, "torch": _Torch, "jax": _Jax}[name]()


def _mover(name: str, xp: Any) -> Function:
    """The op `name` as one look-up, in the functions of an engine."""

    def function(attributes: Any, *arrays: Any) -> Any:
        indices = None
        if name == "gather":
            *arrays, indices = arrays
        table = moved(
            name, attributes, [tuple(x.shape) for x in arrays], None if indices is None else np.asarray(indices)
        )
        nothing = xp.zeros(1)
        line = xp.concatenate([*[xp.reshape(x, (-1,)) for x in arrays], nothing])
        return line[table]

    return function


def _scatter_add(xp: Any) -> Function:
    """A product with a matrix of zeros and ones."""

    def function(attributes: Any, updates: Any, indices: Any) -> Any:
        places = landing(attributes, tuple(updates.shape), np.asarray(indices)).ravel()
        matrix = np.zeros((math.prod(attributes.shape), places.size))
        matrix[places[places >= 0], np.flatnonzero(places >= 0)] = 1.0
        return xp.reshape(xp.asarray(matrix) @ xp.reshape(updates, (-1,)), tuple(attributes.shape))

    return function


def subscripts(attributes: Any, ranks: tuple[int, int]) -> str:
    """A dot_general in the notation of einsum."""
    letters = iter(string.ascii_letters)
    shared = [next(letters) for _ in attributes.lhs_batch]
    summed = [next(letters) for _ in attributes.lhs_contract]
    sides, rests = [], []
    for rank, batch, contract in (
        (ranks[0], attributes.lhs_batch, attributes.lhs_contract),
        (ranks[1], attributes.rhs_batch, attributes.rhs_contract),
    ):
        named = dict(zip((*batch, *contract), (*shared, *summed), strict=True))
        rests.append([named.setdefault(axis, next(letters)) for axis in range(rank) if axis not in named])
        sides.append("".join(named[axis] for axis in range(rank)))
    return f"{sides[0]},{sides[1]}->{''.join((*shared, *rests[0], *rests[1]))}"


# Engines with numpy's names


def _numpy_like(xp: Any, erf: Function, erfc: Function, expit: Function) -> dict[str, Function]:
    """All differentiable ops, in a namespace like numpy's."""

    def folded(x: Any, axes: Sequence[int]) -> Any:
        """The axes as one, at the end."""
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        shape = [x.shape[axis] for axis in kept]
        return xp.reshape(xp.transpose(x, (*kept, *axes)), (*shape, math.prod(x.shape[axis] for axis in axes)))

    def largest(x: Any, axes: Sequence[int], sign: float) -> Any:
        line = folded(sign * x, axes)
        return sign * xp.max(line, axis=-1) if line.shape[-1] else xp.full(line.shape[:-1], -sign * np.inf)

    def logsumexp(x: Any, axes: Sequence[int], keepdims: bool = False) -> Any:
        return xp.log(xp.sum(xp.exp(x), axis=tuple(axes), keepdims=keepdims))

    return {
        "add": lambda _, x, y: x + y,
        "subtract": lambda _, x, y: x - y,
        "negative": lambda _, x: -x,
        "multiply": lambda _, x, y: x * y,
        "divide": lambda _, x, y: x / y,
        "reciprocal": lambda _, x: 1.0 / x,
        "square": lambda _, x: x * x,
        "sqrt": lambda _, x: xp.sqrt(x),
        "rsqrt": lambda _, x: 1.0 / xp.sqrt(x),
        "cbrt": lambda _, x: xp.sign(x) * xp.abs(x) ** (1.0 / 3.0),
        "pow": lambda _, x, y: xp.exp(y * xp.log(x)),
        "integer_pow": lambda a, x: x ** float(a.exponent),
        "remainder": lambda _, x, y: x - xp.floor(x / y) * y,
        "abs": lambda _, x: xp.abs(x),
        "maximum": lambda _, x, y: xp.maximum(x, y),
        "minimum": lambda _, x, y: xp.minimum(x, y),
        "relu": lambda _, x: xp.where(x > 0.0, x, 0.0),
        "heaviside": lambda _, x, h: xp.where(x > 0.0, 1.0, xp.where(x == 0.0, h, 0.0)),
        "hypot": lambda _, x, y: xp.sqrt(x * x + y * y),
        "atan2": lambda _, y, x: xp.arctan2(y, x),
        "exp": lambda _, x: xp.exp(x),
        "exp2": lambda _, x: 2.0**x,
        "expm1": lambda _, x: xp.expm1(x),
        "log": lambda _, x: xp.log(x),
        "log1p": lambda _, x: xp.log1p(x),
        "log2": lambda _, x: xp.log2(x),
        "log10": lambda _, x: xp.log10(x),
        "logaddexp": lambda _, x, y: xp.logaddexp(x, y),
        "expit": lambda _, x: expit(x),
        "softplus": lambda _, x: xp.logaddexp(x, xp.zeros(x.shape)),
        "sin": lambda _, x: xp.sin(x),
        "cos": lambda _, x: xp.cos(x),
        "tan": lambda _, x: xp.tan(x),
        "asin": lambda _, x: xp.arcsin(x),
        "acos": lambda _, x: xp.arccos(x),
        "atan": lambda _, x: xp.arctan(x),
        "sinh": lambda _, x: xp.sinh(x),
        "cosh": lambda _, x: xp.cosh(x),
        "tanh": lambda _, x: xp.tanh(x),
        "asinh": lambda _, x: xp.arcsinh(x),
        "acosh": lambda _, x: xp.arccosh(x),
        "atanh": lambda _, x: xp.arctanh(x),
        "erf": lambda _, x: erf(x),
        "erfc": lambda _, x: erfc(x),
        "where": lambda _, c, x, y: xp.where(c, x, y),
        "astype": lambda a, x: x.astype(a.dtype.numpy),
        "sum": lambda a, x: xp.sum(x, axis=tuple(a.axes)),
        "prod": lambda a, x: xp.prod(folded(x, a.axes), axis=-1),
        "max": lambda a, x: largest(x, a.axes, 1.0),
        "min": lambda a, x: largest(x, a.axes, -1.0),
        "logsumexp": lambda a, x: logsumexp(x, a.axes),
        "softmax": lambda a, x: xp.exp(x) / xp.sum(xp.exp(x), axis=tuple(a.axes), keepdims=True),
        "log_softmax": lambda a, x: x - logsumexp(x, a.axes, keepdims=True),
        "norm": lambda a, x: xp.sqrt(xp.sum(x * x, axis=tuple(a.axes))),
        "dot_general": lambda a, x, y: xp.einsum(subscripts(a, (x.ndim, y.ndim)), x, y),
        "scatter_add": _scatter_add(xp),
        **{name: _mover(name, xp) for name in MOVES},
        **oracles_linear_algebra.numpy_like(xp),
        **oracles_sorting.numpy_like(xp),
    }


def _of_varied(
    function: Function, attributes: Any, operands: Sequence[Any], varied: Sequence[int]
) -> Callable[..., tuple[Any, ...]]:
    """The floating-point results, as a function of the varied operands alone."""

    def apply(*moving: Any) -> tuple[Any, ...]:
        arguments = list(operands)
        for i, value in zip(varied, moving, strict=True):
            arguments[i] = value
        return _floating(function(attributes, *arguments))

    return apply


def _floating(results: Any) -> tuple[Any, ...]:
    every = results if isinstance(results, (tuple, list)) else (results,)
    return tuple(each for each in every if "float" in str(each.dtype))


class _Autograd:
    def __init__(self) -> None:
        import autograd
        import autograd.numpy as xp
        from autograd.scipy import special

        self._autograd = autograd
        self._xp = xp
        self.functions = _numpy_like(xp, special.erf, special.erfc, special.expit) | autograd_functions(xp)
        self.functions |= oracles_special.of_autograd()

    def values(self, name: str, attributes: Any, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [np.asarray(each) for each in _floating(self.functions[name](attributes, *operands))]

    def forward(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        moves: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """Row by row from reverse mode: autograd's own forward mode lacks many functions."""
        found = [np.zeros(value.shape) for value in self.values(name, attributes, operands)]
        for which, tangent in enumerate(found):
            for place in np.ndindex(*tangent.shape):
                units = [np.zeros(each.shape) for each in found]
                units[which][place] = 1.0
                gradients = self.reverse(name, attributes, operands, varied, units)
                tangent[place] = sum(np.sum(g * move) for g, move in zip(gradients, moves, strict=True))
        return found

    def reverse(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        weights: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        function = _of_varied(self.functions[name], attributes, operands, varied)
        moving = tuple(operands[i] for i in varied)

        def weighted(moving: Any) -> Any:
            results = zip(weights, function(*moving), strict=True)
            return sum([self._xp.sum(weight * result) for weight, result in results], 0.0)

        with np.errstate(all="ignore"):
            return [np.asarray(each) for each in self._autograd.grad(weighted)(moving)]


class _Jax:
    def __init__(self) -> None:
        import jax
        import jax.numpy as xp

        jax.config.update("jax_enable_x64", True)
        self._jax = jax
        named = {
            "relu": lambda _, x: jax.nn.relu(x),
            "softplus": lambda _, x: jax.nn.softplus(x),
            "rsqrt": lambda _, x: jax.lax.rsqrt(x),
            "cbrt": lambda _, x: xp.cbrt(x),
            "pow": lambda _, x, y: xp.power(x, y),
            "integer_pow": lambda a, x: jax.lax.integer_pow(x, a.exponent),
            "remainder": lambda _, x, y: xp.remainder(x, y),
            "hypot": lambda _, x, y: xp.hypot(x, y),
            "exp2": lambda _, x: xp.exp2(x),
            "softmax": lambda a, x: jax.nn.softmax(x, axis=tuple(a.axes)),
            "log_softmax": lambda a, x: jax.nn.log_softmax(x, axis=tuple(a.axes)),
            **oracles_linear_algebra.jax_functions(xp),
        }
        self.functions = _numpy_like(xp, jax.lax.erf, jax.lax.erfc, jax.nn.sigmoid) | named | jax_functions(jax)
        self.functions |= oracles_special.of_jax()

    def values(self, name: str, attributes: Any, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = self.functions[name](attributes, *map(self._jax.numpy.asarray, operands))
        return [np.asarray(each) for each in _floating(found)]

    def forward(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        moves: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        arrays = [self._jax.numpy.asarray(x) for x in operands]
        function = _of_varied(self.functions[name], attributes, arrays, varied)
        found = self._jax.jvp(function, tuple(arrays[i] for i in varied), tuple(moves))[1]
        return [np.asarray(each) for each in found]

    def reverse(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        weights: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        arrays = [self._jax.numpy.asarray(x) for x in operands]
        function = _of_varied(self.functions[name], attributes, arrays, varied)
        _, pull = self._jax.vjp(function, *[arrays[i] for i in varied])
        return [np.asarray(each) for each in pull(tuple(map(self._jax.numpy.asarray, weights)))]


class _Torch:
    def __init__(self) -> None:
        import torch

        self._torch = torch
        xp = SimpleNamespace(
            concatenate=torch.cat,
            reshape=torch.reshape,
            zeros=lambda n: torch.zeros(n, dtype=torch.float64),
            asarray=torch.asarray,
        )
        special = torch.special

        def over(function: Callable[..., Any], x: Any, axes: Sequence[int]) -> Any:
            """A function of one axis, over several."""
            order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
            turned = x.permute(order)
            kept = x.ndim - len(axes)
            line = turned.reshape(*turned.shape[:kept], math.prod(turned.shape[kept:]))
            found = function(line)
            if found.ndim == kept:
                return found
            return found.reshape(turned.shape).permute(tuple(int(i) for i in np.argsort(order)))

        def largest(x: Any, axes: Sequence[int], sign: float) -> Any:
            def of_line(line: Any) -> Any:
                if not line.shape[-1]:
                    return torch.full(line.shape[:-1], -sign * math.inf, dtype=line.dtype)
                return torch.amax(line, -1) if sign > 0 else torch.amin(line, -1)

            return over(of_line, x, axes)

        self.functions: dict[str, Function] = {
            "add": lambda _, x, y: torch.add(x, y),
            "subtract": lambda _, x, y: torch.sub(x, y),
            "negative": lambda _, x: torch.neg(x),
            "multiply": lambda _, x, y: torch.mul(x, y),
            "divide": lambda _, x, y: torch.div(x, y),
            "reciprocal": lambda _, x: torch.reciprocal(x),
            "square": lambda _, x: torch.square(x),
            "sqrt": lambda _, x: torch.sqrt(x),
            "rsqrt": lambda _, x: torch.rsqrt(x),
            "cbrt": lambda _, x: torch.sign(x) * torch.abs(x) ** (1.0 / 3.0),
            "astype": lambda a, x: x.to(getattr(torch, a.dtype.value)),
            "pow": lambda _, x, y: torch.pow(x, y),
            "integer_pow": lambda a, x: torch.pow(x, a.exponent),
            "remainder": lambda _, x, y: torch.remainder(x, y),
            "abs": lambda _, x: torch.abs(x),
            "maximum": lambda _, x, y: torch.maximum(x, y),
            "minimum": lambda _, x, y: torch.minimum(x, y),
            "relu": lambda _, x: torch.relu(x),
            "heaviside": lambda _, x, h: torch.where(x > 0, torch.ones_like(x), torch.where(x == 0, h, 0.0)),
            "hypot": lambda _, x, y: torch.hypot(x, y),
            "atan2": lambda _, y, x: torch.atan2(y, x),
            "exp": lambda _, x: torch.exp(x),
            "exp2": lambda _, x: torch.exp2(x),
            "expm1": lambda _, x: torch.expm1(x),
            "log": lambda _, x: torch.log(x),
            "log1p": lambda _, x: torch.log1p(x),
            "log2": lambda _, x: torch.log2(x),
            "log10": lambda _, x: torch.log10(x),
            "logaddexp": lambda _, x, y: torch.logaddexp(x, y),
            "expit": lambda _, x: special.expit(x),
            "softplus": lambda _, x: torch.nn.functional.softplus(x),
            "sin": lambda _, x: torch.sin(x),
            "cos": lambda _, x: torch.cos(x),
            "tan": lambda _, x: torch.tan(x),
            "asin": lambda _, x: torch.asin(x),
            "acos": lambda _, x: torch.acos(x),
            "atan": lambda _, x: torch.atan(x),
            "sinh": lambda _, x: torch.sinh(x),
            "cosh": lambda _, x: torch.cosh(x),
            "tanh": lambda _, x: torch.tanh(x),
            "asinh": lambda _, x: torch.asinh(x),
            "acosh": lambda _, x: torch.acosh(x),
            "atanh": lambda _, x: torch.atanh(x),
            "erf": lambda _, x: special.erf(x),
            "erfc": lambda _, x: special.erfc(x),
            "where": lambda _, c, x, y: torch.where(c, x, y),
            "sum": lambda a, x: over(lambda line: line.sum(-1), x, a.axes),
            "prod": lambda a, x: over(lambda line: line.prod(-1), x, a.axes),
            "max": lambda a, x: largest(x, a.axes, 1.0),
            "min": lambda a, x: largest(x, a.axes, -1.0),
            "logsumexp": lambda a, x: over(lambda line: torch.logsumexp(line, -1), x, a.axes),
            "softmax": lambda a, x: over(lambda line: torch.softmax(line, -1), x, a.axes),
            "log_softmax": lambda a, x: over(lambda line: torch.log_softmax(line, -1), x, a.axes),
            "norm": lambda a, x: over(lambda line: torch.linalg.vector_norm(line, dim=-1), x, a.axes),
            "dot_general": lambda a, x, y: torch.einsum(subscripts(a, (x.ndim, y.ndim)), x, y),
            "scatter_add": _scatter_add(xp),
            **{name: _mover(name, xp) for name in MOVES},
            **oracles_linear_algebra.torch_functions(torch),
            **oracles_sorting.in_torch(torch),
            **torch_functions(torch),
            **oracles_special.of_torch(),
        }

    def _tensors(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Indices stay as they are: they are only looked at."""
        return [x if x.dtype.kind == "i" else self._torch.tensor(x) for x in arrays]

    def values(self, name: str, attributes: Any, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = self.functions[name](attributes, *self._tensors(operands))
        return [np.asarray(each.numpy()) for each in _floating(found)]

    def forward(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        moves: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        tensors = self._tensors(operands)
        function = _of_varied(self.functions[name], attributes, tensors, varied)
        moving = tuple(tensors[i] for i in varied)
        with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # torch's own, inside torch
            found = self._torch.func.jvp(function, moving, tuple(self._tensors(moves)))[1]
        return [np.asarray(each.numpy(force=True)) for each in found]

    def reverse(
        self,
        name: str,
        attributes: Any,
        operands: Sequence[np.ndarray],
        varied: Sequence[int],
        weights: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        tensors = self._tensors(operands)
        function = _of_varied(self.functions[name], attributes, tensors, varied)
        _, pull = self._torch.func.vjp(function, *[tensors[i] for i in varied])
        return [each.numpy() for each in pull(tuple(self._tensors(weights)))]
