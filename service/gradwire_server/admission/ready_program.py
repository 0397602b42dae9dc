"""What the front knows of a prepared program in one batch layout, and does with it: check, merge, split.

An `Evaluation` checks that a request's inputs fit the signature, that its cost is within the limits and its answer fits
a message; it makes one task of the requests of a batch, whose rows stand one behind the other, and takes the result
apart again. A request without a batch is one row, whose answer has no row axis. Nothing here looks at a graph or
computes; the work is linear in the number of inputs, outputs and requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gradwire.wire.requests import MAX_ROWS, SlicedEvaluate
from gradwire.wire.responses import RowError, RunReport, evaluated_parts, output_head
from gradwire.wire.tensors import TensorView
from gradwire_engine.bounds import Bound, Cost
from gradwire_engine.graph import Input
from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.admission.store import StoredConstant
from gradwire_server.config import Limit
from gradwire_server.ipc.messages import PreparedProgram, Task, TaskInput, TaskResult
from gradwire_server.refusal import Refusal, over_limit
from gradwire_server.scheduling.job import Job
from gradwire_server.scheduling.prediction import Prediction

_OUTPUT_OVERHEAD: Final = 8 + 16 * 10 + 32  # of a tensor in a response: field headers and a shape, at most
_RESPONSE_OVERHEAD: Final = 512  # the report
_MEMORY_SHARE: Final = 2  # the executor may use one in so many bytes of a worker's memory for intermediate values
_MOST_ROW_ERRORS: Final = 10_000  # of one response; beyond, the request fails
_OPEN_ENDED_FLOPS: Final = 1_000_000  # what a loop that ends when it likes is expected to take, until measured

Operand = memoryview | bytes | StoredConstant


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationLimits:
    """The limits that a request's size is held against."""

    message: Limit
    flops: Limit
    worker_memory: Limit


class EvaluatePayload(NamedTuple):
    """What an evaluation's job carries: its inputs as they go to the worker, and what its report says."""

    operands: tuple[Operand, ...]
    has_batch: bool
    prepare_seconds: float


