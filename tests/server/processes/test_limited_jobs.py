"""Jobs in children that can be ended, with preparers that do what a program says."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kit.server.children import PATIENCE, MakePreparers
from tests.kit.server.programs import a_program

from gradwire_engine.program import Layout
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.processes.limited_jobs import ATTEMPTS
from gradwire_server.processes.preparers import Preparers
from gradwire_server.refusal import INTERNAL_MESSAGE, Refusal

SCRIPT = """
import os, signal, sys
from gradwire_server.child.preparer import prepare_program, serve

def prepare(data, layout, limits):
    with open(os.environ["PREPARED"], "ab", 0) as log:
        log.write(data + b"\\n")
    what, _, rest = data.decode().partition(" ")
    if what == "wait":
        open(rest).read()
    elif what == "die":
        os.kill(os.getpid(), int(rest))
    elif what == "die-once" and not os.path.exists(rest):
        open(rest, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit":
        os._exit(int(rest))
    elif what == "fail":
        raise RuntimeError("secret")
    return prepare_program(bytes.fromhex(os.environ["A_PROGRAM"]), layout, limits)

serve(sys.argv[1:], prepare)
"""


class Gate:
    """A preparation that begins when somebody looks, and ends when it is told to."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.program = f"wait {path}".encode()
        self._path = path

    def begun(self) -> int:
        """Wait until the preparation has begun; it ends when the descriptor is closed."""
        return os.open(self._path, os.O_WRONLY)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_preparers: MakePreparers) -> MakePreparers:
    (tmp_path / "scripted_preparer.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("A_PROGRAM", a_program().hex())
    return lambda **options: make_preparers(module="scripted_preparer", **options)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[], list[str]]:
    """The first words of the programs whose preparation was begun, in order."""
    return lambda: [line.split()[0] for line in (tmp_path / "prepared").read_text().splitlines()]


