"""Sliced requests against protobuf's own parser, and written ones too; then whatever else a peer may send."""

import contextlib

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from gradwire.v1 import service_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.requests import (
    MAX_ROWS,
    MAX_TENSORS,
    RequestOptions,
    SlicedEvaluate,
    evaluate_parts,
    explain_parts,
    id_field,
    input_head,
    join,
    program_field,
    size_of,
    slice_evaluate,
    slice_explain,
    slice_register,
    slice_stream_item,
    stream_item_parts,
)
from gradwire.wire.tensors import WIRE_DTYPES, OutgoingTensor, TensorView
from gradwire_engine.program import Layout

program_ids = st.just("") | st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
ascending = st.sets(st.integers(0, 2**32 - 1), max_size=4).map(sorted)
batches = st.builds(service_pb2.Batch, rows=st.integers(0, MAX_ROWS), shared_inputs=ascending, summed_outputs=ascending)


@st.composite
def tensors(draw: st.DrawFn) -> object:
    name = draw(st.sampled_from(["FLOAT32", "FLOAT64", "INT32", "INT64"]))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = int(np.prod(shape, dtype=int)) * int(name[-2:]) // 8
    digest = draw(st.sampled_from([b"", bytes(range(32))]))
    data = draw(st.binary(min_size=size, max_size=size)) if not digest or draw(st.booleans()) else b""
    return {"dtype": f"DTYPE_{name}", "shape": shape, "data": data, "digest": digest}


@st.composite
def requests(draw: st.DrawFn) -> service_pb2.EvaluateRequest:
    request = service_pb2.EvaluateRequest(
        program_id=draw(program_ids),
        program=draw(st.binary(max_size=40)),
        inputs=draw(st.lists(tensors(), max_size=4)),
        batch=draw(st.none() | batches),
        outputs=draw(st.lists(st.integers(0, 2**32 - 1), max_size=5)),
    )
    if draw(st.booleans()):
        request.options.executor = draw(st.sampled_from([0, 1, 2]))
        if draw(st.booleans()):
            request.options.timeout.FromNanoseconds(draw(st.integers(-(10**10), 10**13)))
    return request


def same_tensors(views: tuple[TensorView, ...], messages: object) -> bool:
    return [(WIRE_DTYPES[v.dtype], list(v.shape), bytes(v.data or b""), v.digest) for v in views] == [
        (m.dtype, list(m.shape), m.data, m.digest)
        for m in messages  # type: ignore[attr-defined]
    ]


def check(sliced: SlicedEvaluate, request: service_pb2.EvaluateRequest) -> None:
    assert sliced.program_id == request.program_id
    assert sliced.program == request.program
    assert same_tensors(sliced.inputs, request.inputs)
    assert sliced.rows == (request.batch.rows if request.HasField("batch") else None)
    assert sliced.layout == Layout(
        tuple(request.batch.shared_inputs), tuple(request.batch.summed_outputs), tuple(request.outputs)
    )
    timeout = request.options.timeout
    expected = timeout.ToNanoseconds() * 1e-9 if request.options.HasField("timeout") else None
    assert sliced.options.timeout == (None if expected is None else pytest.approx(expected))
    assert sliced.options.executor == request.options.executor


@given(requests())
@settings(max_examples=200)
def test_a_sliced_request_is_what_protobuf_reads(request: service_pb2.EvaluateRequest) -> None:
    check(slice_evaluate(request.SerializeToString()), request)


@given(requests(), requests())
@settings(max_examples=200)
def test_fields_may_come_twice_and_in_any_order(
    one: service_pb2.EvaluateRequest, other: service_pb2.EvaluateRequest
) -> None:
    data = one.SerializeToString() + other.SerializeToString()
    merged = service_pb2.EvaluateRequest.FromString(data)
    lists = (merged.batch.shared_inputs, merged.batch.summed_outputs)
    if any(sorted(set(found)) != list(found) for found in lists):  # two batches: their lists, one behind the other
        with pytest.raises(WireError, match="ascending"):
            slice_evaluate(data)
    else:
        check(slice_evaluate(data), merged)


