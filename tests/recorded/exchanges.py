"""What goes over the wire in one call, without what time makes; and what it means that two of them differ.

An exchange is held as bytes. Masks are applied to the bytes themselves, field by field, so that the order and the
presence of all other fields still count: seconds, sizes of batches and the version in a report, expected seconds in a
cost, load and uptime in the server's info, and request ids that the server made. The entries of a map have no order on
the wire, and are sorted.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import io
import lzma
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from gradwire.v1 import program_pb2, service_pb2, tensor_pb2

SERVICE: Final = "/gradwire.v1.GradientService/"
STREAM: Final = "EvaluateStream"
REQUEST_ID: Final = "x-request-id"
DETAILS: Final = "grpc-status-details-bin"
MADE: Final = "*"
"""What stands for a request id that the server made."""

Pairs = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Sent:
    """What a client sends: the method's name (its whole path for other services), messages, and its own metadata."""

    method: str
    requests: tuple[bytes, ...]
    metadata: Pairs = ()

    @property
    def path(self) -> str:
        """The method as gRPC names it."""
        return self.method if self.method.startswith("/") else SERVICE + self.method


@dataclass(frozen=True)
class Answer:
    """What the service says to it, masked; an empty code for a call that ended well."""

    responses: tuple[bytes, ...] = ()
    code: str = ""
    message: str = ""
    trailers: Pairs = ((REQUEST_ID, MADE),)


@dataclass(frozen=True)
class Exchange:
    """One call."""

    sent: Sent
    answer: Answer


