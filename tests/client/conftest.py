"""All tests of the SDK run against the engine in this process, unless they make a client of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kit.client.local import LocalClient

from gradwire.connection.current import PROCESS


@pytest.fixture(autouse=True)
def service() -> Iterator[LocalClient]:
    """The client on top of the stack."""
    client = LocalClient()
    PROCESS.push(client)
    yield client
    PROCESS.remove(client)
