"""A worker as the thread that runs a task on it sees it: copy inputs in, send one message, wait, look at the outputs.

The calling thread does all of it and blocks; nothing is handed to another thread. The front alone decides what the
worker holds: plans and constants have slots, each kind is bounded, and the least recently used go first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from gradwire.wire.responses import EXECUTORS
from gradwire_engine.program import Limits
from gradwire_engine.types import TensorType
from gradwire_server.config.option import Limit, flag
from gradwire_server.ipc.arena import Arena, ArenaFull
from gradwire_server.ipc.frames import ChannelClosed
from gradwire_server.ipc.messages import (
    Block,
    Done,
    DropPlan,
    Explain,
    Map,
    Operand,
    OutOfMemory,
    Plan,
    Run,
    Unmap,
    WorkerLimits,
    WorkerSetup,
    read,
    send,
)
from gradwire_server.processes.child_process import ChildProcess
from gradwire_server.processes.held import Held
from gradwire_server.processes.tasks import ExplainTask, Task, TaskInput, TaskResult
from gradwire_server.refusal import Refusal

_EXECUTOR_NAMES: Final = {number: name for name, number in EXECUTORS.items()}


class LentWorker(ChildProcess):
    """A worker. Between `acquire` and `release` it belongs to one thread, which alone may call `run`."""

    def __init__(self, module: str, limits: WorkerLimits, program_limits: Limits) -> None:
        """Start it, with an arena of its own."""
        self._limits = limits
        self._plans: Held[str] = Held(limits.plans, limits.plan_bytes)
        self._constants: Held[bytes] = Held(limits.constants)
        self._evicted: deque[bytes] = deque()
        self._sequence = 0
        self._arena = Arena(limits.arena_bytes, limits.arena_keep_bytes)
        arena = self._arena.fileno
        try:
            super().__init__(module, WorkerSetup(arena=arena, limits=limits, program_limits=program_limits), (arena,))
        except BaseException:
            self._arena.close()
            raise

    def holds_plan(self, plan_id: str) -> bool:
        """Whether the worker has this plan already."""
        return plan_id in self._plans

    def run(self, task: Task | ExplainTask, timeout: float) -> TaskResult:
        """Run a task; blocks for at most about `timeout` seconds.

        The result's outputs lie in the arena, and are valid until the next run or the worker's release. Refusal where
        the worker says that there is no result: it can be used again. WorkerLost where it died or was killed at a limit
        (at `timeout`: time_limit): it must still be released, and is not used again.
        """
        self._arena.reset()
        self._sequence += 1
        try:
            self.channel.settimeout(timeout)
            self._send_evicted()
            outputs = self._send_run(task) if isinstance(task, Task) else self._send_explain(task)
            frame = self.channel.receive()
            reply = read(frame)
        except ArenaFull as error:
            raise _too_large(error) from None
        except TimeoutError:
            self.kill("time_limit")
            raise self.lost() from None
        except ChannelClosed:
            raise self.lost() from None
        except BaseException:
            self.kill("killed")
            self.lost()
            raise
        if frame.sequence == self._sequence:
            if isinstance(reply, Done):
                return self._result(reply, outputs)
            if isinstance(reply, Refusal):
                raise reply
            if isinstance(reply, OutOfMemory):
                raise _over_memory(self._limits.memory_bytes)
        self.kill("fault")
        raise self.lost()

    def _send_run(self, task: Task) -> Sequence[Block]:
        arena = self._arena
        inputs = [self._place(one) for one in task.inputs]
        outputs = []
        for type in task.outputs:
            nbytes = type.elements * type.dtype.itemsize
            outputs.append(Block(arena.allocate(nbytes), nbytes))
        slot = self._plans.use(task.plan_id)
        if slot is None:
            slot = self._plans.add(task.plan_id, len(task.plan))
            send(self.channel, Plan(slot, task.plan))
        self._send_drops(keep_constants=len(inputs))
        send(self.channel, Run(slot, task.rows, task.memory_bytes, inputs, outputs), sequence=self._sequence)
        return outputs

    def _send_explain(self, task: ExplainTask) -> Sequence[Block]:
        inputs, seeds = [
            tuple([Operand(self._place(one), TensorType(one.dtype, one.shape)) for one in operands])
            for operands in (task.inputs, task.seeds)
        ]
        self._send_drops(keep_constants=len(inputs) + len(seeds))
        message = Explain(
            program=task.program,
            mode=task.mode,
            inputs=inputs,
            seeds=seeds,
            max_values=task.max_values,
            max_response_bytes=task.max_response_bytes,
        )
        send(self.channel, message, sequence=self._sequence)
        return ()

    def _place(self, one: TaskInput) -> Block:
        """Copy an input into the arena, or see that the worker holds its constant."""
        if one.constant is None:
            nbytes = sum([len(piece) for piece in one.pieces])
            offset = at = self._arena.allocate(nbytes)
            for piece in one.pieces:
                at = self._arena.write(at, piece)
            return Block(offset, nbytes)
        constant = one.constant
        slot = self._constants.use(constant.digest)
        if slot is None:
            slot = self._constants.add(constant.digest, constant.nbytes)
            send(self.channel, Map(slot, constant.nbytes), descriptor=constant.fileno)
        return Block(0, constant.nbytes, slot)

    def _send_drops(self, keep_constants: int) -> None:
        """Tell the worker what to forget because it is over its bounds."""
        for slot in self._constants.shrink(keep_constants):
            send(self.channel, Unmap(slot))
        for slot in self._plans.shrink(keep=1):
            send(self.channel, DropPlan(slot))

    def _result(self, done: Done, blocks: Sequence[Block]) -> TaskResult:
        outputs = tuple([self._arena.view(block.offset, block.nbytes) for block in blocks])
        return TaskResult(
            outputs=(memoryview(done.table),) if done.table else outputs,
            compute_seconds=done.nanoseconds * 1e-9,
            executor=_EXECUTOR_NAMES[done.executor],
            row_errors=done.failures,
        )

    def forget_constant(self, digest: bytes) -> None:
        """The store has evicted a constant. The worker is told before its next task, or by `flush`. From any thread."""
        self._evicted.append(digest)

    def flush(self) -> None:
        """Tell an idle worker which constants to forget, as far as that is possible without waiting."""
        if not self._evicted:
            return
        try:
            self.channel.settimeout(0.0)
            self._send_evicted()
        except (ChannelClosed, TimeoutError):
            return

    def _send_evicted(self) -> None:
        while self._evicted:
            slot = self._constants.use(self._evicted[0])
            if slot is not None:
                send(self.channel, Unmap(slot))
                self._constants.forget(self._evicted[0])
            self._evicted.popleft()

    def rest(self) -> None:
        """Between two tasks: the arena gives back what a large task took."""
        self._arena.reset()

    def end(self, grace: float = 0.0) -> None:
        """End the process and drop the arena; waits up to `grace` seconds for it to end by itself."""
        super().end(grace)
        self._arena.close()


def _too_large(error: ArenaFull) -> Refusal:
    return Refusal(
        "TASK_MEMORY_LIMIT",
        f"inputs and outputs need {error.needed:,} bytes, a worker's arena holds {error.capacity:,}; "
        "send fewer rows at a time",
        details=Limit("", error.capacity, "bytes", "").details(error.needed),
    )


def _over_memory(memory_bytes: int) -> Refusal:
    return Refusal(
        "TASK_MEMORY_LIMIT",
        f"the task needs more than the {memory_bytes:,} bytes that a worker may use; send fewer rows at a time",
        details=Limit("worker-memory", memory_bytes, "bytes", flag("worker_memory")).details(),
    )