# Fields of a message


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def _encoded(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, wire type and content of each field."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            end = _varint(data, at)[1]
        elif kind == 2:
            length, at = _varint(data, at)
            end = at + length
        else:
            end = at + {1: 8, 5: 4}[kind]
        yield tag >> 3, kind, data[at:end]
        at = end


def _joined(fields: Iterable[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        [
            _encoded(number << 3 | kind) + (_encoded(len(content)) if kind == 2 else b"") + content
            for number, kind, content in fields
        ]
    )


ZERO, DROP, SORT = "zero", "drop", "sort"
Rules = Mapping[tuple[int, ...], str]
"""What is done with the field at a path of field numbers."""


def masked(data: bytes, rules: Rules, path: tuple[int, ...] = ()) -> bytes:
    """The message without what the rules name."""
    kept = []
    for number, kind, content in _fields(data):
        place = (*path, number)
        rule = rules.get(place)
        if rule == DROP:
            continue
        if rule == ZERO:
            content = {0: b"\0", 1: bytes(8), 2: b""}[kind]
        elif kind == 2 and any(one[: len(place)] == place and len(one) > len(place) for one in rules):
            content = masked(content, rules, place)
        kept.append((number, kind, content))
    for number in {place[-1] for place, rule in rules.items() if rule == SORT and place[:-1] == path}:
        ordered = iter(sorted([field for field in kept if field[0] == number]))
        kept = [next(ordered) if field[0] == number else field for field in kept]
    return _joined(kept)


_REPORT: Final = dict.fromkeys([(3, number) for number in (1, 2, 3, 4, 5, 7)], ZERO)
_MASKS: Final[Mapping[str, Rules]] = {
    "Evaluate": _REPORT,
    STREAM: {**{(2, *place): rule for place, rule in _REPORT.items()}, (3, 4): SORT},
    "Register": dict.fromkeys([(cost, number) for cost in (4, 5) for number in (5, 6)], DROP),
    "GetServerInfo": dict.fromkeys([(1,), (7,), (8,), (9,), (10,)], DROP),
}
_STATUS: Final[Rules] = {(3, 2, 3): SORT}  # the metadata of ErrorInfo; BadRequest and RetryInfo have no such field


def without_time(sent: Sent, answer: Answer) -> Answer:
    """The answer without what time makes; the answers of a stream in the order of their ids."""
    responses = [masked(one, _MASKS.get(sent.method, {})) for one in answer.responses]
    if sent.method == STREAM:
        responses.sort(key=lambda one: (service_pb2.EvaluateStreamResponse.FromString(one).id, one))
    own = dict(sent.metadata).get(REQUEST_ID)
    trailers: list[tuple[str, str | bytes]] = []
    for key, value in sorted(answer.trailers):
        if key == REQUEST_ID and value != own:
            value = MADE
        elif key == DETAILS:
            assert isinstance(value, bytes)
            value = masked(value, _STATUS)
        trailers.append((key, value))
    return replace(answer, responses=tuple(responses), trailers=tuple(trailers))


# The machine


def fingerprint() -> dict[str, str]:
    """What the last bits of transcendental functions depend on."""
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    enabled = " ".join(sorted([name for name, is_there in features.items() if is_there]))
    return {
        "machine": platform.machine(),
        "features": hashlib.sha256(enabled.encode()).hexdigest()[:16],
        "libc": " ".join(platform.libc_ver()),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


# Differences

_TOLERANCES: Final = {
    tensor_pb2.DTYPE_FLOAT32: (np.dtype("<f4"), 1e-5),
    tensor_pb2.DTYPE_FLOAT64: (np.dtype("<f8"), 1e-12),
}
_RESPONSES: Final[Mapping[str, type[Message]]] = {
    "Register": service_pb2.RegisterResponse,
    "Evaluate": service_pb2.EvaluateResponse,
    STREAM: service_pb2.EvaluateStreamResponse,
    "Explain": service_pb2.ExplainResponse,
    "GetServerInfo": service_pb2.GetServerInfoResponse,
}
_REQUESTS: Final[Mapping[str, type[Message]]] = {
    "Register": service_pb2.RegisterRequest,
    "Evaluate": service_pb2.EvaluateRequest,
    STREAM: service_pb2.EvaluateStreamRequest,
    "Explain": service_pb2.ExplainRequest,
    "GetServerInfo": service_pb2.GetServerInfoRequest,
}


def sent_differences(want: Sequence[Sent], got: Sequence[Sent]) -> list[str]:
    """What was sent that is not what was recorded, or in another order."""
    found = []
    if len(want) != len(got):
        found.append(f"{len(got)} calls, recorded are {len(want)}")
    for place, (one, other) in enumerate(zip(want, got, strict=False)):
        if one == other:
            continue
        found.append(f"call {place}, {other.method}:")
        if (one.method, one.metadata) != (other.method, other.metadata):
            found.append(f"  recorded is {one.method} with {one.metadata}, found {other.metadata}")
        found += _message_differences(_REQUESTS.get(one.method), one.requests, other.requests)
    return found


def answer_differences(method: str, want: Answer, got: Answer, *, exact: bool) -> list[str]:
    """What was answered that is not what was recorded; floating-point numbers up to a tolerance unless `exact`."""
    found = [
        f"{name}: recorded is {getattr(want, name)!r}, found {getattr(got, name)!r}"
        for name in ("code", "message", "trailers")
        if getattr(want, name) != getattr(got, name)
    ]
    kind = _RESPONSES.get(method)
    if want.responses == got.responses:
        return found
    if not exact and kind is not None and len(want.responses) == len(got.responses):
        pairs = [
            (kind.FromString(one), kind.FromString(other))
            for one, other in zip(want.responses, got.responses, strict=True)
        ]
        if all(_is_close(one, other) for one, other in pairs):
            return found
    return found + _message_differences(kind, want.responses, got.responses)


def _is_close(want: Message, got: Message) -> bool:
    """Whether two messages differ in floating-point numbers only, and in these by little. `want` and `got` are spoiled.

    Relative to the number itself or to the largest of its tensor, as a sum's last bits depend on its largest part.
    """
    tensors, others = list(_tensors(want)), list(_tensors(got))
    if len(tensors) != len(others):
        return False
    for one, other in zip(tensors, others, strict=True):
        known = _TOLERANCES.get(one.dtype)
        if known is None or len(one.data) != len(other.data):
            continue
        dtype, tolerance = known
        a, b = np.frombuffer(one.data, dtype), np.frombuffer(other.data, dtype)
        finite = np.abs(a[np.isfinite(a)])
        if not np.allclose(b, a, rtol=tolerance, atol=tolerance * float(finite.max(initial=0.0)), equal_nan=True):
            return False
        one.data = other.data = bytes(len(one.data))
    return want.SerializeToString(deterministic=True) == got.SerializeToString(deterministic=True)


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a message, in order."""
    if isinstance(message, tensor_pb2.Tensor):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                yield from _tensors(one)


def _message_differences(kind: type[Message] | None, want: Sequence[bytes], got: Sequence[bytes]) -> list[str]:
    """Bytes that differ, as text as far as they can be read."""
    found = []
    if len(want) != len(got):
        found.append(f"  {len(got)} messages, recorded are {len(want)}")
    for place, (one, other) in enumerate(zip(want, got, strict=False)):
        if one == other:
            continue
        at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        found.append(f"  message {place}: recorded are {len(one):,} bytes, found {len(other):,}; first at byte {at}")
        found += lines_that_differ(_text(kind, one), _text(kind, other))
    return found


def lines_that_differ(want: Sequence[str], got: Sequence[str]) -> list[str]:
    """The first lines of two texts that are not the same."""
    lines = difflib.unified_diff(want, got, "recorded", "found", lineterm="", n=2)
    return [f"    {line[:200]}" for _, line in zip(range(60), lines, strict=False)]


def _text(kind: type[Message] | None, data: bytes) -> list[str]:
    try:
        message: Any = kind.FromString(data) if kind is not None else None
    except DecodeError:
        message = None
    if message is None:
        return [data.hex()]
    lines = [text_format.MessageToString(message)]
    program = getattr(getattr(message, "evaluate", message), "program", b"")
    try:
        lines.append(text_format.MessageToString(program_pb2.Program.FromString(program)))
    except DecodeError:
        lines.append(program.hex())
    return "".join(lines).splitlines()


# As JSON

_FILTERS: Final = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]


def _packed(data: bytes) -> str:
    """Bytes as text, compressed where that is shorter."""
    compressed = lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)
    if len(compressed) < len(data):
        return "z" + base64.b85encode(compressed).decode()
    return "b" + base64.b85encode(data).decode()


def _unpacked(text: str) -> bytes:
    data = base64.b85decode(text[1:])
    return lzma.decompress(data, lzma.FORMAT_RAW, filters=_FILTERS) if text[0] == "z" else data


def to_json(exchanges: Sequence[Exchange]) -> dict[str, Any]:
    """The exchanges of a case as JSON: calls with the lengths of their messages, and all messages one after the other.

    A call that says no more than that is one text, "Evaluate: 80 -> 60". Messages of one case resemble each other, so
    they are compressed together, with what trailers hold in bytes: first all requests, then all answers.
    """
    messages = [data for one in exchanges for data in one.sent.requests]
    messages += [data for one in exchanges for data in _received(one.answer)]
    return {"calls": [_call(one) for one in exchanges], "messages": _packed(b"".join(messages))}


def _received(answer: Answer) -> list[bytes]:
    return [*answer.responses, *[value for _, value in answer.trailers if isinstance(value, bytes)]]


def _call(exchange: Exchange) -> str | dict[str, Any]:
    sent, answer = exchange.sent, exchange.answer
    sizes = [" ".join([str(len(data)) for data in messages]) for messages in (sent.requests, answer.responses)]
    line = f"{sent.method}: {sizes[0]} -> {sizes[1]}"
    more: dict[str, Any] = {}
    if sent.metadata:
        more["metadata"] = dict(sent.metadata)
    if answer.code:
        more |= {"code": answer.code, "message": answer.message}
    if answer.trailers != Answer().trailers:
        more["trailers"] = {key: len(value) if isinstance(value, bytes) else value for key, value in answer.trailers}
    return {"call": line, **more} if more else line


def from_json(found: Mapping[str, Any]) -> list[Exchange]:
    """The exchanges that `to_json` wrote."""
    messages = io.BytesIO(_unpacked(found["messages"]))
    calls: list[tuple[Sent, str, dict[str, Any]]] = []
    for one in found["calls"]:
        more = one if isinstance(one, dict) else {"call": one}
        method, _, sizes = more["call"].partition(": ")
        sent_sizes, _, answer_sizes = sizes.partition("->")
        sent = tuple([messages.read(int(length)) for length in sent_sizes.split()])
        calls.append((Sent(method, sent, tuple(more.get("metadata", {}).items())), answer_sizes, more))
    exchanges = []
    for asked, sizes, more in calls:
        answers = tuple([messages.read(int(length)) for length in sizes.split()])
        trailers = [
            (key, messages.read(value) if isinstance(value, int) else value)
            for key, value in more.get("trailers", dict(Answer().trailers)).items()
        ]
        answer = Answer(answers, more.get("code", ""), more.get("message", ""), tuple(trailers))
        exchanges.append(Exchange(asked, answer))
    return exchanges
