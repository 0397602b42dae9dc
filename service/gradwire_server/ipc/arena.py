"""The shared memory in which one worker's inputs and outputs lie.

An arena is an anonymous memory file (an unlinked temporary file where the system has none), mapped by the front and by
one worker. It has its full capacity from the start, but pages exist only where something was written: an arena costs
what its largest task of late needed, and never more than its capacity. Only the front allocates: upwards from 0, each
block on a 64-byte boundary, all of it forgotten at `reset`, which gives back what lies above `keep` bytes.

The size never changes, and is sealed where the system can: no mapping ever points past the end of the file, so a view
kept too long reads zeros or a later task's bytes, but cannot crash the front. Nothing lies in /dev/shm, and nothing is
left behind when all processes are killed. An arena of a dead worker is closed, never handed on.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile

import numpy as np
import numpy.typing as npt

from gradwire_server.ipc.records import Bytes

ALIGNMENT = 64
"""Of every block, in bytes: a cache line, and the widest vector."""

_COPY_OUTSIDE_GIL = 32 << 10  # below this a plain slice assignment is faster than two numpy views, and takes about 3 µs


class ArenaFull(Exception):
    """A task needs more than the arena's capacity; `needed` and `capacity` in bytes."""

    def __init__(self, needed: int, capacity: int) -> None:
        super().__init__(f"needs {needed:,} bytes of {capacity:,}")
        self.needed = needed
        self.capacity = capacity


def memory_file(name: str, size: int) -> int:
    """A new descriptor of `size` zero bytes that exist in memory only, and for as long as a descriptor or mapping does.

    `name` is for people who look into /proc. The descriptor is not inherited unless it is passed on.
    """
    if hasattr(os, "memfd_create"):
        fileno = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        fileno, path = tempfile.mkstemp(prefix=name)
        os.unlink(path)
    try:
        os.ftruncate(fileno, size)
    except BaseException:
        os.close(fileno)
        raise
    return fileno


def seal(fileno: int, *, content: bool) -> None:
    """Fix the size of a memory file for good, and its content too if `content`; where there are no seals, nothing."""
    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fileno, fcntl.F_ADD_SEALS, seals | (fcntl.F_SEAL_WRITE if content else 0))


def mapped(fileno: int, nbytes: int, *, writable: bool) -> npt.NDArray[np.uint8]:
    """The first bytes of a memory file as an array; the mapping lives as long as the array and its views."""
    if nbytes == 0:
        return np.empty(0, np.uint8)
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return np.frombuffer(mmap.mmap(fileno, nbytes, mmap.MAP_SHARED, access), np.uint8)


class Arena:
    """The front's side. Used by one thread at a time: the one that runs a task on the arena's worker."""

    def __init__(self, capacity: int, keep: int) -> None:
        self.capacity = capacity
        self.fileno = memory_file("gradwire-arena", capacity)
        seal(self.fileno, content=False)
        page = mmap.PAGESIZE
        self._keep = min((keep + page - 1) // page * page, capacity)
        self._mapping = mmap.mmap(self.fileno, capacity)
        self._array = np.frombuffer(self._mapping, np.uint8)
        self._view = memoryview(self._mapping)
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes allocated since the last reset."""
        return self._used

    def allocate(self, nbytes: int) -> int:
        """The offset of a new block; ArenaFull where there is no room for it."""
        offset = -(-self._used // ALIGNMENT) * ALIGNMENT
        if offset + nbytes > self.capacity:
            raise ArenaFull(offset + nbytes, self.capacity)
        self._used = offset + nbytes
        return offset

    def write(self, offset: int, data: Bytes) -> int:
        """Copy `data` to `offset`, large ones with the GIL released; returns the offset after them."""
        nbytes = len(data)
        if nbytes < _COPY_OUTSIDE_GIL:
            self._view[offset : offset + nbytes] = data
        else:
            np.copyto(self._array[offset : offset + nbytes], np.frombuffer(data, np.uint8))
        return offset + nbytes

    def view(self, offset: int, nbytes: int) -> memoryview:
        """The bytes of a block, read-only; valid until the next reset."""
        return self._view[offset : offset + nbytes].toreadonly()

    def reset(self) -> None:
        """Forget all blocks; what lies above `keep` bytes goes back to the system."""
        if self._used > self._keep:
            self._give_back()
        self._used = 0

    def _give_back(self) -> None:
        if hasattr(mmap, "MADV_REMOVE"):
            end = -(-self._used // mmap.PAGESIZE) * mmap.PAGESIZE
            self._mapping.madvise(mmap.MADV_REMOVE, self._keep, min(end, self.capacity) - self._keep)
        else:
            os.ftruncate(self.fileno, self._keep)
            os.ftruncate(self.fileno, self.capacity)

    def close(self) -> None:
        """Close the descriptor; the memory goes when the last view does."""
        os.close(self.fileno)
        del self._array, self._view, self._mapping
