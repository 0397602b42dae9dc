"""A request that has been admitted, on its way through queue and worker; and what a worker is asked and answers for
it.

A kind of request is a `Work`: it makes one task of the jobs of a batch, and takes the result apart again. The payload
of its jobs belongs to it alone; the queues and the dispatcher do not look at it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from gradwire.wire.requests import join
from gradwire.wire.tensors import Buffer
from gradwire_server.processes.tasks import ExplainTask, Task, TaskResult
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.prediction import Prediction

Payload = TypeVar("Payload")


class Worker(Protocol):
    """What a lent worker does."""

    def run(self, task: Task | ExplainTask, timeout: float) -> TaskResult: ...


class Work(Protocol[Payload]):
    """What a request asks of a worker, and how several such requests become one task. Equal keys mean equal work.

    `answers` gives one outcome for each job, in order, and copies what it needs of the result.
    """

    mode: str
    plan_id: str
    prediction: Prediction

    def task(self, jobs: Sequence[Job[Payload]]) -> Task | ExplainTask: ...

    def answers(self, result: TaskResult, jobs: Sequence[Job[Payload]]) -> list[bytes | Refusal]: ...


class State(enum.Enum):
    """Where a job is."""

    NEW = 0
    WAITING = 1
    LEADING = 2  # its own thread runs the batch, or is about to
    RUNNING = 3  # another thread runs the batch
    DONE = 4


class Job(Generic[Payload]):
    """One admitted request. Once it has been submitted, the dispatcher writes it, with its lock held.

    `work` and `payload` say what is asked. Jobs with the same `tenant` and `key` may share a batch, unless they are
    `solo`. `deadline` is a time of the dispatcher's clock. The dispatcher calls `settle` once, when neither a queue nor
    a worker uses the job any longer: it gives back what admission holds for the request. `finish` makes an answer of
    the parts that `work` builds. `wake` tells whoever brought the job to look at it again.
    """

    has_thread = False
    lead: Lead | None = None
    outcome: bytes | Refusal | None = None
    state = State.NEW
    submitted_at = started_at = ready_at = charge = 0.0
    deaths = 0

    def __init__(
        self,
        *,
        work: Work[Payload],
        payload: Payload,
        rows: int,
        nbytes: int,
        deadline: float,
        key: Hashable,
        solo: bool,
        tenant: str,
        settle: Callable[[], object],
    ) -> None:
        self.work = work
        self.payload = payload
        self.rows = rows
        self.nbytes = nbytes
        self.deadline = deadline
        self.key = key
        self.solo = solo
        self.tenant = tenant
        self.settle = settle
        self.prediction = work.prediction
        self.finish: Callable[[Sequence[Buffer]], bytes] = join
        self.wake: Callable[[], object] = _nobody

    def end(self, outcome: bytes | Refusal) -> None:
        """The job has its outcome; there is no other after it."""
        self.outcome = outcome
        self.state = State.DONE


AnyJob: TypeAlias = Job[Any]
"""A job of any kind: what may be done with it does not depend on its payload."""


class Lead:
    """A batch, the worker it is going to run on, and the member whose thread does it, if any has one."""

    __slots__ = ("leader", "members", "rows", "worker")

    def __init__(self, members: tuple[AnyJob, ...], rows: int, worker: Worker) -> None:
        self.members = members
        self.rows = rows
        self.worker = worker
        self.leader = next((job for job in members if job.has_thread), None)


def _nobody() -> None:
    return None
