"""The clients of this process: the stack of those that the functions use, and all that must hear of forks and the end.

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
from typing import Any, Final, Protocol

from gradwire.bounded import Bounded
from gradwire.errors import GradwireError

Done = Callable[[bytes | None, GradwireError | None], None]
"""What is called with the response, or with the error, of a call that has ended."""


class ServiceClient(Protocol):
    """What the functions need of a client."""

    known_programs: Bounded[str, bool]
    """Ids of programs that the service is believed to have."""
    known_constants: Bounded[bytes, bool]
    """Digests of arrays that the service is believed to have."""

    @property
    def max_message_bytes(self) -> int:
        """The largest message, both ways."""

    @property
    def snapshot_bytes(self) -> int:
        """What loops keep at most of one example for reverse mode; 0: as the service's limit says."""

    @property
    def is_usable(self) -> bool:
        """Whether calls can be made."""

    def require_size(self, nbytes: int) -> None:
        """InvalidRequestError for a request of more bytes than a server with the same limit would take."""

    def call(self, method: str, request: bytes) -> bytes:
        """One RPC: the response's bytes. GradwireError where it fails."""

    def start(self, method: str, request: bytes, done: Done) -> Any:
        """One RPC without waiting: `done` is called in another thread. What `cancel` ends it with."""

    def close(self) -> None:
        """Leave the stack, and end what the client holds."""


class ProcessBound(Protocol):
    """What belongs to the process that made it."""

    def after_fork_in_child(self) -> None:
        """Let go of what is the parent's."""

    def end_private_service(self) -> None:
        """End the private service, if there is one."""


class Process:
    """The clients of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack: tuple[ServiceClient, ...] = ()
        self._default: ServiceClient | None = None
        self._bound: weakref.WeakSet[ProcessBound] = weakref.WeakSet()

    def client(self, make_default: Callable[[], ServiceClient]) -> ServiceClient:
        """The client on top of the stack, else the process's own."""
        stack = self._stack
        if stack:
            return stack[-1]
        default = self._default
        if default is not None and default.is_usable:
            return default
        ended: ServiceClient | None = None
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

    def push(self, client: ServiceClient) -> None:
        """Put a client on top, if it is not on the stack."""
        with self._lock:
            if client not in self._stack:
                self._stack = (*self._stack, client)

    def remove(self, client: ServiceClient) -> None:
        """Take a client off the stack, wherever it stands."""
        with self._lock:
            self._stack = tuple([other for other in self._stack if other is not client])
            if self._default is client:
                self._default = None

    def bind(self, client: ProcessBound) -> None:
        """Tell a client of forks and of the end, for as long as it lives."""
        self._bound.add(client)

    def after_fork_in_child(self) -> None:
        """New locks, channels that are opened anew, and no hold on private services."""
        self._lock = threading.Lock()
        for client in list(self._bound):
            client.after_fork_in_child()

    def end(self) -> None:
        """End the private services that this process has started."""
        for client in list(self._bound):
            client.end_private_service()


PROCESS: Final = Process()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork_in_child)
atexit.register(PROCESS.end)
