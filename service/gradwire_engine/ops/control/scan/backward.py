"""The backward pass of a scan's body, as the body of a scan in the opposite direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradwire_engine.graph import Node
from gradwire_engine.op import Masked, PullBack, Tangents
from gradwire_engine.ops.control.bodies import mask_of, settled, value_or_zero
from gradwire_engine.ops.control.scan.layout import layout_of
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value

Types = Sequence[TensorType]


class BackwardScan:
    """The body's backward pass, with cotangents of carries as its carries; which of these are there, is found."""

    def __init__(
        self, node: Node, operands: Sequence[Value | None], cts: Tangents, types: Types, pull_back: PullBack
    ) -> None:
        layout, body = layout_of(node), node.subgraphs[0]
        self._layout = layout
        self._body = body
        self._operands = operands
        self._cotangents = cts
        self._types = types
        self._pull = pull_back
        constants, carries, stacked = layout.inputs
        self._carries = carries
        unknown = {i for i in (*constants, *stacked) if operands[layout.first + i] is None}
        self.linear = [i for i in range(len(body.inputs)) if i in unknown or i in carries]
        self.active = [k for k in range(len(carries)) if cts[k] is not None]
        self.masked = [k for k in self.active if (each := cts[k]) is not None and each.mask is not None]
        self.counts = (0, 0)

    def settle(self, builder: Any) -> tuple[Any, list[Masked | None]]:
        """A builder with the backward pass in it, and the cotangents of the linear inputs."""
        while True:
            inner, pulled = self._attempt(builder)
            found = settled(self.active, self.masked, [pulled[self.linear.index(i)] for i in self._carries])
            if found == (self.active, self.masked):
                return inner, pulled
            self.active, self.masked = found

    def _seeds(self) -> tuple[list[int], list[int], list[int], list[int]]:
        """Sums and stacked outputs for which a cotangent arrives, and those with a mask."""
        _, stacked, sums = self._layout.results
        groups = []
        for group in (sums, stacked):
            there = [j for j in group if self._cotangents[j] is not None]
            groups.append(there)
            groups.append([j for j in there if (each := self._cotangents[j]) is not None and each.mask is not None])
        return groups[0], groups[1], groups[2], groups[3]

    def _known(self, group: Sequence[int]) -> list[int]:
        return [i for i in group if i not in self.linear]

    def _attempt(self, builder: Any) -> tuple[Any, list[Masked | None]]:
        inner = builder.fresh()
        constants, _, stacked = self._layout.inputs
        outputs = self._body.output_types
        values: list[Value | None] = [None] * len(self._body.inputs)
        seeds: dict[int, Value] = {}
        masks: dict[int, Value] = {}
        sums, sums_masked, streams, streams_masked = self._seeds()
        counts = []
        for known, moving, masked in (
            (self._known(constants), sums, sums_masked),
            ([], self.active, self.masked),
            (self._known(stacked), streams, streams_masked),
        ):
            for i in known:
                values[i] = inner.input(self._body.inputs[i].name, self._body.inputs[i].type)
            for j in moving:
                seeds[j] = inner.input(f"ct{j}", outputs[j])
            for j in masked:
                masks[j] = inner.input("", outputs[j].with_dtype(DType.BOOL))
            counts.append(len(known) + len(moving) + len(masked))
        self.counts = (counts[0], counts[1])
        given = [Masked(seeds[j], masks.get(j)) if j in seeds else None for j in range(len(outputs))]
        return inner, self._pull(inner, self._body, values, given)

    def carried(self, inner: Any, pulled: Sequence[Masked | None]) -> list[Value]:
        """The cotangents and masks of carries before a step."""
        places = {k: self.linear.index(self._carries[k]) for k in self.active}
        types = {k: self._body.inputs[self._carries[k]].type for k in self.active}
        new = [value_or_zero(pulled[places[k]], inner, types[k]) for k in self.active]
        return [*new, *(mask_of(pulled[places[k]], inner, types[k]) for k in self.masked)]

    def given(self, builder: Any) -> tuple[list[Value], tuple[int, ...]]:
        """The operands of the new scan, and which of them are shared."""
        a, first = self._layout.attributes, self._layout.first
        constants, carries, stacked = self._layout.inputs
        sums, sums_masked, streams, streams_masked = self._seeds()
        values: list[Value] = []
        shared: list[int] = []

        def put(value: Value | None, is_shared: bool) -> None:
            assert value is not None
            if is_shared:
                shared.append(len(values))
            values.append(value)

        def known(i: int) -> None:
            put(self._operands[first + i], first + i in a.shared)

        def seed(j: int, of_mask: bool) -> None:
            each = self._cotangents[j]
            assert each is not None
            over_rows = bool(a.row_axes) and j - self._layout.results[2].start in a.row_sums
            put(each.mask if of_mask else each.value, over_rows)

        if a.counted:
            put(self._operands[0], 0 in a.shared)
        for i in self._known(constants):
            known(i)
        for j in sums:
            seed(j, False)
        for j in sums_masked:
            seed(j, True)
        for k in self.active:
            put(value_or_zero(self._cotangents[k], builder, self._types[first + carries[k]]), False)
        for k in self.masked:
            put(mask_of(self._cotangents[k], builder, self._types[first + carries[k]]), False)
        for i in self._known(stacked):
            known(i)
        for j in streams:
            seed(j, False)
        for j in streams_masked:
            seed(j, True)
        return values, tuple(shared)
