"""Sizes, times, numbers and addresses as people write them."""

from __future__ import annotations

import pytest

from gradwire_server.config.texts import GIB, MIB, read_count, read_host_and_port, read_seconds, read_size


@pytest.mark.parametrize(("text", "nbytes"), [("7", 7), ("64MiB", 64 * MIB), ("1.5 g", 3 * GIB // 2), ("2KB", 2048)])
def test_sizes(text: str, nbytes: int) -> None:
    assert read_size(text) == nbytes


@pytest.mark.parametrize(("text", "seconds"), [("1.5", 1.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), (".5s", 0.5)])
def test_times(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize("read", [read_size, read_seconds, read_count])
@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e999", "1 2"])
def test_what_is_no_number_is_refused(read: object, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "parts"),
    [("h:1", ("h", 1)), (":2", ("0.0.0.0", 2)), ("[::1]:3", ("::1", 3)), ("127.0.0.1:65535", ("127.0.0.1", 65535))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert read_host_and_port(text) == parts
