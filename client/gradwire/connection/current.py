"""The one place with state of the process: the stack of clients, and what is remembered of functions.

The functions of the SDK use the client on top of the stack, in every thread. Without any, the first call makes one: for
$GRADWIRE_TARGET if that is set, else with a private service, which then lasts as long as the process.

A forked child keeps the stack. Its locks are new, since a thread that does not exist in it may hold the old ones.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gradwire.calls.memory import FunctionMemories

if TYPE_CHECKING:
    from gradwire.connection.client import Client


class Process:
    """The state of this process."""

    def __init__(self) -> None:
        self.memories = FunctionMemories()
        self._lock = threading.Lock()
        self._stack: tuple[Client, ...] = ()
        self._default: Client | None = None
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()

    def client(self, make_default: Callable[[], Client]) -> Client:
        """The client on top of the stack, else the process's own."""
        stack = self._stack
        if stack:
            return stack[-1]
        default = self._default
        if default is not None and default.is_usable:
            return default
        ended: Client | None = None
        with self._lock:
            default = self._default
            if default is None or not default.is_usable:
                ended = default
                default = self._default = make_default()
        if ended is not None:
            ended.close()
        return default

    @property
    def snapshot_bytes(self) -> int:
        """What the client that is used now wants loops to keep at most, 0 if it does not say; none is made for this."""
        client = self._stack[-1] if self._stack else self._default
        return 0 if client is None else client.snapshot_bytes

    def push(self, client: Client) -> None:
        """Put a client on top, if it is not on the stack."""
        with self._lock:
            if client not in self._stack:
                self._stack = (*self._stack, client)

    def remove(self, client: Client) -> None:
        """Take a client off the stack, wherever it stands."""
        with self._lock:
            self._stack = tuple([one for one in self._stack if one is not client])
            if self._default is client:
                self._default = None

    def know(self, client: Client) -> None:
        """A client that must hear of forks and of the end."""
        self._clients.add(client)

    def after_fork_in_child(self) -> None:
        """New locks, channels that are opened anew, and no hold on private services."""
        self._lock = threading.Lock()
        for client in list(self._clients):
            client.after_fork_in_child()

    def end(self) -> None:
        """End the private services that this process has started."""
        for client in list(self._clients):
            client.end_private_service()


PROCESS: Final = Process()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork_in_child)
atexit.register(PROCESS.end)
