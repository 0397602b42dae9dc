"""What the front and its children tell each other: one class a message, which packs and unpacks itself.

    front to any child     a Setup, once: what the child needs before it is ready
    front to a worker      Plan, DropPlan, Map, Unmap (no reply);  Run, Explain
    front to a preparer    Prepare
    a child to the front   Ready, once;  Done, PreparedProgram, OutOfMemory, or a Refusal

A message is a record (`records`), but for `Run` and `Done`, of which every small call needs one: they have a form of
their own. Nothing here starts a process or reads a socket; a payload that is not the message that its frame promises
is ChannelClosed. Tensors are raw bytes in the arena, little endian, C order. Nothing is ever pickled.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, NamedTuple, Protocol, Self

from gradwire_engine.bounds import Cost
from gradwire_engine.errors import RowFailure
from gradwire_engine.graph import Input
from gradwire_engine.program import Layout, Limits
from gradwire_engine.types import TensorType
from gradwire_server.ipc import records
from gradwire_server.ipc.frames import NO_DESCRIPTOR, Channel, ChannelClosed, Frame
from gradwire_server.ipc.records import Bytes
from gradwire_server.refusal import Refusal


class Message(Protocol):
    """What can be sent."""

    def pack(self) -> Sequence[Bytes]: ...


class _Record:
    """A message whose declaration says its form."""

    __slots__ = ()

    def pack(self) -> Sequence[Bytes]:
        return records.pack(self)

    @classmethod
    def unpack(cls, payload: memoryview) -> Self:
        return records.unpack(cls, payload)


# Starting


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLimits:
    """Limits of each worker; bytes unless the name says otherwise.

    `memory_bytes`: what it may allocate above what an idle worker has. `arena_bytes`: inputs and outputs of one task.
    `arena_keep_bytes`: what an idle worker's arena keeps. `plans`, `plan_bytes`: compiled plans it keeps, by count and
    by encoded size (the newest is always kept). `constants`: constants it keeps mapped.
    """

    memory_bytes: int
    arena_bytes: int
    arena_keep_bytes: int = 64 << 20
    plans: int = 256
    plan_bytes: int = 8 << 20
    constants: int = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSetup(_Record):
    """What a worker is: `arena` is the descriptor of its arena, which it inherits."""

    arena: int
    limits: WorkerLimits
    program_limits: Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparerSetup(_Record):
    """What a preparer is: the memory that preparing one program may take, and what a program may be."""

    memory_bytes: int
    program_limits: Limits


@dataclass(frozen=True, slots=True)
class Ready(_Record):
    """The child can begin; `enforced`: whether the system enforces its memory limit."""

    enforced: bool


# What a worker holds: plans and constants, by slots that the front gives


@dataclass(frozen=True, slots=True)
class Plan(_Record):
    """Hold this encoded graph."""

    slot: int
    graph: bytes


@dataclass(frozen=True, slots=True)
class DropPlan(_Record):
    """Forget a plan."""

    slot: int


@dataclass(frozen=True, slots=True)
class Map(_Record):
    """Map a constant: the memory file whose descriptor comes along."""

    slot: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Unmap(_Record):
    """Forget a constant."""

    slot: int


# Tasks

IN_ARENA: Final = -1
"""In place of a constant's slot."""


class Block(NamedTuple):
    """Where a tensor lies: `nbytes` at `offset` of the arena, or all of the constant in `slot`."""

    offset: int
    nbytes: int
    slot: int = IN_ARENA


_RUN: Final = struct.Struct("<4q")
_BLOCK: Final = struct.Struct("<3q")


