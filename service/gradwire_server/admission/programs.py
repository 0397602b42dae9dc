"""Which prepared program a request means: one that is kept, or one that is prepared now.

A program is named by its id, the digest of its bytes, which is computed here and never taken from a client. What was
prepared is kept, and so is, for a while, why a program was refused. `ready` blocks while a new program is prepared, at
most until the request's deadline; nothing else here blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gradwire.wire.programs import program_id as id_of
from gradwire_engine.program import Layout
from gradwire_server.admission.ready_program import ReadyProgram
from gradwire_server.admission.store import ProgramStore
from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import Refusal


class Preparing(Protocol):
    """Where programs are prepared. It blocks, at most for `timeout` seconds; then TimeoutError."""

    def prepare(
        self, program: bytes, layout: Layout, timeout: float, *, program_id: str | None = None
    ) -> PreparedProgram: ...


class Programs:
    """Finds or prepares programs. All methods may be called from any thread."""

    def __init__(
        self, config: ServerConfig, *, clock: Callable[[], float], preparing: Preparing, metrics: Metrics
    ) -> None:
        self._config = config
        self._clock = clock
        self._preparing = preparing
        self._metrics = metrics
        self._store: ProgramStore[ReadyProgram] = ProgramStore(config, clock=clock, on_evict=metrics.program_evicted)

    @property
    def nbytes(self) -> int:
        """Bytes of programs and plans kept."""
        return self._store.nbytes

    def ready(
        self, tenant: str, program_id: str, program: bytes, layout: Layout, deadline: float
    ) -> tuple[ReadyProgram, float]:
        """The program in this layout, prepared if it is new; and the seconds that took, 0 if it was not."""
        kept = self._store.find(tenant, program_id, layout)
        self._metrics.program_found(hit=kept is not None)
        if kept is not None:
            return kept, 0.0
        data = program or self.program(tenant, program_id)
        refused = self._store.refusal(program_id, layout)
        if refused is not None:
            raise refused
        started = self._clock()
        prepared = self._prepare(program_id, data, layout, deadline - started)
        elapsed = self._clock() - started
        self._metrics.prepared(prepared.prepare_seconds)
        ready = ReadyProgram(prepared, layout, self._config)
        return self._store.keep(tenant, program_id, data, layout, ready), elapsed

    def _prepare(self, program_id: str, data: bytes, layout: Layout, seconds: float) -> PreparedProgram:
        try:
            return self._preparing.prepare(data, layout, seconds, program_id=program_id)
        except Refusal as refusal:
            if refusal.is_lasting:
                self._store.refuse(program_id, layout, refusal)
            raise
        except TimeoutError:
            raise Refusal(
                "EXPIRED_WHILE_PREPARING",
                f"the program is new here and was not prepared within the {seconds:.3g} s that were left",
            ) from None

    def program(self, tenant: str, program_id: str) -> bytes:
        """The bytes of a program that is known here."""
        data = self._store.program(tenant, program_id)
        if data is None:
            raise Refusal(
                "PROGRAM_NOT_FOUND",
                f"this server does not know {program_id}; send the program",
                details={"program_id": program_id},
            )
        return data


def checked_id(claimed: str, program: bytes) -> str:
    """The id of the program that a request means; where it has both, they must agree."""
    if not program:
        if not claimed:
            raise Refusal("MALFORMED_REQUEST", "neither program_id nor program is set; send one of them")
        return claimed
    computed = id_of(program)
    if claimed and claimed != computed:
        raise Refusal(
            "PROGRAM_HASH_MISMATCH",
            f"program_id is {claimed}, but the program sent is {computed}; send one of them, or the right id",
            violations=[("program_id", f"expected {computed}")],
        )
    return computed
