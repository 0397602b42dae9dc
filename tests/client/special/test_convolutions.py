"""np.convolve, np.correlate, windows, and gw.special's convolutions and pools: traced and on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import assert_same, traced

import gradwire as gw

RNG = np.random.default_rng(11)
DTYPES = (np.float64, np.float32, np.int64, np.int32)


def some(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.asarray(RNG.integers(-5, 6, shape) if np.dtype(dtype).kind in "iu" else RNG.normal(size=shape), dtype)


# numpy's names


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("lengths", [(7, 3), (3, 7), (6, 4), (4, 6), (5, 5), (1, 4), (1, 1)], ids=str)
def test_convolve_and_correlate_are_numpys(mode: Any, lengths: tuple[int, int]) -> None:
    for dtype in (*DTYPES, np.bool_):
        a, v = (some(n, dtype=np.int64).astype(dtype) for n in lengths)
        for function in (np.convolve, np.correlate):
            assert_same(traced(lambda a, v, f=function: f(a, v, mode), a, v), function(a, v, mode))
            assert_same(traced(lambda v, f=function, a=a: f(a, v, mode), v), function(a, v, mode))


def test_convolve_defaults_and_mixed_types() -> None:
    a, v = some(5), some(2, dtype=np.int32)
    assert_same(traced(np.convolve, a, v), np.convolve(a, v))
    assert_same(traced(np.correlate, a, v), np.correlate(a, v))
    assert_same(traced(lambda a: np.convolve(a, 2.0), a), np.convolve(a, 2.0))  # type: ignore[call-overload]


def test_sliding_windows_are_numpys() -> None:
    view = np.lib.stride_tricks.sliding_window_view
    for dtype in (*DTYPES, np.bool_):
        x = some(4, 5, 3, dtype=np.int64).astype(dtype)
        for shape, axis in (((2, 3, 1), None), (2, 1), ((2, 2), (0, -1)), ((2, 3), (1, 1)), ((1,), (2,))):
            assert_same(traced(lambda x, s=shape, a=axis: view(x, s, a), x), view(x, shape, axis))
    for shape, axis in ((5, 0), (0, 0), ((2, 2), 0)):
        with pytest.raises(gw.ShapeError, match="sliding_window_view"):
            traced(lambda x, s=shape, a=axis: view(x, s, a), x)


# scipy's names

signal = pytest.importorskip("scipy.signal")

SHAPES = [((6,), (3,)), ((3,), (6,)), ((4,), (4,)), ((5, 4), (2, 3)), ((2, 3), (4, 5)), ((3, 4, 2), (2, 1, 2))]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_convolve_and_correlate_are_scipys(mode: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for dtype in DTYPES:
        x, w = (some(*shape, dtype=dtype) for shape in shapes)
        for ours, theirs in ((gw.special.convolve, signal.convolve), (gw.special.correlate, signal.correlate)):
            expected = theirs(x, w, mode, method="direct")
            assert_same(ours(x, w, mode), expected)
            assert_same(traced(lambda x, w, f=ours: f(x, w, mode), x, w), expected)


def test_convolve_of_operands_without_axes() -> None:
    assert gw.special.convolve(2.0, 3.0) == 6.0
    assert traced(gw.special.convolve, 2.0, 3.0) == 6.0


# Networks


def naive_conv(
    x: np.ndarray, w: np.ndarray, stride: int, low: int, high: int, dilation: int, groups: int
) -> np.ndarray:
    """Two spatial axes, as ONNX's Conv is written, by loops."""
    x = np.pad(x, [(0, 0), (0, 0), (low, high), (low, high)])
    rows, columns = ((n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    found = np.zeros((x.shape[0], w.shape[0], rows, columns))
    for n, o, i, j in np.ndindex(*found.shape):
        first = o // (w.shape[0] // groups) * w.shape[1]
        box = x[n, first : first + w.shape[1], i * stride :, j * stride :][:, ::dilation, ::dilation]
        found[n, o, i, j] = np.sum(box[:, : w.shape[2], : w.shape[3]] * w[o])
    return found


SETTINGS = [(1, 0, 0, 1, 1), (2, 1, 1, 1, 1), (1, 0, 1, 2, 1), (3, 2, 0, 1, 2), (2, 1, 2, 2, 2)]


@pytest.mark.parametrize(("stride", "low", "high", "dilation", "groups"), SETTINGS)
def test_conv(stride: int, low: int, high: int, dilation: int, groups: int) -> None:
    x, w, b = some(2, 4, 7, 6), some(6, 4 // groups, 3, 2), some(6)
    options = {"strides": stride, "padding": [(low, high)] * 2, "dilations": dilation, "groups": groups}
    expected = naive_conv(x, w, stride, low, high, dilation, groups) + b[:, None, None]

    def ours(x: Any, w: Any, b: Any) -> Any:
        return gw.special.conv(x, w, b, **options)

    assert_same(ours(x, w, b), expected)
    assert_same(traced(ours, x, w, b), expected)
    assert_same(traced(lambda x: ours(x, w, b), x[0]), expected[0])
    assert_same(traced(lambda w: ours(x[None], w, b), w), expected[None])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_has_a_position_for_every_stride(stride: int) -> None:
    x, w = some(1, 2, 7), some(3, 2, 4)
    found = gw.special.conv(x, w, strides=stride, padding="same")
    assert found.shape == (1, 3, -(-7 // stride))
    total = max((found.shape[-1] - 1) * stride + 4 - 7, 0)
    explicit = gw.special.conv(x, w, strides=stride, padding=[(total // 2, total - total // 2)])
    np.testing.assert_array_equal(found, explicit)
    np.testing.assert_array_equal(gw.special.conv(x, w, padding="valid"), gw.special.conv(x, w))


@pytest.mark.parametrize(("stride", "low", "high", "dilation", "groups"), SETTINGS)
def test_conv_transpose_is_the_transpose_of_conv(stride: int, low: int, high: int, dilation: int, groups: int) -> None:
    x, w = some(2, 4, 8, 8), some(6, 4 // groups, 3, 2)
    options: dict[str, Any] = {
        "strides": stride, "padding": [(low, high)] * 2, "dilations": dilation, "groups": groups
    }  # fmt: skip
    forward = gw.special.conv(x, w, **options)
    ct = some(*forward.shape)
    rest = [
        n - ((count - 1) * stride + (k - 1) * dilation + 1 - low - high)
        for n, count, k in zip(x.shape[2:], forward.shape[2:], w.shape[2:], strict=True)
    ]

    def ours(ct: Any, w: Any) -> Any:
        return gw.special.conv_transpose(ct, w, output_padding=rest, **options)

    pulled = ours(ct, w)
    assert pulled.shape == x.shape
    np.testing.assert_allclose(np.sum(forward * ct), np.sum(x * pulled), rtol=1e-12)
    assert_same(traced(ours, ct, w), pulled)


def windows_of(x: np.ndarray, kernel: int, stride: int, low: int, high: int, fill: float) -> list[list[np.ndarray]]:
    padded = np.pad(x, [(low, high)] * 2, constant_values=fill)
    rows, columns = ((n - kernel) // stride + 1 for n in padded.shape)
    return [[padded[i * stride :, j * stride :][:kernel, :kernel] for j in range(columns)] for i in range(rows)]


@pytest.mark.parametrize(("kernel", "stride", "low", "high"), [(2, None, 0, 0), (3, 1, 1, 1), (2, 3, 1, 0)])
def test_pools(kernel: int, stride: int | None, low: int, high: int) -> None:
    x = some(5, 7) - 10.0
    options: dict[str, Any] = {"strides": stride, "padding": [(low, high)] * 2}
    step = stride or kernel
    largest = [[each.max() for each in row] for row in windows_of(x, kernel, step, low, high, -np.inf)]
    total = np.array([[each.sum() for each in row] for row in windows_of(x, kernel, step, low, high, 0.0)])
    counts = [[each.sum() for each in row] for row in windows_of(np.ones(x.shape), kernel, step, low, high, 0.0)]
    for function, expected in (
        (lambda x: gw.special.max_pool(x, (kernel, kernel), **options), largest),
        (lambda x: gw.special.avg_pool(x, (kernel, kernel), **options), total / counts),
        (
            lambda x: gw.special.avg_pool(x, (kernel, kernel), count_include_pad=True, **options),
            total / kernel**2,
        ),
    ):
        assert_same(function(x), np.asarray(expected))
        assert_same(traced(function, x), np.asarray(expected))
        assert_same(traced(function, np.stack([x, x])), np.stack([expected, expected]))


def test_pools_of_other_types() -> None:
    whole = some(2, 6, dtype=np.int32)
    for function in (lambda x: gw.special.max_pool(x, 2, padding=1), lambda x: gw.special.avg_pool(x, 3)):
        assert_same(traced(function, whole), function(whole))
        single = whole.astype(np.float32)
        assert function(single).dtype == np.float32
        assert_same(traced(function, single), function(single))
    assert gw.special.max_pool(whole, 2, padding=1).dtype == np.int32
    assert gw.special.avg_pool(whole, 3).dtype == np.float64


def test_a_tie_in_a_pool_is_shared_and_overlapping_windows_add() -> None:
    gradient = gw.grad(lambda x: np.sum(gw.special.max_pool(x, 2, strides=1)))
    np.testing.assert_array_equal(gradient(np.array([1.0, 1.0, 3.0, 2.0])), [0.5, 0.5, 2.0, 0.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: gw.special.conv(x, np.ones((2, 3, 2))), "channels do not match"),
        (lambda x: gw.special.conv(x, np.ones((2, 2, 2)), groups=2), "channels do not match"),
        (lambda x: gw.special.conv(x, np.ones((2, 2, 9))), "does not fit"),
        (lambda x: gw.special.conv(x, np.ones(2)), "expected x"),
        (lambda x: gw.special.conv(x, np.ones((2, 2, 2)), np.ones(3)), "expected b of shape"),
        (lambda x: gw.special.conv(x, np.ones((2, 2, 2)), strides=0), "strides must be"),
        (lambda x: gw.special.conv(x, np.ones((2, 2, 2)), padding=-1), "padding must be"),
        (lambda x: gw.special.conv(x, np.ones((2, 2, 2)), padding="full"), "padding must be"),
        (lambda x: gw.special.conv_transpose(x, np.ones((3, 2, 2))), "channels do not match"),
        (lambda x: gw.special.conv_transpose(x, np.ones((2, 2, 2)), padding=9), "leaves nothing"),
        (lambda x: gw.special.max_pool(x, (2, 2, 2)), "a kernel of"),
        (lambda x: gw.special.max_pool(x, 0), "no elements"),
        (lambda x: gw.special.convolve(x, np.ones(2)), "equally many axes"),
        (lambda x: gw.special.convolve(x, np.ones((3, 2)), "valid"), "inside the other"),
        (lambda x: gw.special.convolve(x, x, "half"), "mode must be"),
        (lambda x: np.convolve(x, x), "one-dimensional"),
        (lambda x: np.convolve(x[0], x[0, :0]), "empty"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_users_line(call: Any, message: str) -> None:
    with pytest.raises(gw.ShapeError, match=message) as refused:
        traced(call, np.ones((2, 5)))
    assert "test_convolutions.py" in str(refused.value)


def test_what_a_pool_does_not_select_hurts_no_derivative() -> None:
    """The slope of the root at 0 is infinite, and 0 is not the largest."""
    at = np.array([0.0, 4.0, 0.0, 9.0])

    def function(x: Any) -> Any:
        return np.sum(gw.special.max_pool(np.sqrt(x), 2))

    expected = [0.0, 1 / 4, 0.0, 1 / 6]
    np.testing.assert_allclose(gw.grad(function)(at), expected)
    np.testing.assert_allclose(gw.jacfwd(function)(at), expected)


def test_windows_that_are_all_padding_or_not_a_number() -> None:
    x = np.array([1.0, np.nan, 2.0])
    assert_same(
        traced(lambda x: gw.special.max_pool(x, 1, padding=1), x), np.array([-np.inf, 1.0, np.nan, 2.0, -np.inf])
    )
    gradient = gw.grad(lambda x: np.sum(gw.special.max_pool(x, 1, padding=1)[1:2]))
    np.testing.assert_array_equal(gradient(x), [1.0, 0.0, 0.0])
    with np.errstate(invalid="ignore"):
        expected = gw.special.avg_pool(x, 1, padding=1)
    assert_same(traced(lambda x: gw.special.avg_pool(x, 1, padding=1), x), expected)


def test_jacobians_by_operand_and_weights_agree_in_both_modes() -> None:
    x, w = some(1, 4, 5), some(2, 2, 3)

    def function(x: Any, w: Any) -> Any:
        return np.tanh(gw.special.conv(x, w, strides=2, padding=1, groups=2))

    for forward, reverse in zip(
        gw.jacfwd(function, argnums=(0, 1))(x, w), gw.jacrev(function, argnums=(0, 1))(x, w), strict=True
    ):
        np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-14)
    gw.check_grads(function, (x, w), order=2)
