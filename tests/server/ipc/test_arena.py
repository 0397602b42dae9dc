from __future__ import annotations

import mmap
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_server.ipc.arena import ALIGNMENT, Arena, ArenaFull, mapped, memory_file, seal

MIB = 1 << 20

in_memory_only = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory files")


def resident_bytes(fileno: int) -> int:
    """How much of a file exists."""
    return os.fstat(fileno).st_blocks * 512


def open_descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


@given(st.lists(st.lists(st.binary(max_size=100), max_size=4), max_size=8))
def test_every_block_holds_its_pieces_one_after_the_other(blocks: list[list[bytes]]) -> None:
    arena = Arena(64 << 10, 0)
    placed = []
    for pieces in blocks:
        offset = at = arena.allocate(sum(map(len, pieces)))
        for piece in pieces:
            at = arena.write(at, memoryview(piece))
        placed.append((offset, b"".join(pieces)))
    assert [bytes(arena.view(offset, len(data))) for offset, data in placed] == [data for _, data in placed]
    assert all(offset % ALIGNMENT == 0 for offset, _ in placed)
    arena.close()


def test_large_pieces_are_the_same_bytes_as_small_ones_and_are_seen_through_another_mapping() -> None:
    arena = Arena(4 * MIB, 0)
    data = np.random.default_rng(1).bytes(MIB + 3)
    whole = arena.allocate(len(data))
    arena.write(whole, data)
    offset = at = arena.allocate(len(data))
    for start in range(0, len(data), 1000):
        at = arena.write(at, data[start : start + 1000])
    other = mapped(arena.fileno, arena.capacity, writable=False)
    assert bytes(other[whole : whole + len(data)]) == bytes(other[offset : offset + len(data)]) == data
    assert not other.flags.writeable
    arena.close()


def test_a_view_cannot_be_written_to() -> None:
    arena = Arena(MIB, 0)
    view = arena.view(arena.allocate(8), 8)
    with pytest.raises(TypeError):
        view[0] = 1
    arena.close()


def test_a_full_arena_says_what_was_needed_and_goes_on() -> None:
    arena = Arena(MIB, 0)
    arena.allocate(100)
    with pytest.raises(ArenaFull) as caught:
        arena.allocate(MIB)
    assert (caught.value.needed, caught.value.capacity) == (128 + MIB, MIB)
    assert arena.allocate(MIB - 128) == 128
    arena.close()


def test_memory_exists_where_something_was_written_and_goes_above_what_is_kept() -> None:
    arena = Arena(64 * MIB, 2 * MIB)
    assert resident_bytes(arena.fileno) == 0
    arena.write(arena.allocate(8 * MIB), bytes(8 * MIB))
    assert resident_bytes(arena.fileno) >= 8 * MIB
    arena.reset()
    assert resident_bytes(arena.fileno) <= 2 * MIB
    arena.write(arena.allocate(MIB), b"\1" * MIB)
    arena.reset()
    assert MIB <= resident_bytes(arena.fileno) <= 2 * MIB
    assert arena.allocate(1) == 0
    arena.close()


def test_a_view_that_is_kept_too_long_reads_zeros_and_does_not_crash() -> None:
    arena = Arena(16 * MIB, mmap.PAGESIZE)
    offset = arena.allocate(8 * MIB)
    arena.write(offset, b"\1" * (8 * MIB))
    late = arena.view(offset + MIB, MIB)
    arena.reset()
    assert not np.frombuffer(late, np.uint8).any()
    arena.close()
    assert not np.frombuffer(late, np.uint8).any()


@in_memory_only
def test_nobody_can_change_an_arenas_size() -> None:
    arena = Arena(MIB, 0)
    for size in (0, 2 * MIB):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.fileno, size)
    arena.close()


@in_memory_only
def test_sealed_content_can_be_mapped_and_not_written() -> None:
    fileno = memory_file("constant", 8)
    os.pwrite(fileno, b"12345678", 0)
    seal(fileno, content=True)
    with pytest.raises(PermissionError):
        os.pwrite(fileno, b"0", 0)
    assert bytes(mapped(fileno, 8, writable=False)) == b"12345678"
    os.close(fileno)


def test_nothing_can_be_mapped_too() -> None:
    fileno = memory_file("empty", 0)
    assert mapped(fileno, 0, writable=False).size == 0
    os.close(fileno)


def test_a_closed_arena_leaves_no_descriptor_even_while_a_view_lives() -> None:
    before = open_descriptors()
    arena = Arena(MIB, 0)
    view = arena.view(0, 8)
    arena.close()
    del view
    assert open_descriptors() == before


def test_memory_files_are_not_inherited_unless_passed_on() -> None:
    fileno = memory_file("private", 8)
    assert not os.get_inheritable(fileno)
    os.close(fileno)
