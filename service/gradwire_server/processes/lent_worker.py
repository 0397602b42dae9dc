"""A worker as the thread that runs a task on it sees it: copy inputs in, send one frame, wait, look at the outputs.

The calling thread does all of it and blocks; nothing is handed to another thread. The front alone decides what the
worker holds: plans and constants have slots, each kind is bounded, and the least recently used go first.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from gradwire_engine.types import TensorType
from gradwire_server.ipc.arena import Arena, ArenaFull
from gradwire_server.ipc.blocks import Block, pack_blocks, pack_type
from gradwire_server.ipc.failures import Failure, limit_details, unpack_rows
from gradwire_server.ipc.frames import EXECUTORS, ChannelClosed, Frame, Kind, pack_parts
from gradwire_server.ipc.messages import (
    Cause,
    ExplainTask,
    Task,
    TaskFailed,
    TaskInput,
    TaskResult,
    WorkerLimits,
    WorkerLost,
)
from gradwire_server.processes.child_process import ChildProcess

_EXECUTOR_NAMES = {number: name for name, number in EXECUTORS.items()}

Key = TypeVar("Key")


class Held(Generic[Key]):
    """What a worker holds of one kind: slots by key, least recently used first, bounded by count and by bytes."""

    def __init__(self, count: int, nbytes: int | None = None) -> None:
        self._most = count
        self._most_bytes = nbytes
        self._slots: OrderedDict[Key, tuple[int, int]] = OrderedDict()
        self._bytes = 0
        self._numbers = itertools.count()

    def __contains__(self, key: Key) -> bool:
        return key in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def use(self, key: Key) -> int | None:
        """The slot of what is held, now the most recently used; None if it is not held."""
        entry = self._slots.get(key)
        if entry is None:
            return None
        self._slots.move_to_end(key)
        return entry[0]

    def add(self, key: Key, nbytes: int) -> int:
        """A slot for something new."""
        slot = next(self._numbers)
        self._slots[key] = slot, nbytes
        self._bytes += nbytes
        return slot

    def forget(self, key: Key) -> int | None:
        """Hold it no longer; its slot, if it was held."""
        entry = self._slots.pop(key, None)
        if entry is None:
            return None
        self._bytes -= entry[1]
        return entry[0]

    def shrink(self, keep: int) -> list[int]:
        """Forget what is over the bounds, but not the `keep` most recently used; the slots that became free."""
        freed = []
        while len(self._slots) > keep and self._is_over():
            _, (slot, nbytes) = self._slots.popitem(last=False)
            self._bytes -= nbytes
            freed.append(slot)
        return freed

    def _is_over(self) -> bool:
        return len(self._slots) > self._most or (self._most_bytes is not None and self._bytes > self._most_bytes)


class WorkerProcess:
    """A worker that is ready. Between `acquire` and `release` it belongs to one thread, which alone may call `run`."""

    def __init__(self, process: ChildProcess, arena: Arena, limits: WorkerLimits) -> None:
        self._process = process
        self._arena = arena
        self._limits = limits
        self._plans: Held[str] = Held(limits.plans, limits.plan_bytes)
        self._constants: Held[bytes] = Held(limits.constants)
        self._evicted: deque[bytes] = deque()
        self._sequence = 0
        self.is_lost = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def fileno(self) -> int:
        """The descriptor on which the keeper sees that the process has ended."""
        return self._process.channel.fileno()

    def holds_plan(self, plan_id: str) -> bool:
        """Whether the worker has this plan already."""
        return plan_id in self._plans

    def run(self, task: Task | ExplainTask, timeout: float) -> TaskResult:
        """Run a task; blocks for at most about `timeout` seconds.

        The result's outputs lie in the arena, and are valid until the next run or the worker's release. TaskFailed
        where the worker says that there is no result: it can be used again. WorkerLost where it died or was killed at a
        limit (at `timeout`: time_limit): it must still be released, and is not used again.
        """
        self._arena.reset()
        self._sequence += 1
        try:
            self._process.channel.settimeout(timeout)
            self._send_evicted()
            outputs = self._send_run(task) if isinstance(task, Task) else self._send_explain(task)
            reply = self._process.channel.receive()
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
        if reply.sequence != self._sequence or reply.kind not in (Kind.DONE, Kind.FAILED):
            self.kill("fault")
            raise self.lost()
        return self._result(reply, outputs)

    def _send_run(self, task: Task) -> list[Block]:
        channel, arena = self._process.channel, self._arena
        blocks = [self._place(one) for one in task.inputs]
        outputs = []
        for type in task.outputs:
            nbytes = type.elements * type.dtype.itemsize
            outputs.append(Block(arena.allocate(nbytes), nbytes))
        slot = self._plans.use(task.plan_id)
        if slot is None:
            slot = self._plans.add(task.plan_id, len(task.plan))
            channel.send(Kind.PLAN, slot, payload=(task.plan,))
        self._send_drops(keep_constants=len(blocks))
        counts = len(blocks), len(outputs)
        payload = (pack_blocks(blocks + outputs),)
        channel.send(Kind.RUN, slot, task.rows, task.memory_bytes, *counts, sequence=self._sequence, payload=payload)
        return outputs

    def _send_explain(self, task: ExplainTask) -> list[Block]:
        blocks = [self._place(one) for one in (*task.inputs, *task.seeds)]
        self._send_drops(keep_constants=len(blocks))
        arguments = (
            task.mode == "reverse",
            len(task.inputs),
            len(task.seeds),
            task.max_values,
            task.max_response_bytes,
        )
        types = [pack_type(TensorType(one.dtype, one.shape)) for one in (*task.inputs, *task.seeds)]
        payload = (pack_blocks(blocks), *pack_parts([task.program, *types]))
        self._process.channel.send(Kind.EXPLAIN, *arguments, sequence=self._sequence, payload=payload)
        return []

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
            self._process.channel.send(Kind.CONSTANT, slot, constant.nbytes, descriptor=constant.fileno)
        return Block(0, constant.nbytes, slot)

    def _send_drops(self, keep_constants: int) -> None:
        """Tell the worker what to forget because it is over its bounds."""
        for slot in self._constants.shrink(keep_constants):
            self._process.channel.send(Kind.DROP_CONSTANT, slot)
        for slot in self._plans.shrink(keep=1):
            self._process.channel.send(Kind.DROP_PLAN, slot)

    def _result(self, reply: Frame, blocks: Sequence[Block]) -> TaskResult:
        if reply.kind == Kind.FAILED:
            failed = Failure.unpack(reply.payload)
            raise TaskFailed(failed.reason, failed.message, path=failed.path, details=failed.details, log=failed.log)
        nanoseconds, executor, failed_rows = reply.arguments[:3]
        outputs = tuple([self._arena.view(block.offset, block.nbytes) for block in blocks])
        if len(reply.payload) and not failed_rows:
            outputs = (memoryview(bytes(reply.payload)),)
        return TaskResult(
            outputs=outputs,
            compute_seconds=nanoseconds * 1e-9,
            executor=_EXECUTOR_NAMES[executor],
            row_errors=unpack_rows(reply.payload) if failed_rows else (),
        )

    def forget_constant(self, digest: bytes) -> None:
        """The store has evicted a constant. The worker is told before its next task, or by `flush`. From any thread."""
        self._evicted.append(digest)

    def flush(self) -> None:
        """Tell an idle worker which constants to forget, as far as that is possible without waiting."""
        if not self._evicted:
            return
        try:
            self._process.channel.settimeout(0.0)
            self._send_evicted()
        except (ChannelClosed, TimeoutError):
            return

    def _send_evicted(self) -> None:
        while self._evicted:
            slot = self._constants.use(self._evicted[0])
            if slot is not None:
                self._process.channel.send(Kind.DROP_CONSTANT, slot)
                self._constants.forget(self._evicted[0])
            self._evicted.popleft()

    def kill(self, cause: Cause) -> None:
        """End the process now, and say that this was why. From any thread."""
        self._process.kill(cause)

    def lost(self) -> WorkerLost:
        """See that the process has ended, and say why; it is not used again."""
        self.is_lost = True
        return self._process.lost()

    def hang_up(self) -> None:
        """Tell the process to end."""
        self._process.channel.close()

    def rest(self) -> None:
        """Between two tasks: the arena gives back what a large task took."""
        self._arena.reset()

    def end(self, grace: float = 0.0) -> None:
        """End the process and drop the arena; waits up to `grace` seconds for it to end by itself."""
        self._process.close(grace)
        self._arena.close()


def _too_large(error: ArenaFull) -> TaskFailed:
    return TaskFailed(
        "TASK_MEMORY_LIMIT",
        f"inputs and outputs need {error.needed:,} bytes, a worker's arena holds {error.capacity:,}; "
        "send fewer rows at a time",
        details=limit_details(value=error.needed, limit=error.capacity, unit="bytes"),
    )
