"""Queues: order, batches, bounds and shares, all of it as plain data under a clock that stands still."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradwire_server.config.table import ServerConfig
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.queues import QUANTUM_SECONDS, Queues

NOW = 100.0
FOREVER = 1e9


@dataclass(frozen=True)
class Line:
    """constant + per_row * rows."""

    per_row: float = 0.001
    constant: float = 0.0

    def seconds(self, rows: int) -> float:
        return self.constant + self.per_row * rows


@dataclass(eq=False)
class Request:
    name: str = ""
    tenant: str = ""
    key: Hashable = "key"
    prediction: Line = Line()
    rows: int = 1
    nbytes: int = 1
    deadline: float = FOREVER
    ready_at: float = 0.0
    solo: bool = False
    charge: float = 0.0


def queues(**options: float) -> Queues[Request]:
    return Queues(ServerConfig(**options))  # type: ignore[arg-type]


def filled(*requests: Request, **options: float) -> Queues[Request]:
    found = queues(**{"max_queued_seconds": FOREVER, **options})
    for request in requests:
        found.push(request)
    return found


def names(found: Queues[Request], *, now: float = NOW, short_only: bool = False) -> str:
    """Take the next batch; the names of its members, "" if there is none."""
    batch = found.choose(now, short_only=short_only)
    if batch is None:
        return ""
    found.take(batch)
    return "".join(member.name for member in batch.members)


def test_nothing_waits_and_nothing_is_chosen() -> None:
    assert queues().choose(NOW) is None
    assert (len(queues()), queues().seconds) == (0, 0.0)


# Batches


def test_a_batch_is_all_that_waits_under_a_key_first_come_first_served() -> None:
    found = filled(*[Request(name) for name in "abcde"])
    assert names(found) == "abcde"
    assert len(found) == 0


def test_requests_with_different_keys_are_never_merged() -> None:
    found = filled(Request("a", key=1), Request("b", key=2), Request("c", key=1), Request("d", key=1, tenant="other"))
    assert sorted([names(found), names(found), names(found)]) == ["ac", "b", "d"]


def test_a_batch_ends_where_its_bytes_would_be_too_many() -> None:
    found = filled(*[Request(name, nbytes=40) for name in "abc"], max_batch_bytes=100)
    assert [names(found), names(found)] == ["ab", "c"]


def test_a_batch_ends_where_its_predicted_seconds_would_be_too_many() -> None:
    found = filled(*[Request(name, rows=40) for name in "abc"], max_batch_seconds=0.1)
    assert [names(found), names(found)] == ["ab", "c"]


def test_one_request_is_a_batch_however_large_it_is() -> None:
    found = filled(Request("a", nbytes=10**9, rows=10**6), Request("b"))
    assert [names(found), names(found)] == ["a", "b"]


def test_a_request_that_runs_alone_shares_no_batch_and_keeps_its_place() -> None:
    found = filled(Request("a"), Request("b"), Request("c", solo=True), Request("d"))
    assert [names(found), names(found), names(found)] == ["ab", "c", "d"]


def test_what_is_late_is_left_out() -> None:
    found = filled(Request("a", deadline=NOW), Request("b", deadline=NOW + 1))
    assert names(found) == "b"
    assert names(found) == ""
    assert len(found) == 1


def test_a_batch_knows_its_rows_its_seconds_and_whether_it_is_short() -> None:
    line = Line(per_row=0.001, constant=0.01)
    batch = filled(Request(rows=3, prediction=line), Request(rows=4, prediction=line)).choose(NOW)
    assert batch is not None
    assert (batch.rows, batch.seconds, batch.is_short) == (7, pytest.approx(0.017), True)


def test_short_only_passes_over_long_work_and_cuts_a_line_to_short_batches() -> None:
    long = Request("l", key="long", rows=1000)
    found = filled(long, *[Request(name, key="short", rows=20) for name in "abc"], short_seconds=0.05)
    assert names(found, short_only=True) == "ab"
    assert names(found, short_only=True) == "c"
    assert names(found, short_only=True) == ""
    assert names(found) == "l"


def test_a_line_may_wait_for_others_until_it_is_ripe_or_full() -> None:
    found = filled(Request("a", ready_at=NOW + 1), Request("b", ready_at=NOW + 2), max_batch_bytes=2)
    assert names(found) == ""
    found.push(Request("c", ready_at=NOW + 3))
    assert names(found) == "ab"  # c would not fit, so there is nothing to wait for
    assert names(found, now=NOW + 2) == ""
    assert names(found, now=NOW + 3) == "c"


# Bounds


def test_requests_are_bounded_by_count() -> None:
    found = filled(Request(), Request(), max_queued_requests=2)
    with pytest.raises(Refusal) as caught:
        found.push(Request())
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.message == (
        "requests queued: 3 requests; max-queued-requests is 2 requests (set by --max-queued-requests); "
        "try again later, or use another replica"
    )
    assert caught.value.details["value"] == "3"
    assert len(found) == 2


def test_requests_are_bounded_by_predicted_seconds() -> None:
    found = filled(Request(key=1, rows=1200), Request(key=2, rows=600), max_queued_seconds=1.0, workers=2)
    with pytest.raises(Refusal, match=r"seconds queued per worker: 1\.1 seconds") as caught:
        found.push(Request(key=3, rows=400))
    assert caught.value.details["name"] == "max-queued-seconds"
    assert float(caught.value.details["value"]) == pytest.approx(1.1)
    assert caught.value.retry_after == pytest.approx(1.8 / 2 / 2)


def test_an_empty_queue_takes_any_request() -> None:
    found = filled(Request("a", rows=10**6), max_queued_seconds=1.0)
    with pytest.raises(Refusal, match="QUEUE_FULL"):
        found.push(Request("b"))
    assert names(found) == "a"


def test_a_request_that_joins_others_is_charged_for_its_rows_alone() -> None:
    line = Line(per_row=0.001, constant=0.5)
    found = filled(Request(prediction=line), Request(prediction=line), Request(prediction=line, solo=True))
    assert found.seconds == pytest.approx(0.501 + 0.001 + 0.501)


def test_what_comes_back_is_taken_whatever_the_bounds_and_goes_first() -> None:
    found = filled(Request("a"), Request("b"), max_queued_requests=2, max_queued_seconds=0.002)
    found.push_back(Request("x", solo=True))
    assert [names(found), names(found)] == ["x", "ab"]


def test_a_removed_request_takes_nothing_with_it() -> None:
    a, b = Request("a"), Request("b")
    found = filled(a, b)
    assert found.remove(a)
    assert not found.remove(a)
    assert (len(found), found.seconds) == (1, pytest.approx(0.001))
    assert names(found) == "b"
    assert not found.remove(b)


# Shares


def served(found: Queues[Request], refill: object, rounds: int, by: str) -> Counter[str]:
    """Run so many batches, topping the queues up after each; seconds by tenant or key."""
    seconds: Counter[str] = Counter()
    for _ in range(rounds):
        batch = found.choose(NOW)
        assert batch is not None
        found.take(batch)
        seconds[str(getattr(batch.members[0], by))] += batch.seconds
        refill(found)  # type: ignore[operator]
    return seconds


def keep(*wanted: Request) -> object:
    """A refill that keeps one request of each kind waiting."""

    def refill(found: Queues[Request]) -> None:
        for one in wanted:
            fresh = Request(tenant=one.tenant, key=one.key, rows=one.rows, solo=True)
            if (one.tenant, one.key) not in found._lines:
                found.push(fresh)

    return refill


def test_keys_share_seconds_not_batches() -> None:
    refill = keep(Request(key="long", rows=300), Request(key="short", rows=3))
    found = queues(max_queued_seconds=FOREVER)
    refill(found)  # type: ignore[operator]
    seconds = served(found, refill, 4000, "key")
    assert seconds["long"] == pytest.approx(seconds["short"], rel=0.1)


def test_a_tenant_with_many_keys_gets_no_more_than_one_with_one() -> None:
    refill = keep(*[Request(tenant="many", key=i, rows=20) for i in range(50)], Request(tenant="one", rows=20))
    found = queues(max_queued_seconds=FOREVER)
    refill(found)  # type: ignore[operator]
    seconds = served(found, refill, 2000, "tenant")
    assert seconds["many"] == pytest.approx(seconds["one"], rel=0.05)


def test_a_tenant_that_sends_one_request_at_a_time_does_not_lose_its_debt() -> None:
    """The one who waits for each answer empties its queue every time; its long work counts all the same."""
    refill = keep(*[Request(tenant="busy", key=i, rows=5) for i in range(3)], Request(tenant="single", rows=500))
    found = queues(max_queued_seconds=FOREVER)
    refill(found)  # type: ignore[operator]
    seconds = served(found, refill, 3000, "tenant")
    assert seconds["single"] <= seconds["busy"] * 1.1 + 0.5


def test_every_key_gets_its_turn_within_a_round() -> None:
    found = filled(*[Request(str(i), key=i, rows=30) for i in range(40)])
    assert sorted(int(names(found)) for _ in range(40)) == list(range(40))


def test_a_key_alone_is_never_held_back_by_its_debt() -> None:
    found = filled(Request("a", rows=10**6))
    assert names(found) == "a"
    found.push(Request("b"))
    assert names(found) == "b"


def test_small_batches_of_a_key_run_on_until_its_credit_is_used_up() -> None:
    rows = round(QUANTUM_SECONDS / 2 / 0.001)
    found = filled(*[Request(name, key=name.isupper(), rows=rows, solo=True) for name in "abcdABCD"])
    assert "".join(names(found) for _ in range(8)) == "abABcdCD"


# Everything at once


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_request_leaves_once_in_the_order_of_its_line(data: st.DataObject) -> None:
    found = queues(max_queued_requests=20, max_queued_seconds=FOREVER, max_batch_bytes=10, max_batch_seconds=0.02)
    waiting: dict[tuple[str, Hashable], list[Request]] = {}
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(data.draw(st.integers(1, 60))):
        action = rng.random()
        if action < 0.6:
            request = Request(
                tenant=rng.choice("AB"),
                key=rng.randrange(3),
                rows=rng.randrange(15),
                nbytes=rng.randrange(12),
                solo=rng.random() < 0.2,
            )
            try:
                found.push(request)
            except Refusal:
                assert len(found) == 20
                continue
            waiting.setdefault((request.tenant, request.key), []).append(request)
        elif action < 0.7 and any(waiting.values()):
            line = rng.choice([line for line in waiting.values() if line])
            assert found.remove(line.pop(rng.randrange(len(line))))
        else:
            batch = found.choose(NOW, short_only=rng.random() < 0.2)
            if batch is None:
                continue
            found.take(batch)
            first = batch.members[0]
            line = waiting[first.tenant, first.key]
            assert list(batch.members) == line[: len(batch.members)]
            assert len(batch.members) == 1 or sum(member.nbytes for member in batch.members) <= 10
            assert len(batch.members) == 1 or not any(member.solo for member in batch.members)
            del line[: len(batch.members)]
        total = sum(len(line) for line in waiting.values())
        assert len(found) == total
        assert found.seconds >= 0
        assert total > 0 or found.seconds == 0
