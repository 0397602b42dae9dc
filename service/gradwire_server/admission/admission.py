"""What stands before the queue: may this request run, and what does it need?

In this order: the server's state, the deadline, the program (prepared if it is new), its inputs, its cost and the size
of its answer, the constants it names, and the room for its tensors. Each refusal says what was got and what was
expected. What is admitted holds its room and its constants until `Admission.release`.

The work is linear in the request's inputs and independent of the graph; program bytes are hashed when they are sent,
and constants when they are. Only preparing a new program blocks, at most until the request's deadline.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from gradwire.wire.programs import program_id as id_of
from gradwire.wire.requests import RequestOptions, SlicedEvaluate
from gradwire.wire.responses import EXECUTORS
from gradwire.wire.tensors import TensorView, tensor_digest
from gradwire_engine.program import Layout
from gradwire_server.admission.ready_program import EvaluatePayload, Evaluation, Operand
from gradwire_server.admission.store import Constants, Programs, StoredConstant
from gradwire_server.config.table import Limit
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.observe.metrics import Metrics
from gradwire_server.processes.preparers import Preparers
from gradwire_server.refusal import Refusal, draining, over_limit
from gradwire_server.scheduling.job import Job

SHARED_BY_VALUE: Final = 4 << 10
"""Inline shared inputs up to this many bytes may share a batch with equal ones; larger ones run alone."""

_MAX_DIGESTS: Final = 20


class Phase(enum.Enum):
    """What the server does with new requests."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Ledger:
    """Tensors admitted and not yet answered, against their bound; and how many requests that is."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self.nbytes = 0
        self.requests = 0

    def enter(self, nbytes: int) -> None:
        """Take room for a request; one that is alone always finds some."""
        with self._lock:
            if self.requests and self.nbytes + nbytes > self._limit.value:
                raise over_limit(
                    "QUEUE_FULL",
                    "tensors admitted and not yet answered",
                    self._limit,
                    self.nbytes + nbytes,
                    advice="try again later, or use another replica",
                    retry_after=0.1,
                )
            self.nbytes += nbytes
            self.requests += 1

    def leave(self, nbytes: int) -> None:
        """Give it back."""
        with self._lock:
            self.nbytes -= nbytes
            self.requests -= 1
            if not self.requests:
                self._idle.notify_all()

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait for everything that was admitted to be answered; False if it takes too long."""
        with self._lock:
            return self._idle.wait_for(lambda: not self.requests, timeout)


