"""Programs that are ready, and requests for them, with no child process anywhere."""

from __future__ import annotations

import numpy as np
from tests.kit.server.fakes import prepared_program

from gradwire.wire.tensors import OutgoingTensor
from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.admission.ready_program import EvaluatePayload, ReadyProgram
from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.scheduling.job import Job

VECTOR = TensorType(DType.FLOAT64, (2,))
SCALAR = TensorType(DType.FLOAT64)
INTEGER = TensorType(DType.INT64)


_PLAIN = Layout()


def ready_program(prepared: PreparedProgram, layout: Layout = _PLAIN, **options: float) -> ReadyProgram:
    """The program in this layout, under a configuration with these options."""
    return ReadyProgram(prepared, layout, ServerConfig(**options))  # type: ignore[arg-type]


SIGNATURE = prepared_program(
    inputs=[("x", VECTOR), ("n", INTEGER), ("w", VECTOR)], outputs=[("sum", SCALAR), ("scaled", VECTOR)]
)
"""sum = w · x, scaled = n * x."""


def tensors(*arrays: object) -> list[OutgoingTensor]:
    return [OutgoingTensor.inline(np.asarray(array)) for array in arrays]


def evaluate_job(program: ReadyProgram, payload: EvaluatePayload, rows: int, nbytes: int = 0) -> Job[EvaluatePayload]:
    """An admitted evaluation that holds nothing."""
    return Job(
        work=program,
        payload=payload,
        rows=rows,
        nbytes=nbytes,
        deadline=0,
        key="",
        solo=False,
        tenant="",
        settle=lambda: None,
    )
