"""What is kept, for whom, how much of it, and what happens to what goes."""

from __future__ import annotations

import fcntl
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.server.fakes import FakeClock

from gradwire_engine.program import Layout
from gradwire_engine.types import DType, TensorType
from gradwire_server.admission.store import SMALL_BYTES, BoundedStore, ConstantStore, ProgramStore
from gradwire_server.config.table import ServerConfig
from gradwire_server.config.texts import MIB
from gradwire_server.refusal import Refusal

LARGE = SMALL_BYTES + 1
HALF = 9 * MIB
"""More than half of the smallest store of constants."""


def store(**bounds: float) -> BoundedStore[str, str]:
    return BoundedStore(**{"max_bytes": 100, "max_count": 100, "tenant_share": 1.0, **bounds})  # type: ignore[arg-type]


def test_the_least_recently_used_goes_first() -> None:
    found = store(max_bytes=30)
    for key in "abc":
        assert found.put("", key, key, 10) == []
    assert found.get("", "a") == "a"
    assert found.put("", "d", "d", 10) == ["b"]
    assert [found.get("", key) for key in "abcd"] == ["a", None, "c", "d"]


def test_the_count_is_bounded_too() -> None:
    found = store(max_count=2)
    assert [found.put("", key, key, 0) for key in "abc"] == [[], [], ["a"]]


def test_what_is_too_large_is_not_kept_and_nothing_goes_for_it() -> None:
    found = store()
    found.put("", "a", "a", 10)
    assert found.put("", "large", "large", 101) == ["large"]
    assert (found.nbytes, len(found), found.get("", "a")) == (10, 1, "a")


def test_a_value_put_again_has_its_new_size() -> None:
    found = store()
    found.put("", "a", "a", 10)
    found.put("", "a", "A", 30)
    assert (found.get("", "a"), found.nbytes, len(found)) == ("A", 30, 1)


def test_a_tenant_has_its_share_and_takes_nothing_from_others_for_it() -> None:
    found = store(tenant_share=0.5)
    found.put("other", "o", "o", 10)
    for key in "abcde":
        found.put("greedy", key, key, 10)
    assert found.put("greedy", "f", "f", 10) == ["a"]
    assert found.get("other", "o") == "o"


def test_when_all_is_full_the_tenant_that_holds_most_gives_way() -> None:
    found = store(tenant_share=0.6)
    for key in "abcdef":
        found.put("large", key, key, 10)
    for key in "ghij":
        found.put("small", key, key, 10)
    assert found.put("small", "k", "k", 10) == ["a"]


def test_tenants_do_not_see_each_others_values() -> None:
    found = store()
    found.put("one", "key", "mine", 1)
    assert found.get("two", "key") is None


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 8), st.integers(0, 60)), max_size=60),
    st.sampled_from([0.3, 0.5, 1.0]),
)
def test_the_bounds_hold_whatever_is_put(puts: list[tuple[str, int, int]], share: float) -> None:
    found: BoundedStore[int, int] = BoundedStore(max_bytes=100, max_count=5, tenant_share=share)
    kept: dict[tuple[str, int], int] = {}
    for number, (tenant, key, nbytes) in enumerate(puts):
        if number not in found.put(tenant, key, number, nbytes):
            kept[tenant, key] = number
        alive = [name for name in kept if found.get(*name) is not None]
        assert found.nbytes <= 100
        assert len(alive) == len(found) <= 5
        assert all(found.get(*name) == kept[name] for name in alive)


# Programs


class Known:
    """Stands for a program that is ready."""

    plan_bytes = 100


class Wide(Known):
    """One whose plan is large."""

    plan_bytes = 1 * MIB


def programs(clock: FakeClock | None = None, **options: float) -> tuple[ProgramStore[Known], list[None]]:
    evicted: list[None] = []
    config = ServerConfig(**{"tenant_share": 1.0, **options})  # type: ignore[arg-type]
    return ProgramStore(config, clock=clock or FakeClock(), on_evict=lambda: evicted.append(None)), evicted


def test_a_program_is_known_by_its_layouts_and_by_its_bytes() -> None:
    found, _ = programs()
    known = Known()
    assert found.find("", "id", Layout()) is None
    assert found.program("", "id") is None
    assert found.keep("", "id", b"bytes", Layout(), known) is known
    assert found.find("", "id", Layout()) is known
    assert found.find("", "id", Layout(shared_inputs=(0,))) is None
    assert found.program("", "id") == b"bytes"
    assert found.nbytes == 105


def test_of_two_threads_that_prepared_the_same_the_first_counts() -> None:
    found, _ = programs()
    first, second = Known(), Known()
    found.keep("", "id", b"", Layout(), first)
    assert found.keep("", "id", b"", Layout(), second) is first


def test_programs_go_when_there_are_too_many() -> None:
    found, evicted = programs(max_programs=2)
    for name in "abc":
        found.keep("", name, b"", Layout(), Known())
    assert found.find("", "a", Layout()) is None
    assert len(evicted) == 1


