"""How calls are sent: programs by id, constants by digest, what the service has forgotten; futures, maps, reports."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire.errors import RequestError, UnsupportedError
from gradwire.wire.responses import Evaluated, RowError, RunReport

TABLE = np.random.default_rng(0).normal(size=(20, 5))


def small(x: Any) -> Any:
    return np.sum(x**2)


def large(x: Any) -> Any:
    """A program of more than 4 KiB."""
    for i in range(300):
        x = np.sin(x) + i
    return np.sum(x)


def with_table(x: Any) -> Any:
    return np.sum((TABLE @ x) ** 2)


def test_an_operation_that_an_older_service_lacks_is_named_with_its_line(
    service: LocalClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(request: bytes) -> bytes:
        path = "graph.nodes[1].op"
        raise UnsupportedError("op exp is not supported", reason="UNSUPPORTED_OP", violations=((path, "op exp"),))

    def f(x: Any) -> Any:
        shifted = x + x
        return np.exp(shifted)

    monkeypatch.setattr(service, "_evaluate", lacking)
    for call in (gw.grad(f), lambda x: gw.grad(f).submit(x).result()):
        with pytest.raises(UnsupportedError) as caught:
            call(1.0)
        line = f"{__file__}:{f.__code__.co_firstlineno + 2}: return np.exp(shifted)"
        assert str(caught.value) == f"op exp is not supported\n  at {line}"


def test_small_programs_always_travel_with_the_request(service: LocalClient) -> None:
    for _ in range(3):
        gw.grad(small)(np.ones(3))
        assert service.last.program
        assert not service.last.program_id


def test_large_programs_go_by_id_once_the_service_knows_them(service: LocalClient) -> None:
    gradient = gw.grad(large)
    first = gradient(1.0)
    assert len(service.last.program) > 4096
    assert gradient(1.0) == first
    assert not service.last.program
    assert service.last.program_id in service.programs
    assert service.sizes[1] < 200


def test_a_service_that_has_forgotten_a_program_gets_it_again(service: LocalClient) -> None:
    gradient = gw.grad(large)
    expected = gradient(1.0)
    service.restart()
    assert gradient(1.0) == expected
    assert [bool(one.program) for one in service.requests] == [True, False, True]
    assert gradient(1.0) == expected
    assert not service.last.program


def test_a_service_that_has_forgotten_everything_gets_everything_again(service: LocalClient) -> None:
    def both(x: Any) -> Any:
        return large(np.sum((TABLE @ x) ** 2))

    gradient = gw.grad(both)
    x = np.full(5, 0.1)
    expected = gradient(x)
    service.restart()
    assert_same(gradient(x), expected)
    assert_same(gradient.submit(x).result(), expected)
    assert len(service.requests) <= 5


def test_a_service_that_keeps_nothing_is_served_all_the_same(service: LocalClient, monkeypatch: Any) -> None:
    evaluate = service._evaluate

    def forgetful(request: bytes) -> bytes:
        try:
            return evaluate(request)
        finally:
            service.restart()

    monkeypatch.setattr(service, "_evaluate", forgetful)
    gradient = gw.grad(with_table)
    for _ in range(3):
        assert_same(gradient(np.ones(5)), 2 * TABLE.T @ (TABLE @ np.ones(5)))


def test_other_failures_are_not_sent_again(service: LocalClient, monkeypatch: Any) -> None:
    calls: list[bytes] = []

    def failing(request: bytes) -> bytes:
        calls.append(request)
        raise RequestError("no", reason="INPUT_MISMATCH")

    monkeypatch.setattr(service, "_evaluate", failing)
    with pytest.raises(RequestError, match="no"):
        gw.grad(small)(1.0)
    with pytest.raises(RequestError, match="no"):
        gw.grad(small).submit(1.0).result()
    assert len(calls) == 2


def test_answers_that_do_not_fit_are_refused() -> None:
    template, _, _ = gw.grad(small).prepared((np.ones(3),), {})
    report = RunReport(1, 1, 0.0, 0.0, 0.0, "reference", "0")
    for outputs in ([], [np.ones(2)], [np.ones(3), np.ones(3)]):
        with pytest.raises(RequestError, match="does not fit") as caught:
            template.answer(Evaluated(outputs, (), report))
        assert caught.value.reason == "MALFORMED_RESPONSE"


def test_rows_without_result_are_named() -> None:
    template, _, _ = gw.vmap(small).prepared((np.ones((9, 2)),), {})
    errors = tuple([RowError(row, "MAX_STEPS_EXCEEDED", "too many steps") for row in range(7)])
    report = RunReport(9, 1, 0.0, 0.0, 0.0, "reference", "0")
    with pytest.raises(gw.RowError, match="row 0, 1, 2, 3, 4 and 2 more: too many steps") as caught:
        template.answer(Evaluated([np.zeros(9)], errors, report))
    assert caught.value.rows == tuple(range(7))
    assert caught.value.reason == "MAX_STEPS_EXCEEDED"


def test_submit_gives_a_future(service: LocalClient) -> None:
    futures = [gw.grad(small).submit(np.full(2, float(i))) for i in range(5)]
    assert_same([future.result() for future in futures], [2 * np.full(2, float(i)) for i in range(5)])
    assert all(future.done() for future in futures)


def test_arguments_may_change_after_submit(service: LocalClient) -> None:
    service.hold = []
    x = np.ones(3)
    future = gw.grad(small).submit(x)
    x[:] = 5.0
    assert not future.done()
    service.hold.pop()()
    assert_same(future.result(), 2 * np.ones(3))


def test_a_future_can_be_cancelled(service: LocalClient) -> None:
    service.hold = []
    future = gw.grad(small).submit(np.ones(3))
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result()
    service.hold.pop()()  # the late answer changes nothing
    assert not gw.remote(small).submit(1.0).cancel() or service.hold


def test_futures_can_be_awaited(service: LocalClient) -> None:
    async def main() -> list[Any]:
        futures = [asyncio.wrap_future(gw.grad(small).submit(float(i))) for i in range(3)]
        return list(await asyncio.gather(*futures))

    assert asyncio.run(main()) == [0.0, 2.0, 4.0]


def both(x: Any, y: Any) -> Any:
    return np.sum(x * y)
