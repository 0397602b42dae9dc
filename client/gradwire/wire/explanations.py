"""Trace tables as ExplainResponse messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradwire.v1 import service_pb2, tensor_pb2
from gradwire.wire.tensors import WIRE_DTYPES, packed_array
from gradwire_engine.types import DType

if TYPE_CHECKING:
    from gradwire_engine.explain import TraceTable


def encode_trace_table(table: TraceTable) -> bytes:
    """The table as a serialized ExplainResponse.

    A derivative that does not exist (the value is an integer or a bool) is a Tensor of the value's type without data.
    """
    response = service_pb2.ExplainResponse(columns=table.columns, outputs=table.outputs)
    for row in table.rows:
        dtype = DType.of(row.result.dtype)
        response.rows.add(
            value=row.value,
            name=row.name,
            expression=row.expression,
            result=_tensor(row.result, dtype),
            derivatives=[_tensor(derivative, dtype, row.result.shape) for derivative in row.derivatives],
            first_non_finite=row.first_non_finite,
            first_non_finite_derivative=row.first_non_finite_derivative,
        )
    return response.SerializeToString()


def _tensor(array: np.ndarray | None, dtype: DType, shape: tuple[int, ...] = ()) -> tensor_pb2.Tensor:
    number = WIRE_DTYPES[dtype]
    if array is None:
        return tensor_pb2.Tensor(dtype=number, shape=shape)
    return tensor_pb2.Tensor(dtype=number, shape=array.shape, data=packed_array(array, dtype).tobytes())
