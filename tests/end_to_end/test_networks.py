"""Neural networks through the service: losses, gradients and curvature against independent engines, to 1e-8."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from tests.end_to_end.networks import ATTENTION, CONVOLUTIONAL, NETWORKS, PERCEPTRON, Network

import gradwire as gw

ENGINES = ("autograd", "torch")

Found = dict[str, np.ndarray]


def direction(network: Network) -> Found:
    rng = np.random.default_rng(7)
    return {name: np.asarray(rng.normal(size=value.shape)) for name, value in network.parameters.items()}


def close(got: Any, expected: Any, what: str = "") -> None:
    scale = float(np.max(np.abs(expected), initial=1.0))
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8 * scale, err_msg=what)


def all_close(got: Found, expected: Found) -> None:
    assert got.keys() == expected.keys()
    for name in expected:
        close(got[name], expected[name], name)


@cache
def theirs(engine: str, name: str) -> tuple[float, Found, Found]:
    """The loss of all examples, its gradient, and its Hessian times `direction`."""
    network = next(each for each in NETWORKS if each.name == name)
    if engine == "torch":
        if importlib.util.find_spec("torch") is None:
            pytest.skip("torch is not installed")
        return _in_torch(network)

    def loss(parameters: Any) -> Any:
        return network.in_autograd(parameters, *network.data)

    moves = direction(network)

    def slope(parameters: Any) -> Any:
        gradient = autograd.grad(loss)(parameters)
        return sum(anp.sum(gradient[name] * moves[name]) for name in moves)

    parameters = network.parameters
    return float(loss(parameters)), dict(autograd.grad(loss)(parameters)), dict(autograd.grad(slope)(parameters))


def _in_torch(network: Network) -> tuple[float, Found, Found]:
    torch: Any = importlib.import_module("torch")
    names = list(network.parameters)
    values = [torch.tensor(network.parameters[name], requires_grad=True) for name in names]
    data = [torch.tensor(each) for each in network.data]
    loss = network.in_torch(torch, dict(zip(names, values, strict=True)), *data)
    gradient = torch.autograd.grad(loss, values, create_graph=True)
    moves = direction(network)
    slope = sum((each * torch.tensor(moves[name])).sum() for name, each in zip(names, gradient, strict=True))
    curvature = torch.autograd.grad(slope, values)
    return (
        float(loss.detach()),
        {name: each.detach().numpy() for name, each in zip(names, gradient, strict=True)},
        {name: each.numpy() for name, each in zip(names, curvature, strict=True)},
    )


def in_axes(network: Network) -> tuple[Any, ...]:
    return (None, *[0] * len(network.data))


def total(network: Network) -> Any:
    """The sum of the losses of all examples, traced as a whole."""
    batched = gw.vmap(network.ours, in_axes=in_axes(network))
    return lambda parameters, *data: np.sum(batched(parameters, *data))


each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
each_engine = pytest.mark.parametrize("engine", ENGINES)


@each_network
@each_engine
def test_gradients_summed_over_the_examples_of_a_request(network: Network, engine: str) -> None:
    loss, gradient, _ = theirs(engine, network.name)
    summed = gw.vmap(gw.value_and_grad(network.ours), in_axes=in_axes(network), reduce="sum")
    value, found = summed(network.parameters, *network.data)
    close(value, loss)
    all_close(found, gradient)


@each_network
@each_engine
def test_gradients_summed_over_the_examples_inside_the_trace(network: Network, engine: str) -> None:
    loss, gradient, _ = theirs(engine, network.name)
    value, found = gw.value_and_grad(total(network))(network.parameters, *network.data)
    close(value, loss)
    all_close(found, gradient)


@each_network
@each_engine
def test_hessian_vector_products(network: Network, engine: str) -> None:
    _, gradient, curvature = theirs(engine, network.name)

    def loss(parameters: Any) -> Any:
        return total(network)(parameters, *network.data)

    found, product = gw.hvp(loss, (network.parameters,), (direction(network),))
    all_close(found, gradient)
    all_close(product, curvature)


@each_network
def test_a_directional_derivative_is_the_gradient_times_the_direction(network: Network) -> None:
    _, gradient, _ = theirs("autograd", network.name)
    moves = direction(network)
    _, slope = gw.jvp(lambda p: total(network)(p, *network.data), (network.parameters,), (moves,))
    close(slope, sum(np.sum(gradient[name] * moves[name]) for name in moves))


@each_network
def test_the_traced_network_is_the_one_that_numpy_runs(network: Network) -> None:
    first = [each[0] for each in network.data]
    with np.errstate(invalid="ignore"):
        close(gw.remote(network.ours)(network.parameters, *first), network.ours(network.parameters, *first))


def test_single_precision_stays_single() -> None:
    network = CONVOLUTIONAL
    single = {name: value.astype(np.float32) for name, value in network.parameters.items()}
    images, labels = network.data
    summed = gw.vmap(gw.grad(network.ours), in_axes=in_axes(network), reduce="sum")
    found = summed(single, images.astype(np.float32), labels)
    _, gradient, _ = theirs("autograd", network.name)
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, gradient[name], rtol=1e-4, atol=1e-4 * np.max(np.abs(gradient[name])))


def test_a_row_that_sees_nothing_hurts_no_derivative() -> None:
    """Its softmax is not a number; `where` leaves it out, in the value and in every derivative by the scores."""
    assert not ATTENTION.data[1][:, 2].any()
    gradient = gw.grad(total(ATTENTION))(ATTENTION.parameters, *ATTENTION.data)
    for name, value in gradient.items():
        assert np.isfinite(value).all(), name
        assert np.any(value), name


def test_gradient_descent_lowers_the_loss() -> None:
    step = gw.vmap(gw.value_and_grad(PERCEPTRON.ours), in_axes=in_axes(PERCEPTRON), reduce="mean")
    parameters, losses = dict(PERCEPTRON.parameters), []
    for _ in range(30):
        loss, gradient = step(parameters, *PERCEPTRON.data)
        losses.append(float(loss))
        parameters = {name: value - 0.3 * gradient[name] for name, value in parameters.items()}
    assert losses[-1] < 0.8 * losses[0]


# Convolutions in loops and branches


IMAGES = np.asarray(np.random.default_rng(3).normal(size=(5, 2, 6)))
KERNEL = np.asarray(np.random.default_rng(4).normal(size=(2, 2, 3))) * 0.5


def step(state: Any, kernel: Any) -> Any:
    return np.tanh(gw.special.conv(state, kernel, padding=1)) + state


def in_a_loop(kernel: Any, image: Any) -> Any:
    final, peaks = gw.scan(lambda state, _: (step(state, kernel), np.max(state)), image, length=4)
    return np.sum(final**2) + np.sum(peaks)


def while_it_lasts(kernel: Any, image: Any) -> Any:
    """As many steps as the image says."""
    count = np.where(image[0, 0] > 0, 4, 2)
    _, final = gw.while_loop(
        lambda carry: carry[0] < count, lambda carry: (carry[0] + 1, step(carry[1], kernel)), (0, image), max_steps=9
    )
    return np.sum(final**2)


def step_by_step(kernel: Any, image: Any) -> Any:
    peaks = []
    for _ in range(4):
        peaks.append(np.max(image))
        image = step(image, kernel)
    return np.sum(image**2) + np.sum(np.stack(peaks))


def as_many_as_needed(kernel: Any, image: Any) -> Any:
    both = [image]
    for _ in range(4):
        both.append(step(both[-1], kernel))
    return np.where(image[0, 0] > 0, np.sum(both[4] ** 2), np.sum(both[2] ** 2))


@pytest.mark.parametrize(("loop", "unrolled"), [(in_a_loop, step_by_step), (while_it_lasts, as_many_as_needed)])
def test_a_convolution_in_a_loop_is_the_one_step_by_step(loop: Any, unrolled: Any) -> None:
    """Rows, gradients summed over rows, in forward and reverse mode, and curvature."""
    axes = (None, 0)
    for reduce in (None, "sum"):
        got = gw.vmap(gw.value_and_grad(loop, argnums=(0, 1)), in_axes=axes, reduce=(reduce, (reduce, None)))
        wanted = gw.vmap(gw.value_and_grad(unrolled, argnums=(0, 1)), in_axes=axes, reduce=(reduce, (reduce, None)))
        (value, (by_kernel, by_image)), expected = got(KERNEL, IMAGES), wanted(KERNEL, IMAGES)
        close(value, expected[0])
        close(by_kernel, expected[1][0])
        close(by_image, expected[1][1])
    close(gw.jacfwd(loop)(KERNEL, IMAGES[0]), gw.grad(unrolled)(KERNEL, IMAGES[0]))
    point, moves = (KERNEL, IMAGES[0]), (np.ones(KERNEL.shape), np.ones(IMAGES[0].shape))
    for found, known in zip(gw.hvp(loop, point, moves), gw.hvp(unrolled, point, moves), strict=True):
        for one, other in zip(found, known, strict=True):
            close(one, other)
