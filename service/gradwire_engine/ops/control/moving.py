"""Which members of a group have a tangent, when a node and its graphs are differentiated, or a cotangent.

A group of values is followed by its tangents, and these by the masks that some of them have: among operands, inputs of
graphs, their outputs, and results alike. A mask of a term of a sum is added up as a number, since bools have no sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradwire_engine.graph import Input
from gradwire_engine.op import Masked
from gradwire_engine.tangents import mask_of, value_or_zero
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Builder, Value
from gradwire_engine.vocabulary import astype


@dataclass(frozen=True)
class Moving:
    """Members of a group that have a tangent, and those whose tangent has a mask: ascending, counted from its first."""

    active: tuple[int, ...] = ()
    masked: tuple[int, ...] = ()

    @staticmethod
    def of(*tangents: Sequence[Masked | None]) -> Moving:
        """The members that have one in any of several graphs; with a mask, if it has one, or is absent, in any."""
        active = tuple(k for k in range(len(tangents[0])) if any(of_graph[k] is not None for of_graph in tangents))
        return Moving(active, tuple(k for k in active if any(_is_masked(of_graph[k]) for of_graph in tangents)))

    def after_step(self, tangents: Sequence[Masked | None]) -> Moving:
        """Carries with what they have after a step.

        One that only gets a tangent in a step begins at rest: known to be zero there, so it has a mask, too.
        """
        active, masked = set(self.active), set(self.masked)
        for k, tangent in enumerate(tangents):
            if k in active and _is_masked(tangent):
                masked.add(k)
            elif k not in active and tangent is not None:
                active.add(k)
                masked.add(k)
        return Moving(tuple(sorted(active)), tuple(sorted(masked)))

    @property
    def members(self) -> tuple[int, ...]:
        """For each tangent, then for each mask, the member that it belongs to."""
        return (*self.active, *self.masked)

    def declared(self, builder: Builder, group: Sequence[Input]) -> list[Masked | None]:
        """The tangents of a group as new inputs."""
        values = {k: builder.input(group[k].name, group[k].type) for k in self.active}
        masks = {k: builder.input("", group[k].type.with_dtype(DType.BOOL)) for k in self.masked}
        return [Masked(values[k], masks.get(k)) if k in values else None for k in range(len(group))]

    def arrays(
        self, builder: Builder, tangents: Sequence[Masked | None], types: Sequence[TensorType], *, summed: bool = False
    ) -> list[Value]:
        """The tangents of a group as arrays, then the masks; zeros for those that are absent."""
        values = [value_or_zero(tangents[k], builder, types[k]) for k in self.active]
        masks = [mask_of(tangents[k], builder, types[k]) for k in self.masked]
        return [*values, *([astype(mask, DType.INT32) for mask in masks] if summed else masks)]

    def read(self, arrays: Sequence[Value], size: int, *, summed: bool = False) -> list[Masked | None]:
        """The tangents of a group of `size` members from such arrays."""
        values = dict(zip(self.active, arrays[: len(self.active)], strict=True))
        rest = arrays[len(self.active) :]
        masks = dict(zip(self.masked, [count > 0 for count in rest] if summed else rest, strict=True))
        return [Masked(values[k], masks.get(k)) if k in values else None for k in range(size)]


def _is_masked(tangent: Masked | None) -> bool:
    return tangent is None or tangent.mask is not None
