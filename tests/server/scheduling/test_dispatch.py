"""Leader and followers, with workers that answer at once and threads that a test runs by hand.

The jobs here have no thread of their own: what the dispatcher wants run on some thread lands in a list, and the test
runs it when it likes. Callers with threads are in `test_dispatch_threads`.
"""

from __future__ import annotations

import pytest
from tests.kit.server.dispatching import DispatchBench
from tests.kit.server.fakes import FakeWork, failed

from gradwire_server.processes.child_process import WorkerLost
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import State
from gradwire_server.scheduling.retries import FOREIGN_DEATHS


def test_with_an_idle_worker_a_job_starts_at_once() -> None:
    bench = DispatchBench()
    job = bench.start(b"a")
    assert job.state is State.RUNNING
    assert bench.dispatcher.queued_requests == 0
    bench.run_launched()
    assert job.outcome == b"answer to a"
    assert bench.done == bench.settled == [job]
    assert len(bench.pool.idle) == 1


def test_what_waits_while_the_worker_is_busy_is_the_next_batch() -> None:
    bench = DispatchBench()
    jobs = [bench.start(payload) for payload in (b"a", b"b", b"c", b"d")]
    bench.run_launched()
    assert bench.pool.tasks == [[b"a"], [b"b", b"c", b"d"]]
    assert [job.outcome for job in jobs] == [b"answer to " + name for name in (b"a", b"b", b"c", b"d")]
    assert bench.observer.batches == [("value", 1, 1), ("value", 3, 3)]
    bench.check_settled()


def test_two_workers_run_two_batches() -> None:
    bench = DispatchBench(workers=2)
    for key in range(4):
        bench.start(b"%d" % key, key=key)
    assert len(bench.launched) == 2
    bench.run_launched()
    assert sorted(bench.pool.tasks) == [[b"0"], [b"1"], [b"2"], [b"3"]]


def test_work_that_is_not_short_leaves_the_last_worker_to_short_work() -> None:
    bench = DispatchBench()
    bench.pool.short_only = True
    bench.works["long"] = FakeWork()
    long = bench.start(b"long", rows=1000, key="long")
    short = bench.start(b"short", key="short")
    bench.run_launched()
    assert (long.state, short.outcome) == (State.WAITING, b"answer to short")
    bench.pool.short_only = False
    bench.dispatcher.on_idle()
    bench.run_launched()
    assert long.outcome == b"answer to long"


# Failures


def test_a_bad_member_fails_alone() -> None:
    bench = DispatchBench()
    bench.pool.poison[b"bad"] = failed("TASK_MEMORY_LIMIT")
    first, *jobs = [bench.start(payload) for payload in (b"first", b"a", b"bad", b"c")]
    bench.run_launched()
    assert bench.pool.tasks == [[b"first"], [b"a", b"bad", b"c"], [b"a"], [b"bad"], [b"c"]]
    assert [jobs[0].outcome, jobs[2].outcome] == [b"answer to a", b"answer to c"]
    assert isinstance(jobs[1].outcome, Refusal)
    assert jobs[1].outcome.reason == "TASK_MEMORY_LIMIT"
    assert first.outcome == b"answer to first"
    bench.check_settled()


def test_a_fault_of_ours_fails_only_whom_it_concerns_and_leaks_nothing() -> None:
    bench = DispatchBench()
    bench.pool.poison[b"bad"] = RuntimeError("secret")
    jobs = [bench.start(payload) for payload in (b"first", b"a", b"bad")]
    bench.run_launched()
    assert jobs[1].outcome == b"answer to a"
    refusal = jobs[2].outcome
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "INTERNAL"
    assert "secret" not in refusal.message
    assert "secret" in refusal.log


def lose(bench: DispatchBench, times: int, cause: str = "killed") -> None:
    """The next `times` tasks lose their worker."""
    left = [times]

    def before(task: list[bytes]) -> None:
        if left[0]:
            left[0] -= 1
            raise WorkerLost(cause, 9)  # type: ignore[arg-type]

    bench.pool.before = before


def test_the_members_of_a_batch_that_lost_its_worker_run_again_singly() -> None:
    bench = DispatchBench()
    bench.start(b"first")
    jobs = [bench.start(payload) for payload in (b"a", b"b")]
    bench.launched.pop(0)()
    lose(bench, 1, "fault")
    bench.run_launched()
    assert bench.pool.tasks == [[b"first"], [b"a", b"b"], [b"a"], [b"b"]]
    assert [job.outcome for job in jobs] == [b"answer to a", b"answer to b"]
    bench.check_settled()


def test_a_request_outlives_three_workers_killed_from_outside() -> None:
    bench = DispatchBench()
    lose(bench, FOREIGN_DEATHS)
    job = bench.start(b"a")
    bench.run_launched()
    assert job.outcome == b"answer to a"
    assert len(bench.pool.tasks) == FOREIGN_DEATHS + 1


def test_the_fourth_death_is_reported() -> None:
    bench = DispatchBench()
    lose(bench, 100)
    job = bench.start(b"a")
    bench.run_launched()
    assert isinstance(job.outcome, Refusal)
    assert job.outcome.reason == "WORKER_LOST"
    assert len(bench.pool.tasks) == FOREIGN_DEATHS + 1
    bench.check_settled()


