"""A new axis, static or the request's own: the same as a loop, wherever it stands and whatever shares it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, run
from tests.kit.engine.network import NETWORK, matvec, network_point, small_network

from gradwire_engine.errors import GraphError
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, Jvp, Layout, Program, Transform, Vjp, Vmap
from gradwire_engine.transform import apply
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import ROWS
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import (
    cos,
    sin,
    sum_over,
)

# A new axis


def in_place(array: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(array, 0, axis)


@pytest.mark.parametrize("axes", list(itertools.product((-1, 0, 1, 2), (-1, 0, 1), (-1, 0, 1))))
def test_vmap_is_a_loop_wherever_the_axis_stands(axes: tuple[int, int, int]) -> None:
    size = 3
    graph = graph_of(lambda w, x, y: [matvec(w, x) * y, w], *NETWORK)
    stacks, shared = network_point(1, (size,)), network_point(2)
    inputs = [one if axis < 0 else in_place(stack, axis) for stack, one, axis in zip(stacks, shared, axes, strict=True)]
    loop = []
    for i in range(size):
        point = [one if axis < 0 else stack[i] for stack, one, axis in zip(stacks, shared, axes, strict=True)]
        loop.append(run(graph, *point))
    for out_axes in ((0, 0), (1, 2)):
        mapped = vmap(graph, size, axes, out_axes)
        verify(mapped)
        for found, place, expected in zip(run(mapped, *inputs), out_axes, zip(*loop, strict=True), strict=True):
            np.testing.assert_allclose(found, in_place(np.stack(expected), place), rtol=1e-14)


def test_vmap_of_vmap() -> None:
    graph = graph_of(lambda x, y: sum_over(sin(x) * y, [0]), f64(4), f64(4))
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    every_pair = vmap(vmap(graph, 3, [-1, 0]), 2, [0, -1])
    verify(every_pair)
    np.testing.assert_allclose(run(every_pair, x, y)[0], np.sin(x) @ y.T, rtol=1e-14)
    other_way = vmap(vmap(graph, 2, [0, -1]), 3, [-1, 0], [1])
    np.testing.assert_allclose(run(other_way, x, y)[0], np.sin(x) @ y.T, rtol=1e-14)


@pytest.mark.parametrize("size", [0, 1])
def test_vmap_of_few_or_none(size: int) -> None:
    graph = graph_of(small_network, *NETWORK)
    (found,) = run(vmap(grad(graph, [1]), size, [-1, 0, -1]), *network_point()[:1], np.ones((size, 4)), np.ones(3))
    assert found.shape == (size, 4)


def test_the_gradient_of_a_vmap_and_the_vmap_of_a_gradient() -> None:
    graph = graph_of(small_network, *NETWORK)
    w, x, y = network_point(4, (5,))
    gradients = run(apply(graph, [Grad((0, 1)), Vmap(5, (0, 0, 0))]), w, x, y)
    mapped = vmap(graph, 5, [0, 0, 0])
    cotangent = np.array([1.0, 2.0, 0.0, -1.0, 0.5])
    weighted = run(vjp(mapped, [0, 1]), w, x, y, cotangent)[1:]
    for each, weights in zip(gradients, weighted, strict=True):
        for i in range(5):
            np.testing.assert_allclose(weights[i], cotangent[i] * each[i], rtol=1e-12, atol=1e-14)


# The request's batch


@pytest.mark.parametrize("shared", [(), (0,), (1,), (2,), (0, 2), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("transforms", [(), (Grad((0, 1)),), (Jvp((1,)),), (Vjp((0,)),), (Jacobian((1,)),)], ids=repr)
def test_rows_at_once_are_rows_one_by_one_and_sums_are_sums(
    transforms: tuple[Transform, ...], shared: tuple[int, ...]
) -> None:
    rows = 4
    program = Program(graph_of(small_network, *NETWORK), transforms)
    single = apply(program.graph, transforms)
    rng = np.random.default_rng(5)
    stacks = [np.asarray(rng.standard_normal((rows, *one.type.shape))) for one in single.inputs]
    inputs = [stack[0] if i in shared else stack for i, stack in enumerate(stacks)]
    loop = [run(single, *[x if i in shared else x[row] for i, x in enumerate(inputs)]) for row in range(rows)]
    expected = [np.stack(outputs) for outputs in zip(*loop, strict=True)]

    stacked = prepare(program, Layout(shared_inputs=shared)).graph
    verify(stacked)
    for found, wanted in zip(run(stacked, *inputs, rows=rows), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    everything = tuple(range(len(expected)))
    summed = prepare(program, Layout(shared_inputs=shared, summed_outputs=everything)).graph
    verify(summed)
    for found, wanted in zip(run(summed, *inputs, rows=rows), expected, strict=True):
        np.testing.assert_allclose(found, wanted.sum(axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_what_is_shared_by_all_rows_is_repeated_or_multiplied(rows: int) -> None:
    graph = graph_of(lambda x, y: [sin(x), y], F64, F64)
    layout = Layout(shared_inputs=(0,), summed_outputs=(0,), outputs=(0, 1))
    total, each = run(batch(graph, layout), 0.5, np.arange(rows), rows=rows)
    np.testing.assert_allclose(total, rows * np.sin(0.5))
    np.testing.assert_array_equal(each, np.arange(rows))
    (repeated,) = run(batch(graph, Layout(shared_inputs=(0, 1), outputs=(0,))), 0.5, 1.0, rows=rows)
    np.testing.assert_array_equal(repeated, np.full(rows, np.sin(0.5)))


def test_the_batch_axis_stands_in_front_only() -> None:
    graph = graph_of(small_network, *NETWORK)
    for transforms in ((), (Grad((0, 1, 2)),), (Grad((0,)), Jacobian((1,)))):
        for layout in (Layout(), Layout(shared_inputs=(0,))):
            batched = batch(apply(graph, transforms), layout)
            assert not [type for type in batched.types if ROWS in type.shape[1:]]


def test_bools_cannot_be_summed() -> None:
    graph = graph_of(lambda x: x > 0.0, F64)
    with pytest.raises(GraphError, match="output 0 is bool and cannot be summed"):
        prepare(Program(graph), Layout(summed_outputs=(0,)))


def test_outputs_come_in_the_order_asked_for_and_more_than_once() -> None:
    graph = graph_of(lambda x: [x, sin(x), cos(x)], F64)
    prepared = prepare(Program(graph), Layout(outputs=(2, 0, 2)))
    assert len(prepared.outputs) == 3
    first, second, third = run(prepared.graph, [0.5], rows=1)
    assert (first, second, third) == (np.cos(0.5), 0.5, np.cos(0.5))
