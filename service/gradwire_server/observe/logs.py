"""The log: one JSON object a line on stderr, with the request's id and trace wherever a request is being served.

Text from clients reaches the log only inside JSON strings, and ids only if they are short and printable. What is logged
about a request is logged by the thread that serves it; the thread that runs a batch logs under the id of the request it
belongs to.
"""

from __future__ import annotations

import json
import logging
import re
import time
from contextvars import ContextVar
from typing import Final, NamedTuple, TextIO

MAX_REQUEST_ID: Final = 128
"""Characters of a request id that a client may choose."""

_PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class RequestIdentity(NamedTuple):
    """What the log says about the request being served."""

    request_id: str
    traceparent: str = ""


REQUEST: Final[ContextVar[RequestIdentity | None]] = ContextVar("gradwire_request", default=None)
"""The request that this thread serves."""


def acceptable_request_id(text: str) -> bool:
    """Whether a client's request id may be used: 1 to 128 printable ASCII characters without spaces."""
    return _PRINTABLE.fullmatch(text) is not None


def acceptable_traceparent(text: str) -> bool:
    """Whether the text is a W3C traceparent."""
    return _TRACEPARENT.fullmatch(text) is not None


class JsonFormatter(logging.Formatter):
    """One line of JSON a record: time, level, logger, message, the request's identity, and `extra` given as
    "fields"."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        identity = REQUEST.get()
        if identity is not None:
            line["request_id"] = identity.request_id
            if identity.traceparent:
                line["trace_id"] = identity.traceparent[3:35]
                line["parent_span_id"] = identity.traceparent[36:52]
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str, stream: TextIO) -> logging.Handler:
    """Send everything from `level` on to `stream`; whoever wants to stop that removes the handler."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler
