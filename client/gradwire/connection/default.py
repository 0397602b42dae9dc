"""The client that the functions use: the one on top of the stack, or one that the first call makes."""

from __future__ import annotations

from gradwire.connection.current import PROCESS, ServiceClient


def current_client() -> ServiceClient:
    """The client that the functions use now."""
    return PROCESS.client(_make_default)


def _make_default() -> ServiceClient:
    from gradwire.connection.client import make_client  # lazy: gRPC is loaded by the first call, and not by tracing

    return make_client()
