"""`.map`: the function on a batch in chunks."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same
from tests.kit.client.local import LocalClient

import gradwire as gw

TABLE = np.random.default_rng(0).normal(size=(20, 5))


def small(x: Any) -> Any:
    return np.sum(x**2)


def with_table(x: Any) -> Any:
    return np.sum((TABLE @ x) ** 2)


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
