"""What the front asks of a worker, and what it gets: plain, immutable data that never leaves the front as it stands.

`lent_worker` makes messages of it, and puts tensors into the worker's arena. Tensors are raw bytes, little endian, in
C order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradwire_engine.errors import RowFailure
from gradwire_engine.types import DType, TensorType
from gradwire_server.ipc.records import Bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """A stored array: a sealed memory file that workers map, once, and keep by its digest.

    `fileno` belongs to the store and stays open while any task that names it is being run. Every constant costs
    descriptors in the front and in each worker: send small ones (64 KiB and less) as pieces instead.
    """

    digest: bytes
    nbytes: int
    fileno: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInput:
    """One input of a task: pieces that are placed one after the other along axis 0, or a stored constant.

    `shape` is whole: with the rows of all pieces, where the input is not shared.
    """

    dtype: DType
    shape: tuple[int, ...]
    pieces: tuple[Bytes, ...] = ()
    constant: Constant | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One run of a plan on a batch.

    `plan` is the encoded graph; it is sent only to a worker that does not hold `plan_id` yet. `outputs` are the types
    with the number of rows in place. `memory_bytes` is what the executor may use for intermediate values before it
    works in slices of rows.
    """

    plan_id: str
    plan: bytes
    rows: int
    inputs: tuple[TaskInput, ...]
    outputs: tuple[TensorType, ...]
    memory_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainTask:
    """The trace table of a program's graph at one point. `seeds` empty: one column for each unit seed."""

    program: bytes
    inputs: tuple[TaskInput, ...]
    mode: Literal["forward", "reverse"]
    seeds: tuple[TaskInput, ...] = ()
    max_values: int = 1000
    max_response_bytes: int = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """What a worker computed.

    `outputs` hold the bytes of each output in order (of an ExplainTask: one, a serialized ExplainResponse). They lie in
    the worker's arena and are valid until the worker is released. `executor` is "reference" or "native".
    """

    outputs: tuple[memoryview, ...]
    compute_seconds: float
    executor: str
    row_errors: tuple[RowFailure, ...] = ()
