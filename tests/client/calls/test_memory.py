"""When a function is traced, what is kept of it, and for how long."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
from tests.kit.client.counting import Counter
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.calls.memory import FunctionMemories

X = np.array([0.5, -1.0, 2.0])


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
