"""How a child process begins and ends: it outlives stop signals, ends with the front, and keeps to its memory."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import numpy as np

from gradwire_server.child.limits import (
    EXIT_OUT_OF_MEMORY,
    end_with_parent,
    limit_memory,
    outlive_stop_signals,
    volunteer_for_oom,
    watch_memory,
)
from gradwire_server.ipc.frames import Channel, ChannelClosed
from gradwire_server.ipc.messages import Ready, read, send

Setup = TypeVar("Setup")


def enter(arguments: Sequence[str], setup: type[Setup]) -> tuple[Channel, Setup]:
    """The channel to the front, and the setup that it sent; `arguments` are those after the module's name."""
    outlive_stop_signals()
    descriptor, parent = arguments
    end_with_parent(int(parent))
    volunteer_for_oom()
    channel = Channel(socket.socket(fileno=int(descriptor)))
    message = read(channel.receive())
    if not isinstance(message, setup):
        raise ChannelClosed(f"the front sent {type(message).__name__} first, expected {setup.__name__}")
    return channel, message


def say_ready(channel: Channel, memory_bytes: int) -> None:
    """Limit this process to `memory_bytes` more than it holds now, and tell the front that it can begin.

    What every task needs is taken before: numpy's BLAS gets its buffers, and what was imported leaves the collector.
    """
    np.dot(np.ones((64, 64)), np.ones((64, 64)))
    gc.collect()
    gc.freeze()
    enforced = limit_memory(memory_bytes)
    if not enforced:
        watch_memory(memory_bytes)
    send(channel, Ready(enforced))


def serve_until_the_end(serve: Callable[[], None]) -> NoReturn:
    """Serve, and end this process at once when that returns; with its own status where memory ran out elsewhere."""
    try:
        serve()
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    os._exit(0)
