"""The transformations as steps: what each does to a call on the way in, and to an arrangement on the way out.

A transformed function is its base function and a tuple of steps. On the way in (`inner_call`), from the last step to
the first, each says with which arguments the function inside it is called; then the base function is traced; on the way
out (`apply`) each step adds its transform and says what became of inputs and outputs. Everything that can be wrong with
a call is found here, before anything is sent.

On a batch (the rows of the request) every step is exact, because each row is computed by itself and sums are linear:
the tangent of a shared input is shared, its gradient is summed, a cotangent of a summed output is shared. The one
exception, a Jacobian of stacked outputs by stacked inputs, has zeros between the rows, and raises `NotExact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from gradwire.calls.signature import Arrangement, Call, NotExact, Port, is_floating
from gradwire.errors import TracingError
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Captured
from gradwire.tracing.trees import LEAF, NOTHING, Tree, compose, tuple_of
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Vjp


class Step(Protocol):
    """One transformation; immutable, hashable."""

    @property
    def label(self) -> str:
        """What the caller wrote."""

    def inner_call(self, call: Call, function: str) -> Call:
        """The call of the function inside."""

    def apply(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> Arrangement:
        """The function inside, transformed."""


def refuse(message: str, reason: str = "INVALID_ARGUMENT") -> TracingError:
    """The error for a call that cannot be right."""
    return TracingError(at_user_line(message), reason=reason)


# which arguments


@dataclass(frozen=True)
class Wanted:
    """The leaves by which is differentiated, and the structure that the derivatives come in."""

    leaves: tuple[int, ...]
    tree: Tree


def wanted_arguments(call: Call, argnums: int | tuple[int, ...], label: str, function: str) -> Wanted:
    """The leaves of the arguments `argnums`; all must be floating point."""
    count = len(call.positional)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    positions = []
    for number in numbers:
        if not -count <= number < count:
            raise refuse(f"{label}: argnums={number}, but {function} is called with {count} positional arguments")
        positions.append(number % count)
    if len(set(positions)) != len(positions):
        raise refuse(f"{label}: argnums={argnums} names an argument twice")
    leaves = [leaf for position in positions for leaf in call.leaves_of_argument(position)]
    for leaf in leaves:
        if not is_floating(call.types[leaf]):
            raise refuse(_not_floating(call, leaf, label, function))
    trees = [call.positional[position] for position in positions]
    return Wanted(tuple(leaves), tuple_of(*trees) if isinstance(argnums, tuple) else trees[0])


def _not_floating(call: Call, leaf: int, label: str, function: str) -> str:
    type = call.types[leaf]
    cast = "float(…)" if not type.shape else ".astype(np.float64)"
    return (
        f"{label}: argument {call.names[leaf]} of {function} is {type}, and only floating-point arguments can be "
        f"differentiated. Convert it with {cast}, choose other arguments with argnums=, or evaluate without "
        "derivative with gw.remote"
    )


def all_floating(call: Call) -> tuple[tuple[int, ...], Tree]:
    """All leaves that can be differentiated, and the structure of the positional arguments with None for the others."""
    leaves = tuple([leaf for leaf, type in enumerate(call.types) if is_floating(type)])
    positional = call.tree.children[0]
    return leaves, compose(positional, lambda leaf: LEAF if is_floating(call.types[leaf]) else NOTHING)


def _require_floating_results(inner: Arrangement, label: str, function: str) -> None:
    for leaf, output in enumerate(inner.results):
        if output < 0 or not is_floating(inner.outputs[output].type):
            found = "None" if output < 0 else str(inner.outputs[output].type)
            place = inner.result.paths("result")[leaf]
            raise refuse(
                f"{label}: {place} of {function} is {found}, and only floating-point results can be differentiated. "
                "Convert it with .astype(np.float64), or do not return it"
            )


# reverse mode of a scalar


@dataclass(frozen=True)
class GradStep:
    """grad, value_and_grad, and the inner half of hvp (`argnums` None: all floating-point arguments)."""

    label: str
    argnums: int | tuple[int, ...] | None
    has_aux: bool = False
    with_value: bool = False

    def inner_call(self, call: Call, function: str) -> Call:
        return call

    def apply(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> Arrangement:
        value_tree, aux_tree = self._value_and_aux(inner, function)
        wanted = self._wanted(call, function)
        varied = [inner.arguments[leaf] for leaf in wanted.leaves]
        value = inner.outputs[0]
        gradients = [
            Port(port.type, port.axis, value.power + port.power) for port in (inner.inputs[index] for index in varied)
        ]
        kept = 1 if self.with_value else 0
        outputs = [*([value] if kept else []), *gradients, *inner.outputs[1:]]
        aux = [output + kept + len(varied) - 1 if output >= 0 else -1 for output in inner.results[1:]]
        by_wanted = list(range(kept, kept + len(varied)))
        value_results = [0] if kept else []
        if not kept:
            results, result = by_wanted + aux, tuple_of(wanted.tree, aux_tree) if self.has_aux else wanted.tree
        else:
            whole = tuple_of(value_tree, aux_tree) if self.has_aux else value_tree
            results, result = value_results + aux + by_wanted, tuple_of(whole, wanted.tree)
        transform = Grad(tuple(varied), self.with_value)
        return inner.then(transform, outputs=outputs, results=results, result=result)

    def _wanted(self, call: Call, function: str) -> Wanted:
        if self.argnums is not None:
            return wanted_arguments(call, self.argnums, self.label, function)
        leaves, tree = all_floating(call)
        if not leaves:
            raise refuse(f"{self.label}: {function} has no floating-point argument")
        return Wanted(leaves, tree.children[0] if len(tree.children) == 1 else tree)

    def _value_and_aux(self, inner: Arrangement, function: str) -> tuple[Tree, Tree]:
        value, aux = inner.result, NOTHING
        if self.has_aux:
            if inner.result.container is not tuple or len(inner.result.children) != 2:
                raise refuse(
                    f"{self.label}(has_aux=True): {function} must return (value, auxiliary), got {inner.result}"
                )
            value, aux = inner.result.children
        if not value.is_leaf:
            raise refuse(
                f"{self.label} needs one floating-point number as result; {function} returns {value}. "
                "Use gw.jacobian, return one number, or (value, auxiliary) with has_aux=True",
                "NOT_A_SCALAR",
            )
        type = inner.result_type(0) if inner.results[0] >= 0 else None
        if type is None or type.shape or not is_floating(type):
            advice = "Use gw.jacobian or gw.vjp, or reduce it to one number (np.sum)"
            if inner.rows is not None:
                advice = "Use gw.vmap(gw.grad(f)) for a gradient a row, or gw.vmap(…, reduce='sum')"
            raise refuse(
                f"{self.label} needs one floating-point number as result; {function} returns {type}. {advice}",
                "NOT_A_SCALAR",
            )
        return value, aux


# Jacobians


@dataclass(frozen=True)
class JacobianStep:
    """jacfwd, jacrev, jacobian."""

    label: str
    argnums: int | tuple[int, ...]
    mode: JacobianMode

    def inner_call(self, call: Call, function: str) -> Call:
        return call

    def apply(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> Arrangement:
        _require_floating_results(inner, self.label, function)
        wanted = wanted_arguments(call, self.argnums, self.label, function)
        varied = [inner.arguments[leaf] for leaf in wanted.leaves]
        outputs = [_block(output, inner.inputs[index]) for output in inner.outputs for index in varied]
        count = len(varied)
        results = [output * count + which for output in inner.results for which in range(count)]
        return inner.then(
            Jacobian(tuple(varied), self.mode),
            outputs=outputs,
            results=results,
            result=compose(inner.result, lambda _: wanted.tree),
        )


def _block(output: Port, varied: Port) -> Port:
    """The derivative of an output by an input: the output's axes, then the input's."""
    type = output.type.with_shape(output.type.shape + varied.type.shape)
    power = output.power + varied.power
    if varied.axis is None:
        return Port(type, output.axis, power)
    if output.axis is not None:
        raise NotExact  # zeros between the rows
    return Port(type, len(output.type.shape) + varied.axis, power)


@dataclass(frozen=True)
class HessianStep:
    """hessian: forward over reverse; of a scalar function grad, then a forward Jacobian."""

    argnums: int | tuple[int, ...]
    label: str = "hessian"

    def inner_call(self, call: Call, function: str) -> Call:
        return call

    def apply(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> Arrangement:
        _require_floating_results(inner, self.label, function)
        scalar = inner.result.is_leaf and not inner.result_type(0).shape
        first: Step = (
            GradStep(self.label, self.argnums)
            if scalar
            else JacobianStep(self.label, self.argnums, JacobianMode.REVERSE)
        )
        once = first.apply(inner, call, inner_call, function)
        return JacobianStep(self.label, self.argnums, JacobianMode.FORWARD).apply(once, call, inner_call, function)


# products


@dataclass(frozen=True)
class JvpStep:
    """jvp, and the outer half of hvp: called as (primals, tangents), the tangents of the leaves `varied` in a list."""

    label: str
    varied: tuple[int, ...]

    def inner_call(self, call: Call, function: str) -> Call:
        return _primals(call)

    def apply(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> Arrangement:
        first = len(inner_call.types)
        varied = [inner.arguments[leaf] for leaf in self.varied]
        tangents = []
        for leaf, index, given in zip(self.varied, varied, range(first, len(call.types)), strict=True):
            name = inner_call.names[leaf]
            if not is_floating(inner_call.types[leaf]):
                raise refuse(
                    f"{self.label}: argument {name} of {function} is {inner_call.types[leaf]} and has no tangent; "
                    "pass None for it, or convert it with .astype(np.float64)"
                )
            _require_type(call, given, inner_call.types[leaf], f"{self.label}: the tangent of {name}")
            tangents.append(inner.inputs[index])
        floating = [port for port in inner.outputs if is_floating(port.type)]
        position = {index: i for i, index in enumerate(_floating(inner.outputs))}
        moved = [len(inner.outputs) + position[output] if output in position else -1 for output in inner.results]
        place = len(inner.inputs)
        return inner.then(
            Jvp(tuple(varied)),
            inputs=tangents,
            arguments=(*inner.arguments, *range(place, place + len(tangents))),
            outputs=(*inner.outputs, *floating),
            results=(*inner.results, *moved),
            result=tuple_of(inner.result, inner.result),
        )


def _floating(ports: Sequence[Port]) -> list[int]:
    return [i for i, port in enumerate(ports) if is_floating(port.type)]


def _primals(call: Call) -> Call:
    """The call of a function inside jvp or vjp, from the call with (primals, tangents or cotangents)."""
    primals = call.positional[0]
    count = primals.size
    tree = tuple_of(primals, Tree(dict))
    return Call(tree, call.types[:count], call.weak[:count], call.names[:count])


def _require_type(call: Call, leaf: int, expected: Any, what: str) -> None:
    """A tangent or cotangent has the type of what it belongs to; Python numbers take its element type."""
    got = call.types[leaf]
    if got != expected and not (call.weak[leaf] and not expected.shape):
        raise refuse(f"{what} is {got}, expected {expected}")


@dataclass(frozen=True)
class VjpStep:
    """vjp: called as (primals, cotangents)."""

    label: str = "vjp"

    def inner_call(self, call: Call, function: str) -> Call:
        return _primals(call)

    def apply(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> Arrangement:
        leaves, gradients_tree = all_floating(inner_call)
        if not leaves:
            raise refuse(f"vjp: {function} has no floating-point argument")
        given = self._cotangents(inner, call, inner_call, function)
        place = len(inner.inputs)
        arguments = [*inner.arguments, *[-1] * (len(call.types) - len(inner_call.types))]
        ports: list[Port] = []
        zeros: list[tuple[int, Captured]] = []
        for output in _floating(inner.outputs):
            port = inner.outputs[output]
            leaf = given.get(output)
            if leaf is None:
                zero = np.zeros(port.type.shape, dtype=port.type.dtype.numpy)
                zeros.append((place + len(ports), Captured(zero)))
                port = replace(port, axis=None, power=0)
            else:
                arguments[leaf] = place + len(ports)
            ports.append(port)
        varied = [inner.arguments[leaf] for leaf in leaves]
        gradients = [inner.inputs[index] for index in varied]
        return inner.then(
            Vjp(tuple(varied)),
            inputs=ports,
            arguments=arguments,
            carried=zeros,
            outputs=(*inner.outputs, *gradients),
            results=(*inner.results, *range(len(inner.outputs), len(inner.outputs) + len(varied))),
            result=tuple_of(inner.result, gradients_tree),
        )

    def _cotangents(self, inner: Arrangement, call: Call, inner_call: Call, function: str) -> dict[int, int]:
        """For each differentiable output the leaf of the call that is its cotangent."""
        first = len(inner_call.types)
        tree = call.positional[1]
        marks = tree.build(range(first, len(call.types)))
        found: dict[int, int] = {}
        for leaf, mark in enumerate(inner.result.leaves_of(marks, "vjp: cotangents")):
            output = inner.results[leaf]
            if mark is None or output < 0:
                continue
            place = inner.result.paths("result")[leaf]
            if not is_floating(inner.outputs[output].type):
                continue  # integers have no cotangent; what is given for them is ignored
            _require_type(call, mark, inner.result_type(leaf), f"vjp: the cotangent of {place} of {function}")
            found[output] = mark
        return found
