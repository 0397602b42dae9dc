"""The hand-written reader of google.rpc.Status against googleapis' own messages."""

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from gradwire.wire.status import StatusDetails, decode_error, decode_status, encode_error

texts = st.text(max_size=20)
failures = st.builds(
    StatusDetails,
    code=st.integers(0, 16),
    message=texts,
    reason=texts.filter(bool),
    domain=st.just("gradwire"),
    metadata=st.dictionaries(texts, texts, max_size=3),
    violations=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    retry_delay=st.none() | st.integers(0, 10**6).map(lambda ms: ms / 1000),
)


def packed(detail: Message) -> Any:
    wrapped = Any()
    wrapped.Pack(detail)
    return wrapped


def status_of(failure: StatusDetails) -> bytes:
    """The same failure, written by googleapis."""
    details = [
        packed(
            error_details_pb2.ErrorInfo(reason=failure.reason, domain=failure.domain, metadata=dict(failure.metadata))
        )
    ]
    if failure.violations:
        violations = [{"field": path, "description": what} for path, what in failure.violations]
        details.append(packed(error_details_pb2.BadRequest(field_violations=violations)))
    if failure.retry_delay is not None:
        delay = Duration()
        delay.FromMilliseconds(round(failure.retry_delay * 1000))
        details.append(packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=failure.code, message=failure.message, details=details).SerializeToString()


def same(a: StatusDetails, b: StatusDetails) -> bool:
    delays = (a.retry_delay, b.retry_delay)
    near = delays[0] == delays[1] if None in delays else delays[0] == pytest.approx(delays[1])
    fields = ("code", "message", "reason", "domain", "metadata", "violations")
    return near and all(getattr(a, name) == getattr(b, name) for name in fields)


@given(failures)
def test_a_status_is_read_as_googleapis_wrote_it(failure: StatusDetails) -> None:
    assert same(decode_status(status_of(failure)), failure)


@given(failures)
def test_an_error_of_a_stream_says_the_same_as_a_status(failure: StatusDetails) -> None:
    assert same(decode_error(encode_error(failure)), failure)


def test_details_of_others_are_passed_over() -> None:
    other = error_details_pb2.DebugInfo(detail="x")
    info = error_details_pb2.ErrorInfo(reason="R", domain="d")
    data = status_pb2.Status(code=3, message="m", details=[packed(other), packed(info)]).SerializeToString()
    assert decode_status(data) == StatusDetails(code=3, message="m", reason="R", domain="d")


@given(st.binary(max_size=80))
def test_bytes_that_are_no_status_give_one_without_details(data: bytes) -> None:
    assert isinstance(decode_status(data), StatusDetails)


@given(failures, st.data())
def test_a_status_that_was_cut_gives_what_is_left(failure: StatusDetails, data: st.DataObject) -> None:
    whole = status_of(failure)
    cut = decode_status(whole[: data.draw(st.integers(0, len(whole)))])
    assert cut.reason in ("", failure.reason)
