"""Clients: a service to call, and what it is believed to know already.

A client may be used by any number of threads, pickled (without its token), and survives a fork: its channel belongs to
one process, and another process opens its own when it first calls.
"""

from __future__ import annotations

import operator
import os
import threading
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from gradwire.bounded import Bounded
from gradwire.connection import channel as grpc_channel
from gradwire.connection.channel import Channel, Connection, grpc, read_certificates
from gradwire.connection.current import PROCESS, Done
from gradwire.connection.failures import error_of
from gradwire.connection.info import ServerInfo, read_info
from gradwire.connection.private import PrivateService
from gradwire.errors import InvalidRequestError, RequestError, ServiceError
from gradwire.v1 import service_pb2

DEFAULT_TIMEOUT: Final = 60.0
DEFAULT_MESSAGE_BYTES: Final = 64 << 20

_KNOWN_PROGRAMS: Final = 4096
_KNOWN_CONSTANTS: Final = 4096
_LOCAL: Final = ("unix:", "unix-abstract:", "localhost:", "127.0.0.1:", "[::1]:")


class Client:
    """A connection to a service; made by `gradwire.connect`. A context manager."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        service: PrivateService | None = None,
        snapshot_bytes: int | None = None,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout!r} seconds; it must be positive")
        if snapshot_bytes is not None and operator.index(snapshot_bytes) < 1:
            raise ValueError(f"snapshot_bytes is {snapshot_bytes!r}; it is a number of bytes, at least 1")
        self._connection = connection
        self._timeout = timeout
        self._service = service
        self._snapshot_bytes = snapshot_bytes or 0
        self._set_up()

    def _set_up(self) -> None:
        self._lock = threading.Lock()
        self._channel: tuple[int, Channel] | None = None
        self._old_channels: list[Channel] = []
        self._is_closed = False
        self.known_programs: Bounded[str, bool] = Bounded(_KNOWN_PROGRAMS)
        """Ids of programs that the service is believed to have."""
        self.known_constants: Bounded[bytes, bool] = Bounded(_KNOWN_CONSTANTS)
        """Digests of arrays that the service is believed to have."""
        PROCESS.bind(self)

    @property
    def target(self) -> str:
        """Where the service is."""
        return self._connection.target

    @property
    def timeout(self) -> float:
        """Seconds that a call may take."""
        return self._timeout

    @property
    def snapshot_bytes(self) -> int:
        """What loops keep at most of one example for reverse mode; 0: as the service's limit says."""
        return self._snapshot_bytes

    @property
    def max_message_bytes(self) -> int:
        """The largest message, both ways."""
        return self._connection.max_message_bytes

    @property
    def is_usable(self) -> bool:
        """Whether calls can be made: not closed, and a private service still runs."""
        return not self._is_closed and (self._service is None or self._service.is_running)

    def __repr__(self) -> str:
        return f"<gradwire client of {self.target}{', closed' if self._is_closed else ''}>"

    # Its life

    def __enter__(self) -> Self:
        self._require_open()
        PROCESS.push(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the stack, close the channel, and end a private service. May be called more than once."""
        PROCESS.remove(self)
        with self._lock:
            self._is_closed = True
            channel, self._channel = self._channel, None
        if channel is not None and channel[0] == os.getpid():
            channel[1].close()
        self.end_private_service()

    def end_private_service(self) -> None:
        """End the private service, if this process has started one for this client."""
        service, self._service = self._service, None
        if service is not None:
            self._is_closed = True
            service.close()

    def after_fork_in_child(self) -> None:
        """The parent's channel is of no use here."""
        self._lock = threading.Lock()
        if self._service is not None:
            self._service.after_fork_in_child()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "connection": replace(self._connection, token=None),
            "timeout": self._timeout,
            "snapshot_bytes": self._snapshot_bytes,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._connection = state["connection"]
        self._timeout = state["timeout"]
        self._snapshot_bytes = state["snapshot_bytes"]
        self._service = None
        self._set_up()

    # Calls

    def _require_open(self) -> None:
        if self._is_closed:
            raise ServiceError(f"this client of {self.target} is closed; make another with gw.connect", reason="CLOSED")
        if self._service is not None and not self._service.is_running:
            raise ServiceError("the private service has ended; make another with gw.connect", reason="SERVICE_ENDED")

    def channel(self) -> Channel:
        """This process's channel, opened when it is first needed."""
        channel = self._channel
        if channel is not None and channel[0] == os.getpid():
            return channel[1]
        with self._lock:
            self._require_open()
            if self._channel is not None and self._channel[0] != os.getpid():
                if not grpc_channel.FORKS:
                    raise ServiceError(
                        "this process was forked after gRPC had been used, and grpc was imported before gradwire "
                        "without GRPC_ENABLE_FORK_SUPPORT=1. Set that variable before the program starts, or start "
                        "processes with multiprocessing's spawn method",
                        reason="FORK_NOT_SUPPORTED",
                    )
                self._old_channels.append(self._channel[1])  # closing it here would touch the parent's threads
                self._channel = None
            if self._channel is None:
                self._channel = (os.getpid(), Channel(self._connection))
            return self._channel[1]

    def require_size(self, nbytes: int) -> None:
        """InvalidRequestError for a request of more bytes than a server with the same limit would take."""
        limit = self._connection.max_message_bytes
        if nbytes > limit:
            raise InvalidRequestError(
                f"the request has {nbytes:,} bytes, the limit is {limit:,} (max_message_bytes of gw.connect, "
                "--max-message-bytes of gradwire serve). Send fewer rows at a time (.map), or smaller arrays",
                reason="MESSAGE_TOO_LARGE",
            )

    def call(self, method: str, request: bytes) -> bytes:
        """One RPC: the response's bytes. GradwireError where it fails."""
        self.require_size(len(request))
        channel = self.channel()
        try:
            return channel.call(method, request, self._timeout)
        except grpc.RpcError as error:
            failed = error
        except ValueError:  # the channel was closed under the call
            self._require_open()
            raise
        self._require_open()
        raise error_of(failed, self.target, self._timeout)

    def start(self, method: str, request: bytes, done: Done) -> Any:
        """One RPC without waiting: `done` gets the response or the error, in another thread. Its grpc.Future."""
        self.require_size(len(request))
        try:
            future = self.channel().start(method, request, self._timeout)
        except ValueError:  # the channel was closed under the call
            self._require_open()
            raise

        def finished(call: Any) -> None:
            try:
                answer = call.result()
            except grpc.RpcError as error:
                done(None, error_of(error, self.target, self._timeout))
            except grpc.FutureCancelledError:
                done(None, RequestError("the call was cancelled", reason="CANCELLED"))
            else:
                done(answer, None)

        future.add_done_callback(finished)
        return future

    def info(self) -> ServerInfo:
        """Version, limits, operations and present load of the service."""
        request = service_pb2.GetServerInfoRequest().SerializeToString()
        return read_info(self.call("GetServerInfo", request))


def connect(
    target: str | None = None,
    *,
    token: str | None = None,
    tls: Any = None,
    timeout: float = DEFAULT_TIMEOUT,
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
    snapshot_bytes: int | None = None,
) -> Client:
    """A client, put on top of the stack of clients: from now on, until it is closed, all functions use it.

    `target`: ``host:port``, ``unix:/path`` or any name that gRPC resolves. None: $GRADWIRE_TARGET if that is set, else
    a private service is started, which ends with the client (needs the ``service`` extra).
    `token`: sent as a bearer token (default: $GRADWIRE_TOKEN); needs `tls` unless the target is this machine.
    `tls`: True for the system's root certificates, a path or PEM bytes for others, or a tuple (root certificates,
    client certificate, client key). `timeout`: seconds that each call may take. `max_message_bytes`: both ways.
    `snapshot_bytes`: what a loop may keep of one example's steps for reverse mode; where that is not enough, it keeps
    snapshots, and runs steps again (default: the service's limit of that name).

    Use it as a context manager, or call ``close()``. ServiceError where a private service cannot be started; a service
    that cannot be reached shows at the first call.
    """
    client = make_client(
        target,
        token=token,
        tls=tls,
        timeout=timeout,
        max_message_bytes=max_message_bytes,
        snapshot_bytes=snapshot_bytes,
    )
    PROCESS.push(client)
    return client


def make_client(
    target: str | None = None,
    *,
    token: str | None = None,
    tls: Any = None,
    timeout: float = DEFAULT_TIMEOUT,
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
    snapshot_bytes: int | None = None,
) -> Client:
    """As `connect`, but not on the stack."""
    target = target or os.environ.get("GRADWIRE_TARGET") or None
    if target is None:
        service = PrivateService.start()
        connection = Connection(target=service.target, max_message_bytes=max_message_bytes)
        return Client(connection, timeout=timeout, service=service, snapshot_bytes=snapshot_bytes)
    token = token or os.environ.get("GRADWIRE_TOKEN") or None
    certificates = read_certificates(tls)
    if token and not certificates and not target.startswith(_LOCAL):
        raise ServiceError(
            f"a token is not sent to {target} without TLS, where anybody on the way could read it; pass tls=True",
            reason="TOKEN_WITHOUT_TLS",
        )
    connection = Connection(target=target, token=token, max_message_bytes=max_message_bytes, **certificates)
    return Client(connection, timeout=timeout, snapshot_bytes=snapshot_bytes)
