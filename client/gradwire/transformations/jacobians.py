"""All derivatives of all results: jacfwd, jacrev, jacobian; and hessian, all second derivatives.

A block has the axes of a result, then those of an argument. On a batch it is exact as long as not both have the rows:
between the rows it would be zeros, and the rows become a static axis (`NotExact`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradwire.calls.arguments import Call
from gradwire.calls.signature import CallSignature, NotExact, Port, Step
from gradwire.tracing.trees import compose
from gradwire.transformations.argnums import Argnums, checked_argnums, require_floating_results, wanted_arguments
from gradwire.transformations.gradients import GradStep
from gradwire.transformations.remote import Remote
from gradwire_engine.program import Jacobian, JacobianMode

Function = Callable[..., Any]


def jacfwd(fun: Function, argnums: Argnums = 0) -> Remote:
    """The Jacobian by forward mode: one sweep for each element of the arguments.

    The result is nested like the function's result, each leaf like the arguments; an array has the result's shape
    followed by the argument's.
    """
    return Remote.of(fun).then(JacobianStep("jacfwd", checked_argnums(argnums, "jacfwd"), JacobianMode.FORWARD))


def jacrev(fun: Function, argnums: Argnums = 0) -> Remote:
    """The Jacobian by reverse mode, one sweep for each element of the result; laid out as in `jacfwd`."""
    return Remote.of(fun).then(JacobianStep("jacrev", checked_argnums(argnums, "jacrev"), JacobianMode.REVERSE))


def jacobian(fun: Function, argnums: Argnums = 0) -> Remote:
    """The Jacobian by the mode that costs less; laid out as in `jacfwd`."""
    return Remote.of(fun).then(JacobianStep("jacobian", checked_argnums(argnums, "jacobian"), JacobianMode.AUTO))


def hessian(fun: Function, argnums: Argnums = 0) -> Remote:
    """All second derivatives, by forward over reverse mode: ``jacfwd(grad(fun))``.

    An array has the result's shape, then the argument's twice; with a tuple of `argnums` they come in a tuple of
    tuples.
    """
    return Remote.of(fun).then(HessianStep(checked_argnums(argnums, "hessian")))


@dataclass(frozen=True)
class JacobianStep(Step):
    """jacfwd, jacrev, jacobian."""

    label: str
    argnums: int | tuple[int, ...]
    mode: JacobianMode

    @property
    def is_reverse(self) -> bool:
        return self.mode is JacobianMode.REVERSE

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        require_floating_results(inner, self.label, function)
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
class HessianStep(Step):
    """hessian: forward over reverse; of a scalar function grad, then a forward Jacobian."""

    argnums: int | tuple[int, ...]
    label: str = "hessian"

    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        require_floating_results(inner, self.label, function)
        scalar = inner.result.is_leaf and not inner.result_type(0).shape
        first: Step = (
            GradStep(self.label, self.argnums)
            if scalar
            else JacobianStep(self.label, self.argnums, JacobianMode.REVERSE)
        )
        once = first.apply(inner, call, inner_call, function)
        return JacobianStep(self.label, self.argnums, JacobianMode.FORWARD).apply(once, call, inner_call, function)
