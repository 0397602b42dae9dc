"""Explain, as work for a worker: the trace table of a graph at one point. Always runs alone; the worker decodes it
all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from gradwire_engine.bounds import Bound
from gradwire_server.ipc.messages import ExplainTask, TaskInput, TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job
from gradwire_server.scheduling.prediction import Prediction

_EXPECTED_FLOPS: Final = 10_000_000


class ExplainPayload(NamedTuple):
    """What an explanation's job carries."""

    program: bytes
    inputs: tuple[TaskInput, ...]
    mode: Literal["forward", "reverse"]
    seeds: tuple[TaskInput, ...]


class Explanation:
    """Implements `job.Work`. One for all: every job says itself what it is about."""

    plan_id = ""
    mode = "unknown"

    def __init__(self, *, max_values: int, max_response_bytes: int, flops_per_second: float) -> None:
        self.prediction = Prediction(Bound(_EXPECTED_FLOPS, 0), flops_per_second)
        self._max_values = max_values
        self._max_response_bytes = max_response_bytes

    def task(self, jobs: Sequence[Job]) -> ExplainTask:
        """The task of one job."""
        (job,) = jobs
        payload = job.payload
        return ExplainTask(
            program=payload.program,
            inputs=payload.inputs,
            mode=payload.mode,
            seeds=payload.seeds,
            max_values=self._max_values,
            max_response_bytes=self._max_response_bytes,
        )

    def answers(self, result: TaskResult, jobs: Sequence[Job]) -> list[bytes | Refusal]:
        """The serialized ExplainResponse."""
        return [bytes(result.outputs[0])]
