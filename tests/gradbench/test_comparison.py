"""The comparison of answers: what it lets pass, and above all what it does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.gradbench.comparison import mismatches, require_equal

GOLDEN = {"vals": [1.0, 2.5, -1e9], "rows": [0, 15], "nested": {"deep": [[0.0]]}, "value": 3.0}


@pytest.mark.parametrize(
    "actual",
    [
        GOLDEN,
        {**GOLDEN, "value": 3},
        {**GOLDEN, "value": 3.0 + 6e-8},
        {**GOLDEN, "vals": [1.0 + 1e-8, 2.5, -1e9 - 1.0]},
        {**GOLDEN, "nested": {"deep": [[-9e-9]]}},
    ],
)
def test_answers_that_are_close_enough_pass(actual: Any) -> None:
    require_equal(GOLDEN, actual)


@pytest.mark.parametrize(
    ("actual", "place"),
    [
        ({**GOLDEN, "value": 3.0 + 1e-7}, "output.value"),
        ({**GOLDEN, "value": math.nan}, "output.value"),
        ({**GOLDEN, "value": math.inf}, "output.value"),
        ({**GOLDEN, "value": None}, "output.value"),
        ({**GOLDEN, "value": "3.0"}, "output.value"),
        ({**GOLDEN, "value": True}, "output.value"),
        ({**GOLDEN, "value": [3.0]}, "output.value"),
        ({**GOLDEN, "vals": [1.0, 2.5]}, "output.vals"),
        ({**GOLDEN, "vals": [1.0, 2.5, -1e9, 0.0]}, "output.vals"),
        ({**GOLDEN, "vals": [1.0, math.nan, -1e9]}, "output.vals[1]"),
        ({**GOLDEN, "vals": 1.0}, "output.vals"),
        ({**GOLDEN, "rows": [0, 16]}, "output.rows[1]"),
        ({**GOLDEN, "nested": {"deep": [[2e-8]]}}, "output.nested.deep[0][0]"),
        ({**GOLDEN, "nested": {}}, "output.nested.deep"),
        ({**GOLDEN, "more": 1}, "output.more"),
        ([], "output"),
    ],
)
def test_answers_that_are_not_are_named(actual: Any, place: str) -> None:
    found = list(mismatches(GOLDEN, actual))
    assert len(found) == 1
    assert found[0].startswith(f"{place}: ")


@pytest.mark.parametrize("golden", [math.nan, math.inf])
def test_a_golden_value_that_is_no_number_is_never_met(golden: float) -> None:
    assert list(mismatches(golden, golden))


def test_whole_numbers_are_compared_exactly() -> None:
    """1e-8 of a row pointer of a million would be more than nothing."""
    assert list(mismatches(10**9, 10**9 + 1))


def test_only_the_first_differences_are_shown() -> None:
    with pytest.raises(AssertionError) as caught:
        require_equal([0.0] * 100, [1.0] * 100)
    assert str(caught.value).startswith("100 differences:\noutput[0]: 0.0 expected, got 1.0")
    assert "output[9]" in str(caught.value)
    assert "output[10]" not in str(caught.value)