class Evaluation:
    """One program in one layout. Implements `job.Work`; immutable but for its prediction."""

    def __init__(
        self,
        prepared: PreparedProgram,
        layout: Layout,
        *,
        limits: EvaluationLimits,
        flops_per_second: float,
        server_version: str,
    ) -> None:
        self.prepared = prepared
        self.layout = layout
        self.mode = prepared.mode
        self.plan_id = prepared.plan_id
        self.prediction = Prediction(_expected_flops(prepared.cost), flops_per_second)
        self._limits = limits
        self._version = server_version
        shared = frozenset(layout.shared_inputs)
        summed = frozenset(layout.summed_outputs)
        wanted = layout.outputs or tuple(range(len(prepared.outputs)))
        self._inputs = tuple([(one.type.dtype, one.type.shape, i in shared) for i, one in enumerate(prepared.inputs)])
        self._outputs = tuple([(prepared.outputs[i].type, i in summed) for i in wanted])
        self.is_solo = bool(summed)
        self.shared_inputs = layout.shared_inputs
        sizes = [type.elements * type.dtype.itemsize for type, _ in self._outputs]
        self._row_sizes = tuple([0 if one[1] else size for one, size in zip(self._outputs, sizes, strict=True)])
        self._bytes_per_row = sum(self._row_sizes)
        self._bytes_constant = sum(sizes) - self._bytes_per_row
        self._overhead = _RESPONSE_OVERHEAD + _OUTPUT_OVERHEAD * len(sizes)
        self._most_rows = self._surely_fits()
        self._last_types: tuple[int, tuple[TensorType, ...]] = (-1, ())
        self._last_heads: tuple[tuple[int, bool], tuple[bytes, ...]] = ((-1, False), ())

    # Checks

    def check(self, request: SlicedEvaluate) -> tuple[int, int]:
        """The rows of a request that may run, and its bytes both ways; a Refusal says what does not fit."""
        rows = request.rows
        if len(request.inputs) != len(self._inputs):
            raise self._mismatch(request.inputs, rows)
        count = 1 if rows is None else rows
        nbytes = self._bytes_constant + self._bytes_per_row * count
        for view, (dtype, shape, is_shared) in zip(request.inputs, self._inputs, strict=True):
            expected = shape if rows is None or is_shared else (rows, *shape)
            if view.shape != expected or view.dtype is not dtype:
                raise self._mismatch(request.inputs, rows)
            if view.data is not None:
                nbytes += len(view.data)
        if count > self._most_rows:
            self._check_cost(count)
            self._check_response(count)
        return count, nbytes

    def _surely_fits(self) -> int:
        """A number of rows up to which neither cost nor response can be too large; -1 if they are without any row."""
        cost, limits = self.prepared.cost, self._limits
        if cost.bytes.at(1) > limits.worker_memory.value:
            return -1
        by_flops = MAX_ROWS
        if not cost.open_ended:
            by_flops = _rows_within(limits.flops.value, cost.flops.constant, cost.flops.per_row)
        by_response = _rows_within(limits.message.value, self._bytes_constant + self._overhead, self._bytes_per_row)
        return min(by_flops, by_response)

    def _check_cost(self, rows: int) -> None:
        cost = self.prepared.cost
        flops = cost.flops.at(rows)
        if flops > self._limits.flops.value and not cost.open_ended:
            raise over_limit(
                "PROGRAM_TOO_EXPENSIVE",
                f"bound on the operations for {rows:,} rows",
                self._limits.flops,
                flops,
                advice="send fewer rows, or a cheaper program",
            )
        least = cost.bytes.at(min(rows, 1))
        if least > self._limits.worker_memory.value:
            raise over_limit(
                "PROGRAM_TOO_EXPENSIVE",
                "bound on the memory for one row",
                self._limits.worker_memory,
                least,
                advice="send a cheaper program",
            )

    def _check_response(self, rows: int) -> None:
        limit = self._limits.message
        nbytes = self._bytes_constant + self._bytes_per_row * rows + self._overhead
        if nbytes <= limit.value:
            return
        room = int(limit.value) - self._overhead - self._bytes_constant
        fits = max(0, room // self._bytes_per_row) if self._bytes_per_row else 0
        advice = f"{fits:,} rows fit" if fits else "ask for fewer or summed outputs"
        refusal = over_limit("RESPONSE_TOO_LARGE", "bytes of the response", limit, nbytes, advice=advice)
        refusal.details = {**refusal.details, "rows_that_fit": str(fits)}
        raise refusal

    def _mismatch(self, views: Sequence[TensorView], rows: int | None) -> Refusal:
        """Which inputs do not fit, what was got and what was expected."""
        expected = [self._expected(one, is_shared, rows) for one, (_, _, is_shared) in self._named()]
        violations = []
        for index, wanted in enumerate(expected):
            if index >= len(views):
                violations.append((f"inputs[{index}]", f"{wanted} is missing"))
            elif views[index].type != wanted.type:
                violations.append((f"inputs[{index}]", f"got {views[index].type}, expected {wanted}"))
        for index in range(len(expected), len(views)):
            violations.append((f"inputs[{index}]", f"got {views[index].type}, expected no such input"))
        counts = "" if len(views) == len(expected) else f"got {len(views)} inputs, expected {len(expected)}; "
        path, what = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        return Refusal("INPUT_MISMATCH", f"{counts}{path}: {what}{more}", violations=violations)

    def _named(self) -> list[tuple[Input, tuple[object, tuple[int, ...], bool]]]:
        return list(zip(self.prepared.inputs, self._inputs, strict=True))

    @staticmethod
    def _expected(one: Input, is_shared: bool, rows: int | None) -> _Expected:
        if rows is None:
            return _Expected(one.type, one.name, "")
        if is_shared:
            return _Expected(one.type, one.name, "shared")
        return _Expected(one.type.with_shape((rows, *one.type.shape)), one.name, f"{rows:,} rows of {one.type}")

    # Merging and splitting

    def task(self, jobs: Sequence[Job]) -> Task:
        """The jobs' rows one behind the other; shared inputs are those of the first, all others have the same."""
        rows = sum([job.rows for job in jobs])
        operands = [job.payload.operands for job in jobs]
        inputs = []
        for index, (dtype, shape, is_shared) in enumerate(self._inputs):
            if is_shared:
                inputs.append(task_input(dtype, shape, [operands[0][index]]))
            else:
                inputs.append(task_input(dtype, (rows, *shape), [mine[index] for mine in operands]))
        return Task(
            plan_id=self.plan_id,
            plan=self.prepared.plan,
            rows=rows,
            inputs=tuple(inputs),
            outputs=self._task_types(rows),
            memory_bytes=int(self._limits.worker_memory.value) // _MEMORY_SHARE,
        )

    def _types(self, rows: int, *, has_batch: bool = True) -> tuple[TensorType, ...]:
        """The types of the outputs for so many rows."""
        return tuple(
            [
                type if is_summed or not has_batch else type.with_shape((rows, *type.shape))
                for type, is_summed in self._outputs
            ]
        )

    def _task_types(self, rows: int) -> tuple[TensorType, ...]:
        """The types of a task's outputs; those of the last one are kept, as most are like the one before."""
        known_rows, types = self._last_types
        if known_rows != rows:
            types = self._types(rows)
            self._last_types = (rows, types)
        return types

    def _heads(self, rows: int, has_batch: bool) -> tuple[bytes, ...]:
        """What stands before each output in a response; the last answer is kept, too."""
        known, heads = self._last_heads
        if known != (rows, has_batch):
            heads = tuple([output_head(type) for type in self._types(rows, has_batch=has_batch)])
            self._last_heads = ((rows, has_batch), heads)
        return heads

    def answers(self, result: TaskResult, jobs: Sequence[Job]) -> list[bytes | Refusal]:
        """Each job's response, with its own rows: the only copy of them that is made here."""
        if result.row_errors and self.is_solo:
            return [self._summed_row_failed(result)] * len(jobs)
        if len(result.row_errors) > _MOST_ROW_ERRORS:
            return [self._too_many_rows_failed(result)] * len(jobs)
        rows = sum([job.rows for job in jobs])
        answers: list[bytes | Refusal] = []
        start = 0
        for job in jobs:
            outputs = self._rows_of(result, job, start)
            errors = [RowError(one.row - start, one.reason, one.message) for one in result.row_errors]
            mine = [one for one in errors if 0 <= one.row < job.rows] if errors else errors
            report = RunReport(
                rows,
                len(jobs),
                job.started_at - job.submitted_at,
                result.compute_seconds,
                job.payload.prepare_seconds,
                result.executor,
                self._version,
            )
            answers.append(job.finish(evaluated_parts(outputs, mine, report)))
            start += job.rows
        return answers

    def _rows_of(self, result: TaskResult, job: Job, start: int) -> list[tuple[bytes, memoryview]]:
        heads = self._heads(job.rows, job.payload.has_batch)
        end = start + job.rows
        return [
            (head, data if is_summed else data[start * size : end * size])
            for head, (_, is_summed), size, data in zip(
                heads, self._outputs, self._row_sizes, result.outputs, strict=True
            )
        ]

    @staticmethod
    def _too_many_rows_failed(result: TaskResult) -> Refusal:
        first, count = result.row_errors[0], len(result.row_errors)
        return Refusal(
            first.reason,
            f"{count:,} rows failed, more than the {_MOST_ROW_ERRORS:,} that a response lists, "
            f"the first of them row {first.row}: {first.message}",
            details={"row": str(first.row)},
        )

    @staticmethod
    def _summed_row_failed(result: TaskResult) -> Refusal:
        first = result.row_errors[0]
        return Refusal(first.reason, f"row {first.row}: {first.message}", details={"row": str(first.row)})


def _expected_flops(cost: Cost) -> Bound:
    """What a run is expected to take before any has been measured: loops rarely run to their bounds."""
    if not cost.open_ended:
        return cost.flops
    return Bound(min(cost.flops.constant, _OPEN_ENDED_FLOPS), min(cost.flops.per_row, _OPEN_ENDED_FLOPS))


class _Expected(NamedTuple):
    """The type that an input should have, and what people call it."""

    type: TensorType
    name: str
    note: str

    def __str__(self) -> str:
        named = f' for "{self.name}"' if self.name else ""
        return f"{self.type}{named}" + (f" ({self.note})" if self.note else "")


def _rows_within(limit: float, fixed: int, each: int) -> int:
    """How many rows of `each` fit a limit besides what is `fixed`; -1 if not even none do."""
    if fixed > limit:
        return -1
    return int((limit - fixed) // each) if each else MAX_ROWS


def task_input(dtype: DType, shape: tuple[int, ...], operands: Sequence[Operand]) -> TaskInput:
    """Operands one behind the other along axis 0, or one constant that lies in a memory file (always alone)."""
    first = operands[0]
    if isinstance(first, StoredConstant) and first.constant is not None:
        return TaskInput(dtype=dtype, shape=shape, constant=first.constant)
    return TaskInput(dtype=dtype, shape=shape, pieces=tuple([_content(one) for one in operands]))


def _content(operand: Operand) -> memoryview | bytes:
    if isinstance(operand, StoredConstant):
        assert operand.content is not None
        return operand.content
    return operand
