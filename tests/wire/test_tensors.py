"""Tensor messages against protobuf's own reading, numpy's own bytes, and a digest computed from the contract's text."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradwire.v1 import tensor_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.tensors import (
    OutgoingTensor,
    array_of,
    packed_array,
    read_array,
    read_tensor,
    read_tensors,
    tensor_digest,
    tensor_parts,
)
from gradwire_engine.types import DType

DTYPES = ["float32", "float64", "int32", "int64", "bool"]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


def message_of(tensor: OutgoingTensor) -> bytes:
    """The Tensor message alone: the parts without the header of the field that holds it."""
    return b"".join(tensor_parts(1, tensor)[1:])


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(arrays)
@settings(max_examples=200)
def test_protobuf_reads_what_is_written(array: np.ndarray) -> None:
    message = tensor_pb2.Tensor.FromString(message_of(OutgoingTensor.inline(array)))
    assert tensor_pb2.DType.Name(message.dtype) == f"DTYPE_{array.dtype.name.upper()}"
    assert tuple(message.shape) == array.shape
    assert message.data == array.astype(array.dtype.newbyteorder("<")).tobytes()
    assert message.digest == b""


@given(arrays)
@settings(max_examples=200)
def test_what_protobuf_writes_is_read(array: np.ndarray) -> None:
    number = tensor_pb2.DType.Value(f"DTYPE_{array.dtype.name.upper()}")
    message = tensor_pb2.Tensor(dtype=number, shape=array.shape, data=array.tobytes())  # type: ignore[arg-type]
    data = message.SerializeToString()
    assert same_bits(read_array(data, 0, len(data)), array)


@given(arrays, st.data())
def test_strides_and_byte_order_do_not_matter(array: np.ndarray, data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(array.ndim)))
    variant = array.transpose(axes)
    swapped = variant.astype(variant.dtype.newbyteorder(">"))
    for one in (variant, swapped, np.asfortranarray(variant).reshape(variant.shape)):
        sent = OutgoingTensor.inline(one)
        assert sent.shape == variant.shape
        assert same_bits(array_of(sent.dtype, sent.shape, sent.data.tobytes()), variant)


def test_an_array_that_can_travel_as_it_is_is_not_copied() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert np.shares_memory(packed_array(array, DType.FLOAT64), array)


def test_a_view_does_not_copy_and_an_array_is_writable() -> None:
    message = message_of(OutgoingTensor.inline(np.arange(1000.0)))
    view = read_tensor(message, 0, len(message))
    assert view.data is not None
    assert view.data.obj is message
    array = read_array(message, 0, len(message))
    array[:] = 0
    assert same_bits(read_array(message, 0, len(message)), np.arange(1000.0))


@given(arrays)
def test_the_digest_is_the_one_of_the_contract(array: np.ndarray) -> None:
    dtype = DType.of(array.dtype)
    number = tensor_pb2.DType.Value(f"DTYPE_{array.dtype.name.upper()}")
    text = struct.pack("<BB", number, array.ndim) + struct.pack(f"<{array.ndim}Q", *array.shape) + array.tobytes()
    assert tensor_digest(dtype, array.shape, array.tobytes()) == hashlib.sha256(text).digest()


def test_a_digest_stands_for_the_data_or_beside_them() -> None:
    array = np.arange(4, dtype=np.int32)
    digest = tensor_digest(DType.INT32, (4,), array.tobytes())
    alone = message_of(OutgoingTensor(DType.INT32, (4,), None, digest))
    assert read_tensor(alone, 0, len(alone)).data is None
    both = message_of(OutgoingTensor.inline(array, digest))
    assert read_tensor(both, 0, len(both)).data == array.tobytes()
    for message in (alone, both):
        assert read_tensor(message, 0, len(message)).digest == digest
        assert tensor_pb2.Tensor.FromString(message).digest == digest


def test_an_empty_array_with_a_digest_is_inline() -> None:
    message = message_of(OutgoingTensor.inline(np.zeros((0, 3)), bytes(32)))
    assert read_tensor(message, 0, len(message)).data == b""


def tensor(**fields: object) -> bytes:
    return tensor_pb2.Tensor(**fields).SerializeToString()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "path", "text"),
    [
        (tensor(shape=[2], data=bytes(16)), "x[0].dtype", "element type 0 does not exist"),
        (tensor(dtype=9, shape=[2], data=bytes(16)), "x[0].dtype", "element type 9 does not exist; use one of 1"),
        (tensor(dtype=2, shape=[-1], data=bytes(8)), "x[0].shape", "negative"),
        (tensor(dtype=2, shape=[1] * 17, data=bytes(8)), "x[0].shape", "16"),
        (tensor(dtype=2, shape=[3], data=bytes(23)), "x[0].data", r"23 bytes; float64\[3\] has 24"),
        (tensor(dtype=2, shape=[3]), "x[0].data", "only a tensor with a digest"),
        (tensor(dtype=2, shape=[3], data=bytes(16), digest=bytes(32)), "x[0].data", "16 bytes"),
        (tensor(dtype=2, shape=[3], digest=bytes(31)), "x[0].digest", "31 bytes"),
        (tensor(dtype=5, shape=[3], data=b"\0\1\2"), "x[0].data", "byte 0 or 1"),
        (tensor(dtype=1, shape=[2**62, 2**62]), "x[0].data", "0 bytes"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(message: bytes, path: str, text: str) -> None:
    with pytest.raises(WireError, match=text) as caught:
        read_tensors(message, [(0, len(message))], "x")
    assert caught.value.path == path
    assert caught.value.reason == "MALFORMED_REQUEST"


@given(st.binary(max_size=80))
def test_random_bytes_are_a_tensor_or_a_wire_error(data: bytes) -> None:
    try:
        view = read_tensor(data, 0, len(data))
    except WireError:
        return
    message = tensor_pb2.Tensor.FromString(data)
    assert (view.shape, view.digest) == (tuple(message.shape), message.digest)
