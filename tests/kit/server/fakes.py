"""Stand-ins for what is slow or cannot be steered: the clock, workers, preparing. No threads, no sleeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradwire_engine.bounds import Bound, Cost
from gradwire_engine.graph import Input
from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.processes.tasks import TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import Job
from gradwire_server.scheduling.prediction import Prediction


class FakeClock:
    """Time passes when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeWork:
    """Work that takes `seconds_per_row` as far as is predicted, and answers each job with its payload.

    Payloads named in `poison` fail every task they are in; `log` has the payloads of each task that ran.
    """

    mode = "value"
    plan_id = "plan"

    def __init__(self, seconds_per_row: float = 0.001) -> None:
        self.prediction = Prediction(Bound(0, 1_000_000), 1_000_000 / seconds_per_row)
        self.log: list[list[bytes]] = []
        self.poison: dict[bytes, Exception] = {}

    def task(self, jobs: Sequence[Job[bytes]]) -> list[bytes]:  # type: ignore[override]
        return [job.payload for job in jobs]

    def answers(self, result: TaskResult, jobs: Sequence[Job[bytes]]) -> list[bytes | Refusal]:
        return [b"answer to " + job.payload for job in jobs]


class FakeWorker:
    """Runs FakeWork's tasks at once; `before` is called with each task first, and may raise or let time pass."""

    def __init__(self, pool: FakePool) -> None:
        self._pool = pool

    def run(self, task: list[bytes], timeout: float) -> TaskResult:
        self._pool.tasks.append(task)
        self._pool.before(task)
        for payload in task:
            if payload in self._pool.poison:
                raise self._pool.poison[payload]
        return TaskResult(outputs=(), compute_seconds=0.001, executor="reference")


class FakePool:
    """So many workers, lent and given back; a plan id or shortness makes no difference, unless `short_only`."""

    def __init__(self, workers: int = 1) -> None:
        self.idle = [FakeWorker(self) for _ in range(workers)]
        self.on_idle: Callable[[], None] = lambda: None
        self.before: Callable[[list[bytes]], None] = lambda task: None
        self.poison: dict[bytes, Exception] = {}
        self.tasks: list[list[bytes]] = []
        self.short_only = False

    def acquire(self, *, short: bool, plan_id: str = "") -> FakeWorker | None:
        if not self.idle or (self.short_only and not short):
            return None
        return self.idle.pop()

    def release(self, worker: FakeWorker) -> None:
        self.idle.append(worker)
        self.on_idle()


class FakeObserver:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, int]] = []
        self.waited: list[float] = []

    def batch(self, mode: str, rows: int, compute_seconds: float, queue_seconds: Sequence[float]) -> None:
        self.batches.append((mode, rows, len(queue_seconds)))
        self.waited += queue_seconds


FLOAT64 = TensorType(DType.FLOAT64)
CHEAP = Bound(0, 10)


def prepared_program(
    *,
    inputs: Sequence[tuple[str, TensorType]] = (("x", FLOAT64), ("y", FLOAT64)),
    outputs: Sequence[tuple[str, TensorType]] = (("value", FLOAT64),),
    flops: Bound = CHEAP,
    nbytes: Bound = CHEAP,
) -> PreparedProgram:
    """What preparing says of a program."""
    return PreparedProgram(
        plan_id="plan",
        plan=b"encoded plan",
        inputs=tuple([Input(*one) for one in inputs]),
        outputs=tuple([Input(*one) for one in outputs]),
        cost=Cost(flops, nbytes, 3),
        mode="reverse",
        prepare_seconds=0.01,
    )


class FakePreparing:
    """Prepares every program as `prepared`, or raises `refusal`; `calls` has what was asked."""

    def __init__(self, prepared: PreparedProgram | None = None) -> None:
        self.prepared = prepared or prepared_program()
        self.refusal: Refusal | TimeoutError | None = None
        self.calls: list[tuple[bytes, Layout, float]] = []

    def prepare(
        self, program: bytes, layout: Layout, timeout: float, *, program_id: str | None = None
    ) -> PreparedProgram:
        self.calls.append((program, layout, timeout))
        if self.refusal is not None:
            raise self.refusal
        return self.prepared


def failed(reason: str = "TASK_MEMORY_LIMIT") -> Refusal:
    """A task that has no result."""
    return Refusal(reason, "this one cannot be")
