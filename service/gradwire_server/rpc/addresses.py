"""Where the server listens: HOST:PORT, [IPV6]:PORT or unix:PATH; port 0 picks a free one.

Nothing is taken from another server: a port or socket that somebody serves is a StartError of one line.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Protocol

from gradwire_server.config.texts import read_host_and_port


class StartError(Exception):
    """The server cannot start; the message is one line."""


class Listener(Protocol):
    """What can listen: a gRPC server."""

    def add_insecure_port(self, address: str) -> int: ...


def bind(server: Listener, listen: str) -> str:
    """Have the server listen; the address as bound."""
    if listen.startswith("unix:"):
        _refuse_served_socket(listen.removeprefix("unix:"))
        host = ""
    else:
        host, wanted = read_host_and_port(listen)
        _refuse_served_port(host, wanted)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if not port:
        raise StartError(f"cannot serve gRPC at {listen}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else listen


def _refuse_served_port(host: str, port: int) -> None:
    """gRPC would write lines of its own to stderr, and does not say why."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise StartError(f"cannot serve gRPC at {host}:{port}: {error.strerror or error}") from None


def _refuse_served_socket(path: str) -> None:
    """gRPC takes a socket's path over from whoever serves it; we do not."""
    if not Path(path).parent.is_dir():
        raise StartError(f"cannot serve gRPC at unix:{path}: there is no such directory")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                return
            raise StartError(f"cannot serve gRPC at unix:{path}: {error.strerror or error}") from None
    raise StartError(f"cannot serve gRPC at unix:{path}: the address is in use")


def reachable(address: str) -> str:
    """The address under which this machine reaches what it serves there."""
    return re.sub(r"^0\.0\.0\.0:", "127.0.0.1:", re.sub(r"^\[::\]:", "[::1]:", address))
