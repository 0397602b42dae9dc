"""What becomes of a request whose task failed: another turn, alone, or a refusal.

A batch that fails or loses its worker runs again, member by member, so that only the guilty one fails. Alone, a request
whose worker was killed from outside gets three more turns, then WORKER_LOST. Any other end of a lone request's worker
is the request's own doing, and final.
"""

from __future__ import annotations

from typing import Final

from gradwire_server.config.table import ServerConfig
from gradwire_server.processes.child_process import WorkerLost
from gradwire_server.refusal import Refusal, internal
from gradwire_server.scheduling.job import AnyJob, Lead

FOREIGN_DEATHS: Final = 3
"""How often a request that runs alone is tried again because its worker was killed from outside."""


class Retries:
    """Decides after a failure. The leader of the batch calls it, on its own thread."""

    def __init__(self, config: ServerConfig) -> None:
        self._limits = {"time_limit": config.limit("task_timeout"), "memory_limit": config.limit("worker_memory")}

    def after(self, lead: Lead, error: Exception) -> list[Refusal | None]:
        """What each member gets: None means another turn, alone."""
        if len(lead.members) > 1:
            return [None] * len(lead.members)
        (job,) = lead.members
        if isinstance(error, Refusal):
            return [error]
        if not isinstance(error, WorkerLost):
            return [internal(repr(error))]
        if error.cause == "killed":
            job.deaths += 1
            if job.deaths <= FOREIGN_DEATHS:
                return [None]
        return [self._lost(error, job)]

    def _lost(self, error: WorkerLost, job: AnyJob) -> Refusal:
        limit = self._limits.get(error.cause)
        if limit is not None:
            reason, what = f"TASK_{error.cause.upper()}", error.cause.replace("_", " ")
            return Refusal(reason, f"the task went over its {what}: {limit}; send fewer rows", details=limit.details())
        tries = f", {job.deaths} times" if job.deaths else ""
        return Refusal("WORKER_LOST", f"the worker died while it ran this request alone{tries}", log=str(error))