@given(requests(), st.data())
@settings(max_examples=200)
def test_damaged_bytes_are_refused_or_read_like_protobuf(
    request: service_pb2.EvaluateRequest, data: st.DataObject
) -> None:
    damaged = bytearray(request.SerializeToString())
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        sliced = slice_evaluate(bytes(damaged))
    except WireError:
        return
    check(sliced, service_pb2.EvaluateRequest.FromString(bytes(damaged)))


@given(st.binary(max_size=100))
@settings(max_examples=300)
def test_random_bytes_raise_nothing_but_a_wire_error(data: bytes) -> None:
    for slicer in (slice_evaluate, slice_explain, slice_register, slice_stream_item):
        with contextlib.suppress(WireError):
            slicer(data)


def test_a_slice_of_a_large_request_copies_no_tensor() -> None:
    array = np.arange(100_000.0)
    data = b"".join(evaluate_parts(program=b"p", inputs=[OutgoingTensor.inline(array)], rows=100_000))
    (view,) = slice_evaluate(data).inputs
    assert view.data is not None
    assert view.data.obj is data


@pytest.mark.parametrize("rows", [None, 0, 1, 70_000])
def test_protobuf_reads_what_a_client_writes(rows: int | None) -> None:
    inputs = [
        OutgoingTensor.inline(np.array(1.5)),
        OutgoingTensor.inline(np.zeros((2, 0), np.int64)),
        OutgoingTensor.inline(np.array([[True], [False]]), bytes(range(32))),
    ]
    layout = Layout((0, 2), (1,), (3, 300, 1)) if rows is not None else Layout()
    parts = evaluate_parts(
        program_id="sha256:" + "0" * 64,
        program=b"xyz",
        inputs=inputs,
        rows=rows,
        layout=layout,
        options=RequestOptions(timeout=2.5, executor=1),
    )
    data = b"".join(parts)
    assert size_of(parts) == len(data)
    request = service_pb2.EvaluateRequest.FromString(data)
    assert request.HasField("batch") == (rows is not None)
    assert [t.data for t in request.inputs] == [np.array(1.5).tobytes(), b"", b"\1\0"]
    check(slice_evaluate(data), request)


def test_a_request_put_together_field_by_field_is_the_one_that_is_written_at_once() -> None:
    name, content, digest = f"sha256:{'1f' * 32}", np.arange(6.0).reshape(2, 3), bytes(range(32))
    inline, kept = OutgoingTensor.inline(content), OutgoingTensor.inline(content, digest)
    by_digest = kept._replace(data=None)
    whole = join(evaluate_parts(program_id=name, program=b"graph", inputs=[inline, kept, by_digest]))
    fields = [id_field(name), program_field(b"graph")]
    for tensor in (inline, kept):
        fields += [input_head(tensor.dtype, tensor.shape, content.nbytes, tensor.digest), content.tobytes()]
    fields.append(input_head(by_digest.dtype, by_digest.shape, 0, digest))
    assert b"".join(fields) == whole
    assert id_field("") == program_field(b"") == b""


def test_an_empty_request_is_empty() -> None:
    assert b"".join(evaluate_parts()) == b""
    assert slice_evaluate(b"") == SlicedEvaluate("", b"", (), None, Layout(), RequestOptions())


def test_a_stream_item_is_its_request_with_a_number() -> None:
    parts = evaluate_parts(program=b"p", inputs=[OutgoingTensor.inline(np.ones(3))], rows=3)
    data = b"".join(stream_item_parts(77, parts))
    message = service_pb2.EvaluateStreamRequest.FromString(data)
    item = slice_stream_item(data)
    assert (item.id, item.kind) == (message.id, "evaluate") == (77, "evaluate")
    check(slice_evaluate(item.data, item.start, item.end), message.evaluate)


