"""How a call of a transformed function becomes a program and a batch.

An `Arrangement` is a traced function under some transforms, in the terms of the caller: which leaf of the arguments is
which input of the program, which output is which leaf of the result, and how the rows of the request lie on them. The
steps of `transformations.steps` make one from another; each step is one entry of the program's transforms, or the
batch.

Rows. A program input either varies with the rows (`axis` says where in the caller's array) or is shared; a program
output is stacked (`axis`) or summed over the rows. What the caller sees of a mean is a sum divided by the number of
rows: `power` counts how often an input or output is to be divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradwire.tracing.trace import Captured, Tracer
from gradwire.tracing.trees import Tree
from gradwire_engine.graph import Graph
from gradwire_engine.program import Transform
from gradwire_engine.types import DType, TensorType


class NotExact(Exception):
    """This step cannot be carried out on a batch; it needs a static axis."""


@dataclass(frozen=True)
class Call:
    """The arguments of one call, without their numbers."""

    tree: Tree
    """The structure of (positional tuple, keyword dict)."""
    types: tuple[TensorType, ...]
    weak: tuple[bool, ...]
    """Which leaves are Python numbers."""
    names: tuple[str, ...]

    @property
    def positional(self) -> tuple[Tree, ...]:
        """The structure of each positional argument."""
        return self.tree.children[0].children

    def leaves_of_argument(self, position: int) -> range:
        """The leaves of one positional argument."""
        start = sum(child.size for child in self.positional[:position])
        return range(start, start + self.positional[position].size)


@dataclass(frozen=True)
class Port:
    """An input or output of the program: its type in one example, and how the rows lie on it."""

    type: TensorType
    axis: int | None = None
    """Where the rows stand in the caller's array; None: shared, or summed."""
    power: int = 0
    """How often it is divided by the number of rows."""

    def seen(self, rows: int) -> TensorType:
        """The type of the caller's array."""
        if self.axis is None:
            return self.type
        shape = self.type.shape
        return self.type.with_shape((*shape[: self.axis], rows, *shape[self.axis :]))


@dataclass(frozen=True)
class Arrangement:
    """A traced function under transforms, in the caller's terms."""

    graph: Graph
    transforms: tuple[Transform, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    carried: tuple[tuple[int, Captured | Tracer], ...]
    """Program inputs that are not arguments, and what they are."""
    arguments: tuple[int, ...]
    """For each leaf of the call the program input that it is, -1 where it is ignored."""
    results: tuple[int, ...]
    """For each leaf of the result the program output that it is, -1 for None."""
    result: Tree
    rows: int | None = None
    """The length of the batch, if there is one."""

    def result_type(self, leaf: int) -> TensorType:
        """The type that the caller sees of a leaf of the result."""
        return self.outputs[self.results[leaf]].seen(self.rows or 0)

    def then(
        self,
        transform: Transform,
        *,
        inputs: Sequence[Port] = (),
        arguments: Sequence[int] | None = None,
        outputs: Sequence[Port],
        results: Sequence[int],
        result: Tree,
        carried: Sequence[tuple[int, Captured | Tracer]] = (),
    ) -> Arrangement:
        """One more transform: with new inputs after those that exist, and all outputs anew."""
        return replace(
            self,
            transforms=(*self.transforms, transform),
            inputs=(*self.inputs, *inputs),
            carried=(*self.carried, *carried),
            arguments=self.arguments if arguments is None else tuple(arguments),
            outputs=tuple(outputs),
            results=tuple(results),
            result=result,
        )


def is_floating(type: TensorType) -> bool:
    """Whether values of the type can be differentiated."""
    return type.dtype in (DType.FLOAT32, DType.FLOAT64)
