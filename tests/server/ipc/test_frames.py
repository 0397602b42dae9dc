from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradwire_engine.errors import GraphError, LimitError
from gradwire_server.ipc.blocks import Block, pack_blocks, unpack_blocks
from gradwire_server.ipc.failures import Failure
from gradwire_server.ipc.frames import NO_DESCRIPTOR, Channel, ChannelClosed, Kind, pack_parts, unpack_parts

INTEGERS = st.integers(-(2**63), 2**63 - 1)
FRAMES = st.tuples(
    st.sampled_from(Kind), st.lists(INTEGERS, max_size=5), st.integers(0, 2**64 - 1), st.lists(st.binary(max_size=200))
)


def pair() -> tuple[Channel, socket.socket]:
    """A channel, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    channel.settimeout(60)
    theirs.settimeout(60)
    return channel, theirs


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    channel, other = pair()
    far = Channel(other)
    yield channel, far
    channel.close()
    far.close()


@settings(deadline=None)
@given(st.lists(FRAMES, max_size=6), st.integers(1, 200))
def test_frames_arrive_as_they_were_sent_however_the_stream_is_cut(frames: list, cut: int) -> None:
    sender, wire = pair()
    for kind, arguments, sequence, payload in frames:
        sender.send(kind, *arguments, sequence=sequence, payload=payload)
    sender.close()
    data = bytearray()
    while piece := wire.recv(1 << 16):
        data += piece
    wire.close()

    receiver, feed = pair()
    got = []

    def feed_in_pieces() -> None:
        with feed:
            for start in range(0, len(data), cut):
                feed.sendall(data[start : start + cut])

    feeder = threading.Thread(target=feed_in_pieces)
    feeder.start()
    for _ in frames:
        frame = receiver.receive()
        got.append((frame.kind, list(frame.arguments), frame.sequence, bytes(frame.payload)))
    with pytest.raises(ChannelClosed):
        receiver.receive()
    receiver.close()
    feeder.join()
    assert got == [
        (kind, arguments + [0] * (5 - len(arguments)), sequence, b"".join(payload))
        for kind, arguments, sequence, payload in frames
    ]


@pytest.mark.parametrize("size", [0, 1, (64 << 10) - 64, (64 << 10) - 63, 64 << 10, (64 << 10) + 1, 3_000_000])
def test_payloads_of_any_size_pass_in_both_directions(ends: tuple[Channel, Channel], size: int) -> None:
    ours, theirs = ends
    data = np.random.default_rng(size).bytes(size)

    def echo() -> None:
        for _ in range(2):
            frame = theirs.receive()
            theirs.send(Kind.DONE, payload=[bytes(frame.payload[: size // 2]), frame.payload[size // 2 :]])

    thread = threading.Thread(target=echo)
    thread.start()
    for _ in range(2):
        ours.send(Kind.RUN, payload=[data])
        assert bytes(ours.receive().payload) == data
    thread.join()


def test_descriptors_arrive_with_their_own_frames(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    files = [os.memfd_create(str(number)) for number in range(5)]
    for number, fileno in enumerate(files):
        os.write(fileno, str(number).encode())
        ours.send(Kind.PLAN, number, payload=[b"between"])
        ours.send(Kind.CONSTANT, number, descriptor=fileno)
        os.close(fileno)
    for number in range(5):
        assert theirs.receive().descriptor == NO_DESCRIPTOR
        frame = theirs.receive()
        assert frame.arguments[0] == number
        assert os.pread(frame.descriptor, 10, 0) == str(number).encode()
        assert not os.get_inheritable(frame.descriptor)
        os.close(frame.descriptor)


def test_a_closed_channel_closes_the_descriptors_that_nobody_took() -> None:
    before = set(os.listdir("/dev/fd"))
    ours, other = pair()
    theirs = Channel(other)
    ours.send(Kind.CONSTANT, descriptor=0)
    ours.send(Kind.CONSTANT, descriptor=0)
    os.close(theirs.receive().descriptor)
    ours.close()
    theirs.close()
    assert set(os.listdir("/dev/fd")) == before


def test_the_end_of_the_stream_is_told_from_silence(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.settimeout(0.0)
    with pytest.raises(ChannelClosed):  # would block
        ours.receive()
    ours.settimeout(0.001)
    with pytest.raises(TimeoutError):
        ours.receive()
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()
    with pytest.raises(ChannelClosed):
        ours.send(Kind.RUN)


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 400 Bad Request".ljust(64), b"RFWG" + b"\1\0\0\0" + b"\xff" * 8 + bytes(48)],
    ids=["text", "size"],
)
def test_what_is_not_a_frame_is_refused(data: bytes) -> None:
    channel, other = pair()
    other.sendall(data)
    with pytest.raises(ChannelClosed, match="not a frame"):
        channel.receive()
    channel.close()
    other.close()


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_parts_are_taken_apart_as_they_were_put_together(parts: list[bytes]) -> None:
    packed = b"".join(pack_parts(parts))
    assert [bytes(part) for part in unpack_parts(memoryview(packed))] == parts


@given(st.lists(st.binary(max_size=9), max_size=4), st.data())
def test_parts_that_are_cut_are_refused(parts: list[bytes], data: st.DataObject) -> None:
    packed = b"".join(pack_parts(parts))
    with pytest.raises(ChannelClosed):
        unpack_parts(memoryview(packed)[: data.draw(st.integers(0, len(packed) - 1))])


def test_blocks_are_followed_by_what_was_put_after_them() -> None:
    blocks = [Block(0, 8), Block(64, 16), Block(0, 5, slot=3)]
    payload = memoryview(pack_blocks(blocks) + b"rest")
    found, rest = unpack_blocks(payload, 3)
    assert (found, bytes(rest)) == (blocks, b"rest")
    with pytest.raises(ChannelClosed):
        unpack_blocks(payload, 4)


def test_a_refusal_of_the_engine_keeps_its_reason_place_and_limit() -> None:
    refused = Failure.of(GraphError("got 2, expected 3 — ünïcode").at("operands[0]").at("graph.nodes[17]"))
    assert Failure.unpack(memoryview(b"".join(refused.pack()))) == refused
    assert (refused.reason, refused.path) == ("INVALID_GRAPH", "graph.nodes[17].operands[0]")

    limit = Failure.of(LimitError("too many nodes", value=300_000, limit=200_000, unit="nodes", name="max-nodes"))
    assert limit.details == {"name": "max-nodes", "value": "300000", "limit": "200000", "unit": "nodes"}
    assert Failure.unpack(memoryview(b"".join(limit.pack()))) == limit


def test_our_own_fault_is_told_to_the_log_alone() -> None:
    failure = Failure.internal("Traceback: secret")
    assert Failure.unpack(memoryview(b"".join(failure.pack()))).log == "Traceback: secret"
    assert "secret" not in failure.message