def test_the_last_kind_of_a_stream_item_counts_and_equal_kinds_merge() -> None:
    a = service_pb2.EvaluateStreamRequest(id=1, evaluate=service_pb2.EvaluateRequest(program=b"a"))
    b = service_pb2.EvaluateStreamRequest(id=2, blob=service_pb2.Blob(digest=b"d"))
    c = service_pb2.EvaluateStreamRequest(evaluate=service_pb2.EvaluateRequest(outputs=[1]))
    assert slice_stream_item(a.SerializeToString() + b.SerializeToString()).kind == "blob"
    item = slice_stream_item(a.SerializeToString() + c.SerializeToString())
    sliced = slice_evaluate(item.data, item.start, item.end)
    assert (item.id, sliced.program, sliced.layout.outputs) == (1, b"a", (1,))


def test_an_explain_request_is_read_like_protobuf() -> None:
    inputs = [OutgoingTensor.inline(np.array([1.0, 2.0]))]
    seeds = [OutgoingTensor.inline(np.array([0.0, 1.0]))]
    data = b"".join(explain_parts(program=b"p", inputs=inputs, mode="reverse", seeds=seeds))
    message = service_pb2.ExplainRequest.FromString(data)
    sliced = slice_explain(data)
    assert message.mode == service_pb2.EXPLAIN_MODE_REVERSE
    assert (sliced.program, sliced.mode) == (b"p", "reverse")
    assert same_tensors(sliced.inputs, message.inputs)
    assert same_tensors(sliced.seeds, message.seeds)
    assert slice_explain(b"").mode == "forward"


def test_a_register_request_has_its_layouts_in_order() -> None:
    message = service_pb2.RegisterRequest(
        program=b"p", layouts=[service_pb2.Batch(shared_inputs=[1, 4]), service_pb2.Batch(rows=7, summed_outputs=[0])]
    )
    sliced = slice_register(message.SerializeToString())
    assert sliced.layouts == (Layout((1, 4), ()), Layout((), (0,)))
    assert sliced.program == b"p"


def refused(path: str, **fields: object) -> tuple[bytes, str]:
    return service_pb2.EvaluateRequest(**fields).SerializeToString(), path  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "path"),
    [
        refused("program_id", program_id="sha256:abc"),
        refused("program_id", program_id="SHA256:" + "0" * 64),
        refused("batch.rows", batch=service_pb2.Batch(rows=MAX_ROWS + 1)),
        refused("batch.shared_inputs", batch=service_pb2.Batch(shared_inputs=[1, 1])),
        refused("batch.summed_outputs", batch=service_pb2.Batch(summed_outputs=[2, 1])),
        refused("batch.shared_inputs", batch=service_pb2.Batch(shared_inputs=range(MAX_TENSORS + 1))),
        refused("options", options={"executor": 3}),
        refused("inputs[1].dtype", inputs=[{"dtype": 2, "data": bytes(8)}, {}]),
        (b"\x1a\x00" * (MAX_TENSORS + 1), "inputs"),
        (b"\x22\x02\x12\xff", "batch"),
        (b"\x32\x02\x0a\xff", "options"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(data: bytes, path: str) -> None:
    with pytest.raises(WireError) as caught:
        slice_evaluate(data)
    assert caught.value.path == path


def test_too_many_tensors_are_refused_before_they_are_read() -> None:
    one = b"\x1a\x0c" + service_pb2.EvaluateRequest(inputs=[{"dtype": 2, "data": bytes(8)}]).SerializeToString()[2:]
    with pytest.raises(WireError, match="10,001 tensors; at most 10,000"):
        slice_evaluate(one * (MAX_TENSORS + 1))
    with pytest.raises(DecodeError):
        service_pb2.EvaluateRequest.FromString(one + b"\xff")