class Admission:
    """Admits evaluations; one for the whole server. All methods may be called from any thread."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        default_timeout: float,
        programs: Programs[Evaluation],
        constants: Constants,
        preparing: Preparers,
        ledger: Ledger,
        metrics: Metrics,
        evaluation: Callable[[PreparedProgram, Layout], Evaluation],
    ) -> None:
        self._clock = clock
        self._default_timeout = default_timeout
        self._programs = programs
        self._constants = constants
        self._preparing = preparing
        self._metrics = metrics
        self._evaluation = evaluation
        self.ledger = ledger
        self.phase = Phase.STARTING

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

    def admit(self, tenant: str, request: SlicedEvaluate, deadline: float, mode: ModeSink) -> Job:
        """A job for a request that may run. `mode` is told what kind of evaluation it is as soon as that is known."""
        self.check_phase()
        if request.options.executor == EXECUTORS["native"]:
            raise Refusal("UNSUPPORTED_EXECUTOR", "this server has no native executor; leave the choice to the server")
        program_id = self.program_id(request.program_id, request.program)
        evaluation, prepare_seconds = self.evaluation(tenant, program_id, request.program, request.layout, deadline)
        mode(evaluation.mode)
        rows, nbytes = evaluation.check(request)
        operands, held = self.hold(tenant, request.inputs, nbytes)
        key, is_solo = _key(evaluation, operands)
        payload = EvaluatePayload(operands, request.rows is not None, prepare_seconds)
        return Job(
            work=evaluation,
            payload=payload,
            rows=rows,
            nbytes=nbytes,
            deadline=deadline,
            key=key,
            solo=is_solo,
            tenant=tenant,
            held=held,
        )

    def release(self, job: Job) -> None:
        """The job is settled: give back its room and its constants."""
        self.ledger.leave(job.nbytes)
        for constant in job.held:
            self._constants.drop(constant)

    # Programs

    @staticmethod
    def program_id(claimed: str, program: bytes) -> str:
        """The id of the program that a request means; where it has both, they must agree."""
        if not program:
            if not claimed:
                raise Refusal("MALFORMED_REQUEST", "neither program_id nor program is set; send one of them")
            return claimed
        found = id_of(program)
        if claimed and claimed != found:
            raise Refusal(
                "PROGRAM_HASH_MISMATCH",
                f"program_id is {claimed}, but the program sent is {found}; send one of them, or the right id",
                violations=[("program_id", f"expected {found}")],
            )
        return found

    def evaluation(
        self, tenant: str, program_id: str, program: bytes, layout: Layout, deadline: float
    ) -> tuple[Evaluation, float]:
        """The program in this layout, prepared if it is new; and the seconds that took, 0 if it was not."""
        known = self._programs.find(tenant, program_id, layout)
        self._metrics.program_found(hit=known is not None)
        if known is not None:
            return known, 0.0
        data = program or self.program(tenant, program_id)
        refused = self._programs.refusal(program_id, layout)
        if refused is not None:
            raise refused
        started = self._clock()
        try:
            prepared = self._preparing.prepare(data, layout, deadline - started, program_id=program_id)
        except Refusal as refusal:
            if refusal.is_lasting:
                self._programs.refuse(program_id, layout, refusal)
            raise
        except TimeoutError:
            raise Refusal(
                "EXPIRED_WHILE_PREPARING",
                f"the program is new here and was not prepared within the {deadline - started:.3g} s that were left",
            ) from None
        seconds = self._clock() - started
        self._metrics.prepared(prepared.prepare_seconds)
        return self._programs.keep(tenant, program_id, data, layout, self._evaluation(prepared, layout)), seconds

    def program(self, tenant: str, program_id: str) -> bytes:
        """The bytes of a program that is known here."""
        found = self._programs.program(tenant, program_id)
        if found is None:
            raise Refusal(
                "PROGRAM_NOT_FOUND",
                f"this server does not know {program_id}; send the program",
                details={"program_id": program_id},
            )
        return found

    # Room and constants

    def hold(
        self, tenant: str, views: Sequence[TensorView], nbytes: int
    ) -> tuple[tuple[Operand, ...], tuple[StoredConstant, ...]]:
        """Take room for a request of so many bytes, and the constants it names; `release` gives both back."""
        self.ledger.enter(nbytes)
        try:
            return self._operands(tenant, views)
        except BaseException:
            self.ledger.leave(nbytes)
            raise

    def _operands(
        self, tenant: str, views: Sequence[TensorView]
    ) -> tuple[tuple[Operand, ...], tuple[StoredConstant, ...]]:
        """Where each input lies, and the constants that are held for it."""
        operands: list[Operand] = []
        held: list[StoredConstant] = []
        missing: list[bytes] = []
        try:
            for index, view in enumerate(views):
                if not view.digest:
                    assert view.data is not None
                    operands.append(view.data)
                    continue
                stored = self._stored(tenant, view, index)
                if stored is None:
                    missing.append(view.digest)
                else:
                    held.append(stored)
                    operands.append(stored)
            if missing:
                raise _not_found(missing)
        except BaseException:
            for stored in held:
                self._constants.drop(stored)
            raise
        return tuple(operands), tuple(held)

    def _stored(self, tenant: str, view: TensorView, index: int) -> StoredConstant | None:
        if view.data is None:
            return self._constants.hold(tenant, view.digest, view.type)
        found = tensor_digest(view.dtype, view.shape, view.data)
        if found != view.digest:
            path = f"inputs[{index}].digest"
            raise Refusal(
                "CONSTANT_HASH_MISMATCH",
                f"{path} is {view.digest.hex()}, but that of its data is {found.hex()}",
                violations=[(path, f"expected {found.hex()}")],
            )
        return self._constants.add(tenant, found, view.type, view.data)


ModeSink = Callable[[str], None]


def _not_found(missing: Sequence[bytes]) -> Refusal:
    named = ",".join([digest.hex() for digest in missing[:_MAX_DIGESTS]])
    return Refusal(
        "CONSTANT_NOT_FOUND",
        f"this server does not hold {len(missing)} of the tensors sent by digest; send their data too",
        details={"digests": named, "missing": str(len(missing))},
    )


def _key(evaluation: Evaluation, operands: Sequence[Operand]) -> tuple[Hashable, bool]:
    """The queue that the request belongs to, and whether it must run alone."""
    shared = evaluation.shared_inputs
    is_solo = evaluation.is_solo
    parts: list[bytes] = []
    for index, operand in enumerate(operands):
        if isinstance(operand, StoredConstant):
            if index in shared:
                parts.append(operand.digest)
            elif operand.constant is not None:
                is_solo = True
        elif index in shared:
            if len(operand) > SHARED_BY_VALUE:
                is_solo = True
            else:
                parts.append(bytes(operand))
    if not parts:
        return evaluation, is_solo
    return (evaluation, *parts), is_solo
