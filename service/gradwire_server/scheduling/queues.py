"""What waits for a worker, and what runs next. Plain data: no threads, no clock, no lock; `dispatch` guards it.

Requests that may share a batch share a key, and stand in one queue, first come, first served. Between queues the turn
goes round: tenants first, then the keys of the tenant (deficit round-robin in predicted worker-seconds). A queue runs a
batch when it is in credit, pays for it, and may go into debt; each round gives every queue the same; a queue in debt
waits its turn out, even if it was empty in between. So a tenant or key gets its share of seconds, whatever the sizes of
its batches, and nobody gains by sending many keys or many small requests.

A batch is what waits in the queue at that moment, from the front, as far as bytes and predicted seconds allow; at least
one request. Its cost is linear in its members; choosing is linear in the queues only when all are in debt.

Bounds: `max_queued_requests`, and `max_queued_seconds` predicted for all of them and each worker. While nothing is
queued any request is taken.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from gradwire_server.config.table import ServerConfig
from gradwire_server.refusal import Refusal, over_limit

QUANTUM_SECONDS: Final = 0.01
"""What a queue gets in each round."""

_LEAST_RETRY_SECONDS: Final = 0.05
_ADVICE: Final = "try again later, or use another replica"


class Predicted(Protocol):
    """How long a batch of so many rows takes."""

    @property
    def per_row(self) -> float: ...

    def seconds(self, rows: int) -> float: ...


class Queued(Protocol):
    """What a queue needs to know of a request. `solo`: it never shares a batch. `charge` belongs to the queues."""

    tenant: str
    key: Hashable
    rows: int
    nbytes: int
    deadline: float
    ready_at: float
    solo: bool
    charge: float

    @property
    def prediction(self) -> Predicted: ...


Request = TypeVar("Request", bound=Queued)
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Batch(Generic[Request]):
    """What is to run together: requests of one key, the sum of their rows, and its predicted seconds."""

    members: tuple[Request, ...]
    rows: int
    seconds: float
    is_short: bool


class _Turns(Generic[Entry]):
    """Round robin with credit over named entries: tenants, or the keys of one."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._credit: dict[Hashable, float] = {}

    def enter(self, name: Hashable, entry: Entry) -> Entry:
        """A new entry, at the end, without credit before the next round; what it still owes counts."""
        self.entries[name] = entry
        self._credit.setdefault(name, 0.0)
        return entry

    def leave(self, name: Hashable) -> None:
        """An entry has nothing left. While others wait, its credit holds for the rest of the round, its debt longer."""
        del self.entries[name]
        if not self.entries:
            self._credit.clear()

    def in_order(self) -> list[Entry]:
        """The entries whose turn it is, those in credit before those in debt; starts new rounds where needed."""
        if all(self._credit[name] <= 0 for name in self.entries):
            rounds = min([math.floor(-self._credit[name] / QUANTUM_SECONDS) + 1 for name in self.entries], default=0)
            self._give(rounds * QUANTUM_SECONDS)
        in_credit = [name for name in self.entries if self._credit[name] > 0]
        in_debt = sorted([n for n in self.entries if self._credit[n] <= 0], key=lambda name: -self._credit[name])
        return [self.entries[name] for name in in_credit + in_debt]

    def _give(self, seconds: float) -> None:
        for name in list(self._credit):
            self._credit[name] = min(self._credit[name] + seconds, QUANTUM_SECONDS)
            if name not in self.entries and self._credit[name] > 0:
                del self._credit[name]

    def pay(self, name: Hashable, seconds: float) -> None:
        """An entry is about to run something; when its credit is used up it goes to the end."""
        self._credit[name] -= seconds
        if self._credit[name] <= 0:
            self.entries.move_to_end(name)


