"""How a call of a transformed function becomes a program and a batch.

A `CallSignature` is a traced function under some transforms, in the terms of the caller: which leaf of the arguments is
which input of the program, which output is which leaf of the result, and how the rows of the request lie on them. Each
transformation is a `Step`, which makes one signature from another: it adds an entry to the program's transforms, or it
is the batch.

Rows. A program input either varies with the rows (`axis` says where in the caller's array) or is shared; a program
output is stacked (`axis`) or summed over the rows. What the caller sees of a mean is a sum divided by the number of
rows: `power` counts how often an input or output is to be divided by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from gradwire.calls.arguments import Call
from gradwire.tracing.capture import TracedFunction
from gradwire.tracing.trace import Captured, Tracer
from gradwire.tracing.trees import Tree
from gradwire_engine.graph import Graph
from gradwire_engine.program import Transform
from gradwire_engine.types import TensorType


class NotExact(Exception):
    """This step cannot be carried out on a batch; it needs a static axis."""


@dataclass(frozen=True)
class Port:
    """An input or output of the program: its type in one example, and how the rows lie on it."""

    type: TensorType
    axis: int | None = None
    """Where the rows stand in the caller's array; None: shared, or summed."""
    power: int = 0
    """How often it is divided by the number of rows."""

    def full_type(self, rows: int) -> TensorType:
        """The type of the caller's array."""
        if self.axis is None:
            return self.type
        shape = self.type.shape
        return self.type.with_shape((*shape[: self.axis], rows, *shape[self.axis :]))


@dataclass(frozen=True)
class CallSignature:
    """A traced function under transforms, in the caller's terms."""

    graph: Graph
    transforms: tuple[Transform, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    captured: tuple[tuple[int, Captured | Tracer], ...]
    """Program inputs that are not arguments, and what they are."""
    arguments: tuple[int, ...]
    """For each leaf of the call the program input that it is, -1 where it is ignored."""
    results: tuple[int, ...]
    """For each leaf of the result the program output that it is, -1 for None."""
    result: Tree
    rows: int | None = None
    """The length of the batch, if there is one."""

    @staticmethod
    def of(traced: TracedFunction) -> CallSignature:
        """A traced function as it is."""
        graph = traced.graph
        declared = len(graph.inputs) - len(traced.captured)
        return CallSignature(
            graph=graph,
            transforms=(),
            inputs=tuple([Port(type) for type in graph.input_types]),
            outputs=tuple([Port(type) for type in graph.output_types]),
            captured=tuple(enumerate(traced.captured, declared)),
            arguments=tuple(range(declared)),
            results=tuple(range(len(graph.outputs))),
            result=traced.result,
        )

    @property
    def leaf_of_input(self) -> dict[int, int]:
        """For each program input that is an argument the leaf of the call."""
        return {index: leaf for leaf, index in enumerate(self.arguments) if index >= 0}

    def result_type(self, leaf: int) -> TensorType:
        """The type that the caller sees of a leaf of the result."""
        return self.outputs[self.results[leaf]].full_type(self.rows or 0)

    def then(
        self,
        transform: Transform,
        *,
        inputs: Sequence[Port] = (),
        arguments: Sequence[int] | None = None,
        outputs: Sequence[Port],
        results: Sequence[int],
        result: Tree,
        captured: Sequence[tuple[int, Captured | Tracer]] = (),
    ) -> CallSignature:
        """One more transform: with new inputs after those that exist, and all outputs anew."""
        return replace(
            self,
            transforms=(*self.transforms, transform),
            inputs=(*self.inputs, *inputs),
            captured=(*self.captured, *captured),
            arguments=self.arguments if arguments is None else tuple(arguments),
            outputs=tuple(outputs),
            results=tuple(results),
            result=result,
        )


class Step(ABC):
    """One transformation: what it does to a call on the way in, and to a signature on the way out.

    A transformed function is its base function and a tuple of steps. On the way in (`inner_call`), from the last step
    to the first, each says with which arguments the function inside it is called; then the base function is traced; on
    the way out (`apply`) each adds its transform and says what became of inputs and outputs. Both refuse everything
    that can be wrong with a call, before anything is sent.

    On a batch (the rows of the request) every step is exact, because each row is computed by itself and sums are
    linear: the tangent of a shared input is shared, its gradient is summed, a cotangent of a summed output is shared.
    The one exception, a Jacobian of stacked outputs by stacked inputs, has zeros between the rows: `apply` raises
    `NotExact`.

    Steps are immutable and hashable: equal steps of one function share their traces and templates.
    """

    label: str
    """What the caller wrote."""

    @property
    def takes_directions(self) -> bool:
        """Whether it is called with (primals, tangents or cotangents) instead of the function's own arguments."""
        return False

    @property
    def is_reverse(self) -> bool:
        """Whether it is reverse mode that the caller asked for."""
        return False

    def on_batch(self) -> Self | None:
        """The same step with the rows of the request as its axis; None for all steps but vmap."""
        return None

    def inner_call(self, call: Call, function: str) -> Call:
        """The call of the function inside; `function` is its name, for messages."""
        return call

    @abstractmethod
    def apply(self, inner: CallSignature, call: Call, inner_call: Call, function: str) -> CallSignature:
        """The function inside, transformed."""
