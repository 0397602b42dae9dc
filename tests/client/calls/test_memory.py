"""When a function is traced, and when it is not: signatures, guards by content, arrays that change, memory."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.calls.guards import Guard
from gradwire.calls.memory import FunctionMemories

X = np.array([0.5, -1.0, 2.0])


class Counter:
    """Counts how often a function has run, without being part of what the function depends on."""

    def __init__(self) -> None:
        self.runs = 0


def test_a_function_is_traced_once_for_each_signature() -> None:
    count = Counter()

    def f(x: Any, y: Any) -> Any:
        count.runs += 1
        return np.sum(x * y)

    for _ in range(3):
        gw.grad(f)(X, 2.0)
        gw.grad(f)(X + 1, 3.0)
    assert count.runs == 1
    gw.value_and_grad(f)(X, 2.0)
    gw.vmap(gw.grad(f), in_axes=(0, None))(np.stack([X, X]), 2.0)
    gw.vmap(gw.grad(f), in_axes=(0, None))(np.stack([X, X, X]), 2.0)
    assert count.runs == 1
    gw.grad(f)(X[:2], 2.0)
    assert count.runs == 2
    gw.grad(f)(X.astype(np.float32), 2.0)
    assert count.runs == 3
    gw.grad(f)(X, np.float64(2.0))  # a 0-d float64 is what a Python float is
    assert count.runs == 3


def test_clear_forgets() -> None:
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return np.sum(x)

    gradient = gw.grad(f)
    gradient(X)
    gradient.clear()
    gradient(X)
    assert count.runs == 2


def test_deeper_state_is_read_when_tracing() -> None:
    class Holder:
        scale = 2.0

    def f(x: Any) -> Any:
        return x * Holder.scale

    gradient = gw.grad(f)
    assert gradient(1.0) == 2.0
    Holder.scale = 3.0
    assert gradient(1.0) == 2.0
    gradient.clear()
    assert gradient(1.0) == 3.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1.0, 2.0), (1, 1.0), (True, 1), (0.0, -0.0), ("a", "b"), (None, 1.0), (X, X + 1), (X, X[:2]),
        (X, X.astype(np.float32)), ([1.0, 2.0], [1.0, 3.0]), ((1.0,), (1.0, 2.0)), ({"a": 1.0}, {"a": 2.0}),
        ({"a": 1.0}, {"b": 1.0}), ([{"a": [X]}], [{"a": [X * 2]}]), ([1.0], (1.0,)), (np.float32(1), np.float64(1)),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_closure_holds_is_guarded_by_content(before: Any, after: Any) -> None:
    held = before
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return x * 2.0 if held is None else x

    gradient = gw.grad(f)
    gradient(1.0)
    gradient(1.0)
    assert count.runs == 1
    held = after
    gradient(1.0)
    assert count.runs == 2
    held = before
    gradient(1.0)
    assert count.runs == 2  # the trace for the first content is still there


@pytest.mark.parametrize("value", [float("nan"), np.float64("nan"), np.array([np.nan, -0.0])], ids=str)
def test_a_nan_equals_itself(value: Any) -> None:
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return np.sum(x * value)

    gradient = gw.grad(f)
    for _ in range(2):
        value = np.array(value) if isinstance(value, np.ndarray) else type(value)(value)
        gradient(1.0)
    assert count.runs == 1


def test_changes_in_place_are_seen() -> None:
    weights, table = np.array([1.0, 2.0]), {"list": [1.0, 2.0]}

    def f(x: Any) -> Any:
        return np.sum(x * weights) * table["list"][1]

    gradient = gw.grad(f)
    assert gradient(1.0) == 6.0
    weights[0] = 3.0
    assert gradient(1.0) == 10.0
    table["list"][1] = 1.0
    assert gradient(1.0) == 5.0


SCALE = 2.0
OFFSETS = [1.0, 2.0]


def uses_globals(x: Any, times: Any = 1.0, *, plus: Any = 0.0) -> Any:
    def inner() -> Any:
        return SCALE * x

    return inner() * OFFSETS[0] * times + plus


def test_globals_and_defaults_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = gw.grad(uses_globals)
    assert gradient(1.0) == 2.0
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert gradient(1.0) == 3.0
    monkeypatch.setitem(globals(), "OFFSETS", [2.0])
    assert gradient(1.0) == 6.0
    monkeypatch.setattr(uses_globals, "__defaults__", (5.0,))
    assert gradient(1.0) == 30.0
    monkeypatch.setattr(uses_globals, "__kwdefaults__", {"plus": np.float64(1.0)})
    assert gw.remote(uses_globals)(1.0) == 31.0


def test_a_helper_that_is_defined_again_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "helper", lambda x: x * 2)

    def f(x: Any) -> Any:
        return helper(x)  # type: ignore[name-defined]  # noqa: F821

    gradient = gw.grad(f)
    assert gradient(1.0) == 2.0
    monkeypatch.setitem(globals(), "helper", lambda x: x * 5)
    assert gradient(1.0) == 5.0


# large arrays


def test_a_large_array_is_a_shared_input_sent_by_digest(service: LocalClient) -> None:
    table = np.random.default_rng(0).normal(size=(10, 10))

    def f(x: Any) -> Any:
        return np.sum((table @ x) ** 2)

    for _ in range(2):
        assert_same(gw.grad(f)(np.ones(10)), 2 * table.T @ (table @ np.ones(10)))
        assert service.last.layout.shared_inputs == (1,)
        assert service.last.rows == 1
    first, second = service.requests
    assert first.inputs[1].data is not None
    assert second.inputs[1].data is None
    assert second.inputs[1].digest == first.inputs[1].digest


def test_small_arrays_are_part_of_the_program(service: LocalClient) -> None:
    gw.grad(lambda x: np.sum(x * np.arange(64.0)))(1.0)
    assert len(service.last.inputs) == 1
    gw.grad(lambda x: np.sum(x * np.arange(65.0)))(1.0)
    assert len(service.last.inputs) == 2


def test_new_content_of_a_large_array_is_sent_without_tracing(service: LocalClient) -> None:
    table = np.arange(100.0).reshape(10, 10)
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return np.sum(table.T @ x) + table.mean()

    gradient = gw.value_and_grad(f)
    x = np.ones(10)
    for change in range(5):
        if change == 3:
            table[0, 0] += 1.0  # in place
        else:
            table = table + 1.0  # another array
        value, by_x = gradient(x)
        assert_same(value, np.sum(table.T @ x) + table.mean())
        assert_same(by_x, table.sum(1))
    assert count.runs == 2  # once as it is, once more with the table traced, and no more
    assert len(service.programs) == 2


def test_a_function_that_looks_at_the_numbers_is_traced_at_every_change(service: LocalClient) -> None:
    table = np.ones(100)

    def f(x: Any) -> Any:
        return x * 2.0 if table[0] > 0 else x * float(table.sum())

    gradient = gw.grad(f)
    assert gradient(1.0) == 2.0
    table = -table
    assert gradient(1.0) == -100.0
    table = table * 2
    assert gradient(1.0) == -200.0
    table = -table
    assert gradient(1.0) == 2.0


def test_a_function_that_only_needs_the_shape(service: LocalClient) -> None:
    table = np.ones(100)
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        return x * table.shape[0]

    for _ in range(4):
        assert gw.grad(f)(1.0) == 100.0
        table = table + 1
    assert count.runs == 2


def test_data_that_change_do_not_change_the_program(service: LocalClient) -> None:
    def trained_on(data: np.ndarray) -> Any:
        return gw.grad(lambda w: np.sum((data @ w) ** 2))

    for seed in range(3):
        data = np.random.default_rng(seed).normal(size=(20, 5))
        assert_same(trained_on(data)(np.ones(5)), 2 * data.T @ (data @ np.ones(5)))
    assert len(service.programs) == 1
    assert len(service.constants) == 3


def test_one_array_in_two_places() -> None:
    first = np.arange(100.0)
    second = first

    def f(x: Any) -> Any:
        return x * (np.sum(first) - 2 * np.sum(second))

    gradient = gw.grad(f)
    for _ in range(3):
        assert_same(gradient(1.0), first.sum() - 2 * second.sum())
        first = first + 1.0  # no longer the same array
        assert_same(gradient(1.0), first.sum() - 2 * second.sum())
        second = first


def test_an_array_that_is_also_reached_another_way() -> None:
    table = np.arange(100.0)

    class Holder:
        held = table

    def f(x: Any) -> Any:
        return x * (np.sum(table) + np.sum(x * Holder.held))

    gradient = gw.grad(f)
    gradient(1.0)
    for _ in range(3):
        table[0] += 1.0  # in place: both ways lead to it
        assert_same(gradient(1.0), table.sum() + 2 * table.sum())


def test_a_function_that_writes_to_what_it_reads_is_not_replaced() -> None:
    table, runs = np.arange(100.0), 0

    def f(x: Any) -> Any:
        nonlocal runs
        runs += 1
        return np.sum(x * table)

    gradient = gw.grad(f)
    for expected in (4950.0, 5050.0, 5150.0):
        assert gradient(1.0) == expected
        table = table + 1.0
    assert runs == 3


def test_containers_of_large_arrays_are_followed() -> None:
    layers = [{"w": np.ones((10, 10)), "b": np.zeros(10)}]
    count = Counter()

    def f(x: Any) -> Any:
        count.runs += 1
        for layer in layers:
            x = layer["w"] @ x + layer["b"]
        return np.sum(x)

    for _ in range(4):
        assert_same(gw.grad(f)(np.ones(10)), layers[0]["w"].sum(0))
        layers[0]["w"] = layers[0]["w"] * 1.5
    assert count.runs == 2
    layers.append({"w": np.eye(10), "b": np.zeros(10)})
    gw.grad(f)(np.ones(10))
    assert count.runs == 3


def test_read_only_arrays_are_not_compared() -> None:
    table = np.arange(100.0)
    table.flags.writeable = False

    def f(x: Any) -> Any:
        return x * table

    guard = Guard(f)
    assert guard.large_arrays()[0].copy is table
    assert guard.holds()


# memory, threads


def test_a_function_and_its_traces_can_be_collected() -> None:
    def make() -> weakref.ref[Any]:
        table = np.ones(100)

        def f(x: Any) -> Any:
            return np.sum(x * table) + (0.0 if table is None else 0.0 * np.sum(table))

        def recursive(x: Any, n: int = 2) -> Any:
            return x if n == 0 else recursive(x * 2, n - 1)

        gw.grad(f)(1.0)
        assert gw.grad(recursive)(1.0) == 4.0
        return weakref.ref(recursive)

    reference = make()
    gc.collect()
    assert reference() is None


def test_memories_are_those_of_the_object_and_not_of_its_address() -> None:
    memories = FunctionMemories()

    class Model:
        def loss(self, x: Any) -> Any:
            return x

    model = Model()
    assert memories.of(model.loss) is memories.of(model.loss)
    assert memories.of(model.loss) is not memories.of(Model().loss)
    function = np.sin
    assert memories.of(function) is memories.of(function)


def test_many_threads_trace_and_call(service: LocalClient) -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(x**2) * y

    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in range(20):
            x = np.full(1 + (seed + i) % 3, float(seed))
            if not np.array_equal(gw.grad(f)(x, 2.0), 4 * x):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
