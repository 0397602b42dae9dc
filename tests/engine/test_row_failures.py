from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_engine.errors import RowFailure

TEXT = st.sampled_from(["MAX_STEPS_EXCEEDED", "other", "ünïcode"])


@given(st.lists(st.builds(RowFailure, st.integers(0, 2**40), TEXT, TEXT), max_size=20, unique_by=lambda one: one.row))
def test_failures_arrive_in_the_order_of_their_rows(failures: list[RowFailure]) -> None:
    assert list(RowFailure.unpack_all(RowFailure.pack_all(failures))) == sorted(failures, key=lambda one: one.row)


def test_rows_that_failed_alike_share_their_texts_and_long_ones_are_cut() -> None:
    failures = [RowFailure(row, "MAX_STEPS_EXCEEDED", "m" * 5000) for row in range(1000)]
    packed = RowFailure.pack_all(failures)
    assert len(packed) < 12_000
    assert {one.message for one in RowFailure.unpack_all(memoryview(packed))} == {"m" * 4096}


@pytest.mark.parametrize("packed", [b"", b"\xff", b"7", b"[1]", b'[["reason"]]', b'[["reason", "message", 1]]'])
def test_what_is_none_is_not_unpacked(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not failures"):
        RowFailure.unpack_all(packed)
