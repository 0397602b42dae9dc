"""What a plan will take, learnt from what it took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_engine.bounds import Bound
from gradwire_server.scheduling.prediction import Prediction


def test_until_it_has_run_the_bound_on_operations_is_the_guess() -> None:
    prediction = Prediction(Bound(2_000_000, 1000), 1e6)
    assert not prediction.is_measured
    assert prediction.seconds(500) == pytest.approx(2.5, rel=1e-3)
    assert prediction.per_row == pytest.approx(1e-3)


def test_after_one_run_the_guess_is_scaled_to_what_was_measured() -> None:
    prediction = Prediction(Bound(0, 1000), 1e6)
    prediction.measured(100, 5.0)
    assert prediction.is_measured
    assert prediction.seconds(100) == pytest.approx(5.0)
    assert prediction.seconds(200) == pytest.approx(10.0, rel=0.01)


def test_runs_of_different_sizes_give_the_line() -> None:
    prediction = Prediction(Bound(0, 1), 1e9)
    for rows in (1, 10, 100, 1000):
        prediction.measured(rows, 0.02 + 0.003 * rows)
    assert prediction.seconds(500) == pytest.approx(0.02 + 1.5)
    assert prediction.per_row == pytest.approx(0.003)


def test_what_was_long_ago_is_forgotten() -> None:
    prediction = Prediction(Bound(0, 1), 1e9)
    for _ in range(100):
        prediction.measured(10, 1.0)
    for _ in range(60):
        prediction.measured(10, 0.1)
    assert prediction.seconds(10) == pytest.approx(0.1, rel=0.05)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 100)), max_size=20), st.integers(0, 10**6))
def test_a_prediction_is_never_negative_and_never_decreases(runs: list[tuple[int, float]], rows: int) -> None:
    prediction = Prediction(Bound(5, 7), 1e9)
    for run in runs:
        prediction.measured(*run)
    assert prediction.per_row >= 0
    assert 0 <= prediction.seconds(rows) <= prediction.seconds(rows + 1)
