"""One private service for all tests of this folder: the code path of production, over real RPCs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gradwire as gw


@pytest.fixture(scope="session", autouse=True)
def client() -> Iterator[gw.Client]:
    with gw.connect() as connected:
        yield connected
