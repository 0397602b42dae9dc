"""Large arrays that a function closes over: sent by digest, and followed when they change."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.kit.client.counting import Counter
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw


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
