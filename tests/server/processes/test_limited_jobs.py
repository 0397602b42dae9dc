from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradwire_engine.vocabulary as v
from gradwire.wire.programs import decode_graph, encode_program
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Layout, Limits, Program
from gradwire_engine.types import DType, TensorType
from gradwire_server.ipc.messages import PreparedProgram, PrepareRefused
from gradwire_server.ipc.preparation import pack_request, unpack_request
from gradwire_server.processes.limited_jobs import ATTEMPTS, Preparing

PATIENCE = 60.0
NUMBER = TensorType(DType.FLOAT64)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux enforces limits of memory, others do not")


def a_program(x: str = "x", y: str = "y") -> bytes:
    """Value and gradient of sin(x) + x·y."""
    builder = GraphBuilder()
    a, b = builder.input(x, NUMBER), builder.input(y, NUMBER)
    return encode_program(Program(builder.finish([v.sin(a) + a * b], ["f"]), (Grad((0, 1), keep_value=True),)))


def a_long_program(nodes: int) -> bytes:
    builder = GraphBuilder()
    x = y = builder.input("x", NUMBER)
    for _ in range(nodes // 2):
        y = v.sin(y) * x
    return encode_program(Program(builder.finish([y]), (Grad((0,)),)))


Make = Callable[..., Preparing]


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def start(**options: object) -> Preparing:
        preparing = Preparing(**{"processes": 1, **options})  # type: ignore[arg-type]
        made.append(preparing)
        preparing.start()
        return preparing

    yield start
    for preparing in made:
        preparing.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[Preparing]:
    """The real one, for tests that end no process."""
    preparing = Preparing(processes=2)
    preparing.start()
    yield preparing
    preparing.close()


# The real engine


def test_a_prepared_program_is_what_the_engine_makes_of_it(engine: Preparing) -> None:
    layout = Layout(shared_inputs=(1,), summed_outputs=(2,), outputs=(2, 0))
    found = engine.prepare(a_program(), layout, PATIENCE)
    builder = GraphBuilder()
    a, b = builder.input("x", NUMBER), builder.input("y", NUMBER)
    program = Program(builder.finish([v.sin(a) + a * b], ["f"]), (Grad((0, 1), keep_value=True),))
    expected = prepare(program, layout)
    assert (found.inputs, found.outputs) == (expected.inputs, expected.outputs)
    assert (found.cost, found.mode, found.plan_id) == (expected.cost, "reverse", expected.graph.hash)
    assert found.prepare_seconds > 0

    x = np.array([0.5, 1.5, -2.0])
    outputs = compile(decode_graph(found.plan)).run([x, np.array(2.0)], 3)
    np.testing.assert_allclose(outputs[0], x.sum())
    np.testing.assert_allclose(outputs[1], [math.sin(one) + 2 * one for one in x])


def test_programs_that_differ_in_names_share_a_plan_and_keep_their_names(engine: Preparing) -> None:
    one, other = (engine.prepare(a_program(*names), Layout(), PATIENCE) for names in (("x", "y"), ("a", "b")))
    assert one.plan_id == other.plan_id
    assert [value.name for value in other.inputs] == ["a", "b"]
    assert engine.prepare(a_program(), Layout(shared_inputs=(0,)), PATIENCE).plan_id != one.plan_id


def test_what_the_engine_refuses_comes_back_with_reason_and_place(engine: Preparing) -> None:
    good = a_program()
    builder = GraphBuilder()
    vector = builder.input("x", NUMBER.with_shape((3,)))
    not_scalar = encode_program(Program(builder.finish([v.sin(vector)]), (Grad((0,)),)))
    for program, layout, reason, path in (
        (good[:-3], Layout(), "MALFORMED_REQUEST", "program"),
        (not_scalar, Layout(), "INVALID_GRAPH", "transforms[0]"),
        (good, Layout(shared_inputs=(7,)), "INVALID_GRAPH", "batch.shared_inputs[0]"),
        (encode_program(Program(GraphBuilder().finish([]), opset=99)), Layout(), "UNSUPPORTED_OPSET", "opset"),
    ):
        with pytest.raises(PrepareRefused) as caught:
            engine.prepare(program, layout, PATIENCE)
        assert (caught.value.reason, caught.value.path[: len(path)]) == (reason, path)
        assert caught.value.is_lasting
    assert engine.prepare(good, Layout(), PATIENCE).mode == "reverse"


def test_limits_of_programs_are_those_it_was_given(make: Make) -> None:
    preparing = make(program_limits=Limits(nodes=10))
    preparing.prepare(a_program(), Layout(), PATIENCE)
    with pytest.raises(PrepareRefused) as caught:
        preparing.prepare(a_long_program(12), Layout(), PATIENCE)
    assert caught.value.reason == "PROGRAM_TOO_EXPENSIVE"
    assert caught.value.details["limit"] == "10"


@linux_only
def test_a_program_over_the_memory_limit_is_refused_and_the_next_prepared(make: Make) -> None:
    preparing = make(memory_bytes=16 << 20)
    with pytest.raises(PrepareRefused) as caught:
        preparing.prepare(a_long_program(20_000), Layout(), PATIENCE)
    assert caught.value.reason == "PREPARE_MEMORY_LIMIT"
    assert caught.value.details == {"name": "prepare-memory", "limit": str(16 << 20), "unit": "bytes"}
    assert preparing.prepare(a_program(), Layout(), PATIENCE).mode == "reverse"


@linux_only
def test_a_program_over_the_time_limit_is_refused_and_the_next_prepared(make: Make) -> None:
    restarts: list[str] = []
    preparing = make(time_limit=2.0, on_restart=restarts.append)
    with pytest.raises(PrepareRefused) as caught:
        preparing.prepare(a_long_program(150_000), Layout(), PATIENCE)
    assert caught.value.reason == "PREPARE_TIME_LIMIT"
    assert preparing.prepare(a_program(), Layout(), PATIENCE).mode == "reverse"
    assert restarts == ["time_limit"]


@linux_only
def test_a_preparer_never_loads_grpc(make: Make) -> None:
    preparing = make()
    preparing.prepare(a_program(), Layout(), PATIENCE)
    (pid,) = preparing.pids()
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "cygrpc" not in maps
    assert "numpy" in maps


# A scripted one, whose programs say what happens

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
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make) -> Make:
    (tmp_path / "scripted_preparer.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("A_PROGRAM", a_program().hex())
    return lambda **options: make(module="scripted_preparer", **options)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[], list[str]]:
    """The first words of the programs whose preparation was begun, in order."""
    return lambda: [line.split()[0] for line in (tmp_path / "prepared").read_text().splitlines()]


