"""A private service for each module: the code path of production, over real RPCs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gradwire as gw


@pytest.fixture(scope="module")
def service() -> Iterator[gw.Client]:
    """The client on top of the stack."""
    with gw.connect() as client:
        yield client
