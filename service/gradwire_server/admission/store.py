"""What the front keeps so that clients need not send it again: prepared programs, refusals, and constants.

All of it is a cache: a client that misses something sends it. Each store is bounded by bytes and by count, for each
tenant by its share of both; the least recently used goes first, that of the tenant which holds most. Nothing is ever
kept under an id or digest that was not computed here from the bytes. All methods may be called from any thread; each is
as quick as a dictionary, but for `ConstantStore.add`, which hashes and copies what it is given.

A constant in use outlives its eviction: whoever uses it holds it, from `hold` to `drop`, and its memory file is closed
after the last one.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from gradwire_engine.program import Layout
from gradwire_engine.types import TensorType
from gradwire_server.config.table import ServerConfig
from gradwire_server.ipc.arena import memory_file, seal
from gradwire_server.ipc.records import Bytes
from gradwire_server.processes.tasks import Constant
from gradwire_server.refusal import Refusal

SMALL_BYTES: Final = 64 << 10
"""Constants up to this size are kept as bytes: a memory file costs a descriptor here and in every worker."""

_LAYOUTS: Final = 64
_MAX_REFUSALS: Final = 1000

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedStore(Generic[Key, Value]):
    """Least recently used first, bounded by bytes and count, in all and for each tenant. Not synchronised."""

    def __init__(self, *, max_bytes: int, max_count: int, tenant_share: float) -> None:
        self._bounds = (max_bytes, max_count)
        self._share = (max_bytes * tenant_share, max(1.0, max_count * tenant_share))
        self._entries: dict[str, OrderedDict[Key, tuple[Value, int]]] = {}
        self._held: dict[str, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return sum(self._held.values())

    def __len__(self) -> int:
        return sum([len(entries) for entries in self._entries.values()])

    def get(self, tenant: str, key: Key) -> Value | None:
        """What the tenant keeps under the key, now the most recently used."""
        entries = self._entries.get(tenant)
        entry = entries.get(key) if entries is not None else None
        if entries is None or entry is None:
            return None
        entries.move_to_end(key)
        return entry[0]

    def put(self, tenant: str, key: Key, value: Value, nbytes: int) -> list[Value]:
        """Keep a value, or a new size of one; what had to go for it, perhaps the value itself."""
        if nbytes > min(self._bounds[0], self._share[0]):
            return [value]
        entries = self._entries.setdefault(tenant, OrderedDict())
        _, before = entries.pop(key, (None, 0))
        entries[key] = (value, nbytes)
        self._held[tenant] = self._held.get(tenant, 0) + nbytes - before
        evicted = []
        while self._held[tenant] > self._share[0] or len(self._entries[tenant]) > self._share[1]:
            evicted.append(self._evict(tenant))
        while self.nbytes > self._bounds[0] or len(self) > self._bounds[1]:
            evicted.append(self._evict(max(self._held, key=lambda name: self._held[name])))
        for name in [name for name, entries in self._entries.items() if not entries]:
            del self._entries[name], self._held[name]
        return evicted

    def _evict(self, tenant: str) -> Value:
        _, (value, nbytes) = self._entries[tenant].popitem(last=False)
        self._held[tenant] -= nbytes
        return value


class Ready(Protocol):
    """What is kept of a program in one layout: all that matters here is its size."""

    plan_bytes: int


Kept = TypeVar("Kept", bound=Ready)


class _Program(Generic[Kept]):
    """A program's bytes, and what was prepared of it, by layout."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.layouts: OrderedDict[Layout, Kept] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return len(self.data) + sum([ready.plan_bytes for ready in self.layouts.values()])


