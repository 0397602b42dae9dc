"""The threads that serve calls: made on demand, bounded, and counted."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue

import pytest

from gradwire_server.rpc.threads import HandlerThreads


def threads_of(count: int) -> HandlerThreads:
    return HandlerThreads(count, calls_allowed=4, name="test")


def finished(call: object) -> None:
    """Wait until a call is done."""
    done = threading.Event()
    call.add_done_callback(lambda _: done.set())  # type: ignore[attr-defined]
    assert done.wait(60)


def test_a_call_runs_on_another_thread_with_its_arguments() -> None:
    threads = threads_of(2)
    seen: SimpleQueue[tuple[int, int, str]] = SimpleQueue()
    finished(threads.submit(lambda a, b: seen.put((a, b, threading.current_thread().name)), 1, 2))
    assert seen.get(timeout=60) == (1, 2, "test")


def test_a_callback_is_called_once_however_late_it_comes() -> None:
    threads = threads_of(1)
    call = threads.submit(lambda: None)
    finished(call)
    told: list[object] = []
    call.add_done_callback(told.append)
    assert told == [call]


def test_the_thread_idle_last_is_used_first() -> None:
    threads = threads_of(10)
    names: SimpleQueue[int] = SimpleQueue()
    for _ in range(50):
        finished(threads.submit(lambda: names.put(threading.get_ident())))
        settle(threads, 0)
    assert len({names.get(timeout=60) for _ in range(50)}) == 1


def settle(threads: HandlerThreads, calls: int) -> None:
    """Wait until so many calls are in hand; a call is counted a moment longer than its callback waits."""
    while threads.calls != calls:
        threading.Event().wait(0.001)


def test_calls_beyond_the_threads_wait_for_one_and_are_counted() -> None:
    threads = threads_of(2)
    go, begun = threading.Event(), SimpleQueue[int]()
    calls = [threads.submit(lambda number=number: (begun.put(number), go.wait(60))) for number in range(5)]
    assert {begun.get(timeout=60), begun.get(timeout=60)} == {0, 1}
    assert (threads.calls, threads.are_full, begun.empty()) == (5, True, True)
    go.set()
    for call in calls:
        finished(call)
    settle(threads, 0)
    assert not threads.are_full
    assert sorted(begun.get(timeout=60) for _ in range(3)) == [2, 3, 4]


def test_a_call_that_raises_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    threads = threads_of(1)
    with caplog.at_level(logging.ERROR):
        finished(threads.submit(lambda: 1 / 0))
    assert "ZeroDivisionError" in caplog.text
    finished(threads.submit(lambda: None))


def test_where_the_system_has_no_thread_the_call_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threads_of(2)
    go, begun = threading.Event(), threading.Event()
    threads.submit(lambda: (begun.set(), go.wait(60)))
    assert begun.wait(60)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    call = threads.submit(lambda: None)
    monkeypatch.undo()
    go.set()
    finished(call)


def test_after_the_end_no_calls_are_taken_and_the_threads_end() -> None:
    before = set(threading.enumerate())
    threads = threads_of(2)
    go = threading.Event()
    call = threads.submit(go.wait, 10)
    finished(threads.submit(lambda: None))
    mine = set(threading.enumerate()) - before
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(lambda: None)
    go.set()
    finished(call)
    for thread in mine:
        thread.join(60)
        assert not thread.is_alive()
