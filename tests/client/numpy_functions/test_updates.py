"""gw.special.at_set and its kin, and x.at: what assignments do to arrays, as functions of traced ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kit.client.evaluating import assert_same, traced

import gradwire as gw
from gradwire.errors import ShapeError
from gradwire.special import at_add, at_max, at_min, at_multiply, at_set

UPDATES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "set": (at_set, lambda a, i, v: a.__setitem__(i, v)),
    "add": (at_add, np.add.at),
    "multiply": (at_multiply, np.multiply.at),
    "min": (at_min, np.minimum.at),
    "max": (at_max, np.maximum.at),
}

INDICES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "a number": (1, (3,)),
    "a number from the end": (-1, (3,)),
    "a slice": (slice(0, None, 2), (2, 3)),
    "backwards": (slice(None, None, -1), (4, 3)),
    "a place": ((2, 0), ()),
    "a column": ((slice(None), 1), (4,)),
    "an ellipsis": ((..., 2), (4,)),
    "repeated rows": ([0, 2, 0, 0, 2], (5, 3)),
    "repeated places": (([0, 1, 0, -4], [2, 2, 2, -1]), (4,)),
    "nothing": ([], (0, 3)),
    "a mask": (np.array([True, False, True, False]), (2, 3)),
}


def array(shape: tuple[int, ...], seed: int, dtype: Any = np.float64) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * 3).astype(dtype)


def in_place(change: Callable[..., Any], x: np.ndarray, index: Any, values: np.ndarray) -> np.ndarray:
    found = x.copy()
    change(found, index, values)
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_is_the_assignment(name: str, index: str, dtype: Any) -> None:
    update, change = UPDATES[name]
    where, shape = INDICES[index]
    x, values = array((4, 3), 1, dtype), array(shape, 2, dtype)
    expected = in_place(change, x, where, values)
    assert_same(update(x, where, values), expected)
    assert_same(traced(lambda x, v: update(x, where, v), x, values), expected)
    assert_same(traced(lambda x: getattr(x.at[where], name)(values), x), expected)
    one = values.dtype.type(2)
    assert_same(traced(lambda x: update(x, where, one), x), in_place(change, x, where, one))


@pytest.mark.parametrize("name", UPDATES)
def test_a_traced_index_is_like_a_known_one(name: str) -> None:
    update, change = UPDATES[name]
    x, values, rows, columns = (
        array((4, 3), 3),
        array((6,), 4),
        np.array([0, 3, 0, -4, 2, 3]),
        np.array([1, 2, 1, 1, 0, 2]),
    )
    expected = in_place(change, x, (rows, columns), values)
    assert_same(traced(lambda x, i, j, v: update(x, (i, j), v), x, rows, columns, values), expected)
    assert_same(
        traced(lambda x, i: update(x, (slice(None), i), 1.5), x, np.int64(2)),
        in_place(change, x, (slice(None), 2), 1.5),
    )


@pytest.mark.parametrize("name", UPDATES)
def test_traced_indices_out_of_range_are_dropped(name: str) -> None:
    update, change = UPDATES[name]
    x, values = array((4,), 5), array((5,), 6)
    expected = in_place(change, x, [1, -1], values[[0, 3]])
    assert_same(traced(lambda x, i, v: update(x, i, v), x, np.array([1, 4, -5, -1, 99]), values), expected)


def test_a_traced_mask_takes_one_update_for_all() -> None:
    x = array((4, 3), 7)
    assert_same(traced(lambda x: at_set(x, x < 0, 0.0), x), np.where(x < 0, 0.0, x))
    assert_same(traced(lambda x: at_add(x, x[:, 0] < 0, np.arange(3.0)), x), x + (x[:, :1] < 0) * np.arange(3.0))
    with pytest.raises(ShapeError, match="a traced mask"):
        traced(lambda x: at_set(x, x[:, 0] < 0, np.ones((2, 3))), x)


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"values of shape \(2,\) do not fit x\[index\] of shape \(3,\)"):
        traced(lambda x: at_set(x, [0, 1, 2], x[:2]), array((4,), 8))


def test_what_was_replaced_has_no_part_in_a_derivative() -> None:
    """Not even an infinite slope; and of repeated updates the last has it all."""
    x, values = np.array([0.0, 4.0, 9.0]), np.array([0.0, 16.0])

    def function(x: Any, v: Any) -> Any:
        return np.sum(at_set(np.sqrt(x), [0, 0], np.sqrt(v)))

    by_x, by_v = gw.grad(function, (0, 1))(x, values)
    np.testing.assert_array_equal(by_x, [0.0, 1 / 4, 1 / 6])
    np.testing.assert_array_equal(by_v, [0.0, 1 / 8])
    by_x, by_v = gw.grad(lambda x, v: np.sum(at_add(x, [1, 1], v) ** 2), (0, 1))(x, values)
    np.testing.assert_array_equal(by_x, [0.0, 40.0, 18.0])
    np.testing.assert_array_equal(by_v, [40.0, 40.0])
    by_x, by_v = gw.grad(lambda x, v: np.sum(at_max(x, [1, 1], v)), (0, 1))(x, np.array([4.0, 4.0]))
    np.testing.assert_array_equal(by_x, [1.0, 0.5, 1.0])
    np.testing.assert_array_equal(by_v, [0.25, 0.25])
    by_x, by_v = gw.grad(lambda x, v: np.sum(at_multiply(x, [1, 1], v)), (0, 1))(x, np.array([0.0, 5.0]))
    np.testing.assert_array_equal(by_x, [1.0, 0.0, 1.0])
    np.testing.assert_array_equal(by_v, [20.0, 0.0])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(UPDATES)), st.lists(st.integers(-3, 2), max_size=8), st.booleans(), st.integers(0, 99))
def test_random_places(name: str, places: list[int], known: bool, seed: int) -> None:
    update, change = UPDATES[name]
    x, values, index = array((3, 2), seed), array((len(places), 2), seed + 1), np.array(places, np.int64)
    expected = in_place(change, x, index, values)
    if known:
        assert_same(traced(lambda x, v: update(x, index, v), x, values), expected)
    else:
        assert_same(traced(lambda x, i, v: update(x, i, v), x, index, values), expected)


def test_batches_of_indices() -> None:
    x, i, v = array((5, 4), 9), np.array([[0, 0], [1, 2], [3, 3], [-1, 3], [2, 9]]), array((5, 2), 10)
    found = gw.vmap(lambda x, i, v: at_set(x, i, v))(x, i, v)
    for row in range(5):
        kept = [k for k in range(2) if -4 <= i[row, k] < 4]
        np.testing.assert_array_equal(found[row], in_place(UPDATES["set"][1], x[row], i[row, kept], v[row, kept]))