class Call(threading.Thread):
    """A call of `prepare` on a thread of its own, and what came of it."""

    def __init__(self, preparing: Preparing, program: bytes, timeout: float = PATIENCE, layout: Layout | None = None):
        super().__init__()
        self._call = preparing, program, layout or Layout(), timeout
        self.outcome: object = None
        self.start()

    def run(self) -> None:
        preparing, *arguments = self._call
        try:
            self.outcome = preparing.prepare(*arguments)
        except (PrepareRefused, TimeoutError) as error:
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
    scripted: Make, gate: Gate, begun: Callable[[], list[str]]
) -> None:
    preparing = scripted()
    calls = [Call(preparing, gate.program) for _ in range(5)]
    end = gate.begun()
    until(lambda: preparing.states()["requests"] == 5)
    other = Call(preparing, b"ok", layout=Layout(shared_inputs=(0,)))
    until(lambda: preparing.states() == {"waiting": 1, "preparing": 1, "requests": 6})
    os.close(end)
    results = [call.result() for call in calls]
    assert isinstance(results[0], PreparedProgram)
    assert all(result is results[0] for result in results)
    assert isinstance(other.result(), PreparedProgram)
    assert begun() == ["wait", "ok"]
    until(lambda: preparing.states() == {"waiting": 0, "preparing": 0, "requests": 0})


def test_nothing_is_kept_afterwards(scripted: Make, begun: Callable[[], list[str]]) -> None:
    preparing = scripted()
    for _ in range(2):
        preparing.prepare(b"ok", Layout(), PATIENCE)
    assert begun() == ["ok", "ok"]


def test_a_caller_that_gives_up_does_not_end_the_preparation_of_others(scripted: Make, gate: Gate) -> None:
    preparing = scripted()
    patient = Call(preparing, gate.program)
    end = gate.begun()
    with pytest.raises(TimeoutError):
        preparing.prepare(gate.program, Layout(), 0.0)
    os.close(end)
    assert isinstance(patient.result(), PreparedProgram)


def test_what_nobody_waits_for_any_longer_is_not_begun(
    scripted: Make, gate: Gate, begun: Callable[[], list[str]]
) -> None:
    preparing = scripted()
    first = Call(preparing, gate.program)
    end = gate.begun()
    with pytest.raises(TimeoutError):
        preparing.prepare(b"abandoned", Layout(), 0.0)
    last = Call(preparing, b"wanted")
    until(lambda: preparing.states()["requests"] == 2)
    os.close(end)
    assert isinstance(first.result(), PreparedProgram)
    assert isinstance(last.result(), PreparedProgram)
    assert begun() == ["wait", "wanted"]