class Call(threading.Thread):
    """A call of `prepare` on a thread of its own, and what came of it."""

    def __init__(self, jobs: Preparers, program: bytes, timeout: float = PATIENCE, layout: Layout | None = None):
        super().__init__()
        self._call = jobs, program, layout or Layout(), timeout
        self.outcome: object = None
        self.start()

    def run(self) -> None:
        jobs, *arguments = self._call
        try:
            self.outcome = jobs.prepare(*arguments)
        except (Refusal, TimeoutError) as error:
            self.outcome = error

    def result(self) -> object:
        self.join(PATIENCE)
        return self.outcome


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does within microseconds."""
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not happen")


def test_calls_for_the_same_program_and_layout_share_one_preparation(
    scripted: MakePreparers, gate: Gate, begun: Callable[[], list[str]]
) -> None:
    jobs = scripted()
    calls = [Call(jobs, gate.program) for _ in range(5)]
    end = gate.begun()
    until(lambda: jobs.states()["callers"] == 5)
    other = Call(jobs, b"ok", layout=Layout(shared_inputs=(0,)))
    until(lambda: jobs.states() == {"waiting": 1, "running": 1, "callers": 6})
    os.close(end)
    results = [call.result() for call in calls]
    assert isinstance(results[0], PreparedProgram)
    assert all(result is results[0] for result in results)
    assert isinstance(other.result(), PreparedProgram)
    assert begun() == ["wait", "ok"]
    until(lambda: jobs.states() == {"waiting": 0, "running": 0, "callers": 0})


def test_nothing_is_kept_afterwards(scripted: MakePreparers, begun: Callable[[], list[str]]) -> None:
    jobs = scripted()
    for _ in range(2):
        jobs.prepare(b"ok", Layout(), PATIENCE)
    assert begun() == ["ok", "ok"]


def test_a_caller_that_gives_up_does_not_end_the_preparation_of_others(scripted: MakePreparers, gate: Gate) -> None:
    jobs = scripted()
    patient = Call(jobs, gate.program)
    end = gate.begun()
    with pytest.raises(TimeoutError):
        jobs.prepare(gate.program, Layout(), 0.0)
    os.close(end)
    assert isinstance(patient.result(), PreparedProgram)


def test_what_nobody_waits_for_any_longer_is_not_begun(
    scripted: MakePreparers, gate: Gate, begun: Callable[[], list[str]]
) -> None:
    jobs = scripted()
    first = Call(jobs, gate.program)
    end = gate.begun()
    with pytest.raises(TimeoutError):
        jobs.prepare(b"abandoned", Layout(), 0.0)
    last = Call(jobs, b"wanted")
    until(lambda: jobs.states()["callers"] == 2)
    os.close(end)
    assert isinstance(first.result(), PreparedProgram)
    assert isinstance(last.result(), PreparedProgram)
    assert begun() == ["wait", "wanted"]


@pytest.mark.parametrize(
    ("options", "name", "unit"),
    [
        ({"waiting_jobs": 2}, "waiting-programs", "programs"),
        ({"waiting_callers": 3}, "waiting-requests", "requests"),
    ],
)
def test_beyond_the_bounds_calls_are_refused_at_once(
    scripted: MakePreparers, gate: Gate, options: dict[str, int], name: str, unit: str
) -> None:
    jobs = scripted(**options)
    calls = [Call(jobs, gate.program)]
    end = gate.begun()
    for number in range(2):
        calls.append(Call(jobs, b"ok %d" % number))
    until(lambda: jobs.states()["waiting"] == 2)
    with pytest.raises(Refusal) as caught:
        jobs.prepare(b"one too many", Layout(), PATIENCE)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.details["name"] == name
    assert caught.value.details["unit"] == unit
    assert caught.value.retry_after
    assert not caught.value.is_lasting
    os.close(end)
    assert all(isinstance(call.result(), PreparedProgram) for call in calls)


def test_a_program_whose_process_is_killed_from_outside_is_begun_again(scripted: MakePreparers, tmp_path: Path) -> None:
    restarts: list[str] = []
    jobs = scripted(on_restart=restarts.append)
    program = f"die-once {tmp_path / 'died'}".encode()
    assert isinstance(jobs.prepare(program, Layout(), PATIENCE), PreparedProgram)
    assert restarts == ["killed"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_program_that_loses_every_process_is_refused_after_some(
    scripted: MakePreparers, begun: Callable[[], list[str]], number: signal.Signals
) -> None:
    jobs = scripted()
    with pytest.raises(Refusal) as caught:
        jobs.prepare(b"die %d" % number, Layout(), PATIENCE)
    assert caught.value.reason == "WORKER_LOST"
    assert not caught.value.is_lasting
    assert begun() == ["die"] * ATTEMPTS
    assert isinstance(jobs.prepare(b"ok", Layout(), PATIENCE), PreparedProgram)


def test_a_process_that_ended_for_want_of_memory_is_the_programs_fault(
    scripted: MakePreparers, begun: Callable[[], list[str]]
) -> None:
    with pytest.raises(Refusal) as caught:
        scripted().prepare(b"exit 64", Layout(), PATIENCE)
    assert caught.value.reason == "PREPARE_MEMORY_LIMIT"
    assert begun() == ["exit"]


def test_our_own_fault_is_told_to_the_log_alone(scripted: MakePreparers) -> None:
    jobs = scripted()
    with pytest.raises(Refusal) as caught:
        jobs.prepare(b"fail", Layout(), PATIENCE)
    assert (caught.value.reason, caught.value.message) == ("INTERNAL", INTERNAL_MESSAGE)
    assert "secret" in caught.value.log
    assert isinstance(jobs.prepare(b"ok", Layout(), PATIENCE), PreparedProgram)


def test_an_idle_process_that_was_killed_costs_no_request(scripted: MakePreparers) -> None:
    jobs = scripted()
    jobs.prepare(b"ok", Layout(), PATIENCE)
    (pid,) = jobs.pids()
    os.kill(pid, signal.SIGKILL)
    assert isinstance(jobs.prepare(b"ok", Layout(), PATIENCE), PreparedProgram)
    assert jobs.pids() != (pid,)


def test_closing_refuses_what_waits_and_what_runs_and_leaves_nothing(scripted: MakePreparers, gate: Gate) -> None:
    before = len(os.listdir("/dev/fd"))
    jobs = scripted()
    running = Call(jobs, gate.program)
    end = gate.begun()
    waiting = Call(jobs, b"ok")
    until(lambda: jobs.states()["waiting"] == 1)
    jobs.close()
    jobs.close()
    os.close(end)
    for call in (running, waiting):
        refused = call.result()
        assert isinstance(refused, Refusal)
        assert refused.reason == "SERVER_DRAINING"
    with pytest.raises(Refusal):
        jobs.prepare(b"ok", Layout(), PATIENCE)
    assert len(os.listdir("/dev/fd")) == before


def test_where_no_process_can_be_started_requests_fail_and_the_thread_lives(make_preparers: MakePreparers) -> None:
    jobs = make_preparers(module="gradwire_server.no_such_module")
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            jobs.prepare(b"ok", Layout(), PATIENCE)
        assert caught.value.reason == "WORKER_LOST"