class Run(NamedTuple):
    """Run the plan in `slot` on a batch. Both sides know the types of its blocks from the plan.

    `memory_bytes` is what intermediate values may take before the worker cuts the batch into slices of rows.
    """

    slot: int
    rows: int
    memory_bytes: int
    inputs: Sequence[Block]
    outputs: Sequence[Block]

    def pack(self) -> Sequence[Bytes]:
        """Four numbers, then the blocks: inputs before outputs."""
        inputs, outputs = self.inputs, self.outputs
        count = len(inputs) + len(outputs)
        numbers = chain(*inputs, *outputs)
        return (struct.pack(f"<{4 + 3 * count}q", *self[:3], len(inputs), *numbers),)

    @classmethod
    def unpack(cls, payload: memoryview) -> Run:
        """The message that was packed."""
        slot, rows, memory_bytes, inputs = _RUN.unpack_from(payload)
        blocks = list(map(Block._make, _BLOCK.iter_unpack(payload[_RUN.size :])))
        return cls(slot, rows, memory_bytes, blocks[:inputs], blocks[inputs:])


class Operand(NamedTuple):
    """A tensor of an explanation, and its type: nobody has compared it with the program yet."""

    block: Block
    type: TensorType


@dataclass(frozen=True, kw_only=True, slots=True)
class Explain(_Record):
    """Make the trace table of a program's graph at one point; bounds as in `ExplainTask`."""

    program: bytes
    mode: Literal["forward", "reverse"]
    inputs: tuple[Operand, ...]
    seeds: tuple[Operand, ...]
    max_values: int
    max_response_bytes: int


_DONE: Final = struct.Struct("<3q")


class Done(NamedTuple):
    """A task has its result, in the blocks for its outputs or, of an explanation, in `table`.

    `executor` is its number in the wire contract. The rows in `failures` have no result.
    """

    nanoseconds: int
    executor: int
    table: Bytes = b""
    failures: tuple[RowFailure, ...] = ()

    def pack(self) -> Sequence[Bytes]:
        """Three numbers, the table, and the rows that failed, if there are any."""
        nanoseconds, executor, table, failures = self
        head = _DONE.pack(nanoseconds, executor, len(table))
        return (head, table, RowFailure.pack_all(failures)) if table or failures else (head,)

    @classmethod
    def unpack(cls, payload: memoryview) -> Done:
        """The message that was packed."""
        nanoseconds, executor, length = _DONE.unpack_from(payload)
        if len(payload) == _DONE.size:
            return cls(nanoseconds, executor)
        end = _DONE.size + length
        return cls(nanoseconds, executor, bytes(payload[_DONE.size : end]), RowFailure.unpack_all(payload[end:]))


@dataclass(frozen=True, slots=True)
class OutOfMemory(_Record):
    """There is no result, because the child's memory did not suffice; the child goes on."""


# Preparing


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare(_Record):
    """Prepare a serialized program for one batch layout."""

    program: bytes
    layout: Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedProgram(_Record):
    """What is known of a program in one batch layout, before it runs.

    `plan_id` is the structural hash of the optimised graph: programs that differ in names only share a plan. `inputs`
    and `outputs` are the program's signature after all transforms, types of one example, all outputs whichever are
    selected. `cost` is that of the plan, a bound by rows. `mode` is value, forward, reverse or mixed.
    """

    plan_id: str
    plan: bytes
    inputs: tuple[Input, ...]
    outputs: tuple[Input, ...]
    cost: Cost
    mode: str
    prepare_seconds: float


# Sending and receiving

_KINDS: Final = (
    WorkerSetup,
    PreparerSetup,
    Ready,
    Plan,
    DropPlan,
    Map,
    Unmap,
    Run,
    Explain,
    Done,
    OutOfMemory,
    Prepare,
    PreparedProgram,
    Refusal,
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


def send(channel: Channel, message: Message, *, sequence: int = 0, descriptor: int = NO_DESCRIPTOR) -> None:
    """Send a message in a frame; raises what `Channel.send` does."""
    channel.send(_NUMBERS[type(message)], message.pack(), sequence=sequence, descriptor=descriptor)


def read(frame: Frame) -> object:
    """The message in a frame, of one of the classes above."""
    try:
        return _KINDS[frame.kind].unpack(frame.payload)
    except (IndexError, ValueError, struct.error) as error:
        raise ChannelClosed(f"not a message, kind {frame.kind}: {error}") from error
