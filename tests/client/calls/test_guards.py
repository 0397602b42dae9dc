"""What a function reads besides its arguments is guarded by content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.client.counting import Counter

import gradwire as gw
from gradwire.calls.guards import Guard

X = np.array([0.5, -1.0, 2.0])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1.0, 2.0), (1, 1.0), (True, 1), (0.0, -0.0), ("a", "b"), (None, 1.0), (X, X + 1), (X, X[:2]),
        (X, X.astype(np.float32)), ([1.0, 2.0], [1.0, 3.0]), ((1.0,), (1.0, 2.0)), ({"a": 1.0}, {"a": 2.0}),
        ({"a": 1.0}, {"b": 1.0}), ([{"a": [X]}], [{"a": [X * 2]}]), ([1.0], (1.0,)), (np.float32(1), np.float64(1)),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_closure_holds_is_guarded_by_content(before: Any, after: Any) -> None:
    held = before
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return x * 2.0 if held is None else x

    gradient = gw.grad(f)
    gradient(1.0)
    gradient(1.0)
    assert count.runs == 1
    held = after
    gradient(1.0)
    assert count.runs == 2
    held = before
    gradient(1.0)
    assert count.runs == 2  # the trace for the first content is still there


@pytest.mark.parametrize("value", [float("nan"), np.float64("nan"), np.array([np.nan, -0.0])], ids=str)
def test_a_nan_equals_itself(value: Any) -> None:
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return np.sum(x * value)

    gradient = gw.grad(f)
    for _ in range(2):
        value = np.array(value) if isinstance(value, np.ndarray) else type(value)(value)
        gradient(1.0)
    assert count.runs == 1


def test_changes_in_place_are_seen() -> None:
    weights, table = np.array([1.0, 2.0]), {"list": [1.0, 2.0]}

    def f(x: Any) -> Any:
        return np.sum(x * weights) * table["list"][1]

    gradient = gw.grad(f)
    assert gradient(1.0) == 6.0
    weights[0] = 3.0
    assert gradient(1.0) == 10.0
    table["list"][1] = 1.0
    assert gradient(1.0) == 5.0


SCALE = 2.0
OFFSETS = [1.0, 2.0]


def uses_globals(x: Any, times: Any = 1.0, *, plus: Any = 0.0) -> Any:
    def inner() -> Any:
        return SCALE * x

    return inner() * OFFSETS[0] * times + plus


def test_globals_and_defaults_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = gw.grad(uses_globals)
    assert gradient(1.0) == 2.0
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert gradient(1.0) == 3.0
    monkeypatch.setitem(globals(), "OFFSETS", [2.0])
    assert gradient(1.0) == 6.0
    monkeypatch.setattr(uses_globals, "__defaults__", (5.0,))
    assert gradient(1.0) == 30.0
    monkeypatch.setattr(uses_globals, "__kwdefaults__", {"plus": np.float64(1.0)})
    assert gw.remote(uses_globals)(1.0) == 31.0


def test_a_helper_that_is_defined_again_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "helper", lambda x: x * 2)

    def f(x: Any) -> Any:
        return helper(x)  # type: ignore[name-defined]  # noqa: F821

    gradient = gw.grad(f)
    assert gradient(1.0) == 2.0
    monkeypatch.setitem(globals(), "helper", lambda x: x * 5)
    assert gradient(1.0) == 5.0


def test_read_only_arrays_are_not_compared() -> None:
    table = np.arange(100.0)
    table.flags.writeable = False

    def f(x: Any) -> Any:
        return x * table

    guard = Guard(f)
    assert guard.large_arrays()[0].copy is table
    assert guard.holds()
