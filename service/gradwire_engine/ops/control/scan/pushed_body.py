"""The body of a loop on dual numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_engine.graph import Graph
from gradwire_engine.op import Masked, PushForward, Tangents
from gradwire_engine.ops.control.bodies import mask_of, settled, value_or_zero
from gradwire_engine.types import DType
from gradwire_engine.value import Value


class PushedBody:
    """The body on dual numbers; which carries move, and which of them have a mask, is found by going round.

    A carry moves if its tangent does at the beginning or after a step; it has a mask if one arrives, if a step makes
    one, or if it begins at rest: then it is known to be zero there.
    """

    def __init__(self, body: Graph, inputs: Sequence[range], tangents: Tangents, push_forward: PushForward) -> None:
        self._body = body
        self._push = push_forward
        self._constants, self._carries, self._stacked = inputs
        self._given = list(tangents)
        start = self._carries.start
        self.active = [i - start for i in self._carries if tangents[i] is not None]
        """Carries that move."""
        self.masked = [k for k in self.active if (each := tangents[start + k]) is not None and each.mask is not None]
        """Those that have a mask."""
        self.counts = (0, 0)
        """Constants and carries of the body, once settled."""

    def settle(self, builder: Any) -> tuple[Any, list[Value], list[Masked | None]]:
        """A builder with the body on dual numbers in it: the values and tangents of its outputs."""
        while True:
            inner, values, moved = self._attempt(builder)
            found = settled(self.active, self.masked, moved[: len(self._carries)])
            if found == (self.active, self.masked):
                return inner, values, moved
            self.active, self.masked = found

    def _attempt(self, builder: Any) -> tuple[Any, list[Value], list[Masked | None]]:
        inner = builder.fresh()
        values: dict[int, Value] = {}
        seeds: dict[int, Value] = {}
        masks: dict[int, Value] = {}
        counts = []
        for group, moving, masked in self._groups():
            for i in group:
                values[i] = inner.input(self._body.inputs[i].name, self._body.inputs[i].type)
            for i in moving:
                seeds[i] = inner.input(f"d_{self._body.inputs[i].name}", self._body.inputs[i].type)
            for i in masked:
                masks[i] = inner.input("", self._body.inputs[i].type.with_dtype(DType.BOOL))
            counts.append(len(group) + len(moving) + len(masked))
        self.counts = (counts[0], counts[1])
        inputs = range(len(self._body.inputs))
        tangents = [Masked(seeds[i], masks.get(i)) if i in seeds else None for i in inputs]
        outputs, moved = self._push(inner, self._body, [values[i] for i in inputs], tangents)
        return inner, outputs, moved

    def _groups(self) -> list[tuple[Sequence[int], Sequence[int], Sequence[int]]]:
        """For constants, carries and slices: all, those that move, those with a mask; as inputs of the body."""
        start = self._carries.start
        groups: list[tuple[Sequence[int], Sequence[int], Sequence[int]]] = []
        for group in (self._constants, self._carries, self._stacked):
            if group is self._carries:
                groups.append((group, [start + k for k in self.active], [start + k for k in self.masked]))
                continue
            moving = [i for i in group if self._given[i] is not None]
            masked = [i for i in moving if (each := self._given[i]) is not None and each.mask is not None]
            groups.append((group, moving, masked))
        return groups

    def operands(self, operands: Sequence[Value], tangents: Tangents) -> tuple[list[int], list[Value]]:
        """The operands of the new body's inputs, and of each the input of the old one that it belongs to."""
        order: list[int] = []
        values: list[Value] = []
        for group, moving, masked in self._groups():
            for kind, members in (("value", group), ("tangent", moving), ("mask", masked)):
                for i in members:
                    order.append(i)
                    x, given = operands[i], tangents[i]
                    if kind == "value":
                        values.append(x)
                    elif kind == "tangent":
                        values.append(value_or_zero(given, x.builder, x.type))
                    else:
                        values.append(mask_of(given, x.builder, x.type))
        return order, values

    def carried(self, inner: Any, moved: Sequence[Masked | None]) -> list[Value]:
        """The tangents and masks of carries after a step, for the new body to return."""
        types = [self._body.inputs[self._carries.start + k].type for k in range(len(self._carries))]
        new = [value_or_zero(moved[k], inner, types[k]) for k in self.active]
        return [*new, *(mask_of(moved[k], inner, types[k]) for k in self.masked)]
