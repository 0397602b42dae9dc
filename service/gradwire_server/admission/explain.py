"""Explain, as work for a worker: the trace table of a graph at one point. Always runs alone; the worker decodes it
all."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from gradwire.wire.requests import SlicedExplain
from gradwire_engine.bounds import Bound
from gradwire_server.admission.admission import Admission
from gradwire_server.admission.operands import task_input
from gradwire_server.admission.programs import checked_id
from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.messages import Explain, Operand
from gradwire_server.processes.tasks import MessageTask, TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job
from gradwire_server.scheduling.prediction import Prediction

_EXPECTED_FLOPS: Final = 10_000_000


class Explanations:
    """Implements `job.Work`. One for all: every job says itself what it is about."""

    plan_id = ""
    mode = "unknown"

    def __init__(self, config: ServerConfig, admission: Admission) -> None:
        self.prediction = Prediction(Bound(_EXPECTED_FLOPS, 0), config.flops_per_second)
        self._config = config
        self._admission = admission

    def admit(self, tenant: str, request: SlicedExplain, nbytes: int, deadline: float) -> Job[MessageTask]:
        """A job for an explanation, whose request has so many bytes."""
        programs, operands = self._admission.programs, self._admission.operands
        program_id = checked_id(request.program_id, request.program)
        program = request.program or programs.program(tenant, program_id)
        views = (*request.inputs, *request.seeds)
        taken = operands.take(tenant, views, nbytes)
        inputs = tuple(
            [task_input(view.dtype, view.shape, [operand]) for view, operand in zip(views, taken.operands, strict=True)]
        )
        return Job(
            work=self,
            payload=MessageTask(inputs=inputs, message=functools.partial(self._message, request, program)),
            rows=1,
            nbytes=nbytes,
            deadline=deadline,
            key="explain",
            solo=True,
            tenant=tenant,
            settle=functools.partial(operands.release, taken),
        )

    def _message(self, request: SlicedExplain, program: bytes, operands: Sequence[Operand]) -> Explain:
        count = len(request.inputs)
        return Explain(
            program=program,
            mode=request.mode,
            inputs=tuple(operands[:count]),
            seeds=tuple(operands[count:]),
            max_values=self._config.max_explain_values,
            max_response_bytes=self._config.max_message_bytes,
        )

    def task(self, jobs: Sequence[Job[MessageTask]]) -> MessageTask:
        """The task of the one job, which was made when it was admitted."""
        (job,) = jobs
        return job.payload

    def answers(self, result: TaskResult, jobs: Sequence[Job[MessageTask]]) -> list[bytes | Refusal]:
        """The serialized ExplainResponse."""
        return [bytes(result.outputs[0])]