class ProgramStore(Generic[Kept]):
    """Programs by id, each with what was prepared of it; and, for a while, why others were refused.

    The store calls `on_evict` for each program that goes.
    """

    def __init__(self, config: ServerConfig, *, clock: Callable[[], float], on_evict: Callable[[], None]) -> None:
        self._store: BoundedStore[str, _Program[Kept]] = BoundedStore(
            max_bytes=config.program_store_bytes, max_count=config.max_programs, tenant_share=config.tenant_share
        )
        self._refusals: OrderedDict[tuple[str, Layout], tuple[Refusal, float]] = OrderedDict()
        self._refusal_seconds = config.refusal_seconds
        self._clock = clock
        self._on_evict = on_evict
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of programs and plans kept."""
        with self._lock:
            return self._store.nbytes

    def find(self, tenant: str, program_id: str, layout: Layout) -> Kept | None:
        """What was prepared of a program for this layout."""
        with self._lock:
            program = self._store.get(tenant, program_id)
            return None if program is None else program.layouts.get(layout)

    def program(self, tenant: str, program_id: str) -> bytes | None:
        """A program's bytes."""
        with self._lock:
            program = self._store.get(tenant, program_id)
            return None if program is None else program.data

    def keep(self, tenant: str, program_id: str, data: bytes, layout: Layout, ready: Kept) -> Kept:
        """Keep what was prepared; what is kept already, if another thread was first."""
        with self._lock:
            program = self._store.get(tenant, program_id) or _Program(data)
            kept = program.layouts.setdefault(layout, ready)
            while len(program.layouts) > _LAYOUTS:
                program.layouts.popitem(last=False)
            evicted = self._store.put(tenant, program_id, program, program.nbytes)
        for _ in evicted:
            self._on_evict()
        return kept

    def refusal(self, program_id: str, layout: Layout) -> Refusal | None:
        """Why the program was refused, if that was not long ago."""
        with self._lock:
            known = self._refusals.get((program_id, layout))
            if known is None:
                return None
            refusal, until = known
            if self._clock() < until:
                return refusal.copy()
            del self._refusals[program_id, layout]
            return None

    def refuse(self, program_id: str, layout: Layout, refusal: Refusal) -> None:
        """Remember that the program was refused."""
        with self._lock:
            self._refusals[program_id, layout] = (refusal.copy(), self._clock() + self._refusal_seconds)
            self._refusals.move_to_end((program_id, layout))
            while len(self._refusals) > _MAX_REFUSALS:
                self._refusals.popitem(last=False)


class StoredConstant:
    """A constant: its bytes, or a sealed memory file. `users` and `is_kept` belong to the store."""

    __slots__ = ("content", "digest", "file", "is_kept", "nbytes", "type", "users")

    def __init__(self, digest: bytes, type: TensorType, data: Bytes) -> None:
        self.digest = digest
        self.type = type
        self.nbytes = len(data)
        self.content: bytes | None = None
        self.file: Constant | None = None
        if len(data) <= SMALL_BYTES:
            self.content = bytes(data)
        else:
            self.file = Constant(digest=digest, nbytes=len(data), fileno=_sealed(data))
        self.users = 0
        self.is_kept = True

    def close(self) -> None:
        """Close the memory file, if there is one."""
        if self.file is not None:
            os.close(self.file.fileno)


class ConstantStore:
    """Constants by digest. It calls `on_evict(digest)` for each that goes and that a worker may have mapped."""

    def __init__(self, config: ServerConfig, *, on_evict: Callable[[bytes], None]) -> None:
        self._store: BoundedStore[bytes, StoredConstant] = BoundedStore(
            max_bytes=config.constant_store_bytes, max_count=config.max_constants, tenant_share=config.tenant_share
        )
        self._on_evict = on_evict
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of constants kept."""
        with self._lock:
            return self._store.nbytes

    def hold(self, tenant: str, digest: bytes, type: TensorType) -> StoredConstant | None:
        """The constant, to be `drop`ped after use; None where none of that type and digest is known."""
        with self._lock:
            constant = self._store.get(tenant, digest)
            if constant is None or constant.type != type:
                return None
            constant.users += 1
            return constant

    def add(self, tenant: str, digest: bytes, type: TensorType, data: Bytes) -> StoredConstant:
        """Keep a constant whose digest has been checked, and hold it as `hold` does."""
        with self._lock:
            known = self._store.get(tenant, digest)
            if known is not None:
                known.users += 1
                return known
        fresh = StoredConstant(digest, type, data)
        with self._lock:
            known = self._store.get(tenant, digest)
            kept = known or fresh
            kept.users += 1
            evicted = [] if known else self._store.put(tenant, digest, fresh, fresh.nbytes)
            for constant in evicted:
                constant.is_kept = False
            closing = [constant for constant in evicted if not constant.users]
        if kept is not fresh:
            fresh.close()
        self._forget(evicted, closing)
        return kept

    def drop(self, constant: StoredConstant) -> None:
        """The holder needs it no longer."""
        with self._lock:
            constant.users -= 1
            closing = not constant.users and not constant.is_kept
        if closing:
            constant.close()

    def _forget(self, evicted: list[StoredConstant], closing: list[StoredConstant]) -> None:
        for constant in evicted:
            if constant.file is not None:
                self._on_evict(constant.digest)
        for constant in closing:
            constant.close()


def _sealed(data: Bytes) -> int:
    """A sealed memory file with this content."""
    fileno = memory_file("gradwire-constant", 0)
    try:
        at = 0
        view = memoryview(data)
        while at < len(view):
            at += os.write(fileno, view[at:])
        seal(fileno, content=True)
    except BaseException:
        os.close(fileno)
        raise
    return fileno
