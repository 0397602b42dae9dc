"""Structures of arguments and results."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire.errors import TracingError
from gradwire.tracing.trees import LEAF, NOTHING, Tree, compose, flatten, tuple_of

Pair = namedtuple("Pair", ["left", "right"])

leaves = st.integers() | st.floats(allow_nan=False)
values = st.recursive(
    leaves | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_building_undoes_flattening(value: Any) -> None:
    found, tree = flatten(value)
    assert tree.build(found) == value
    assert tree.size == len(found) == len(tree.paths())
    assert tree == flatten(value)[1]
    assert hash(tree) == hash(flatten(value)[1])


@given(values)
def test_a_value_has_its_own_structure(value: Any) -> None:
    found, tree = flatten(value)
    assert tree.leaves_of(value, "value") == found
    assert tree.spread(7, "prefix") == [7] * len(found)


def test_containers_keep_their_types() -> None:
    value = OrderedDict(a=[1, (2,)], b=Pair(3, {}))
    found, tree = flatten(value)
    rebuilt = tree.build([x * 10 for x in found])
    assert rebuilt == OrderedDict(a=[10, (20,)], b=Pair(30, {}))
    assert type(rebuilt) is OrderedDict
    assert type(rebuilt["b"]) is Pair
    assert str(tree) == "{'a': [*, (*,)], 'b': Pair(*, {})}"


def test_other_structures_are_different() -> None:
    structures = [
        flatten(one)[1] for one in ((1, 2), [1, 2], {"a": 1, "b": 2}, Pair(1, 2), (1, (2,)), (1, None), 1, None)
    ]
    assert len(set(structures)) == len(structures)


def test_dictionaries_are_matched_by_key() -> None:
    tree = flatten({"a": 1, "b": (2, 3)})[1]
    assert tree.leaves_of({"b": (20, 30), "a": 10}, "value") == [10, 20, 30]
    assert tree.spread({"b": 5, "a": 6}, "prefix") == [6, 5, 5]
    assert tree.paths("w") == ["w['a']", "w['b'][0]", "w['b'][1]"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, r"tangents has the keys \['a'\], expected \['a', 'b'\]"),
        ((1, 2), "tangents is a tuple where"),
        ({"a": 1, "b": (1,)}, r"tangents\['b'\] has 1 entries, expected 2"),
        ({"a": (1,), "b": (1, 2)}, "nested deeper"),
        (1, "is a int, expected"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, message: str) -> None:
    tree = flatten({"a": 1, "b": (2, 3)})[1]
    with pytest.raises(TracingError, match=message):
        tree.leaves_of(value, "tangents")


def test_leaves_are_replaced_by_structures() -> None:
    tree = compose(tuple_of(LEAF, Tree(list, (LEAF,))), lambda i: LEAF if i else tuple_of(LEAF, NOTHING))
    assert tree.build([1, 2]) == ((1, None), [2])
