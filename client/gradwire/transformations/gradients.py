"""Gradients of functions whose result is one number, by reverse mode: grad, value_and_grad.

The step asks the service for `Grad` of the inputs that the arguments are. Integers and other results that are no part
of the value stay as they are; of a batch whose value is summed, the gradient of a shared argument is summed too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradwire.calls.arguments import Call, is_floating, refuse
from gradwire.calls.signature import CallSignature, Port, Step
from gradwire.tracing.trees import NOTHING, Tree, tuple_of
from gradwire.transformations.argnums import Argnums, Wanted, all_floating, checked_argnums, wanted_arguments
from gradwire.transformations.remote import Remote
from gradwire_engine.program import Grad

Function = Callable[..., Any]


def grad(fun: Function, argnums: Argnums = 0, has_aux: bool = False) -> Remote:
    """The gradient of a function whose result is one floating-point number, by reverse mode.

    `argnums`: the positional arguments to differentiate by; an integer gives one gradient, a tuple a tuple of them,
    each nested like its argument. `has_aux`: the function returns (value, anything else), and the result is (gradient,
    anything else). A gradient of an argument that the value does not depend on is zeros.

    Calls raise TracingError, a TypeError, for arguments that are no floating-point numbers and for results that are no
    scalar.
    """
    return Remote.of(fun).then(GradStep("grad", checked_argnums(argnums, "grad"), bool(has_aux)))


def value_and_grad(fun: Function, argnums: Argnums = 0, has_aux: bool = False) -> Remote:
    """As `grad`, with the value: (value, gradient), or ((value, anything else), gradient)."""
    checked = checked_argnums(argnums, "value_and_grad")
    return Remote.of(fun).then(GradStep("value_and_grad", checked, bool(has_aux), with_value=True))


@dataclass(frozen=True)
class GradStep(Step):
    """grad, value_and_grad, and the inner half of hvp (`argnums` None: all floating-point arguments)."""

    label: str
    argnums: int | tuple[int, ...] | None
    has_aux: bool = False
    with_value: bool = False

    @property
    def is_reverse(self) -> bool:
        return True

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        value_tree, aux_tree = self._value_and_aux(inner, function)
        wanted = self._wanted(call, function)
        varied = [inner.arguments[leaf] for leaf in wanted.leaves]
        value = inner.outputs[0]
        gradients = [
            Port(port.type, port.axis, value.power + port.power) for port in (inner.inputs[index] for index in varied)
        ]
        first = 1 if self.with_value else 0
        outputs = [*([value] if self.with_value else []), *gradients, *inner.outputs[1:]]
        aux = [output + first + len(varied) - 1 if output >= 0 else -1 for output in inner.results[1:]]
        by_wanted = list(range(first, first + len(varied)))
        if self.with_value:
            whole = tuple_of(value_tree, aux_tree) if self.has_aux else value_tree
            results, result = [0, *aux, *by_wanted], tuple_of(whole, wanted.tree)
        else:
            results, result = [*by_wanted, *aux], tuple_of(wanted.tree, aux_tree) if self.has_aux else wanted.tree
        transform = Grad(tuple(varied), self.with_value)
        return inner.then(transform, outputs=outputs, results=results, result=result)

    def _wanted(self, call: Call, function: str) -> Wanted:
        if self.argnums is not None:
            return wanted_arguments(call, self.argnums, self.label, function)
        leaves, tree = all_floating(call)
        if not leaves:
            raise refuse(f"{self.label}: {function} has no floating-point argument")
        return Wanted(leaves, tree.children[0] if len(tree.children) == 1 else tree)

    def _value_and_aux(self, inner: CallSignature, function: str) -> tuple[Tree, Tree]:
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