@pytest.mark.parametrize(
    ("cause", "reason", "setting"),
    [
        ("fault", "WORKER_LOST", None),
        ("time_limit", "TASK_TIME_LIMIT", "--task-timeout"),
        ("memory_limit", "TASK_MEMORY_LIMIT", "--worker-memory"),
    ],
)
def test_what_a_request_does_to_its_own_worker_is_not_tried_again(cause: str, reason: str, setting: str | None) -> None:
    bench = DispatchBench()
    lose(bench, 1, cause)
    job = bench.start(b"a")
    bench.run_launched()
    assert isinstance(job.outcome, Refusal)
    assert job.outcome.reason == reason
    assert job.outcome.details.get("setting") == setting
    assert setting is None or setting in job.outcome.message
    assert bench.pool.tasks == [[b"a"]]


# Bounds and deadlines


def test_a_full_queue_refuses_with_a_delay_and_settles_what_it_refused() -> None:
    bench = DispatchBench(max_queued_requests=1)
    bench.start(b"running")
    bench.start(b"waiting", rows=600)
    job = bench.job(b"refused")
    with pytest.raises(Refusal, match="QUEUE_FULL") as caught:
        bench.dispatcher.start(job, lambda: None)
    assert caught.value.retry_after == pytest.approx(0.3, rel=0.01)
    assert bench.settled == [job]


def test_a_deadline_passes_in_the_queue_and_the_work_never_runs() -> None:
    bench = DispatchBench()
    bench.start(b"running")
    late = bench.start(b"late", deadline=bench.clock() + 1)
    assert bench.dispatcher.wake_at(late) == bench.clock() + 1
    bench.clock.advance(1)
    bench.dispatcher.tick(late)
    assert isinstance(late.outcome, Refusal)
    assert late.outcome.reason == "EXPIRED_IN_QUEUE"
    bench.run_launched()
    assert bench.pool.tasks == [[b"running"]]
    bench.check_settled()


def test_a_deadline_passes_while_another_thread_runs_the_batch() -> None:
    bench = DispatchBench()
    job = bench.start(b"a", deadline=bench.clock() + 1)
    bench.clock.advance(2)
    bench.dispatcher.tick(job)
    assert isinstance(job.outcome, Refusal)
    assert job.outcome.reason == "EXPIRED_WHILE_RUNNING"
    assert bench.settled == []  # the worker still reads its inputs
    bench.run_launched()
    assert bench.settled == bench.done == [job]


def test_a_late_request_is_left_out_of_a_batch_before_its_own_timer_fires() -> None:
    bench = DispatchBench()
    bench.start(b"running")
    bench.start(b"late", deadline=bench.clock() + 1)
    bench.start(b"other")
    bench.clock.advance(1)
    bench.run_launched()
    assert bench.pool.tasks == [[b"running"], [b"other"]]


def test_what_cannot_be_done_in_time_is_refused_on_arrival_once_the_plan_was_measured() -> None:
    bench = DispatchBench()
    bench.work.prediction.measured(1, 1.0)
    bench.start(b"running")
    bench.start(b"waiting", rows=5)
    with pytest.raises(Refusal, match="DEADLINE_INFEASIBLE") as caught:
        bench.start(b"hasty", deadline=bench.clock() + 5.5)
    queue_and_run = bench.work.prediction.seconds(5) + bench.work.prediction.seconds(1)
    assert float(caught.value.details["predicted_seconds"]) == pytest.approx(queue_and_run)
    bench.start(b"patient", deadline=bench.clock() + 6.5)


def test_with_an_idle_worker_a_prediction_refuses_nothing() -> None:
    """It may be wrong, and only a run can put it right."""
    bench = DispatchBench()
    bench.work.prediction.measured(1, 1000.0)
    job = bench.start(b"a", deadline=bench.clock() + 1)
    bench.run_launched()
    assert job.outcome == b"answer to a"


def test_a_cancelled_job_leaves_the_queue() -> None:
    bench = DispatchBench()
    bench.start(b"running")
    job = bench.start(b"cancelled")
    bench.dispatcher.cancel(job)
    bench.run_launched()
    assert bench.pool.tasks == [[b"running"]]
    assert isinstance(job.outcome, Refusal)
    assert job.outcome.reason == "CANCELLED"
    bench.check_settled()


def test_a_job_can_be_withdrawn_only_before_it_runs() -> None:
    bench = DispatchBench()
    running, waiting = bench.start(b"running"), bench.start(b"waiting")
    why = Refusal("SERVER_DRAINING", "bye")
    assert not bench.dispatcher.withdraw(running, why)
    assert bench.dispatcher.withdraw(waiting, why)
    assert not bench.dispatcher.withdraw(waiting, why)
    bench.run_launched()
    assert (running.outcome, waiting.outcome) == (b"answer to running", why)


def test_a_cancelled_member_spoils_nobody_elses_batch() -> None:
    bench = DispatchBench()
    bench.start(b"first")
    a, b = bench.start(b"a"), bench.start(b"b")
    bench.launched.pop(0)()
    bench.dispatcher.cancel(a)
    bench.run_launched()
    assert b.outcome == b"answer to b"
    assert isinstance(a.outcome, Refusal)
    bench.check_settled()


def test_with_a_delay_a_line_waits_for_others_until_it_is_ripe() -> None:
    bench = DispatchBench(max_queue_delay=0.5)
    a = bench.start(b"a")
    assert bench.launched == []
    assert bench.dispatcher.wake_at(a) == bench.clock() + 0.5
    bench.clock.advance(0.4)
    bench.start(b"b")
    bench.clock.advance(0.1)
    bench.dispatcher.tick(a)
    bench.run_launched()
    assert bench.pool.tasks == [[b"a", b"b"]]