class Queues(Generic[Request]):
    """All that waits."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._tenants: _Turns[_Turns[deque[Request]]] = _Turns()
        self._lines: dict[tuple[str, Hashable], deque[Request]] = {}
        self._count = 0
        self._seconds = 0.0

    def __len__(self) -> int:
        return self._count

    @property
    def seconds(self) -> float:
        """Predicted worker-seconds of all that waits."""
        return max(0.0, self._seconds) if self._count else 0.0

    def charge(self, request: Request) -> float:
        """What the request adds to the predicted seconds: its rows alone, where it joins others in a batch."""
        line = self._lines.get((request.tenant, request.key))
        if line is None or request.solo:
            return request.prediction.seconds(request.rows)
        return request.prediction.per_row * request.rows

    def push(self, request: Request) -> None:
        """Let a request wait; a Refusal, QUEUE_FULL, where the bounds do not allow it."""
        config = self._config
        if self._count >= config.max_queued_requests:
            raise self._full("max_queued_requests", "requests queued", self._count + 1)
        charge = self.charge(request)
        if self._count and self._seconds + charge > config.max_queued_seconds * config.workers:
            per_worker = (self._seconds + charge) / config.workers
            raise self._full("max_queued_seconds", "seconds queued per worker", per_worker)
        self._enter(request, charge).append(request)

    def _full(self, option: str, what: str, value: float) -> Refusal:
        retry_after = max(_LEAST_RETRY_SECONDS, self.seconds / self._config.workers / 2)
        limit = self._config.limit(option)
        return over_limit("QUEUE_FULL", what, limit, value, advice=_ADVICE, retry_after=retry_after)

    def push_back(self, request: Request) -> None:
        """Let a request wait again that has waited before: first in its line, whatever the bounds."""
        self._enter(request, self.charge(request)).appendleft(request)

    def _enter(self, request: Request, charge: float) -> deque[Request]:
        line = self._lines.get((request.tenant, request.key))
        if line is None:
            keys = self._tenants.entries.get(request.tenant)
            if keys is None:
                keys = self._tenants.enter(request.tenant, _Turns())
            line = self._lines[request.tenant, request.key] = keys.enter(request.key, deque())
        request.charge = charge
        self._seconds += charge
        self._count += 1
        return line

    def remove(self, request: Request) -> bool:
        """Take a request out; False if it does not wait."""
        line = self._lines.get((request.tenant, request.key))
        if line is None or request not in line:
            return False
        self._leave(request, line)
        return True

    def _leave(self, request: Request, line: deque[Request]) -> None:
        line.remove(request)
        self._count -= 1
        self._seconds -= request.charge
        if not line:
            del self._lines[request.tenant, request.key]
            keys = self._tenants.entries[request.tenant]
            keys.leave(request.key)
            if not keys.entries:
                self._tenants.leave(request.tenant)

    def choose(self, now: float, *, short_only: bool = False) -> Batch[Request] | None:
        """The batch whose turn it is, or None. Nothing changes before it is `take`n.

        `short_only`: the next one that is predicted to be short. A line whose first request may still wait for others
        is passed over.
        """
        for keys in self._tenants.in_order():
            for line in keys.in_order():
                batch = self._batch(line, now, short_only)
                if batch is not None:
                    return batch
        return None

    def take(self, batch: Batch[Request]) -> None:
        """Take the batch's members out, and have their tenant and key pay for it."""
        first = batch.members[0]
        self._tenants.entries[first.tenant].pay(first.key, batch.seconds)
        self._tenants.pay(first.tenant, batch.seconds)
        line = self._lines[first.tenant, first.key]
        for member in batch.members:
            self._leave(member, line)

    def _batch(self, line: deque[Request], now: float, short_only: bool) -> Batch[Request] | None:
        config = self._config
        most_seconds = min(config.max_batch_seconds, config.short_seconds) if short_only else config.max_batch_seconds
        members: list[Request] = []
        rows = nbytes = 0
        is_full = False
        for request in line:
            if request.deadline <= now:
                continue
            more, larger = rows + request.rows, nbytes + request.nbytes
            if members and (
                request.solo or larger > config.max_batch_bytes or request.prediction.seconds(more) > most_seconds
            ):
                is_full = True
                break
            members.append(request)
            rows, nbytes = more, larger
            if request.solo:
                is_full = True
                break
        if not members or (members[0].ready_at > now and not is_full):
            return None
        seconds = members[0].prediction.seconds(rows)
        is_short = seconds < config.short_seconds
        return Batch(tuple(members), rows, seconds, is_short) if is_short or not short_only else None
