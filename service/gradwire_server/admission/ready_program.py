"""A prepared program in one batch layout: it makes one task of the requests of a batch, and takes the result apart.

The rows of the requests stand one behind the other. A request without a batch is one row, whose answer has no row axis.
Nothing here looks at a graph or computes; the work is linear in the number of inputs, outputs and requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from gradwire._version import __version__
from gradwire.wire.responses import RunReport, evaluated_parts, output_head
from gradwire_engine.bounds import Bound, Cost
from gradwire_engine.errors import RowFailure
from gradwire_engine.program import Layout
from gradwire_engine.types import TensorType
from gradwire_server.admission.operands import Operand, task_input
from gradwire_server.admission.request_checks import RequestChecks
from gradwire_server.admission.signature import Signature
from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.processes.tasks import Task, TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job
from gradwire_server.scheduling.prediction import Prediction

_MEMORY_SHARE: Final = 2  # the executor may use one in so many bytes of a worker's memory for intermediate values
_MOST_ROW_ERRORS: Final = 10_000  # of one response; beyond, the request fails
_OPEN_ENDED_FLOPS: Final = 1_000_000  # what a loop that ends when it likes is expected to take, until measured


class EvaluatePayload(NamedTuple):
    """What an evaluation's job carries: its inputs as they go to the worker, and what its report says."""

    operands: tuple[Operand, ...]
    has_batch: bool
    prepare_seconds: float


class ReadyProgram:
    """One program in one layout. Implements `job.Work`; immutable but for its prediction."""

    def __init__(self, prepared: PreparedProgram, layout: Layout, config: ServerConfig) -> None:
        self.prepared = prepared
        self.layout = layout
        self.mode = prepared.mode
        self.plan_id = prepared.plan_id
        self.plan_bytes = len(prepared.plan)
        self.prediction = Prediction(_expected_flops(prepared.cost), config.flops_per_second)
        self.is_solo = bool(layout.summed_outputs)
        self.shared_inputs = layout.shared_inputs
        self.signature = Signature(prepared, layout)
        self.checks = RequestChecks(self.signature, prepared.cost, config)
        self._memory_bytes = config.worker_memory // _MEMORY_SHARE
        self._last_types: tuple[int, tuple[TensorType, ...]] = (-1, ())
        self._last_heads: tuple[tuple[int, bool], tuple[bytes, ...]] = ((-1, False), ())

    # A batch becomes a task

    def task(self, jobs: Sequence[Job[EvaluatePayload]]) -> Task:
        """The jobs' rows one behind the other; shared inputs are those of the first, all others have the same."""
        rows = sum([job.rows for job in jobs])
        operands = [job.payload.operands for job in jobs]
        inputs = []
        for index, (dtype, shape, is_shared, _) in enumerate(self.signature.inputs):
            if is_shared:
                inputs.append(task_input(dtype, shape, [operands[0][index]]))
            else:
                inputs.append(task_input(dtype, (rows, *shape), [of_job[index] for of_job in operands]))
        return Task(
            plan_id=self.plan_id,
            plan=self.prepared.plan,
            rows=rows,
            inputs=tuple(inputs),
            outputs=self._task_types(rows),
            memory_bytes=self._memory_bytes,
        )

    def _task_types(self, rows: int) -> tuple[TensorType, ...]:
        """The types of a task's outputs; those of the last one are kept, as most are like the one before."""
        known_rows, types = self._last_types
        if known_rows != rows:
            types = self.signature.output_types(rows)
            self._last_types = (rows, types)
        return types

    # A result becomes answers

    def answers(self, result: TaskResult, jobs: Sequence[Job[EvaluatePayload]]) -> list[bytes | Refusal]:
        """Each job's response, with its own rows: the only copy of them that is made here."""
        if result.row_errors and self.is_solo:
            return [_summed_row_failed(result)] * len(jobs)
        if len(result.row_errors) > _MOST_ROW_ERRORS:
            return [_too_many_rows_failed(result)] * len(jobs)
        rows = sum([job.rows for job in jobs])
        answers: list[bytes | Refusal] = []
        start = 0
        for job in jobs:
            outputs = self._rows_of(result, job, start)
            failures = _failures_within(result, start, start + job.rows) if result.row_errors else []
            report = RunReport(
                rows,
                len(jobs),
                job.started_at - job.submitted_at,
                result.compute_seconds,
                job.payload.prepare_seconds,
                result.executor,
                __version__,
            )
            answers.append(job.finish(evaluated_parts(outputs, failures, report)))
            start += job.rows
        return answers

    def _rows_of(self, result: TaskResult, job: Job[EvaluatePayload], start: int) -> list[tuple[bytes, memoryview]]:
        heads = self._heads(job.rows, job.payload.has_batch)
        end = start + job.rows
        return [
            (head, data if is_summed else data[start * size : end * size])
            for head, (_, is_summed, size), data in zip(heads, self.signature.outputs, result.outputs, strict=True)
        ]

    def _heads(self, rows: int, has_batch: bool) -> tuple[bytes, ...]:
        """What stands before each output in a response; the last answer is kept, too."""
        known, heads = self._last_heads
        if known != (rows, has_batch):
            heads = tuple([output_head(type) for type in self.signature.output_types(rows, has_batch=has_batch)])
            self._last_heads = ((rows, has_batch), heads)
        return heads


def _failures_within(result: TaskResult, start: int, end: int) -> list[RowFailure]:
    """The failed rows of one job, numbered from its first row."""
    return [replace(failure, row=failure.row - start) for failure in result.row_errors if start <= failure.row < end]


def _too_many_rows_failed(result: TaskResult) -> Refusal:
    first, count = result.row_errors[0], len(result.row_errors)
    return Refusal(
        first.reason,
        f"{count:,} rows failed, more than the {_MOST_ROW_ERRORS:,} that a response lists, "
        f"the first of them row {first.row}: {first.message}",
        details={"row": str(first.row)},
    )


def _summed_row_failed(result: TaskResult) -> Refusal:
    first = result.row_errors[0]
    return Refusal(first.reason, f"row {first.row}: {first.message}", details={"row": str(first.row)})


def _expected_flops(cost: Cost) -> Bound:
    """What a run is expected to take before any has been measured: loops rarely run to their bounds."""
    if not cost.open_ended:
        return cost.flops
    return Bound(min(cost.flops.constant, _OPEN_ENDED_FLOPS), min(cost.flops.per_row, _OPEN_ENDED_FLOPS))
