from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradwire_server.ipc.frames import NO_DESCRIPTOR, Channel, ChannelClosed

HEADER = 24
BUFFER = 64 << 10
FRAMES = st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.lists(st.binary(max_size=200)))


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
    for kind, sequence, payload in frames:
        sender.send(kind, payload, sequence=sequence)
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
        got.append((frame.kind, frame.sequence, bytes(frame.payload), frame.descriptor))
    with pytest.raises(ChannelClosed):
        receiver.receive()
    receiver.close()
    feeder.join()
    assert got == [(kind, sequence, b"".join(payload), NO_DESCRIPTOR) for kind, sequence, payload in frames]


@pytest.mark.parametrize("size", [0, 1, BUFFER - HEADER, BUFFER - HEADER + 1, BUFFER, BUFFER + 1, 3_000_000])
def test_payloads_of_any_size_pass_in_both_directions(ends: tuple[Channel, Channel], size: int) -> None:
    ours, theirs = ends
    data = np.random.default_rng(size).bytes(size)

    def echo() -> None:
        for _ in range(2):
            frame = theirs.receive()
            theirs.send(1, [bytes(frame.payload[: size // 2]), frame.payload[size // 2 :]])

    thread = threading.Thread(target=echo)
    thread.start()
    for _ in range(2):
        ours.send(1, [data])
        assert bytes(ours.receive().payload) == data
    thread.join()


def test_a_payload_may_have_more_parts_than_the_system_takes_at_once(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    parts = [b"%d," % number for number in range(3000)]
    ours.send(1, parts)
    assert bytes(theirs.receive().payload) == b"".join(parts)


def test_descriptors_arrive_with_their_own_frames(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    files = [os.memfd_create(str(number)) for number in range(5)]
    for number, fileno in enumerate(files):
        os.write(fileno, str(number).encode())
        ours.send(1, [b"between"])
        ours.send(2, sequence=number, descriptor=fileno)
        os.close(fileno)
    for number in range(5):
        assert theirs.receive().descriptor == NO_DESCRIPTOR
        frame = theirs.receive()
        assert frame.sequence == number
        assert os.pread(frame.descriptor, 10, 0) == str(number).encode()
        assert not os.get_inheritable(frame.descriptor)
        os.close(frame.descriptor)


def test_a_closed_channel_closes_the_descriptors_that_nobody_took() -> None:
    before = set(os.listdir("/dev/fd"))
    ours, other = pair()
    theirs = Channel(other)
    ours.send(2, descriptor=0)
    ours.send(2, descriptor=0)
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
        ours.send(1)


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
