"""Every message arrives as it was sent; what is none is the end of the channel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_engine.errors import RowFailure
from gradwire_engine.graph import Input
from gradwire_engine.plan.cost import SATURATED, Bound, Cost
from gradwire_engine.program import Layout, Limits
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_server.ipc.frames import Channel, ChannelClosed, Frame
from gradwire_server.ipc.messages import (
    Block,
    Done,
    DropPlan,
    Explain,
    Map,
    Operand,
    OutOfMemory,
    Plan,
    Prepare,
    PreparedProgram,
    PreparerSetup,
    Ready,
    Run,
    Unmap,
    WorkerLimits,
    WorkerSetup,
    read,
    send,
)
from gradwire_server.refusal import Refusal

VECTOR = TensorType(DType.INT32, (ROWS, 3))
LIMITS = WorkerLimits(memory_bytes=1, arena_bytes=2)
FAILURES = (RowFailure(0, "MAX_STEPS_EXCEEDED", "ünïcode"), RowFailure(7, "MAX_STEPS_EXCEEDED", "ünïcode"))
PREPARED = PreparedProgram(
    plan_id="id",
    plan=b"plan",
    inputs=(Input("x", VECTOR), Input("ÿ", TensorType(DType.FLOAT64))),
    outputs=(Input("", TensorType(DType.BOOL, (0,))),),
    cost=Cost(Bound(1, SATURATED), Bound(SATURATED, 0), 3, True),
    mode="reverse",
    prepare_seconds=0.25,
)
MESSAGES = [
    WorkerSetup(arena=5, limits=LIMITS, program_limits=Limits(nodes=7)),
    PreparerSetup(memory_bytes=1 << 40, program_limits=Limits()),
    Ready(False),
    Plan(3, b"graph"),
    DropPlan(3),
    Map(1 << 40, 1 << 50),
    Unmap(0),
    Run(3, 10, 1 << 40, [Block(0, 8), Block(0, 5, slot=3)], [Block(64, 8)]),
    Run(0, 0, 0, [], []),
    Explain(
        program=b"program",
        mode="reverse",
        inputs=(Operand(Block(0, 8), VECTOR),),
        seeds=(),
        max_values=1000,
        max_response_bytes=1 << 30,
    ),
    Done(123, 1),
    Done(123, 2, b"table"),
    Done(123, 1, failures=FAILURES),
    OutOfMemory(),
    Prepare(program=b"program", layout=Layout((0, 2), (1,), (5, 4))),
    PREPARED,
]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ends = [Channel(end) for end in socket.socketpair()]
    for end in ends:
        end.settimeout(60)
    yield ends[0], ends[1]
    for end in ends:
        end.close()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel], message: object) -> None:
    ours, theirs = ends
    send(ours, message, sequence=9)  # type: ignore[arg-type]
    frame = theirs.receive()
    arrived = read(frame)
    assert (type(arrived), arrived, frame.sequence) == (type(message), message, 9)


def test_a_refusal_is_a_message(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    refusal = Refusal("INVALID_GRAPH", "no such value", violations=[("graph", "no such value")])
    send(ours, refusal)
    arrived = read(theirs.receive())
    assert isinstance(arrived, Refusal)
    assert vars(arrived) == vars(refusal)


INDICES = st.lists(st.integers(0, 2**32 - 1), max_size=5).map(tuple)


@given(st.binary(max_size=50), INDICES, INDICES, INDICES)
def test_any_layout_arrives(program: bytes, shared: tuple, summed: tuple, outputs: tuple) -> None:
    request = Prepare(program=program, layout=Layout(shared, summed, outputs))
    assert Prepare.unpack(memoryview(b"".join(request.pack()))) == request


NUMBERS = st.integers(-(2**63), 2**63 - 1)
BLOCKS = st.lists(st.builds(Block, NUMBERS, NUMBERS, NUMBERS), max_size=5)


@given(NUMBERS, NUMBERS, NUMBERS, BLOCKS, BLOCKS)
def test_any_run_arrives(slot: int, rows: int, nbytes: int, inputs: list[Block], outputs: list[Block]) -> None:
    run = Run(slot, rows, nbytes, inputs, outputs)
    assert Run.unpack(memoryview(b"".join(run.pack()))) == run


@pytest.mark.parametrize("kind", [*range(30), 65535])
@pytest.mark.parametrize("payload", [b"", b"\xff", b"\xff" * 31, b"\xff" * 100], ids=len)
def test_any_bytes_are_a_message_or_the_end_of_the_channel(kind: int, payload: bytes) -> None:
    try:
        message = read(Frame(kind, 0, memoryview(payload)))
    except ChannelClosed:
        return
    assert isinstance(message, (OutOfMemory, Ready, Run))  # nothing, a bool, numbers


def test_a_cut_message_is_the_end_of_the_channel(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    for message in MESSAGES:
        send(ours, message)  # type: ignore[arg-type]
        frame = theirs.receive()
        if len(frame.payload):
            with pytest.raises(ChannelClosed, match="not a message"):
                read(frame._replace(payload=frame.payload[:-1]))
