"""Random numbers: the published bits, the bits of jax, and the same ones on every road."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same, graph_of, traced

import gradwire as gw
from gradwire.errors import ShapeError, TracingError
from gradwire_engine.ops.bitwise import threefry

stats = pytest.importorskip("scipy.stats")


def words(*pairs: tuple[int, int]) -> np.ndarray:
    """Integers of two 32-bit words, the first one low."""
    return np.array([first | second << 32 for first, second in pairs], np.uint64).view(np.int64)


def test_the_bits_are_the_published_ones() -> None:
    """The known answers of Random123 1.09, threefry 2x32 20: counter, key, result."""
    ones, pi = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    counters, keys = words((0, 0), (ones, ones), pi[:2]), words((0, 0), (ones, ones), pi[2:])
    expected = words((0x6B200159, 0x99BA4EFE), (0x1CB996FC, 0xBB002BE7), (0xC4923A9C, 0x483DF7A0))
    np.testing.assert_array_equal(threefry(keys, counters), expected)


@pytest.mark.long
def test_the_bits_are_those_of_jax() -> None:
    jax = pytest.importorskip("jax")
    from jax.extend.random import threefry_2x32

    rng = np.random.default_rng(0)
    for key in rng.integers(-(2**63), 2**63, 5):
        counters = rng.integers(-(2**63), 2**63, 100)
        pair = jax.numpy.asarray(np.array([key]).view(np.uint32))
        halves = np.ascontiguousarray(counters.view(np.uint32).reshape(-1, 2).T)
        expected = np.ascontiguousarray(
            np.asarray(threefry_2x32(pair, jax.numpy.asarray(halves.ravel()))).reshape(2, -1).T
        )
        np.testing.assert_array_equal(threefry(np.full(100, key), counters), expected.view(np.int64)[:, 0])


DRAWS = [gw.special.random_bits, gw.special.random_uniform, gw.special.random_normal]


@pytest.mark.parametrize("draw", DRAWS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("shape", [(), 3, (2, 3), (0, 2)])
def test_traced_and_plain_keys_give_the_same_numbers(draw: Any, shape: Any) -> None:
    for key in (0, -5, 2**40 + 1):
        assert_same(traced(lambda key: draw(key, shape), key), draw(key, shape), rtol=0.0)
    assert_same(traced(lambda key: draw(key, shape), np.int32(7)), draw(7, shape), rtol=0.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_least_and_the_largest_uniform_numbers_lie_within(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradwire.special.random.random_bits", lambda key, shape: np.array([0, -1, 2**63 - 1]))
    found = gw.special.random_uniform(0, 3, dtype)
    assert found.dtype == dtype
    assert 0 < found[0] == 1 - found[1]
    assert found[0] < found[2] < found[1] < 1
    assert np.isfinite(gw.special.random_normal(0, 3, dtype)).all()


@pytest.mark.parametrize("key", [1, 2])
def test_the_numbers_are_distributed_as_they_should(key: int) -> None:
    assert stats.kstest(gw.special.random_uniform(key, 20_000), "uniform").pvalue > 1e-4
    assert stats.kstest(gw.special.random_normal(key, 20_000), "norm").pvalue > 1e-4
    bits = gw.special.random_bits(key, 20_000).view(np.uint8)
    assert abs(np.unpackbits(bits).mean() - 0.5) < 1e-3


def test_keys_come_out_of_keys() -> None:
    first, second = gw.special.random_bits(3, 2)
    draws = [gw.special.random_normal(int(key), 2000) for key in (3, first, second)]
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.1


def test_every_row_of_a_batch_has_its_own_key() -> None:
    found = gw.remote(lambda key: gw.special.random_uniform(key, 4)).map(np.array([5, 6, 5]))
    for row, key in zip(found, (5, 6, 5), strict=True):
        assert_same(row, gw.special.random_uniform(key, 4), rtol=0.0)


def test_they_have_no_derivative_and_others_pass_through_them() -> None:
    def loss(x: Any, key: Any) -> Any:
        return np.sum((x * gw.special.random_normal(key, 3)) ** 2)

    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(gw.grad(loss)(x, 1), 2 * x * gw.special.random_normal(1, 3) ** 2)


def test_a_traced_key_makes_a_small_graph() -> None:
    graph, captured, *_ = graph_of(lambda key: gw.special.random_bits(key, (1000,)), 0)
    assert not captured
    assert len(graph.nodes) <= 3


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(TracingError, match="key must be an integer"):
        gw.special.random_bits(1.5)
    with pytest.raises(ShapeError, match="64-bit"):
        gw.special.random_bits(2**63)
    with pytest.raises(ShapeError, match="expected one integer"):
        traced(lambda key: gw.special.random_bits(key, 3), np.array([1, 2]))
    with pytest.raises(ShapeError, match="expected one integer"):
        traced(lambda key: gw.special.random_bits(key, 3), 1.5)
    with pytest.raises(ShapeError, match="float64 or float32"):
        gw.special.random_uniform(0, 3, np.int32)
