"""Small responses, which are parsed as messages: of GetServerInfo, Register and Explain."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from gradwire.errors import RequestError

Reply = TypeVar("Reply", bound=Message)


def parsed(message: type[Reply], data: bytes) -> Reply:
    """A response message; RequestError where it does not parse."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise RequestError(
            f"the service's answer is not a {message.DESCRIPTOR.name}", reason="MALFORMED_RESPONSE"
        ) from None
