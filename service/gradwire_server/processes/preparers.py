"""Preparing, as the front sees it: programs become plans in preparers, once each, under limits."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from typing import Final

from gradwire_engine.program import Layout, Limits
from gradwire_server.ipc.messages import Prepare, PreparedProgram, PreparerSetup
from gradwire_server.processes.child_process import ChildProcess
from gradwire_server.processes.limited_jobs import JobLimits, JobWords, LimitedJobs

_WORDS: Final = JobWords(
    reason="PREPARE",
    doing="preparing the program",
    waiting="for programs to be prepared",
    process="the process that prepared the program",
)


class Preparers(LimitedJobs[Prepare, PreparedProgram]):
    """`size` preparers. `limits.memory` is what preparing one program may take, `program_limits` what one may be."""

    def __init__(
        self,
        size: int,
        limits: JobLimits,
        program_limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_restart: Callable[[str], None] = lambda cause: None,
        start_timeout: float = 30.0,
        module: str = "gradwire_server.child.preparer",
    ) -> None:
        setup = PreparerSetup(memory_bytes=int(limits.memory.value), program_limits=program_limits)
        super().__init__(
            size,
            functools.partial(ChildProcess, module, setup),
            result=PreparedProgram,
            limits=limits,
            words=_WORDS,
            name="preparer",
            clock=clock,
            on_restart=on_restart,
            start_timeout=start_timeout,
        )

    def prepare(
        self, program: bytes, layout: Layout, timeout: float, *, program_id: str | None = None
    ) -> PreparedProgram:
        """The program in this layout; blocks for at most `timeout` seconds, then TimeoutError. Refusal as in `run`.

        `program_id` is what identifies the bytes, if the caller has hashed them already.
        """
        key = (program_id or hashlib.sha256(program).hexdigest(), layout)
        return self.run(key, Prepare(program=program, layout=layout), timeout)
