"""Frames over a stream socket pair: how bytes, and descriptors, pass between the front and its children.

A frame is a fixed header of 24 bytes (magic, kind, whether a descriptor comes along, length of the payload, a sequence
number), a payload, and at most one descriptor (SCM_RIGHTS). What kinds there are, and what the payloads say, `messages`
knows. Tensors do not pass here: they lie in the arena, and messages hold offsets.

Both ends keep strictly to request and reply, so that neither can block the other; what needs no reply (a constant, a
plan, forgetting one) is read before the next request. Descriptors arrive in the order of their frames.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from gradwire_server.ipc.records import Bytes

_MAGIC = 0x47574652
_HEADER = struct.Struct("<IHHQQ")
_BUFFER = 64 << 10
_MOST_BUFFERS = 1000
"""That are handed to the system at once; it refuses more than 1,024."""
_DESCRIPTORS = socket.CMSG_SPACE(16 * struct.calcsize("i"))
_NOT_INHERITED: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
MAX_PAYLOAD = 1 << 30
"""Bytes; a longer payload is a fault of the other side."""


NO_DESCRIPTOR = -1


class Frame(NamedTuple):
    """A received frame. The payload may be a view of the channel's buffer: valid until the next `receive`."""

    kind: int
    sequence: int
    payload: memoryview
    descriptor: int = NO_DESCRIPTOR


class ChannelClosed(Exception):
    """The other process has ended, or sent what is not a frame."""


class Channel:
    """One end of the socket pair. One thread sends and receives at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """How long each send and receive may block before it raises TimeoutError."""
        self._socket.settimeout(seconds)

    def send(
        self, kind: int, payload: Sequence[Bytes] = (), *, sequence: int = 0, descriptor: int = NO_DESCRIPTOR
    ) -> None:
        """Send a frame. ChannelClosed where nobody will read it, TimeoutError where nobody does."""
        if len(payload) > _MOST_BUFFERS:
            payload = (b"".join(payload),)
        length = sum([len(part) for part in payload])
        has_descriptor = descriptor != NO_DESCRIPTOR
        parts: list[Bytes] = [_HEADER.pack(_MAGIC, kind, has_descriptor, length, sequence), *payload]
        ancillary = []
        if has_descriptor:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            sent = self._socket.sendmsg(parts, ancillary)
            if sent < _HEADER.size + length:
                self._send_rest(parts, sent)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def _send_rest(self, parts: list[Bytes], sent: int) -> None:
        for part in parts:
            if sent < len(part):
                self._socket.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

    def receive(self) -> Frame:
        """Wait for the next frame. ChannelClosed at the end of the stream, TimeoutError after the set time."""
        self._fill(_HEADER.size)
        magic, kind, has_descriptor, length, sequence = _HEADER.unpack_from(self._buffer, self._start)
        if magic != _MAGIC or length > MAX_PAYLOAD:
            raise ChannelClosed(f"not a frame: magic {magic:#x}, payload of {length:,} bytes")
        self._start += _HEADER.size
        payload = self._payload(length)
        descriptor = self._descriptors.popleft() if has_descriptor and self._descriptors else NO_DESCRIPTOR
        return Frame(kind, sequence, payload, descriptor)

    def _payload(self, length: int) -> memoryview:
        if length <= _BUFFER:
            self._fill(length)
            self._start += length
            return self._view[self._start - length : self._start]
        whole = memoryview(bytearray(length))
        at = min(length, self._end - self._start)
        whole[:at] = self._view[self._start : self._start + at]
        self._start += at
        while at < length:
            at += self._read_into(whole[at:])
        return whole

    def _fill(self, nbytes: int) -> None:
        """Have at least `nbytes` between start and end."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + nbytes > _BUFFER:
            held = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, len(held)
            self._view[: self._end] = held
        while self._end - self._start < nbytes:
            self._end += self._read_into(self._view[self._end :])

    def _read_into(self, target: memoryview) -> int:
        try:
            count, ancillary, _, _ = self._socket.recvmsg_into([target], _DESCRIPTORS, _NOT_INHERITED)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self._descriptors.extend(received)
        if count == 0:
            raise ChannelClosed("end of stream")
        return count

    def close(self) -> None:
        """Close the socket, which tells the other side to end, and every descriptor that nobody took."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
