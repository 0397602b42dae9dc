"""gRPC as the SDK uses it: one channel to one target in one process, with retries, and futures that survive a fork.

A channel spreads calls over all addresses of its target (round robin) and retries what is safe to retry, which is
everything: evaluation is pure. These are the only retries there are; a server that must not be retried says so itself.

Forks. gRPC survives a fork only with `GRPC_ENABLE_FORK_SUPPORT` set before it is imported, which happens here if nobody
was earlier, and only if no thread is inside a blocking call. So calls are made through futures, except where this is
the only thread: then nobody can fork meanwhile, and a blocking call saves a tenth of a millisecond.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradwire.wire.service import SERVICE

FORK_VARIABLE: Final = "GRPC_ENABLE_FORK_SUPPORT"
_WAS_IMPORTED: Final = "grpc" in sys.modules
if not _WAS_IMPORTED:
    os.environ.setdefault(FORK_VARIABLE, "1")

import grpc as grpc  # noqa: E402  # the other modules take it from here, and so not too early

FORKS: Final = os.environ.get(FORK_VARIABLE, "").lower() in ("1", "true", "yes", "on")
"""Whether gRPC survives a fork of this process."""

_SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [
                    {"service": SERVICE, "method": name}
                    for name in ("Register", "Evaluate", "Explain", "GetServerInfo")
                ],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach a service."""

    target: str
    """``host:port``, ``unix:/path`` or any name that gRPC resolves."""
    token: str | None = None
    """Sent with every call as ``authorization: Bearer …``."""
    root_certificates: bytes | None = None
    """PEM; with `use_tls`, None takes the system's."""
    client_certificate: bytes | None = None
    client_key: bytes | None = None
    use_tls: bool = False
    max_message_bytes: int = 64 << 20


class Channel:
    """An open channel; belongs to the process that opened it."""

    def __init__(self, connection: Connection) -> None:
        limit = connection.max_message_bytes
        options = [
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.enable_retries", 1),
            ("grpc.per_rpc_retry_buffer_size", limit + (1 << 20)),  # else requests over 256 KiB are never retried
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
        ]
        if connection.use_tls:
            credentials = grpc.ssl_channel_credentials(
                connection.root_certificates, connection.client_key, connection.client_certificate
            )
            self._channel = grpc.secure_channel(connection.target, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(connection.target, options=options)
        self._metadata = [("authorization", f"Bearer {connection.token}")] if connection.token else None
        self._methods: dict[str, Any] = {}

    def _method(self, name: str) -> Any:
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._channel.unary_unary(f"/{SERVICE}/{name}")
        return found

    def call(self, name: str, request: bytes, timeout: float) -> bytes:
        """The response's bytes; grpc.RpcError where the call fails."""
        method = self._method(name)
        if threading.active_count() == 1:
            answer: bytes = method(request, timeout=timeout, metadata=self._metadata)
        else:
            answer = method.future(request, timeout=timeout, metadata=self._metadata).result()
        return answer

    def start(self, name: str, request: bytes, timeout: float) -> Any:
        """The call's grpc.Future."""
        return self._method(name).future(request, timeout=timeout, metadata=self._metadata)

    def close(self) -> None:
        """Cancel what runs, and close."""
        self._channel.close()


def read_certificates(tls: Any) -> dict[str, Any]:
    """`tls` of `connect` as fields of a `Connection`.

    True: the system's certificates. A path, or PEM bytes: these root certificates. A tuple of three of them: root,
    client certificate, client key.
    """
    if tls is None or tls is False:
        return {}
    if tls is True:
        return {"use_tls": True}
    parts: Sequence[Any] = tls if isinstance(tls, tuple) else (tls,)
    if len(parts) not in (1, 3):
        raise TypeError(
            "tls is True, a path or PEM bytes, or a tuple (root certificates, client certificate, client key)"
        )
    read = [None if one is None else one if isinstance(one, bytes) else _read(one) for one in parts]
    if len(read) == 1:
        return {"use_tls": True, "root_certificates": read[0]}
    return {"use_tls": True, "root_certificates": read[0], "client_certificate": read[1], "client_key": read[2]}


def _read(path: Any) -> bytes:
    with open(path, "rb") as file:
        return file.read()
