"""What a worker process does between READY and the end of its stream: one frame after the other, one task at a time.

It holds exactly the plans and constants that the front told it to hold, by slot. It reads inputs from the arena and
writes outputs into it where the front said; it allocates nothing there. Everything that goes wrong with a task is
answered, as a Failure; what goes wrong otherwise ends the process, and the pool starts another.
"""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from gradwire_engine.errors import EngineError, RowFailure
from gradwire_engine.types import TensorType
from gradwire_server.child.limits import return_free_memory
from gradwire_server.ipc.arena import mapped
from gradwire_server.ipc.blocks import IN_ARENA, Block, unpack_blocks, unpack_type
from gradwire_server.ipc.failures import Failure, limit_details, pack_rows
from gradwire_server.ipc.frames import EXECUTORS, Channel, ChannelClosed, Frame, Kind, unpack_parts
from gradwire_server.ipc.messages import Bytes

Raw = npt.NDArray[np.uint8]
_Done = tuple[tuple[int, int, int], Sequence[Bytes]]
"""The integers and the payload of a DONE frame."""


class Executable(Protocol):
    """A compiled plan."""

    def run_rows(
        self, inputs: Sequence[np.ndarray], rows: int, *, memory_bytes: int | None = None
    ) -> tuple[Sequence[np.ndarray], Sequence[RowFailure]]:
        """The outputs for a batch of `rows`, in slices of rows where they would need more than `memory_bytes`; and the
        rows that have no result.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledPlan:
    """A plan that can run, the types of its inputs and outputs (with symbolic rows), and what runs it."""

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    executable: Executable
    executor: str


class Engine(Protocol):
    """What the loop needs of the engine; the worker's own is wired in `worker`."""

    def compile(self, plan: bytes) -> CompiledPlan:
        """From the encoded graph."""

    def explain(
        self,
        program: bytes,
        inputs: Sequence[np.ndarray],
        mode: Literal["forward", "reverse"],
        seeds: Sequence[np.ndarray],
        max_values: int,
    ) -> bytes:
        """A serialized ExplainResponse. EngineError where it cannot be."""


