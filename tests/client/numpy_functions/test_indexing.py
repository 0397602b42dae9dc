"""``x[…]`` against numpy, on random shapes and indices; traced indices; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from tests.kit.client.evaluating import assert_like_numpy, assert_same, graph_of, traced

from gradwire.errors import TracingError


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape)


shapes = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_basic_indices(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    index = data.draw(arrays_of.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    assert_like_numpy(lambda x: x[index], numbered(shape))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_index_arrays_among_slices_and_integers(data: st.DataObject) -> None:
    shape = data.draw(arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    result = data.draw(arrays_of.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    parts: list[Any] = []
    for length in shape:
        kind = data.draw(st.sampled_from(["slice", "int", "array", "row"]))
        if kind == "slice":
            parts.append(data.draw(st.slices(length)))
        elif kind == "int":
            parts.append(data.draw(st.integers(-length, length - 1)))
        else:
            wanted = result if kind == "array" else result[-1:]
            entries = st.integers(-length, length - 1)
            parts.append(data.draw(arrays_of.arrays(np.int64, wanted, elements=entries)))
    keep = data.draw(st.integers(1, len(parts)))
    parts = parts[:keep]
    if data.draw(st.booleans()):
        parts.insert(data.draw(st.integers(0, keep)), None)
    if data.draw(st.booleans()):
        # between all axes it stands for none, and still keeps index arrays apart
        parts.insert(data.draw(st.integers(0, len(parts))) if keep == len(shape) else len(parts), Ellipsis)
    index = tuple(parts)
    assert_like_numpy(lambda x: x[index], numbered(shape))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_masks_of_known_booleans(data: st.DataObject) -> None:
    shape = data.draw(arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    count = data.draw(st.integers(1, len(shape)))
    mask = data.draw(arrays_of.arrays(np.bool_, shape[:count]))
    assert_like_numpy(lambda x: x[mask], numbered(shape))


@pytest.mark.parametrize(
    "index",
    [
        np.s_[..., 0], np.s_[::-1, ::2], np.s_[-1:0:-2], np.s_[None, :, None], np.s_[[0, 2]],
        np.s_[[True, False, True]],
        np.s_[:, [0, 1], None, [1, 2]], np.s_[0, :, [0, 1]], np.s_[[[0], [1]], :, [0, 1]], np.s_[[], :], np.s_[5:1],
        np.s_[np.array(1), :, np.int32(2)], np.s_[:, np.array(2)], np.s_[[0, 1], [1, 0], [2, 2]],
    ],
    ids=str,
)  # fmt: skip
def test_examples(index: Any) -> None:
    assert_like_numpy(lambda x: x[index], numbered((3, 3, 4)))


def test_slices_need_no_gather() -> None:
    graph, *_ = graph_of(lambda x: x[1::2, ::-1, 0], numbered((4, 3, 2)))
    assert {node.op.name for node in graph.nodes} == {"slice", "flip", "reshape"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_traced_indices(data: st.DataObject) -> None:
    shape = data.draw(arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    entries = st.integers(-shape[axis], shape[axis] - 1)
    dtype = data.draw(st.sampled_from([np.int32, np.int64]))
    index = data.draw(arrays_of.arrays(dtype, data.draw(shapes), elements=entries))
    before = (slice(None),) * axis
    assert_like_numpy(lambda x, i: x[(*before, i)], numbered(shape), index)
    assert_like_numpy(lambda x, i: np.take(x, i, axis=axis), numbered(shape), index)


def test_several_traced_and_known_indices_together() -> None:
    x, i = numbered((3, 4, 5)), np.array([[0, -1], [2, 1]])
    assert_like_numpy(lambda x, i: x[i, :, [1, 2]], x, i)
    assert_like_numpy(lambda x, i: x[:, i, i + 1], x, i)
    assert_like_numpy(lambda x, i: x[i[0, 0], 1, i[1, 1]], x, i)


def test_traced_indices_out_of_range_read_nan() -> None:
    x = numbered((3,))
    assert_same(traced(lambda x, i: x[i], x, np.array([0, 3, -3, -4])), np.array([0.0, np.nan, 0.0, np.nan]))


def test_known_indices_out_of_range_are_refused() -> None:
    for index in (3, -4, np.s_[[0, 3]], np.s_[:, 2], (0, 0, 0)):
        with pytest.raises(IndexError):
            traced(lambda x, index=index: x[index], np.zeros((3, 2)))


def test_what_cannot_be_an_index_is_refused() -> None:
    for index, message in (
        (np.s_[1.5], "valid indices"),
        (np.s_["a"], "valid indices"),
        (np.s_[::0], "step cannot be zero"),
        (np.s_[True], "np.where"),
        (np.s_[..., ...], "single ellipsis"),
        (np.zeros(2, dtype=bool), "boolean index"),
    ):
        with pytest.raises(TracingError, match=message):
            traced(lambda x, index=index: x[index], np.zeros((3, 2)))
    with pytest.raises(TracingError, match=r"np\.where\(mask, x, 0\)"):
        traced(lambda x: x[x > 0], np.zeros(3))
    with pytest.raises(IndexError, match="integer type"):
        traced(lambda x: x[x], np.zeros(3))
    with pytest.raises(TracingError, match="Python integer"):
        traced(lambda x, i: x[:i], np.zeros(3), np.int64(1))
