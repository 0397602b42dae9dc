from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gradwire_engine.vocabulary as v
from gradwire.v1 import service_pb2
from gradwire.wire.programs import encode_graph, encode_program
from gradwire_engine.attributes import Axes, Shape, While
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph
from gradwire_engine.program import Grad, Layout, Program
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_server.child.limits import child_environment
from gradwire_server.ipc.arena import memory_file, seal
from gradwire_server.ipc.messages import Constant, ExplainTask, Task, TaskFailed, TaskInput, WorkerLimits, WorkerLost
from gradwire_server.processes.child_process import StartFailed
from gradwire_server.processes.lent_worker import Held, WorkerProcess
from gradwire_server.processes.worker_pool import WorkerPool

MIB = 1 << 20
PATIENCE = 60.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Bell:
    """Counts what the pool reports, and waits for it."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self.idle = 0
        self.restarts: list[str] = []

    def on_idle(self) -> None:
        with self._rung:
            self.idle += 1
            self._rung.notify_all()

    def on_restart(self, cause: str) -> None:
        with self._rung:
            self.restarts.append(cause)
            self._rung.notify_all()

    def wait_for(self, condition: object) -> None:
        with self._rung:
            assert self._rung.wait_for(condition, PATIENCE)


def worker_of(pool: WorkerPool, bell: Bell, *, short: bool = True) -> WorkerProcess:
    """The next worker that is idle."""
    found: list[WorkerProcess] = []

    def acquired() -> bool:
        worker = pool.acquire(short=short)
        found.extend([worker] if worker else [])
        return bool(found)

    bell.wait_for(acquired)
    return found[0]


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def make_pool(bell: Bell) -> Iterator[object]:
    pools = []

    def make(size: int, **options: object) -> WorkerPool:
        pool = WorkerPool(size, on_idle=bell.on_idle, on_restart=bell.on_restart, **options)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[WorkerPool]:
    """Two workers, for tests that kill none."""
    pool = WorkerPool(2)
    pool.start()
    yield pool
    assert pool.states() == {"idle": 2, "busy": 0, "starting": 0}
    pool.close()


@pytest.fixture
def worker(shared_pool: WorkerPool) -> Iterator[WorkerProcess]:
    found = shared_pool.acquire(short=True)
    assert found is not None
    yield found
    shared_pool.release(found)


# Plans and tasks

VECTOR = TensorType(DType.FLOAT64, (ROWS, 3))


def a_graph(shift: float = 0.0) -> Graph:
    """-x + shift."""
    builder = GraphBuilder()
    x = builder.input("x", VECTOR)
    return builder.finish([-x + shift if shift else -x])


def a_loop(max_steps: int) -> Graph:
    """x doubled as long as it is between 0 and 100."""
    scalar = TensorType(DType.FLOAT64)
    condition, body, builder = GraphBuilder(), GraphBuilder(), GraphBuilder()
    value, state, x = [one.input("x", scalar) for one in (condition, body, builder)]
    graphs = condition.finish([(value > 0.0) & (value < 100.0)]), body.finish([state * 2.0])
    attributes = While(condition_constants=0, body_constants=0, max_steps=max_steps)
    return builder.finish(builder.emit_all("while", [x], attributes, graphs))


def a_task(x: np.ndarray, shift: float = 0.0, pieces: int = 1) -> Task:
    graph = a_graph(shift)
    parts = tuple(part.tobytes() for part in np.array_split(x, pieces))
    return Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=len(x),
        inputs=(TaskInput(dtype=DType.FLOAT64, shape=x.shape, pieces=parts),),
        outputs=(VECTOR.with_rows(len(x)),),
        memory_bytes=1 << 30,
    )


def outputs_of(worker: WorkerProcess, task: Task, timeout: float = PATIENCE) -> list[np.ndarray]:
    result = worker.run(task, timeout)
    return [
        np.frombuffer(data, type.dtype.numpy).reshape(type.shape).copy()
        for data, type in zip(result.outputs, task.outputs, strict=True)
    ]


def numbers(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 3))


# A task runs


@pytest.mark.parametrize("rows", [0, 1, 7, 50_000])
def test_a_batch_is_its_pieces_one_after_the_other(worker: WorkerProcess, rows: int) -> None:
    x = numbers(rows)
    for pieces in (1, 3):
        np.testing.assert_array_equal(outputs_of(worker, a_task(x, pieces=pieces))[0], -x)


def test_the_result_says_how_long_it_took_and_what_ran_it(worker: WorkerProcess) -> None:
    result = worker.run(a_task(numbers(100_000)), PATIENCE)
    assert 0 < result.compute_seconds < PATIENCE
    assert (result.executor, result.row_errors) == ("reference", ())


def test_rows_that_fail_come_back_with_their_reasons(worker: WorkerProcess) -> None:
    graph = batch(a_loop(max_steps=3), Layout())
    points = np.array([-1.0, 1.0, 50.0, 2.0, 0.0])
    task = Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=5,
        inputs=(TaskInput(dtype=DType.FLOAT64, shape=(5,), pieces=(points.tobytes(),)),),
        outputs=(TensorType(DType.FLOAT64, (5,)),),
        memory_bytes=MIB,
    )
    result = worker.run(task, PATIENCE)
    assert [(one.row, one.reason) for one in result.row_errors] == [(i, "MAX_STEPS_EXCEEDED") for i in (1, 3)]
    assert "max_steps = 3" in result.row_errors[0].message
    np.testing.assert_array_equal(np.frombuffer(result.outputs[0]), [-1.0, np.nan, 100.0, np.nan, 0.0])


def test_every_dtype_and_a_scalar_pass_unchanged(worker: WorkerProcess) -> None:
    builder = GraphBuilder()
    shapes: list[tuple[int, ...]] = [(ROWS, 2), (), (ROWS,), (0, 3), (ROWS, 3)]
    types = [TensorType(dtype, shape) for dtype, shape in zip(DType, shapes, strict=True)]
    graph = builder.finish([builder.input(f"x{i}", type) for i, type in enumerate(types)])
    rng = np.random.default_rng(5)
    arrays = [rng.integers(0, 2, type.with_rows(5).shape).astype(type.dtype.numpy) for type in types]
    task = Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=5,
        inputs=tuple(
            TaskInput(dtype=type.dtype, shape=array.shape, pieces=(array.tobytes(),))
            for type, array in zip(types, arrays, strict=True)
        ),
        outputs=tuple(type.with_rows(5) for type in types),
        memory_bytes=MIB,
    )
    for output, array in zip(outputs_of(worker, task), arrays, strict=True):
        np.testing.assert_array_equal(output, array)
        assert output.dtype == array.dtype


def test_plans_are_kept_apart_and_sent_again_after_they_were_forgotten(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1, limits=WorkerLimits(plans=3))
    worker = worker_of(pool, bell)
    x = numbers(4)
    for shift in [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 5.0, 4.0, 1.0, 2.0] * 2:
        np.testing.assert_allclose(outputs_of(worker, a_task(x, shift))[0], -x + shift)
    pool.release(worker)


def test_a_worker_that_holds_the_plan_is_preferred(shared_pool: WorkerPool) -> None:
    first, second = (shared_pool.acquire(short=True) for _ in range(2))
    assert first is not None
    assert second is not None
    first.run(a_task(numbers(1), 1234.5), PATIENCE)
    for order in ((first, second), (second, first)):
        for one in order:
            shared_pool.release(one)
        assert shared_pool.acquire(short=True, plan_id=a_graph(1234.5).hash) is first
        assert shared_pool.acquire(short=True) is second
    shared_pool.release(first)
    shared_pool.release(second)


def a_constant(array: np.ndarray) -> Constant:
    fileno = memory_file("constant", array.nbytes)
    os.pwrite(fileno, array.tobytes(), 0)
    seal(fileno, content=True)
    return Constant(digest=array.tobytes()[:32], nbytes=array.nbytes, fileno=fileno)


def a_shifted_task(x: np.ndarray, shift: Constant) -> Task:
    """x + shift, the shift being one constant for all rows."""
    builder = GraphBuilder()
    a, b = builder.input("x", VECTOR), builder.input("shift", TensorType(DType.FLOAT64, (3,)))
    graph = builder.finish([a + b.emit("broadcast_to", attributes=Shape((ROWS, 3)))])
    return Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=len(x),
        inputs=(
            TaskInput(dtype=DType.FLOAT64, shape=x.shape, pieces=(x.tobytes(),)),
            TaskInput(dtype=DType.FLOAT64, shape=(3,), constant=shift),
        ),
        outputs=(VECTOR.with_rows(len(x)),),
        memory_bytes=MIB,
    )


@linux_only
def test_constants_are_mapped_once_and_unmapped_when_they_are_forgotten(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1, limits=WorkerLimits(constants=3))
    worker = worker_of(pool, bell)
    x = numbers(4)
    arrays = [np.full(3, float(number)) for number in range(5)]
    constants = [a_constant(array) for array in arrays]

    def mapped_constants() -> int:
        return Path(f"/proc/{worker.pid}/maps").read_text().count("memfd:constant")

    for number in [0, 1, 1, 2, 3, 4, 0, 0, 4, 3]:
        np.testing.assert_array_equal(outputs_of(worker, a_shifted_task(x, constants[number]))[0], x + arrays[number])
    assert mapped_constants() == 3
    for constant in constants:
        os.close(constant.fileno)
        pool.forget_constant(constant.digest)
    outputs_of(worker, a_task(x))
    assert mapped_constants() == 0
    pool.release(worker)


@linux_only
def test_an_idle_worker_forgets_a_constant_without_being_given_work(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    constant = a_constant(np.ones(3))
    worker.run(a_shifted_task(numbers(1), constant), PATIENCE)
    pool.release(worker)
    pool.forget_constant(constant.digest)
    again = worker_of(pool, bell)
    again.run(a_shifted_task(numbers(1), constant), PATIENCE)
    assert Path(f"/proc/{again.pid}/maps").read_text().count("memfd:constant") == 1
    os.close(constant.fileno)
    pool.release(again)


# Explain


def an_explain_task(x: float, y: float, **changes: object) -> ExplainTask:
    builder = GraphBuilder()
    a, b = (builder.input(name, TensorType(DType.FLOAT64)) for name in "xy")
    program = Program(builder.finish([v.sin(a) + a * b]))
    inputs = tuple(TaskInput(dtype=DType.FLOAT64, shape=(), pieces=(np.float64(at).tobytes(),)) for at in (x, y))
    return ExplainTask(**{"program": encode_program(program), "inputs": inputs, "mode": "forward", **changes})


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_trace_table_comes_back_as_a_message(worker: WorkerProcess, mode: str) -> None:
    (data,) = worker.run(an_explain_task(1.5, 2.0, mode=mode), PATIENCE).outputs
    table = service_pb2.ExplainResponse.FromString(bytes(data))
    results = [np.frombuffer(row.result.data)[0] for row in table.rows]
    assert results[:2] == [1.5, 2.0]
    assert results[table.outputs[0]] == np.sin(1.5) + 3.0
    to_x = {row.name: [np.frombuffer(one.data)[0] for one in row.derivatives] for row in table.rows}
    if mode == "forward":
        last = table.rows[table.outputs[0]].name
        np.testing.assert_allclose(to_x[last], [np.cos(1.5) + 2.0, 1.5])
    else:
        np.testing.assert_allclose([to_x["x"][0], to_x["y"][0]], [np.cos(1.5) + 2.0, 1.5])


def test_explain_refuses_what_does_not_fit_and_the_worker_goes_on(worker: WorkerProcess) -> None:
    builder = GraphBuilder()
    x = builder.input("x", TensorType(DType.FLOAT64))
    with_transforms = encode_program(Program(builder.finish([v.sin(x)]), (Grad((0,)),)))
    one = TaskInput(dtype=DType.FLOAT32, shape=(2,), pieces=(bytes(8),))
    for changes, reason in (
        ({"max_values": 3}, "EXPLAIN_TOO_LARGE"),
        ({"max_response_bytes": 10}, "EXPLAIN_TOO_LARGE"),
        ({"program": b"\xff\xff"}, "MALFORMED_REQUEST"),
        ({"program": with_transforms}, "INVALID_GRAPH"),
        ({"inputs": ()}, "INPUT_MISMATCH"),
        ({"inputs": (one, one)}, "INPUT_MISMATCH"),
    ):
        with pytest.raises(TaskFailed) as caught:
            worker.run(an_explain_task(1.0, 2.0, **changes), PATIENCE)
        assert caught.value.reason == reason
    worker.run(an_explain_task(1.0, 2.0), PATIENCE)


# Two workers


def test_rows_of_tasks_that_run_at_the_same_time_never_meet(shared_pool: WorkerPool) -> None:
    wrong: list[int] = []
    together = threading.Barrier(2)

    def run(seed: int) -> None:
        worker = shared_pool.acquire(short=True)
        assert worker is not None
        together.wait(PATIENCE)
        for turn in range(60):
            x = numbers(1 + 97 * (turn % 40), seed=1000 * seed + turn)
            if not np.array_equal(outputs_of(worker, a_task(x, pieces=1 + turn % 5))[0], -x):
                wrong.append(turn)
        shared_pool.release(worker)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_worker_is_kept_for_short_tasks(make_pool: object) -> None:
    pool = make_pool(3)
    long = [pool.acquire(short=False), pool.acquire(short=False)]
    assert all(long)
    assert pool.acquire(short=False) is None
    short = pool.acquire(short=True)
    assert short is not None
    assert pool.acquire(short=True) is None
    assert pool.states() == {"idle": 0, "busy": 3, "starting": 0}
    pool.release(long.pop())
    pool.release(short)
    again = pool.acquire(short=False)
    assert again is not None
    assert pool.acquire(short=False) is None
    pool.release(again)
    pool.release(long.pop())
    assert pool.states() == {"idle": 3, "busy": 0, "starting": 0}


def test_a_single_worker_takes_long_tasks(make_pool: object) -> None:
    pool = make_pool(1)
    worker = pool.acquire(short=False)
    assert worker is not None
    pool.release(worker)


# Limits

BIG = 100 * MIB // 8


def a_hungry_task(elements: int = BIG) -> Task:
    """Little in, little out, and a value of `elements` numbers between them."""
    builder = GraphBuilder()
    x = builder.input("x", VECTOR)
    wide = v.sin(x.emit("sum", attributes=Axes((0, 1))).emit("broadcast_to", attributes=Shape((elements,))))
    graph = builder.finish([wide.emit("sum", attributes=Axes((0,)))])
    return Task(
        plan_id=graph.hash,
        plan=encode_graph(graph),
        rows=1,
        inputs=(TaskInput(dtype=DType.FLOAT64, shape=(1, 3), pieces=(bytes(24),)),),
        outputs=(TensorType(DType.FLOAT64),),
        memory_bytes=1 << 40,
    )


@linux_only
def test_a_task_over_its_memory_fails_and_the_worker_goes_on(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1, limits=WorkerLimits(memory_bytes=64 * MIB))
    worker = worker_of(pool, bell)
    x = numbers(3)
    for _ in range(3):
        outputs_of(worker, a_task(x))
        with pytest.raises(TaskFailed) as caught:
            worker.run(a_hungry_task(), PATIENCE)
        assert caught.value.reason == "TASK_MEMORY_LIMIT"
        assert caught.value.details == {"name": "worker-memory", "limit": str(64 * MIB), "unit": "bytes"}
        np.testing.assert_array_equal(outputs_of(worker, a_task(x))[0], -x)
    assert outputs_of(worker, a_hungry_task(1000))[0] == 0
    pool.release(worker)
    assert bell.restarts == []


def test_a_task_larger_than_the_arena_fails_before_it_is_sent(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1, limits=WorkerLimits(arena_bytes=MIB, arena_keep_bytes=0))
    worker = worker_of(pool, bell)
    with pytest.raises(TaskFailed, match="TASK_MEMORY_LIMIT") as caught:
        worker.run(a_task(numbers(30_000)), PATIENCE)
    assert caught.value.details["limit"] == str(MIB)
    x = numbers(20_000)
    np.testing.assert_array_equal(outputs_of(worker, a_task(x))[0], -x)
    pool.release(worker)


def test_a_task_over_its_time_is_killed_and_its_worker_replaced(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    os.kill(worker.pid, signal.SIGSTOP)  # as good as a task that never ends
    with pytest.raises(WorkerLost) as caught:
        worker.run(a_task(numbers(1)), 0.01)
    assert (caught.value.cause, caught.value.signal) == ("time_limit", signal.SIGKILL)
    pool.release(worker)
    another = worker_of(pool, bell)
    assert another.pid != worker.pid
    x = numbers(2)
    np.testing.assert_array_equal(outputs_of(another, a_task(x))[0], -x)
    pool.release(another)
    assert bell.restarts == ["time_limit"]


def test_a_plan_that_cannot_be_decoded_is_our_fault_and_told_to_the_log_alone(worker: WorkerProcess) -> None:
    task = a_task(numbers(1))
    wrong = Task(plan_id="another", plan=task.plan, rows=2, inputs=task.inputs, outputs=task.outputs, memory_bytes=MIB)
    with pytest.raises(TaskFailed) as caught:
        worker.run(wrong, PATIENCE)
    assert (caught.value.reason, caught.value.message) == ("INTERNAL", "internal error")
    assert "Traceback" in caught.value.log
    outputs_of(worker, task)


# Deaths


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "fault"), (signal.SIGABRT, "fault"), (signal.SIGUSR1, "killed")],
)
def test_a_worker_that_dies_under_a_task_is_replaced_and_the_cause_told(
    make_pool: object, bell: Bell, number: signal.Signals, cause: str
) -> None:
    pool = make_pool(2)
    worker = worker_of(pool, bell, short=False)
    os.kill(worker.pid, signal.SIGSTOP)
    killer = threading.Thread(target=kill_when_asked, args=(worker.pid, number))
    killer.start()
    with pytest.raises(WorkerLost) as caught:
        worker.run(a_task(numbers(1)), PATIENCE)
    killer.join()
    assert (caught.value.cause, caught.value.signal) == (cause, number)
    pool.release(worker)
    bell.wait_for(lambda: pool.states()["idle"] == 2)
    assert bell.restarts == [cause]


def kill_when_asked(pid: int, number: signal.Signals) -> None:
    """Kill a stopped process, after something was sent to it or before: both must do."""
    os.kill(pid, number)
    if number != signal.SIGKILL:
        os.kill(pid, signal.SIGCONT)


def test_an_idle_worker_that_dies_is_replaced(make_pool: object, bell: Bell) -> None:
    pool = make_pool(2)
    first = worker_of(pool, bell)
    pool.release(first)
    os.kill(first.pid, signal.SIGKILL)
    bell.wait_for(lambda: bell.restarts == ["killed"] and pool.states()["idle"] == 2)
    workers = [worker_of(pool, bell) for _ in range(2)]
    assert first not in workers
    for worker in workers:
        outputs_of(worker, a_task(numbers(1)))
        pool.release(worker)


def test_a_worker_that_dies_between_its_answer_and_its_release_is_not_lent_again(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    result = worker.run(a_task(numbers(1)), PATIENCE)
    os.kill(worker.pid, signal.SIGKILL)
    bell.wait_for(lambda: bell.restarts == ["killed"])
    assert len(result.outputs[0]) == 24  # still readable
    pool.release(worker)
    another = worker_of(pool, bell)
    assert another is not worker
    outputs_of(another, a_task(numbers(1)))
    pool.release(another)


@linux_only
def test_many_deaths_leave_no_descriptor_mapping_thread_or_process(make_pool: object, bell: Bell) -> None:
    def held() -> tuple[int, int, int, int]:
        maps = Path("/proc/self/maps").read_text().count("gradwire-arena")
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        started = children.read_text() if children.exists() else ""
        return len(os.listdir("/proc/self/fd")), maps, threading.active_count(), len(started.split())

    pool = make_pool(1)
    outputs_of(first := worker_of(pool, bell), a_task(numbers(100_000)))
    pool.release(first)
    before = held()
    for turn in range(6):
        worker = worker_of(pool, bell)
        if turn % 2:
            outputs_of(worker, a_task(numbers(100_000)))
            pool.release(worker)
            os.kill(worker.pid, signal.SIGKILL)
        else:
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(WorkerLost):
                worker.run(a_task(numbers(100_000)), PATIENCE)
            pool.release(worker)
        bell.wait_for(lambda turn=turn: len(bell.restarts) > turn and pool.states()["idle"] == 1)
    after = held()  # fewer where something of an earlier test ended in the meantime
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)


def test_tasks_survive_deaths_under_load_if_they_are_run_again(make_pool: object, bell: Bell) -> None:
    pool = make_pool(2)
    deaths, wrong, causes = 8, [], set()
    enough = threading.Event()

    def run(seed: int) -> None:
        turn = 0
        while not enough.is_set():
            turn += 1
            x = numbers(1 + turn % 50, seed=1000 * seed + turn)
            while True:
                worker = worker_of(pool, bell)
                try:
                    (found,) = outputs_of(worker, a_task(x))
                    break
                except WorkerLost as lost:
                    causes.add(lost.cause)
                finally:
                    pool.release(worker)
            if not np.array_equal(found, -x):
                wrong.append((seed, turn))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for death in range(deaths):
        worker = worker_of(pool, bell)
        pid = worker.pid
        pool.release(worker)
        os.kill(pid, signal.SIGKILL)
        bell.wait_for(lambda death=death: len(bell.restarts) > death)
    enough.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert causes <= {"killed"}
    assert bell.restarts == ["killed"] * deaths
    bell.wait_for(lambda: pool.states() == {"idle": 2, "busy": 0, "starting": 0})


@linux_only
def test_a_closed_pool_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    pool = WorkerPool(2)
    pool.start()
    worker = pool.acquire(short=True)
    assert worker is not None
    pids = [worker.pid]
    pool.release(worker)
    pool.close()
    pool.close()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert pool.acquire(short=True) is None


def test_closing_ends_tasks_that_still_run(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    os.kill(worker.pid, signal.SIGSTOP)
    lost: list[str] = []

    def run() -> None:
        try:
            worker.run(a_task(numbers(1)), PATIENCE)
        except WorkerLost as error:
            lost.append(error.cause)
        pool.release(worker)

    thread = threading.Thread(target=run)
    thread.start()
    pool.close()
    thread.join()
    assert lost == ["killed"]
    assert bell.restarts == []


# Starting


def test_a_pool_that_was_never_started_can_be_closed() -> None:
    WorkerPool(1).close()


def test_workers_that_cannot_start_are_an_error_that_leaves_nothing() -> None:
    before = len(os.listdir("/dev/fd"))
    for options in ({"module": "gradwire_server.no_such_module"}, {"module": "this"}, {"start_timeout": 0.0}):
        pool = WorkerPool(2, **options)
        with pytest.raises(StartFailed, match="ready"):
            pool.start()
        assert pool.acquire(short=True) is None
    assert len(os.listdir("/dev/fd")) == before


def test_stop_signals_are_for_the_front_alone(make_pool: object, bell: Bell) -> None:
    pool = make_pool(1)
    worker = worker_of(pool, bell)
    x = numbers(2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker.pid, number)
        np.testing.assert_array_equal(outputs_of(worker, a_task(x))[0], -x)
    pool.release(worker)
    assert bell.restarts == []


@linux_only
def test_a_worker_never_loads_grpc(worker: WorkerProcess) -> None:
    outputs_of(worker, a_task(numbers(1)))
    worker.run(an_explain_task(1.0, 2.0), PATIENCE)
    maps = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "cygrpc" not in maps
    assert "numpy" in maps  # it does show what is loaded


FRONT = """
import os, signal, sys, threading
from gradwire_engine.program import Layout
from gradwire_server.processes.worker_pool import WorkerPool
from gradwire_server.processes.limited_jobs import Preparing
from gradwire_server.ipc.messages import PrepareRefused
pool = WorkerPool(3)
pool.start()
workers = [pool.acquire(short=True) for _ in range(3)]
os.kill(workers[0].pid, signal.SIGSTOP)
preparing = Preparing(processes=1)
preparing.start()
try:
    preparing.prepare(b"", Layout(), 60.0)
