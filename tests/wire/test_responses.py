"""Responses against protobuf's own parser, both ways."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire.v1 import service_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.requests import size_of
from gradwire.wire.responses import (
    RowError,
    RunReport,
    decode_evaluated,
    decode_stream_answer,
    evaluated_parts,
    output_head,
    stream_error,
    stream_result_parts,
)
from gradwire.wire.status import StatusDetails, encode_error
from gradwire_engine.types import TensorType

REPORT = RunReport(300, 4, 0.25, 1e-5, 0.0, "reference", "1.2.3")
ARRAYS = [np.array(1.5), np.array([[True, False]]), np.zeros((0, 2), np.float32), np.arange(300)]
OUTPUTS = [(output_head(TensorType.of(a)), memoryview(a.tobytes())) for a in ARRAYS]
ROW_ERRORS = (RowError(0, "MAX_STEPS_EXCEEDED", "500 steps"), RowError(7, "MAX_STEPS_EXCEEDED", ""))


def test_protobuf_reads_what_a_server_writes() -> None:
    parts = evaluated_parts(OUTPUTS, ROW_ERRORS, REPORT)
    data = b"".join(parts)
    assert size_of(parts) == len(data)
    message = service_pb2.EvaluateResponse.FromString(data)
    assert [t.data for t in message.outputs] == [a.tobytes() for a in ARRAYS]
    assert [tuple(t.shape) for t in message.outputs] == [a.shape for a in ARRAYS]
    assert tuple(RowError(e.row, e.reason, e.message) for e in message.row_errors) == ROW_ERRORS
    report = message.report
    assert (report.batch_rows, report.batch_requests) == (300, 4)
    assert (report.queue_seconds, report.compute_seconds, report.prepare_seconds) == (0.25, 1e-5, 0.0)
    assert (report.executor, report.server_version) == (service_pb2.EXECUTOR_REFERENCE, "1.2.3")


def test_a_client_reads_what_protobuf_writes() -> None:
    message = service_pb2.EvaluateResponse.FromString(b"".join(evaluated_parts(OUTPUTS, ROW_ERRORS, REPORT)))
    evaluated = decode_evaluated(message.SerializeToString())
    for found, array in zip(evaluated.outputs, ARRAYS, strict=True):
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert found.flags.writeable
        assert found.flags.c_contiguous
    assert (evaluated.row_errors, evaluated.report) == (ROW_ERRORS, REPORT)


def test_answers_on_a_stream_say_which_item_and_what_came_of_it() -> None:
    parts = evaluated_parts(OUTPUTS[:1], (), REPORT)
    result = decode_stream_answer(b"".join(stream_result_parts(9, parts)))
    assert result.id == 9
    assert result.content.outputs[0] == 1.5  # type: ignore[union-attr]
    failure = StatusDetails(code=8, message="full", reason="QUEUE_FULL", domain="gradwire", retry_delay=0.5)
    data = stream_error(3, encode_error(failure))
    assert service_pb2.EvaluateStreamResponse.FromString(data).error.reason == "QUEUE_FULL"
    answer = decode_stream_answer(data)
    assert (answer.id, answer.content) == (3, failure)
    stored = service_pb2.EvaluateStreamResponse(id=1, stored=service_pb2.Stored(digest=b"d" * 32))
    assert decode_stream_answer(stored.SerializeToString()).content == b"d" * 32


@pytest.mark.parametrize("data", [b"", b"\x08\x01", b"\x12\x05", b"\x12\x03\x0a\x01\x00", b"\x1a\x01\xff"])
def test_an_answer_that_makes_no_sense_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_stream_answer(data)


@given(st.binary(max_size=80))
def test_random_bytes_raise_nothing_but_a_wire_error(data: bytes) -> None:
    for decode in (decode_evaluated, decode_stream_answer):
        with contextlib.suppress(WireError):
            decode(data)
