"""When children are started again. Time is a fake clock's, and a fake poll lets it pass: nothing here waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from tests.kit.server.children import PATIENCE, prepare_limits, until
from tests.kit.server.fakes import FakeClock
from tests.kit.server.programs import a_program

from gradwire_engine.program import Layout, Limits
from gradwire_server.ipc.messages import Prepare, PreparedProgram, PreparerSetup
from gradwire_server.processes.child_process import ChildProcess, StartFailed
from gradwire_server.processes.limited_jobs import ATTEMPTS, JobWords, LimitedJobs
from gradwire_server.processes.supervisor import FIRST_DELAY, LONGEST_DELAY, Supervisor
from gradwire_server.refusal import Refusal

DELAYS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
WORDS = JobWords(reason="PREPARE", doing="it", waiting="for it", process="the process that did it")
REQUEST = Prepare(program=b"", layout=Layout())


class PassingTime:
    """A poll in which nothing ever happens: each wait is over at once, and has taken its time."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def register(self, descriptor: int, events: int, /) -> None: ...

    def modify(self, descriptor: int, events: int, /) -> None: ...

    def unregister(self, descriptor: int, /) -> None: ...

    def poll(self, milliseconds: float | None, /) -> list[tuple[int, int]]:
        assert milliseconds is not None
        self._clock.advance(milliseconds / 1000)
        return []


class FailingStarts:
    """Starts that all fail; the last of so many waits until the test lets it go on."""

    def __init__(self, clock: FakeClock, count: int) -> None:
        self._clock = clock
        self._count = count
        self._reached = threading.Event()
        self._go_on = threading.Event()
        self.times: list[float] = []

    def __call__(self) -> ChildProcess:
        self.times.append(self._clock())
        if len(self.times) == self._count:
            self._reached.set()
            self._go_on.wait(PATIENCE)
        raise OSError("no more processes")

    def delays(self) -> list[float]:
        """How long each start waited after the one before, once there have been so many."""
        assert self._reached.wait(PATIENCE)
        return [after - before for before, after in pairwise(self.times)]

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def starts(clock: FakeClock) -> Iterator[FailingStarts]:
    starts = FailingStarts(clock, len(DELAYS) + 1)
    yield starts
    starts.go_on()


def in_milliseconds(delays: list[float]) -> object:
    """A poll counts in milliseconds, and is told one more than it takes."""
    return pytest.approx(delays, abs=0.0021)


def test_the_delays_are_those_that_are_promised() -> None:
    assert [min(LONGEST_DELAY, FIRST_DELAY * 2**number) for number in range(len(DELAYS))] == DELAYS


def test_a_child_that_cannot_start_is_started_again_after_growing_delays(
    clock: FakeClock, starts: FailingStarts
) -> None:
    causes: list[str] = []
    supervisor = Supervisor(
        1, starts, name="child", clock=clock, on_restart=causes.append, make_poll=lambda: PassingTime(clock)
    )
    supervisor.start()
    assert starts.delays() == in_milliseconds(DELAYS)
    assert causes == ["start"] * len(DELAYS)
    assert supervisor.failed_starts == len(DELAYS)
    assert supervisor.states() == {"idle": 0, "busy": 0, "starting": 1}
    starts.go_on()
    supervisor.close()


def test_who_waits_for_children_that_cannot_start_is_told(clock: FakeClock) -> None:
    starts = FailingStarts(clock, -1)
    supervisor = Supervisor(2, starts, name="child", clock=clock, make_poll=lambda: PassingTime(clock))
    supervisor.start()
    with pytest.raises(StartFailed, match="no more processes"):
        supervisor.wait_until_ready()


def test_a_callback_that_fails_does_not_end_the_keeper(clock: FakeClock, starts: FailingStarts) -> None:
    def fail(cause: str) -> None:
        raise RuntimeError(cause)

    supervisor = Supervisor(1, starts, name="child", clock=clock, on_restart=fail, make_poll=lambda: PassingTime(clock))
    supervisor.start()
    assert len(starts.delays()) == len(DELAYS)
    starts.go_on()
    supervisor.close()


def make_jobs(start: Callable[[], ChildProcess], **options: object) -> LimitedJobs[Prepare, PreparedProgram]:
    jobs: LimitedJobs[Prepare, PreparedProgram] = LimitedJobs(
        1,
        start,
        result=PreparedProgram,
        limits=prepare_limits(),
        words=WORDS,
        name="job",
        **options,  # type: ignore[arg-type]
    )
    jobs.start()
    return jobs


def test_a_preparer_that_cannot_start_is_started_again_later_and_later_and_requests_are_refused(
    clock: FakeClock, starts: FailingStarts
) -> None:
    causes: list[str] = []
    jobs = make_jobs(starts, clock=clock, on_restart=causes.append, make_poll=lambda: PassingTime(clock))
    for number in range(2):  # the first may wait for three starts that fail, the second is refused at once
        with pytest.raises(Refusal, match="WORKER_LOST") as caught:
            jobs.run(number, REQUEST, PATIENCE)
        assert caught.value.message == "the process that did it was lost, each time"
        assert caught.value.log == "it could not be started"
        assert len(starts.times) >= ATTEMPTS
    assert starts.delays() == in_milliseconds(DELAYS)
    assert causes == ["start"] * len(DELAYS)
    starts.go_on()
    jobs.close()


def test_requests_are_taken_again_as_soon_as_a_child_has_started() -> None:
    failures = [OSError("no more processes")] * ATTEMPTS

    def start() -> ChildProcess:
        if failures:
            raise failures.pop()
        setup = PreparerSetup(memory_bytes=1 << 30, program_limits=Limits())
        return ChildProcess("gradwire_server.child.preparer", setup)

    jobs = make_jobs(start)
    with pytest.raises(Refusal, match="WORKER_LOST"):
        jobs.run("early", REQUEST, PATIENCE)
    until(lambda: bool(jobs.pids()))
    prepared = jobs.run("later", Prepare(program=a_program(), layout=Layout()), PATIENCE)
    assert prepared.mode == "reverse"
    jobs.close()
