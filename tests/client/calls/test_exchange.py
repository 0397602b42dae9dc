"""How calls are sent: programs by id, constants by digest, what the service has forgotten; futures, maps, reports."""

from __future__ import annotations

import asyncio
import sys
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


# futures


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


# maps


def both(x: Any, y: Any) -> Any:
    return np.sum(x * y)


XS = np.random.default_rng(1).normal(size=(103, 3))
YS = np.random.default_rng(2).normal(size=(103, 3))


@pytest.mark.parametrize("chunk", [1, 10, 102, 103, 1000, None])
def test_map_is_vmap_in_chunks(service: LocalClient, chunk: int | None) -> None:
    found = gw.value_and_grad(both, argnums=(0, 1)).map(XS, YS, chunk=chunk)
    assert_same(found, (np.sum(XS * YS, axis=1), (YS, XS)))
    assert all(one.rows is not None and one.rows <= (chunk or 1024) for one in service.requests)
    assert len(service.requests) == -(-103 // (chunk or 1024))


def test_map_of_a_vmapped_function_keeps_its_axes(service: LocalClient) -> None:
    mapped = gw.vmap(both, in_axes=(1, None), out_axes=0)
    assert_same(mapped.map(XS.T.copy(), YS[0], chunk=20), XS @ YS[0])
    stacked = gw.vmap(lambda x: np.outer(x, x), out_axes=-1)
    assert_same(stacked.map(XS, chunk=25), np.einsum("ri,rj->ijr", XS, XS))


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_map_adds_up_over_all_rows(reduce: str) -> None:
    count = 103.0 if reduce == "mean" else 1.0
    mapped = gw.vmap(gw.value_and_grad(both), in_axes=(None, 0), reduce=(None, reduce))
    values, gradient = mapped.map(XS[0], YS, chunk=10)
    assert_same(values, YS @ XS[0])
    assert_same(gradient, YS.sum(0) / count)


def test_map_of_no_rows() -> None:
    assert gw.grad(small).map(np.zeros((0, 3))).shape == (0, 3)


def test_only_a_few_chunks_are_under_way(service: LocalClient, monkeypatch: Any) -> None:
    service.hold = held = []
    monkeypatch.setattr("gradwire.calls.exchange.Pending.result", lambda self, timeout=None: _answer(self, held))
    assert_same(gw.grad(small).map(XS, chunk=1), 2 * XS)
    assert service.most_in_flight == 8


def _answer(pending: Any, held: list[Any]) -> Any:
    from concurrent.futures import Future

    while not pending.done():
        held.pop(0)()
    return Future.result(pending)


def test_a_chunk_that_fails_fails_the_map(service: LocalClient, monkeypatch: Any) -> None:
    def failing(request: bytes) -> bytes:
        raise gw.InvalidRequestError("the response is too large", reason="RESPONSE_TOO_LARGE")

    monkeypatch.setattr(service, "_evaluate", failing)
    with pytest.raises(gw.InvalidRequestError) as caught:
        gw.grad(small).map(XS, chunk=50)
    assert "this chunk has 50 rows; pass a smaller chunk= to .map" in caught.value.__notes__


def test_chunks_must_have_rows() -> None:
    for chunk in (0, -1, 1.5):
        with pytest.raises(TypeError, match="give a number of rows, at least 1"):
            gw.grad(small).map(XS, chunk=chunk)


def test_what_a_map_closes_over_is_read_once(service: LocalClient) -> None:
    assert_same(
        gw.grad(with_table).map(np.ones((30, 5)), chunk=10), np.stack([2 * TABLE.T @ (TABLE @ np.ones(5))] * 30)
    )
    assert service.requests[0].inputs[1].data is not None
    assert len(service.constants) == 1


@pytest.mark.parametrize("installed", [True, False], ids=["tqdm", "plain"])
def test_progress(installed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    gw.grad(small).map(XS, chunk=50, progress=True)
    said = capsys.readouterr().err
    assert "100%" in said
    assert "103" in said
    gw.grad(small).map(XS, chunk=50)
    assert capsys.readouterr().err == ""


# reports


def test_reports_tell_of_each_call(service: LocalClient) -> None:
    with gw.reports() as outer:
        gw.grad(small)(np.ones(3))
        with gw.reports() as inner:
            gw.vmap(gw.grad(small))(np.ones((4, 3)))
            gw.grad(small).submit(np.ones(3)).result()
    gw.grad(small)(np.ones(3))
    assert [report.rows for report in outer] == [1, 4, 1]
    assert [report.rows for report in inner] == [4, 1]
    assert outer[0].request_bytes == service.sizes[0]
    assert outer[0].response_bytes > 24
    assert outer[0].executor == "reference"
    assert outer[0].server_version == gw.__version__