def test_programs_go_when_their_plans_take_too_much() -> None:
    found, evicted = programs(program_store_bytes=8 * MIB)
    for number in range(9):
        found.keep("", str(number), b"", Layout(), Wide())
    assert found.nbytes == 8 * MIB
    assert len(evicted) == 1
    assert found.find("", "0", Layout()) is None


def test_layouts_of_one_program_are_bounded() -> None:
    found, _ = programs()
    for index in range(200):
        found.keep("", "id", b"", Layout(outputs=(index,)), Known())
    assert found.nbytes == 6400
    assert found.find("", "id", Layout(outputs=(199,))) is not None


def test_a_refusal_is_remembered_for_a_while() -> None:
    clock = FakeClock()
    found, _ = programs(clock)
    found.refuse("id", Layout(), Refusal("INVALID_GRAPH", "bad", violations=[("graph", "bad")]))
    clock.advance(59)
    again = found.refusal("id", Layout())
    assert again is not None
    assert (again.reason, again.violations) == ("INVALID_GRAPH", (("graph", "bad"),))
    assert again is not found.refusal("id", Layout())
    assert found.refusal("id", Layout((0,))) is None
    clock.advance(1)
    assert found.refusal("id", Layout()) is None


def test_refusals_are_bounded() -> None:
    found, _ = programs()
    for number in range(1500):
        found.refuse(str(number), Layout(), Refusal("INVALID_GRAPH", ""))
    assert found.refusal("0", Layout()) is None
    assert found.refusal("1499", Layout()) is not None


# Constants


def constants(**options: float) -> tuple[ConstantStore, list[bytes]]:
    evicted: list[bytes] = []
    config = ServerConfig(**{"tenant_share": 1.0, **options})  # type: ignore[arg-type]
    return ConstantStore(config, on_evict=evicted.append), evicted


def kind(nbytes: int) -> TensorType:
    return TensorType(DType.BOOL, (nbytes,))


def is_open(fileno: int) -> bool:
    try:
        os.fstat(fileno)
    except OSError:
        return False
    return True


def test_a_small_constant_is_kept_as_bytes() -> None:
    found, _ = constants()
    one = found.add("", b"d", kind(SMALL_BYTES), memoryview(bytes(SMALL_BYTES)))
    assert one.file is None
    assert one.content == bytes(SMALL_BYTES)
    assert found.hold("", b"d", kind(SMALL_BYTES)) is one


def test_a_large_constant_is_a_memory_file_that_nobody_can_change() -> None:
    found, _ = constants()
    data = np.random.default_rng(0).bytes(LARGE)
    one = found.add("", b"d", kind(LARGE), data)
    assert one.file is not None
    assert (one.file.nbytes, one.file.digest) == (LARGE, b"d")
    assert os.pread(one.file.fileno, LARGE + 1, 0) == data
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(one.file.fileno, b"x", 0)
    seals = fcntl.fcntl(one.file.fileno, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_WRITE
    assert seals & fcntl.F_SEAL_SHRINK


def test_an_unknown_constant_or_one_of_another_type_is_not_found() -> None:
    found, _ = constants()
    found.add("", b"d", kind(8), bytes(8))
    assert found.hold("", b"e", kind(8)) is None
    assert found.hold("", b"d", TensorType(DType.FLOAT64)) is None
    assert found.hold("other", b"d", kind(8)) is None


def test_an_evicted_constant_is_closed_when_nobody_uses_it_any_longer() -> None:
    found, evicted = constants(constant_store_bytes=16 * MIB)
    one = found.add("", b"one", kind(HALF), bytes(HALF))
    assert one.file is not None
    fileno = one.file.fileno
    assert found.hold("", b"one", kind(HALF)) is one
    two = found.add("", b"two", kind(HALF), bytes(HALF))
    assert evicted == [b"one"]
    assert found.hold("", b"one", kind(HALF)) is None
    found.drop(one)
    assert is_open(fileno)
    found.drop(one)
    assert not is_open(fileno)
    found.drop(two)
    assert two.file is not None
    assert is_open(two.file.fileno)


def test_one_that_is_not_in_use_is_closed_when_it_goes() -> None:
    found, _ = constants(constant_store_bytes=16 * MIB)
    one = found.add("", b"one", kind(HALF), bytes(HALF))
    found.drop(one)
    found.add("", b"two", kind(HALF), bytes(HALF))
    assert one.file is not None
    assert not is_open(one.file.fileno)


def test_one_too_large_to_keep_serves_its_own_request() -> None:
    found, _ = constants(constant_store_bytes=16 * MIB)
    one = found.add("", b"one", kind(17 * MIB), bytes(17 * MIB))
    assert one.file is not None
    assert is_open(one.file.fileno)
    found.drop(one)
    assert not is_open(one.file.fileno)


def test_the_same_constant_is_kept_once() -> None:
    found, _ = constants()
    one = found.add("", b"d", kind(LARGE), bytes(LARGE))
    assert found.add("", b"d", kind(LARGE), bytes(LARGE)) is one
    assert found.nbytes == LARGE
