"""A private service for each module of this folder, over real RPCs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gradwire as gw


@pytest.fixture(scope="module", autouse=True)
def client() -> Iterator[gw.Client]:
    with gw.connect() as connected:
        yield connected
