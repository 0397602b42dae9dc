"""From the queue to a worker and back: leader and followers.

The thread that brought a request serves it. If a worker is idle, the thread takes the worker and runs the request
there itself, without a hop. If none is, the thread waits. The thread that releases a worker picks the next batch, and
wakes one of its members, the leader. The leader runs the whole batch and hands the others their answers. A thread of
`launch` leads a batch of requests that have no threads of their own (items of streams).

What the dispatcher promises:
- Deadlines fire apart from dispatch: each waiting thread wakes at its own deadline, whatever the workers do. A request
  that has not begun then never begins.
- A batch that fails or loses its worker runs again, member by member, as `retries` decides.
- Every accepted request gets exactly one outcome. The leader releases the worker before it wakes the followers.

Worst case of a wait: the request's deadline, plus, for a leader, the task's time limit. One lock guards queues, states
and predictions; no thread holds it while a task runs or an answer is built.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from gradwire_server.config.table import ServerConfig
from gradwire_server.processes.child_process import WorkerLost
from gradwire_server.refusal import Refusal
from gradwire_server.scheduling.job import AnyJob, Lead, State, Worker
from gradwire_server.scheduling.queues import Batch, Queues
from gradwire_server.scheduling.retries import Retries

_log = logging.getLogger(__name__)


class Pool(Protocol):
    """Lends workers; neither method blocks. `release` may call `Dispatcher.on_idle`."""

    def acquire(self, *, short: bool, plan_id: str = "") -> Worker | None: ...

    def release(self, worker: Any, /) -> None: ...


class Observer(Protocol):
    """Counts what ran."""

    def batch(self, mode: str, rows: int, compute_seconds: float, queue_seconds: Sequence[float]) -> None: ...


class Dispatcher:
    """Runs jobs on the pool's workers. All methods may be called from any thread.

    `launch` runs a function on some thread soon. The dispatcher calls a job's `settle` once, when neither a queue nor a
    worker uses the job any longer. It wakes whoever brought the job after that. Only a job that was given up while it
    ran is settled later, when its worker is done.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        pool: Pool,
        clock: Callable[[], float],
        launch: Callable[[Callable[[], None]], object],
        observer: Observer,
    ) -> None:
        self._config = config
        self._queues: Queues[AnyJob] = Queues(config)
        self._retries = Retries(config)
        self._pool = pool
        self._clock = clock
        self._launch = launch
        self._observer = observer
        self._lock = threading.Lock()

    # For those who bring requests

    def run(self, job: AnyJob, before_waiting: Callable[[], object] = lambda: None) -> bytes:
        """Run the job and return its answer, or raise its Refusal.

        A thread that does not run the job at once calls `before_waiting`; from then on others may call `cancel`.
        """
        inbox: SimpleQueue[None] = SimpleQueue()
        job.wake = lambda: inbox.put(None)
        job.has_thread = True
        lead = self._submit(job)
        if lead is not None:
            self._run_batch(lead)
        else:
            before_waiting()
        while job.outcome is None:
            try:
                inbox.get(timeout=max(0.0, self.wake_at(job) - self._clock()))
            except Empty:
                self.tick(job)
            lead = job.lead
            if lead is not None:  # only then: another thread may be setting it
                job.lead = None
                self._run_batch(lead)
        if isinstance(job.outcome, Refusal):
            raise job.outcome
        return job.outcome

    def start(self, job: AnyJob, done: Callable[[], None]) -> None:
        """Run the job on other threads, and call `done` once when it has its outcome. Refusal where there is no room.

        Whoever starts a job calls `tick` at the time that `wake_at` says.
        """
        job.wake = done
        self._submit(job)

    def wake_at(self, job: AnyJob) -> float:
        """When whoever brought the job has to `tick`: nobody else does what is due then."""
        return job.deadline if job.ready_at <= self._clock() else min(job.deadline, job.ready_at)

    def tick(self, job: AnyJob) -> None:
        """Do what is due: give the job up if it is late, run its line if it has waited long enough for others."""
        now = self._clock()
        if now >= job.deadline:
            waited = f"the deadline passed {now - job.submitted_at:.3g} s after the request was queued"
            if not self._withdraw(job, State.WAITING, Refusal("EXPIRED_IN_QUEUE", f"{waited}; it did not run")):
                self._withdraw(job, State.RUNNING, Refusal("EXPIRED_WHILE_RUNNING", f"{waited}; it is running"))
        else:
            self.on_idle()

    def withdraw(self, job: AnyJob, refusal: Refusal) -> bool:
        """End a job that has not begun; False if it has."""
        return self._withdraw(job, State.WAITING, refusal)

    def cancel(self, job: AnyJob) -> None:
        """Nobody waits for the job any longer. A job that has begun runs on, for others or for nobody."""
        refusal = Refusal("CANCELLED", "the client has cancelled the call")
        if not self._withdraw(job, State.WAITING, refusal):
            self._withdraw(job, State.RUNNING, refusal)

    def on_idle(self) -> None:
        """A worker may have become available, or a line ripe."""
        if not len(self._queues):  # whoever queues something after this looks for workers after that
            return
        with self._lock:
            leads = self._assign(self._clock())
        self._wake(leads)

    @property
    def queued_requests(self) -> int:
        """How many requests wait."""
        return len(self._queues)

    @property
    def queued_seconds(self) -> float:
        """Predicted worker-seconds of what waits."""
        return self._queues.seconds

    # Into the queue, and out of it

    def _submit(self, job: AnyJob) -> Lead | None:
        """Queue the job and start what can start; what this thread is to lead, if anything."""
        try:
            with self._lock:
                now = job.submitted_at = self._clock()
                leads = self._without_queue(job, now)
                if not leads:
                    self._refuse_infeasible(job, now)
                    job.ready_at = now + self._config.max_queue_delay
                    self._queues.push(job)
                    job.state = State.WAITING
                    leads = self._assign(now)
                own, job.lead = job.lead, None
        except Refusal:
            job.settle()
            raise
        self._wake([lead for lead in leads if lead is not own])
        return own

    def _without_queue(self, job: AnyJob, now: float) -> list[Lead]:
        """The short way: nobody waits and a worker is idle."""
        if len(self._queues) or self._config.max_queue_delay:
            return []
        seconds = job.prediction.seconds(job.rows)
        worker = self._pool.acquire(short=seconds < self._config.short_seconds, plan_id=job.work.plan_id)
        return [] if worker is None else [self._begin((job,), job.rows, worker, now)]

    def _refuse_infeasible(self, job: AnyJob, now: float) -> None:
        """A job that has to wait, and that would not be done in time as far as is known, is refused at once."""
        if job.prediction.is_measured:
            seconds = self._queues.seconds / self._config.workers + job.prediction.seconds(job.rows)
            if now + seconds > job.deadline:
                raise Refusal(
                    "DEADLINE_INFEASIBLE",
                    f"the deadline is in {job.deadline - now:.3g} s; queue and run take about {seconds:.3g} s",
                    details={"predicted_seconds": f"{seconds:.6g}"},
                )

    def _assign(self, now: float) -> list[Lead]:
        """Give batches to idle workers until there are no more of the one or the other. With the lock held."""
        leads = []
        while len(self._queues):
            chosen = self._chosen(now)
            if chosen is None:
                break
            batch, worker = chosen
            self._queues.take(batch)
            leads.append(self._begin(batch.members, batch.rows, worker, now))
        return leads

    def _chosen(self, now: float) -> tuple[Batch[AnyJob], Worker] | None:
        batch = self._queues.choose(now)
        if batch is None:
            return None
        worker = self._pool.acquire(short=batch.is_short, plan_id=batch.members[0].work.plan_id)
        if worker is None and not batch.is_short:
            batch = self._queues.choose(now, short_only=True)
            if batch is not None:
                worker = self._pool.acquire(short=True, plan_id=batch.members[0].work.plan_id)
        return None if batch is None or worker is None else (batch, worker)

    @staticmethod
    def _begin(members: tuple[AnyJob, ...], rows: int, worker: Worker, now: float) -> Lead:
        lead = Lead(members, rows, worker)
        for job in members:
            job.state = State.RUNNING
            job.started_at = now
        if lead.leader is not None:
            lead.leader.state = State.LEADING
            lead.leader.lead = lead
        return lead

    def _withdraw(self, job: AnyJob, state: State, refusal: Refusal) -> bool:
        """End the job if it is in this state."""
        with self._lock:
            if job.state is not state:
                return False
            if state is State.WAITING:
                self._queues.remove(job)
            job.end(refusal)
        if state is State.WAITING:
            job.settle()
        job.wake()
        return True

    def _wake(self, leads: Sequence[Lead]) -> None:
        """Have each batch run by its leader, or by a thread of `launch` where no member has one."""
        for lead in leads:
            if lead.leader is not None:
                lead.leader.wake()
            else:
                self._launch(functools.partial(self._run_batch, lead))

    # On a worker

    def _run_batch(self, lead: Lead) -> None:
        """Run a batch on its worker, on this thread, and give every member its outcome or another turn."""
        outcomes: Sequence[bytes | Refusal | None]
        try:
            outcomes = self._computed(lead)
        except (Refusal, WorkerLost) as error:
            outcomes = self._retries.after(lead, error)
        except Exception as error:
            _log.error("a batch failed", exc_info=error)
            outcomes = self._retries.after(lead, error)
        finally:
            self._pool.release(lead.worker)
        if len(outcomes) == 1 and outcomes[0] is not None and lead.leader is not None:
            lead.leader.settle()  # nobody else knows of this job, and its thread is this one
            lead.leader.end(outcomes[0])
            return
        abandoned, ended = [], []
        with self._lock:
            for job, outcome in reversed(list(zip(lead.members, outcomes, strict=True))):
                if job.state is State.DONE:
                    abandoned.append(job)
                elif outcome is not None:
                    job.end(outcome)
                    ended.append(job)
                else:
                    job.solo = True
                    job.state = State.WAITING
                    self._queues.push_back(job)
            leads = self._assign(self._clock()) if None in outcomes else []
        for job in abandoned + ended:
            job.settle()
        for job in ended:
            job.wake()
        self._wake(leads)

    def _computed(self, lead: Lead) -> list[bytes | Refusal]:
        work = lead.members[0].work
        started = self._clock()
        result = lead.worker.run(work.task(lead.members), self._config.task_timeout)
        answers = work.answers(result, lead.members)
        seconds = self._clock() - started
        with self._lock:
            work.prediction.measured(lead.rows, seconds)
        waited = [job.started_at - job.submitted_at for job in lead.members]
        self._observer.batch(work.mode, lead.rows, result.compute_seconds, waited)
        return answers
