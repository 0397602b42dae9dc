"""Derivatives times a direction, without forming them: jvp, vjp, and hvp, forward over reverse.

The functions are called at once: the step's call is (primals, directions), and the directions are further inputs of the
program. Each direction has the type of what it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradwire.calls.arguments import Call, is_floating, leaf_type, refuse
from gradwire.calls.signature import CallSignature, Port, Step
from gradwire.errors import TracingError
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Captured, Tracer
from gradwire.tracing.trees import Tree, flatten, tuple_of
from gradwire.transformations.argnums import all_floating
from gradwire.transformations.gradients import GradStep
from gradwire.transformations.remote import Remote
from gradwire_engine.program import Jvp, Vjp
from gradwire_engine.types import TensorType

Function = Callable[..., Any]


def jvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value and directional derivative, by forward mode in one request: (result, tangent of the result).

    `primals`: the arguments, in a tuple. `tangents`: what they move by, nested alike; None for an argument that does
    not move, and for integers. Leaves of the result that are no floating-point numbers have the tangent None.
    """
    varied, directions, arguments = _directions(primals, tangents, "jvp")
    result: tuple[Any, Any] = Remote.of(fun).then(JvpStep("jvp", varied))(arguments, directions)
    return result


def vjp(fun: Function, primals: Sequence[Any], cotangents: Any) -> tuple[Any, tuple[Any, ...]]:
    """Value and the gradients of a weighted result, by reverse mode in one request: (result, gradients).

    `primals`: the arguments, in a tuple. `cotangents`: the weights, nested like the result; None counts as zeros. The
    gradients are a tuple, nested like `primals`, with None for arguments that are no floating-point numbers.
    """
    result: tuple[Any, tuple[Any, ...]] = Remote.of(fun).then(VjpStep())(_tuple(primals, "vjp: primals"), cotangents)
    return result


def hvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Gradient and Hessian-vector product, forward over reverse in one request: (gradient, product).

    `primals` and `tangents` as in `jvp`. With one argument both results are nested like it, with several they are
    tuples.
    """
    varied, directions, arguments = _directions(primals, tangents, "hvp")
    gradient = Remote.of(fun).then(GradStep("hvp", None))
    result: tuple[Any, Any] = gradient.then(JvpStep("hvp", varied))(arguments, directions)
    return result


def _tuple(arguments: Any, label: str) -> tuple[Any, ...]:
    if not isinstance(arguments, (tuple, list)):
        got = type(arguments).__name__
        raise TracingError(at_user_line(f"{label} is a {got}; pass the arguments in a tuple: (x,) for one argument"))
    return tuple(arguments)


def _directions(primals: Any, tangents: Any, label: str) -> tuple[tuple[int, ...], list[Any], tuple[Any, ...]]:
    """The leaves that move, their tangents, and the arguments."""
    arguments, nested = _tuple(primals, f"{label}: primals"), _tuple(tangents, f"{label}: tangents")
    leaves, tree = flatten(arguments)
    varied, directions = [], []
    for index, (leaf, direction) in enumerate(zip(leaves, tree.leaves_of(nested, f"{label}: tangents"), strict=True)):
        if direction is None:
            continue
        if not is_floating(leaf_type(leaf, f"primals{tree.paths()[index]}")) and _is_nothing(direction):
            continue
        varied.append(index)
        directions.append(direction)
    return tuple(varied), directions, arguments


def _is_nothing(direction: Any) -> bool:
    """Whether what is given as the tangent of an integer says that it does not move."""
    return not isinstance(direction, Tracer) and np.asarray(direction).dtype.kind in "biuV"


@dataclass(frozen=True)
class JvpStep(Step):
    """jvp, and the outer half of hvp: called as (primals, tangents), the tangents of the leaves `varied` in a list."""

    label: str
    varied: tuple[int, ...]

    @property
    def takes_directions(self) -> bool:
        return True

    def inner_call(self, call: Call, function: str) -> Call:
        return _primals(call)

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        for leaf, tangent in zip(self.varied, range(len(inner_call.types), len(call.types)), strict=True):
            name, type = inner_call.names[leaf], inner_call.types[leaf]
            if not is_floating(type):
                raise refuse(
                    f"{self.label}: argument {name} of {function} is {type} and has no tangent; "
                    "pass None for it, or convert it with .astype(np.float64)"
                )
            _require_type(call, tangent, type, f"{self.label}: the tangent of {name}")
        varied = [inner.arguments[leaf] for leaf in self.varied]
        floating = _floating(inner.outputs)
        tangent_of = {output: len(inner.outputs) + i for i, output in enumerate(floating)}
        first = len(inner.inputs)
        return inner.then(
            Jvp(tuple(varied)),
            inputs=[inner.inputs[index] for index in varied],
            arguments=(*inner.arguments, *range(first, first + len(varied))),
            outputs=(*inner.outputs, *[inner.outputs[output] for output in floating]),
            results=(*inner.results, *[tangent_of.get(output, -1) for output in inner.results]),
            result=tuple_of(inner.result, inner.result),
        )


@dataclass(frozen=True)
class VjpStep(Step):
    """vjp: called as (primals, cotangents)."""

    label: str = "vjp"

    @property
    def takes_directions(self) -> bool:
        return True

    @property
    def is_reverse(self) -> bool:
        return True

    def inner_call(self, call: Call, function: str) -> Call:
        return _primals(call)

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        leaves, gradients_tree = all_floating(inner_call)
        if not leaves:
            raise refuse(f"vjp: {function} has no floating-point argument")
        cotangents = self._cotangents(inner, call, inner_call, function)
        arguments = [*inner.arguments, *[-1] * (len(call.types) - len(inner_call.types))]
        ports: list[Port] = []
        zeros: list[tuple[int, Captured]] = []
        for index, output in enumerate(_floating(inner.outputs), len(inner.inputs)):
            port = inner.outputs[output]
            leaf = cotangents.get(output)
            if leaf is None:
                zero = np.zeros(port.type.shape, dtype=port.type.dtype.numpy)
                zeros.append((index, Captured(zero)))
                port = replace(port, axis=None, power=0)
            else:
                arguments[leaf] = index
            ports.append(port)
        varied = [inner.arguments[leaf] for leaf in leaves]
        gradients = [inner.inputs[index] for index in varied]
        return inner.then(
            Vjp(tuple(varied)),
            inputs=ports,
            arguments=arguments,
            captured=zeros,
            outputs=(*inner.outputs, *gradients),
            results=(*inner.results, *range(len(inner.outputs), len(inner.outputs) + len(varied))),
            result=tuple_of(inner.result, gradients_tree),
        )

    def _cotangents(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> dict[int, int]:
        """For each differentiable output the leaf of the call that is its cotangent."""
        numbered = call.positional[1].build(range(len(inner_call.types), len(call.types)))
        cotangents: dict[int, int] = {}
        for leaf, cotangent in enumerate(inner.result.leaves_of(numbered, "vjp: cotangents")):
            output = inner.results[leaf]
            if cotangent is None or output < 0:
                continue
            path = inner.result.paths("result")[leaf]
            if not is_floating(inner.outputs[output].type):
                continue  # integers have no cotangent; what is given for them is ignored
            _require_type(call, cotangent, inner.result_type(leaf), f"vjp: the cotangent of {path} of {function}")
            cotangents[output] = cotangent
        return cotangents


def _floating(ports: Sequence[Port]) -> list[int]:
    return [i for i, port in enumerate(ports) if is_floating(port.type)]


def _primals(call: Call) -> Call:
    """The call of a function inside jvp or vjp, from the call with (primals, tangents or cotangents)."""
    primals = call.positional[0]
    count = primals.size
    tree = tuple_of(primals, Tree(dict))
    return Call(tree, call.types[:count], call.weak[:count], call.names[:count])


def _require_type(call: Call, leaf: int, expected: TensorType, direction: str) -> None:
    """A tangent or cotangent has the type of what it belongs to; Python numbers take its element type."""
    got = call.types[leaf]
    if got != expected and not (call.weak[leaf] and not expected.shape):
        raise refuse(f"{direction} is {got}, expected {expected}")
