"""How a child process begins and ends: it outlives stop signals, ends with the front, and keeps to its memory."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from gradwire_server.child.limits import (
    EXIT_OUT_OF_MEMORY,
    end_with_parent,
    limit_memory,
    outlive_stop_signals,
    volunteer_for_oom,
    watch_memory,
)
from gradwire_server.ipc.frames import Channel, Kind


def enter(arguments: Sequence[str]) -> tuple[Channel, Sequence[str]]:
    """The channel to the front, and the arguments that are left; `arguments` are those after the module's name."""
    outlive_stop_signals()
    end_with_parent(int(arguments[1]))
    volunteer_for_oom()
    return Channel(socket.socket(fileno=int(arguments[0]))), arguments[2:]


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
    channel.send(Kind.READY, int(enforced), os.getpid())


def serve_until_the_end(serve: Callable[[], None]) -> NoReturn:
    """Serve, and end this process at once when that returns; with its own status where memory ran out elsewhere."""
    try:
        serve()
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    os._exit(0)