@pytest.mark.parametrize(
    ("options", "name", "unit"),
    [
        ({"waiting_programs": 2}, "waiting-programs", "programs"),
        ({"waiting_requests": 3}, "waiting-requests", "requests"),
    ],
)
def test_beyond_the_bounds_calls_are_refused_at_once(
    scripted: Make, gate: Gate, options: dict[str, int], name: str, unit: str
) -> None:
    preparing = scripted(**options)
    calls = [Call(preparing, gate.program)]
    end = gate.begun()
    for number in range(2):
        calls.append(Call(preparing, b"ok %d" % number))
    until(lambda: preparing.states()["waiting"] == 2)
    with pytest.raises(PrepareRefused) as caught:
        preparing.prepare(b"one too many", Layout(), PATIENCE)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.details["name"] == name
    assert caught.value.details["unit"] == unit
    assert caught.value.retry_after
    assert not caught.value.is_lasting
    os.close(end)
    assert all(isinstance(call.result(), PreparedProgram) for call in calls)


def test_a_program_whose_process_is_killed_from_outside_is_begun_again(scripted: Make, tmp_path: Path) -> None:
    restarts: list[str] = []
    preparing = scripted(on_restart=restarts.append)
    program = f"die-once {tmp_path / 'died'}".encode()
    assert isinstance(preparing.prepare(program, Layout(), PATIENCE), PreparedProgram)
    assert restarts == ["killed"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_program_that_loses_every_process_is_refused_after_some(
    scripted: Make, begun: Callable[[], list[str]], number: signal.Signals
) -> None:
    preparing = scripted()
    with pytest.raises(PrepareRefused) as caught:
        preparing.prepare(b"die %d" % number, Layout(), PATIENCE)
    assert caught.value.reason == "WORKER_LOST"
    assert not caught.value.is_lasting
    assert begun() == ["die"] * ATTEMPTS
    assert isinstance(preparing.prepare(b"ok", Layout(), PATIENCE), PreparedProgram)


def test_a_process_that_ended_for_want_of_memory_is_the_programs_fault(
    scripted: Make, begun: Callable[[], list[str]]
) -> None:
    with pytest.raises(PrepareRefused) as caught:
        scripted().prepare(b"exit 64", Layout(), PATIENCE)
    assert caught.value.reason == "PREPARE_MEMORY_LIMIT"
    assert begun() == ["exit"]


def test_our_own_fault_is_told_to_the_log_alone(scripted: Make) -> None:
    preparing = scripted()
    with pytest.raises(PrepareRefused) as caught:
        preparing.prepare(b"fail", Layout(), PATIENCE)
    assert (caught.value.reason, caught.value.message) == ("INTERNAL", "internal error")
    assert "secret" in caught.value.log
    assert isinstance(preparing.prepare(b"ok", Layout(), PATIENCE), PreparedProgram)


def test_an_idle_process_that_was_killed_costs_no_request(scripted: Make) -> None:
    preparing = scripted()
    preparing.prepare(b"ok", Layout(), PATIENCE)
    (pid,) = preparing.pids()
    os.kill(pid, signal.SIGKILL)
    assert isinstance(preparing.prepare(b"ok", Layout(), PATIENCE), PreparedProgram)
    assert preparing.pids() != (pid,)


def test_closing_refuses_what_waits_and_what_runs_and_leaves_nothing(scripted: Make, gate: Gate) -> None:
    before = len(os.listdir("/dev/fd"))
    preparing = scripted()
    running = Call(preparing, gate.program)
    end = gate.begun()
    waiting = Call(preparing, b"ok")
    until(lambda: preparing.states()["waiting"] == 1)
    preparing.close()
    preparing.close()
    os.close(end)
    for call in (running, waiting):
        refused = call.result()
        assert isinstance(refused, PrepareRefused)
        assert refused.reason == "SERVER_DRAINING"
    with pytest.raises(PrepareRefused):
        preparing.prepare(b"ok", Layout(), PATIENCE)
    assert len(os.listdir("/dev/fd")) == before


def test_where_no_process_can_be_started_requests_fail_and_the_thread_lives(make: Make) -> None:
    preparing = make(module="gradwire_server.no_such_module")
    for _ in range(2):
        with pytest.raises(PrepareRefused) as caught:
            preparing.prepare(b"ok", Layout(), PATIENCE)
        assert caught.value.reason == "WORKER_LOST"


INDICES = st.lists(st.integers(0, 2**32 - 1), max_size=5).map(tuple)


@given(st.binary(max_size=50), INDICES, INDICES, INDICES)
def test_a_request_arrives_as_it_was_sent(program: bytes, shared: tuple, summed: tuple, outputs: tuple) -> None:
    layout = Layout(shared, summed, outputs)
    assert unpack_request(memoryview(b"".join(pack_request(program, layout)))) == (program, layout)
