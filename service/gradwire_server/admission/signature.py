"""The inputs and outputs of a prepared program in one layout, and the bytes that rows of them take."""

from __future__ import annotations

from typing import NamedTuple

from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.ipc.messages import PreparedProgram


class Input(NamedTuple):
    """An input of one example; all rows of a batch share it, or each has its own."""

    dtype: DType
    shape: tuple[int, ...]
    is_shared: bool
    name: str


class Output(NamedTuple):
    """A selected output of one example; summed over the rows of a batch, or one for each. `row_bytes` is 0 of a sum."""

    type: TensorType
    is_summed: bool
    row_bytes: int


class Signature:
    """Immutable. `constant_bytes` and `row_bytes` are those of all selected outputs together."""

    def __init__(self, prepared: PreparedProgram, layout: Layout) -> None:
        shared = frozenset(layout.shared_inputs)
        summed = frozenset(layout.summed_outputs)
        selected = layout.outputs or tuple(range(len(prepared.outputs)))
        self.inputs = tuple(
            [
                Input(value.type.dtype, value.type.shape, index in shared, value.name)
                for index, value in enumerate(prepared.inputs)
            ]
        )
        types = [(prepared.outputs[index].type, index in summed) for index in selected]
        self.outputs = tuple([Output(type, is_summed, 0 if is_summed else _size(type)) for type, is_summed in types])
        self.row_bytes = sum([output.row_bytes for output in self.outputs])
        self.constant_bytes = sum([_size(type) for type, is_summed in types if is_summed])

    def output_types(self, rows: int, *, has_batch: bool = True) -> tuple[TensorType, ...]:
        """The types of the outputs for so many rows; without a batch, those of the one row."""
        return tuple(
            [
                type if is_summed or not has_batch else type.with_shape((rows, *type.shape))
                for type, is_summed, _ in self.outputs
            ]
        )


def _size(type: TensorType) -> int:
    return type.elements * type.dtype.itemsize
