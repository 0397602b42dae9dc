"""Log lines are JSON, carry the request's identity, and cannot be forged by a client."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from gradwire_server.observe.logs import REQUEST, RequestIdentity, acceptable_request_id, acceptable_traceparent, set_up

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    level = root.level
    stream = io.StringIO()
    handler = set_up("info", stream)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    logging.getLogger("gradwire_server.test").warning("got %s", 'a "quoted"\nline', extra={"fields": {"reason": "X"}})
    logging.getLogger("gradwire_server.test").debug("not shown")
    (line,) = lines(stream)
    assert line["message"] == 'got a "quoted"\nline'
    assert (line["level"], line["logger"], line["reason"]) == ("warning", "gradwire_server.test", "X")
    assert str(line["time"]).endswith("Z")
    assert "request_id" not in line


def test_inside_a_request_its_identity_is_on_every_line(stream: io.StringIO) -> None:
    token = REQUEST.set(RequestIdentity("abc", TRACEPARENT))
    logging.getLogger("x").error("one")
    REQUEST.reset(token)
    logging.getLogger("x").error("two")
    one, two = lines(stream)
    assert one["request_id"] == "abc"
    assert one["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert one["parent_span_id"] == "00f067aa0ba902b7"
    assert "request_id" not in two


def test_an_exception_is_in_the_line(stream: io.StringIO) -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("x").exception("failed")
    assert "KeyError: 'lost'" in str(lines(stream)[0]["exception"])


@pytest.mark.parametrize("text", ["a", "A-b_9.~", "x" * 128])
def test_a_request_id_of_printable_characters_is_taken(text: str) -> None:
    assert acceptable_request_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\nb", "é", "\x1b[31m"])
def test_any_other_is_replaced(text: str) -> None:
    assert not acceptable_request_id(text)


def test_a_traceparent_is_checked() -> None:
    assert acceptable_traceparent(TRACEPARENT)
    assert not acceptable_traceparent(TRACEPARENT.upper())
    assert not acceptable_traceparent(TRACEPARENT + "-x")
