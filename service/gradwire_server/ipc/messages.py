"""What the front and its processes tell each other: tasks, their results, and the ways they end. Plain data.

Nothing here starts a process or knows how the data travel; `pool` and `preparing` do. Tensors are raw bytes, little
endian, C order. All of it is immutable, and none of it is ever pickled.

    Exception
    ├── TaskFailed        the worker answered: this task has no result (out of memory, a refused graph, our own fault)
    ├── WorkerLost        the worker did not answer: it died, or was killed at a limit
    └── PrepareRefused    a program was not prepared
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradwire_engine.types import DType, TensorType

if TYPE_CHECKING:
    from gradwire_engine.bounds import Cost
    from gradwire_engine.graph import Input

Bytes = bytes | memoryview
"""Raw bytes; a memoryview is one-dimensional, of single bytes and contiguous."""

Cause = Literal["killed", "fault", "time_limit", "memory_limit"]
"""Why a worker was lost.

killed: by a signal from outside (the kernel's OOM killer, an operator): not the task's fault, run it elsewhere.
fault: by a fault signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT), or it ended on its own.
time_limit, memory_limit: by us, because the task went over its limit.
"""


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
class RowError:
    """A row that has no result while the others have."""

    row: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """What a worker computed.

    `outputs` hold the bytes of each output in order (of an ExplainTask: one, a serialized ExplainResponse). They lie in
    the worker's arena and are valid until the worker is released. `executor` is "reference" or "native".
    """

    outputs: tuple[memoryview, ...]
    compute_seconds: float
    executor: str
    row_errors: tuple[RowError, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLimits:
    """Limits of each worker; bytes unless the name says otherwise.

    `memory_bytes`: what it may allocate above what an idle worker has. `arena_bytes`: inputs and outputs of one task.
    `arena_keep_bytes`: what an idle worker's arena keeps. `plans`, `plan_bytes`: compiled plans it keeps, by count and
    by encoded size (the newest is always kept). `constants`: constants it keeps mapped.
    """

    memory_bytes: int = 2 << 30
    arena_bytes: int = 1 << 30
    arena_keep_bytes: int = 64 << 20
    plans: int = 256
    plan_bytes: int = 8 << 20
    constants: int = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedProgram:
    """What is known of a program in one batch layout, before it runs.

    `plan_id` is the structural hash of the optimised graph: programs that differ in names only share a plan. `inputs`
    and `outputs` are the program's signature after all transforms, types of one example, all outputs whichever are
    selected. `cost` is that of the plan, a bound by rows. `mode` is value, forward, reverse or mixed.
    """

    plan_id: str
    plan: bytes
    inputs: tuple[Input, ...]
    outputs: tuple[Input, ...]
    cost: Cost
    mode: str
    prepare_seconds: float


class TaskFailed(Exception):
    """The worker says that the task has no result.

    `reason` is one of the API's; `path` the part of the program at fault, or empty; `details` values that belong to the
    reason. `log` is for the log alone (a traceback, where the fault is ours) and must never reach a client.
    """

    def __init__(
        self, reason: str, message: str, *, path: str = "", details: Mapping[str, str] | None = None, log: str = ""
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.path = path
        self.details: Mapping[str, str] = details or {}
        self.log = log


class WorkerLost(Exception):
    """The worker died before it answered; `signal` is the number of the signal that ended it, 0 if none did."""

    def __init__(self, cause: Cause, signal: int = 0) -> None:
        super().__init__(f"worker lost: {cause}" + (f", signal {signal}" if signal else ""))
        self.cause: Cause = cause
        self.signal = signal


class PrepareRefused(Exception):
    """A program was not prepared.

    `reason`: what the engine said (INVALID_GRAPH, MALFORMED_REQUEST, UNSUPPORTED_OP, UNSUPPORTED_OPSET,
    PROGRAM_TOO_EXPENSIVE), or PREPARE_TIME_LIMIT, PREPARE_MEMORY_LIMIT, QUEUE_FULL, SERVER_DRAINING, WORKER_LOST,
    INTERNAL. `path`, `details` and `log` as in `TaskFailed`. `is_lasting` says that the same program would be refused
    again, so that the refusal may be cached. `retry_after` is in seconds, where trying again may help.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        path: str = "",
        details: Mapping[str, str] | None = None,
        log: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.path = path
        self.details: Mapping[str, str] = details or {}
        self.log = log
        self.retry_after = retry_after

    @property
    def is_lasting(self) -> bool:
        """Whether the same program would be refused again."""
        return self.reason not in ("QUEUE_FULL", "SERVER_DRAINING", "WORKER_LOST", "INTERNAL")