except PrepareRefused:
    print(*[worker.pid for worker in workers], *preparing.pids(), flush=True)
sys.stdin.read()
"""


@linux_only
def test_workers_end_when_the_front_is_killed_even_those_that_are_stopped() -> None:
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment()
    )
    assert front.stdout is not None
    pids = [int(word) for word in front.stdout.readline().split()]
    assert len(pids) == 4
    ends = [os.pidfd_open(pid) for pid in pids]
    front.kill()
    front.communicate()
    for end in ends:
        assert select.select([end], [], [], PATIENCE)[0]
        os.close(end)


# What a worker holds


def test_the_least_recently_used_go_first_but_never_those_in_use() -> None:
    held: Held[str] = Held(3, 100)
    slots = {key: held.add(key, 10) for key in "abc"}
    assert held.use("a") == slots["a"]
    held.add("d", 10)
    assert held.shrink(keep=1) == [slots["b"]]
    assert "b" not in held
    assert held.use("b") is None
    big = held.add("e", 1000)
    assert len(held.shrink(keep=1)) == 3
    assert held.use("e") == big
    assert held.forget("e") == big
    assert held.forget("e") is None
    assert len(held) == 0
    for key in "abcdefgh":
        held.add(key, 10)
    assert len(held.shrink(keep=5)) == 3
    assert [key for key in "abcdefgh" if key in held] == list("defgh")