class TaskLoop:
    """The state of a worker: its arena, its plans, its constants."""

    def __init__(self, channel: Channel, arena: Raw, engine: Engine, memory_bytes: int) -> None:
        self._channel = channel
        self._arena = arena
        self._engine = engine
        self._memory_bytes = memory_bytes
        self._plans: dict[int, bytes] = {}
        self._compiled: dict[int, CompiledPlan] = {}
        self._constants: dict[int, Raw] = {}

    def serve(self) -> None:
        """Answer frames until the front closes the stream."""
        while True:
            try:
                frame = self._channel.receive()
            except ChannelClosed:
                return
            self._handle(frame)

    def _handle(self, frame: Frame) -> None:
        first = frame.arguments[0]
        match frame.kind:
            case Kind.RUN | Kind.EXPLAIN:
                self._answer(frame)
            case Kind.PLAN:
                self._plans[first] = bytes(frame.payload)
            case Kind.DROP_PLAN:
                self._plans.pop(first, None)
                self._compiled.pop(first, None)
            case Kind.CONSTANT:
                try:
                    constant = mapped(frame.descriptor, frame.arguments[1], writable=False)
                finally:
                    os.close(frame.descriptor)
                self._constants[first] = constant
            case Kind.DROP_CONSTANT:
                self._constants.pop(first, None)
            case _:
                raise ChannelClosed(f"unexpected frame {frame.kind}")

    def _answer(self, frame: Frame) -> None:
        outcome = self._attempt(frame)
        if outcome is None:
            # Other plans that were compiled may be what fills the memory; they can be compiled again.
            held = len(self._compiled)
            self._compiled.clear()
            gc.collect()
            return_free_memory()
            outcome = (self._attempt(frame) if held > 1 else None) or self._out_of_memory()
        if isinstance(outcome, Failure):
            self._channel.send(Kind.FAILED, sequence=frame.sequence, payload=outcome.pack())
        else:
            arguments, payload = outcome
            self._channel.send(Kind.DONE, *arguments, sequence=frame.sequence, payload=payload)

    def _out_of_memory(self) -> Failure:
        return Failure(
            reason="TASK_MEMORY_LIMIT",
            message=f"the task needs more than the {self._memory_bytes:,} bytes that a worker may use; "
            "send fewer rows at a time",
            details=limit_details(name="worker-memory", limit=self._memory_bytes, unit="bytes"),
        )

    def _attempt(self, frame: Frame) -> Failure | _Done | None:
        """What to answer; None where the memory did not suffice.

        While MemoryError is handled its traceback holds what filled the memory: so this only returns, which frees it.
        """
        try:
            return self._run(frame) if frame.kind == Kind.RUN else self._explain(frame)
        except MemoryError:
            return None
        except EngineError as error:
            return Failure.of(error)
        except Exception:
            return Failure.internal(traceback.format_exc())

    def _run(self, frame: Frame) -> _Done:
        slot, rows, memory_bytes, input_count, output_count = frame.arguments
        plan = self._compiled.get(slot) or self._compile(slot)
        blocks, _ = unpack_blocks(frame.payload, input_count + output_count)
        started = time.perf_counter_ns()
        inputs = [
            self._tensor(block, type.with_rows(rows), writable=False)
            for block, type in zip(blocks[:input_count], plan.inputs, strict=True)
        ]
        outputs, failures = plan.executable.run_rows(inputs, rows, memory_bytes=memory_bytes)
        for block, type, output in zip(blocks[input_count:], plan.outputs, outputs, strict=True):
            target = self._tensor(block, type.with_rows(rows), writable=True)
            if output.dtype != target.dtype or output.shape != target.shape:
                raise ValueError(f"plan made {output.dtype}{output.shape}, expected {target.dtype}{target.shape}")
            np.copyto(target, output)
        arguments = (time.perf_counter_ns() - started, EXECUTORS[plan.executor], len(failures))
        return arguments, pack_rows(failures) if failures else ()

    def _compile(self, slot: int) -> CompiledPlan:
        """Compile with the collector off (a large graph is millions of objects, none garbage), then set them aside."""
        gc.disable()
        try:
            plan = self._compiled[slot] = self._engine.compile(self._plans[slot])
        finally:
            gc.enable()
        gc.collect()
        gc.freeze()
        return plan

    def _explain(self, frame: Frame) -> _Done:
        reverse, input_count, seed_count, max_values, max_bytes = frame.arguments
        blocks, rest = unpack_blocks(frame.payload, input_count + seed_count)
        program, *types = unpack_parts(rest)
        started = time.perf_counter_ns()
        arrays = [self._tensor(*one, writable=False) for one in zip(blocks, map(unpack_type, types), strict=True)]
        mode: Literal["forward", "reverse"] = "reverse" if reverse else "forward"
        table = self._engine.explain(bytes(program), arrays[:input_count], mode, arrays[input_count:], max_values)
        if len(table) > max_bytes:
            raise EngineError(
                f"the trace table has {len(table):,} bytes, a message holds {max_bytes:,}; explain a smaller graph",
                reason="EXPLAIN_TOO_LARGE",
            )
        return (time.perf_counter_ns() - started, EXECUTORS["reference"], 0), (table,)

    def _bytes(self, block: Block) -> Raw:
        if block.slot == IN_ARENA:
            return self._arena[block.offset : block.offset + block.nbytes]
        return self._constants[block.slot]

    def _tensor(self, block: Block, type: TensorType, *, writable: bool) -> np.ndarray:
        """The array that lies in a block; inputs cannot be written to."""
        array = self._bytes(block).view(type.dtype.numpy).reshape(type.shape)
        if not writable:
            array.flags.writeable = False
        return array
