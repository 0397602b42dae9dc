"""A worker process: runs plans, one task at a time. The front starts it: `python -m gradwire_server.child.worker`.

It holds exactly the plans and constants that the front told it to hold, by slot. It reads inputs from the arena and
writes outputs into it where the front said; it allocates nothing there, and it never loads grpc. Everything that goes
wrong with a task is answered, with a Refusal or OutOfMemory; what goes wrong otherwise ends the process, and the front
starts another. Worst cases: a task over its memory gets MemoryError; one over its time is killed by the front; when the
front ends, however it ends, so does this process.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gradwire.wire.explanations import encode_trace_table
from gradwire.wire.programs import decode_graph, decode_program
from gradwire.wire.responses import EXECUTORS
from gradwire_engine.errors import EngineError, GraphError
from gradwire_engine.execute.numpy.executable import Executable, compile
from gradwire_engine.explain import explain
from gradwire_engine.program import Limits
from gradwire_engine.types import TensorType
from gradwire_server.child.limits import return_free_memory
from gradwire_server.child.start import enter, say_ready, serve_until_the_end
from gradwire_server.ipc.arena import mapped
from gradwire_server.ipc.frames import Channel, ChannelClosed, Frame
from gradwire_server.ipc.messages import (
    IN_ARENA,
    Block,
    Done,
    DropPlan,
    Explain,
    Map,
    OutOfMemory,
    Plan,
    Run,
    Unmap,
    WorkerSetup,
    read,
    send,
)
from gradwire_server.refusal import Refusal, from_engine, internal

_REFERENCE: Final = EXECUTORS["reference"]

Raw = npt.NDArray[np.uint8]


class CompiledPlan(NamedTuple):
    """A plan that can run, and the types of its inputs and outputs, with symbolic rows."""

    executable: Executable
    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]


class Worker:
    """The state of a worker: its arena, its plans, its constants."""

    def __init__(self, channel: Channel, arena: Raw, program_limits: Limits) -> None:
        self._channel = channel
        self._arena = arena
        self._program_limits = program_limits
        self._plans: dict[int, bytes] = {}
        self._compiled: dict[int, CompiledPlan] = {}
        self._constants: dict[int, Raw] = {}

    def serve(self) -> None:
        """Handle messages until the front closes the stream."""
        while True:
            try:
                frame = self._channel.receive()
            except ChannelClosed:
                return
            self._handle(frame)

    def _handle(self, frame: Frame) -> None:
        match read(frame):
            case Run() | Explain() as task:
                send(self._channel, self._answer(task), sequence=frame.sequence)
            case Plan(slot, graph):
                self._plans[slot] = graph
            case DropPlan(slot):
                self._plans.pop(slot, None)
                self._compiled.pop(slot, None)
            case Map(slot, nbytes):
                try:
                    constant = mapped(frame.descriptor, nbytes, writable=False)
                finally:
                    os.close(frame.descriptor)
                self._constants[slot] = constant
            case Unmap(slot):
                self._constants.pop(slot, None)
            case other:
                raise ChannelClosed(f"unexpected {type(other).__name__}")

    def _answer(self, task: Run | Explain) -> Done | Refusal | OutOfMemory:
        answer = self._attempt(task)
        if answer is None:
            # Other plans that were compiled may be what fills the memory; they can be compiled again.
            held = len(self._compiled)
            self._compiled.clear()
            gc.collect()
            return_free_memory()
            answer = self._attempt(task) if held > 1 else None
        return answer or OutOfMemory()

    def _attempt(self, task: Run | Explain) -> Done | Refusal | None:
        """What to answer; None where the memory did not suffice.

        While MemoryError is handled its traceback holds what filled the memory: so this only returns, which frees it.
        """
        try:
            return self._run(task) if isinstance(task, Run) else self._explain(task)
        except MemoryError:
            return None
        except EngineError as error:
            return from_engine(error)
        except Exception:
            return internal(traceback.format_exc())

    def _run(self, task: Run) -> Done:
        plan = self._compiled.get(task.slot) or self._compile(task.slot)
        rows = task.rows
        started = time.perf_counter_ns()
        inputs = [
            self._tensor(block, type.with_rows(rows), writable=False)
            for block, type in zip(task.inputs, plan.inputs, strict=True)
        ]
        outputs, failures = plan.executable.run_rows(inputs, rows, memory_bytes=task.memory_bytes)
        for block, type, output in zip(task.outputs, plan.outputs, outputs, strict=True):
            target = self._tensor(block, type.with_rows(rows), writable=True)
            if output.dtype != target.dtype or output.shape != target.shape:
                raise ValueError(f"plan made {output.dtype}{output.shape}, expected {target.dtype}{target.shape}")
            np.copyto(target, output)
        return Done(time.perf_counter_ns() - started, _REFERENCE, failures=tuple(failures))

    def _compile(self, slot: int) -> CompiledPlan:
        """Compile with the collector off (a large graph is millions of objects, none garbage), then set them aside."""
        gc.disable()
        try:
            graph = decode_graph(self._plans[slot])
            plan = self._compiled[slot] = CompiledPlan(compile(graph), graph.input_types, graph.output_types)
        finally:
            gc.enable()
        del graph
        gc.collect()
        gc.freeze()
        return plan

    def _explain(self, task: Explain) -> Done:
        started = time.perf_counter_ns()
        inputs, seeds = [
            [self._tensor(block, type, writable=False) for block, type in operands]
            for operands in (task.inputs, task.seeds)
        ]
        program = decode_program(task.program, self._program_limits)
        if program.transforms:
            raise GraphError("a graph is explained as written; leave the transforms out", path="transforms")
        table = encode_trace_table(explain(program.graph, inputs, task.mode, seeds, max_values=task.max_values))
        if len(table) > task.max_response_bytes:
            raise EngineError(
                f"the trace table has {len(table):,} bytes, a message holds {task.max_response_bytes:,}; "
                "explain a smaller graph",
                reason="EXPLAIN_TOO_LARGE",
            )
        return Done(time.perf_counter_ns() - started, _REFERENCE, table)

    def _tensor(self, block: Block, type: TensorType, *, writable: bool) -> np.ndarray:
        """The array that lies in a block; inputs cannot be written to."""
        offset, nbytes, slot = block
        raw = self._arena[offset : offset + nbytes] if slot == IN_ARENA else self._constants[slot]
        array = raw.view(type.dtype.numpy).reshape(type.shape)
        if not writable:
            array.flags.writeable = False
        return array


def serve(arguments: Sequence[str]) -> None:
    """Be a worker until the front ends it."""
    channel, setup = enter(arguments, WorkerSetup)
    arena = mapped(setup.arena, setup.limits.arena_bytes, writable=True)
    os.close(setup.arena)
    worker = Worker(channel, arena, setup.program_limits)
    say_ready(channel, setup.limits.memory_bytes)
    serve_until_the_end(worker.serve)


if __name__ == "__main__":
    serve(sys.argv[1:])
