"""Explain, as work for a worker: the trace table of a graph at one point. Always runs alone; the worker decodes it
all."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from gradwire.wire.requests import SlicedExplain
from gradwire_engine.bounds import Bound
from gradwire_server.admission.admission import Admission
from gradwire_server.admission.operands import task_input
from gradwire_server.admission.programs import checked_id
from gradwire_server.config.table import ServerConfig
from gradwire_server.processes.tasks import ExplainTask, TaskInput, TaskResult
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


class Explanations:
    """Implements `job.Work`. One for all: every job says itself what it is about."""

    plan_id = ""
    mode = "unknown"

    def __init__(self, config: ServerConfig, admission: Admission) -> None:
        self.prediction = Prediction(Bound(_EXPECTED_FLOPS, 0), config.flops_per_second)
        self._config = config
        self._admission = admission

    def admit(self, tenant: str, request: SlicedExplain, nbytes: int, deadline: float) -> Job[ExplainPayload]:
        """A job for an explanation, whose request has so many bytes."""
        programs, operands = self._admission.programs, self._admission.operands
        program_id = checked_id(request.program_id, request.program)
        program = request.program or programs.program(tenant, program_id)
        views = (*request.inputs, *request.seeds)
        taken = operands.take(tenant, views, nbytes)
        inputs = tuple(
            [task_input(view.dtype, view.shape, [operand]) for view, operand in zip(views, taken.operands, strict=True)]
        )
        count = len(request.inputs)
        return Job(
            work=self,
            payload=ExplainPayload(program, inputs[:count], request.mode, inputs[count:]),
            rows=1,
            nbytes=nbytes,
            deadline=deadline,
            key="explain",
            solo=True,
            tenant=tenant,
            settle=functools.partial(operands.release, taken),
        )

    def task(self, jobs: Sequence[Job[ExplainPayload]]) -> ExplainTask:
        """The task of one job."""
        (job,) = jobs
        payload = job.payload
        return ExplainTask(
            program=payload.program,
            inputs=payload.inputs,
            mode=payload.mode,
            seeds=payload.seeds,
            max_values=self._config.max_explain_values,
            max_response_bytes=self._config.max_message_bytes,
        )

    def answers(self, result: TaskResult, jobs: Sequence[Job[ExplainPayload]]) -> list[bytes | Refusal]:
        """The serialized ExplainResponse."""
        return [bytes(result.outputs[0])]
