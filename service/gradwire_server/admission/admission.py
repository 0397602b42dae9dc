"""What stands before the queue: may this request run, and what does it need?

In this order: the server's state, the deadline, the program (prepared if it is new), its inputs, its cost and the size
of its answer, the constants it names, and the room for its tensors. Each refusal says what was got and what was
expected. What is admitted holds its room and its constants until its job is settled.

The work is linear in the request's inputs and independent of the graph; program bytes are hashed when they are sent,
and constants when they are. Only preparing a new program blocks, at most until the request's deadline.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeAlias

from gradwire.wire.requests import RequestOptions, SlicedEvaluate
from gradwire.wire.responses import EXECUTORS
from gradwire_server.admission.ledger import Ledger
from gradwire_server.admission.operands import Operand, Operands
from gradwire_server.admission.programs import Preparing, Programs, checked_id
from gradwire_server.admission.ready_program import EvaluatePayload, ReadyProgram
from gradwire_server.admission.store import ConstantStore, StoredConstant
from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import Refusal, draining
from gradwire_server.scheduling.job import Job

SHARED_BY_VALUE: Final = 4 << 10
"""Inline shared inputs up to this many bytes may share a batch with equal ones; larger ones run alone."""

ModeSink: TypeAlias = Callable[[str], object]


class Phase(enum.Enum):
    """What the server does with new requests."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Admission:
    """Admits requests; one for the whole server. All methods may be called from any thread.

    The constant store calls `forget_constant` with the digest of each constant that goes and that a worker may have
    mapped.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        clock: Callable[[], float],
        preparing: Preparing,
        metrics: Metrics,
        forget_constant: Callable[[bytes], None],
    ) -> None:
        self._default_timeout = config.default_timeout
        self.phase = Phase.STARTING
        self.ledger = Ledger(config)
        self.constants = ConstantStore(config, on_evict=forget_constant)
        self.programs = Programs(config, clock=clock, preparing=preparing, metrics=metrics)
        self.operands = Operands(self.ledger, self.constants)

    @property
    def is_draining(self) -> bool:
        """Whether the server takes no more requests because it is about to end."""
        return self.phase is Phase.DRAINING

    def check_phase(self) -> None:
        """Refuse where the server takes no requests."""
        if self.phase is Phase.SERVING:
            return
        if self.phase is Phase.STARTING:
            raise Refusal("SERVER_STARTING", "the server is starting; try another one, or again in a second")
        raise draining()

    def deadline(self, arrived: float, call_remaining: float | None, options: RequestOptions) -> float:
        """When the request must be done: the call's deadline, the server's default without one, or its own timeout."""
        remaining = self._default_timeout if call_remaining is None else call_remaining
        if options.timeout is not None:
            remaining = min(remaining, options.timeout)
        if remaining <= 0:
            raise Refusal("DEADLINE_INFEASIBLE", "the deadline had passed when the request arrived; allow it more time")
        return arrived + remaining

    def admit(self, tenant: str, request: SlicedEvaluate, deadline: float, mode: ModeSink) -> Job[EvaluatePayload]:
        """A job for a request that may run. `mode` is told what kind of evaluation it is as soon as that is known."""
        self.check_phase()
        if request.options.executor == EXECUTORS["native"]:
            raise Refusal("UNSUPPORTED_EXECUTOR", "this server has no native executor; leave the choice to the server")
        program_id = checked_id(request.program_id, request.program)
        program, prepare_seconds = self.programs.ready(tenant, program_id, request.program, request.layout, deadline)
        mode(program.mode)
        rows, nbytes = program.checks.check(request)
        taken = self.operands.take(tenant, request.inputs, nbytes)
        key, is_solo = _key(program, taken.operands)
        return Job(
            work=program,
            payload=EvaluatePayload(taken.operands, request.rows is not None, prepare_seconds),
            rows=rows,
            nbytes=nbytes,
            deadline=deadline,
            key=key,
            solo=is_solo,
            tenant=tenant,
            settle=functools.partial(self.operands.release, taken),
        )


def _key(program: ReadyProgram, operands: Sequence[Operand]) -> tuple[Hashable, bool]:
    """The queue that the request belongs to, and whether it must run alone."""
    shared = program.shared_inputs
    is_solo = program.is_solo
    parts: list[bytes] = []
    for index, operand in enumerate(operands):
        if isinstance(operand, StoredConstant):
            if index in shared:
                parts.append(operand.digest)
            elif operand.file is not None:
                is_solo = True
        elif index in shared:
            if len(operand) > SHARED_BY_VALUE:
                is_solo = True
            else:
                parts.append(bytes(operand))
    if not parts:
        return program, is_solo
    return (program, *parts), is_solo
