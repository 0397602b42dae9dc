"""The transformations by their public names. Each takes a plain function or one that is transformed already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire.calls.signature import is_floating
from gradwire.calls.template import leaf_type
from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import emit, lift
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Tracer
from gradwire.tracing.trees import flatten
from gradwire.transformations.remote import Remote, as_remote
from gradwire.transformations.steps import GradStep, HessianStep, JacobianStep, JvpStep, VjpStep
from gradwire.transformations.vmap import Axes, VmapStep
from gradwire_engine.program import JacobianMode

Function = Callable[..., Any]
Argnums = int | Sequence[int]


def _argnums(argnums: Any, label: str) -> int | tuple[int, ...]:
    if isinstance(argnums, (tuple, list)):
        return tuple([_one_argnum(one, label) for one in argnums])
    return _one_argnum(argnums, label)


def _one_argnum(number: Any, label: str) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise TracingError(
            f"{label}: argnums is {number!r}; give the position of an argument, counted from 0, or a tuple of positions"
        )
    return int(number)


def remote(fun: Function) -> Remote:
    """The function itself, evaluated by the service, without derivative."""
    return as_remote(fun)


def grad(fun: Function, argnums: Argnums = 0, has_aux: bool = False) -> Remote:
    """The gradient of a function whose result is one floating-point number, by reverse mode.

    `argnums`: the positional arguments to differentiate by; an integer gives one gradient, a tuple a tuple of them,
    each nested like its argument. `has_aux`: the function returns (value, anything else), and the result is (gradient,
    anything else). A gradient of an argument that the value does not depend on is zeros.

    Calls raise TracingError, a TypeError, for arguments that are no floating-point numbers and for results that are no
    scalar.
    """
    return as_remote(fun).then(GradStep("grad", _argnums(argnums, "grad"), bool(has_aux)))


def value_and_grad(fun: Function, argnums: Argnums = 0, has_aux: bool = False) -> Remote:
    """As `grad`, with the value: (value, gradient), or ((value, anything else), gradient)."""
    return as_remote(fun).then(GradStep("value_and_grad", _argnums(argnums, "value_and_grad"), bool(has_aux), True))


def jacfwd(fun: Function, argnums: Argnums = 0) -> Remote:
    """The Jacobian by forward mode: one sweep for each element of the arguments.

    The result is nested like the function's result, each leaf like the arguments; an array has the result's shape
    followed by the argument's.
    """
    return as_remote(fun).then(JacobianStep("jacfwd", _argnums(argnums, "jacfwd"), JacobianMode.FORWARD))


def jacrev(fun: Function, argnums: Argnums = 0) -> Remote:
    """The Jacobian by reverse mode, one sweep for each element of the result; laid out as in `jacfwd`."""
    return as_remote(fun).then(JacobianStep("jacrev", _argnums(argnums, "jacrev"), JacobianMode.REVERSE))


def jacobian(fun: Function, argnums: Argnums = 0) -> Remote:
    """The Jacobian by the mode that costs less; laid out as in `jacfwd`."""
    return as_remote(fun).then(JacobianStep("jacobian", _argnums(argnums, "jacobian"), JacobianMode.AUTO))


def hessian(fun: Function, argnums: Argnums = 0) -> Remote:
    """All second derivatives, by forward over reverse mode: ``jacfwd(grad(fun))``.

    An array has the result's shape, then the argument's twice; with a tuple of `argnums` they come in a tuple of
    tuples.
    """
    return as_remote(fun).then(HessianStep(_argnums(argnums, "hessian")))


def vmap(fun: Function, in_axes: Any = 0, out_axes: Any = 0, reduce: Any = None) -> Remote:
    """The function on each row of its arguments, in one request.

    `in_axes`: where the rows stand in each argument; None for what is the same for all; an integer for all arguments,
    or a tuple with one entry each, which may be nested like the argument. Keyword arguments have their rows at axis 0.
    `out_axes`: where the rows stand in the result. `reduce`: "sum" or "mean" adds up over the rows instead, computed
    without the parts. `out_axes` and `reduce` may be nested like the result.
    """
    return as_remote(fun).then(VmapStep(Axes.of(in_axes), Axes.of(out_axes), Axes.of(reduce)))


def jvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value and directional derivative, by forward mode in one request: (result, tangent of the result).

    `primals`: the arguments, in a tuple. `tangents`: what they move by, nested alike; None for an argument that does
    not move, and for integers. Leaves of the result that are no floating-point numbers have the tangent None.
    """
    varied, given, arguments = _directions(primals, tangents, "jvp")
    result: tuple[Any, Any] = as_remote(fun).then(JvpStep("jvp", varied))(arguments, given)
    return result


def vjp(fun: Function, primals: Sequence[Any], cotangents: Any) -> tuple[Any, tuple[Any, ...]]:
    """Value and the gradients of a weighted result, by reverse mode in one request: (result, gradients).

    `primals`: the arguments, in a tuple. `cotangents`: the weights, nested like the result; None counts as zeros. The
    gradients are a tuple, nested like `primals`, with None for arguments that are no floating-point numbers.
    """
    result: tuple[Any, tuple[Any, ...]] = as_remote(fun).then(VjpStep())(_tuple(primals, "vjp: primals"), cotangents)
    return result


def hvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Gradient and Hessian-vector product, forward over reverse in one request: (gradient, product).

    `primals` and `tangents` as in `jvp`. With one argument both results are nested like it, with several they are
    tuples.
    """
    varied, given, arguments = _directions(primals, tangents, "hvp")
    remote_gradient = as_remote(fun).then(GradStep("hvp", None))
    result: tuple[Any, Any] = remote_gradient.then(JvpStep("hvp", varied))(arguments, given)
    return result


def _tuple(given: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(given, (tuple, list)):
        raise TracingError(
            at_user_line(f"{what} is a {type(given).__name__}; pass the arguments in a tuple: (x,) for one argument")
        )
    return tuple(given)


def _directions(primals: Any, tangents: Any, label: str) -> tuple[tuple[int, ...], list[Any], tuple[Any, ...]]:
    """The leaves that move, their tangents, and the arguments."""
    arguments, directions = _tuple(primals, f"{label}: primals"), _tuple(tangents, f"{label}: tangents")
    leaves, tree = flatten(arguments)
    varied, given = [], []
    for index, (leaf, direction) in enumerate(
        zip(leaves, tree.leaves_of(directions, f"{label}: tangents"), strict=True)
    ):
        if direction is None:
            continue
        if not is_floating(leaf_type(leaf, f"primals{tree.paths()[index]}")) and _is_nothing(direction):
            continue
        varied.append(index)
        given.append(direction)
    return tuple(varied), given, arguments


def _is_nothing(direction: Any) -> bool:
    """Whether what is given as the tangent of an integer says that it does not move."""
    return not isinstance(direction, Tracer) and np.asarray(direction).dtype.kind in "biuV"


def stop_gradient(x: Any) -> Any:
    """The same values, whose derivative is zero; nested like `x`."""
    leaves, tree = flatten(x)
    return tree.build([_stopped(leaf) for leaf in leaves])


def _stopped(leaf: Any) -> Any:
    return emit(lift(leaf), "stop_gradient") if isinstance(leaf, Tracer) else leaf
