"""The arrays that a program takes besides its arguments: ready to be sent, whole or by their digest."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np

from gradwire.wire.requests import input_head
from gradwire.wire.tensors import packed_array, tensor_digest
from gradwire_engine.types import DType


class Constant:
    """An array that a program takes as a shared input: ready to be sent, inline or by its digest."""

    def __init__(self, array: np.ndarray) -> None:
        self.dtype: Final = DType.of(array.dtype)
        self.data: Final = packed_array(array, self.dtype)

    @cached_property
    def digest(self) -> bytes:
        """What names it."""
        content: Any = self.data.reshape(-1).view(np.uint8)
        return tensor_digest(self.dtype, self.data.shape, memoryview(content))

    @cached_property
    def parts(self) -> tuple[bytes, np.ndarray]:
        """An input of a request, inline and to be kept."""
        return input_head(self.dtype, self.data.shape, self.data.nbytes, self.digest), self.data

    @cached_property
    def reference(self) -> bytes:
        """An input of a request, by its digest."""
        return input_head(self.dtype, self.data.shape, 0, self.digest)
