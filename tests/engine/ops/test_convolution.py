"""convolution, windows and overlap_add: what the generated checks do not say."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tests.kit.engine.building import f64, graph_of, operations, run

from gradwire_engine.attributes import Convolution, OverlapAdd, Windows
from gradwire_engine.errors import GraphError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.plan.memory import bytes_bound
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Layout, Program
from gradwire_engine.transforms.reverse import vjp
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import convolution, overlap_add, sum_over, windows

RNG = np.random.default_rng(5)
PLAIN = Convolution((1,), (0,), (0,), (1,))


def test_it_is_the_correlation_of_numpy() -> None:
    x, w = RNG.normal(size=9), RNG.normal(size=4)
    graph = graph_of(lambda x, w: convolution(x, w, PLAIN), f64(1, 9), f64(1, 1, 4))
    np.testing.assert_allclose(run(graph, x[None], w[None, None])[0][0], np.correlate(x, w), rtol=1e-13)
    full = Convolution((1,), (3,), (3,), (1,))
    graph = graph_of(lambda x, w: convolution(x, w, full), f64(1, 9), f64(1, 1, 4))
    np.testing.assert_allclose(run(graph, x[None], w[None, None])[0][0], np.correlate(x, w, "full"), rtol=1e-13)


@pytest.mark.parametrize("lengths", [(300, 290), (300, 5), (5, 5)], ids=str)
@pytest.mark.parametrize("pad", [0, 3])
def test_long_kernels_and_long_operands_give_the_same_sums(lengths: tuple[int, int], pad: int) -> None:
    """The evaluation goes by positions or by elements of the kernel, whichever are fewer."""
    n, k = lengths
    x, w = RNG.integers(-9, 9, (2, n)).astype(float), RNG.integers(-9, 9, (4, 2, k)).astype(float)
    graph = graph_of(lambda x, w: convolution(x, w, Convolution((1,), (pad,), (pad,), (1,))), f64(2, n), f64(4, 2, k))
    padded = np.pad(x, [(0, 0), (pad, pad)])
    expected = [[np.sum(padded[:, p : p + k] * each) for p in range(n + 2 * pad - k + 1)] for each in w]
    np.testing.assert_array_equal(run(graph, x, w)[0], expected)


def test_padding_contributes_nothing() -> None:
    """Not even 0 * inf, in values and in the derivative by the operand."""
    graph = graph_of(lambda x, w: convolution(x, w, Convolution((1,), (1,), (1,), (1,))), f64(1, 2), f64(1, 1, 3))
    x, w = np.array([[1.0, 2.0]]), np.array([[[np.inf, 3.0, 4.0]]])
    value, by_x = run(vjp(graph, [0]), x, w, [[1.0, 0.5]])
    assert value.tolist() == [[11.0, np.inf]]
    assert by_x.tolist() == [[np.inf, 5.5]]


def test_elements_that_no_window_sees_are_known_to_be_zero() -> None:
    attributes = Windows((1,), (2,), (1,))
    graph = graph_of(lambda x: sum_over(windows(x.emit("sqrt"), attributes), [0, 1]), f64(4))
    assert run(vjp(graph, [0]), [4.0, 0.0, 1.0, 0.0], 1.0)[1].tolist() == [0.25, 0.0, 0.5, 0.0]


@pytest.mark.parametrize("by_element", [True, False])
def test_windows_are_added_element_by_element_or_position_by_position(by_element: bool) -> None:
    positions, kernel = (40, 2) if by_element else (2, 40)
    stride, dilation = (3, 2) if by_element else (2, 3)
    shape = (positions - 1) * stride + (kernel - 1) * dilation + 1
    x = RNG.integers(-9, 9, (positions, kernel)).astype(float)
    expected = np.zeros(shape)
    for p, i in np.ndindex(positions, kernel):
        expected[p * stride + i * dilation] += x[p, i]
    graph = graph_of(lambda x: overlap_add(x, OverlapAdd((stride,), (dilation,), (shape,))), f64(positions, kernel))
    np.testing.assert_array_equal(run(graph, x)[0], expected)


@pytest.mark.parametrize(
    "attributes",
    [
        Convolution((0,), (0,), (0,), (1,)),
        Convolution((1,), (-1,), (0,), (1,)),
        Convolution((1,), (0,), (0,), (0,)),
        Convolution((1,), (0,), (0,), (1,), 2),
        Convolution((1,), (0,), (0,), (1,), 0),
        Convolution((1,), (0,), (0,), (1,), 1, 1),
        Convolution((1,), (0,), (0,), (1,), 1, -1),
        Convolution((1, 1), (0, 0), (0, 0), (1, 1)),
        Convolution((1,), (0,), (0,), (9,)),
        Convolution((1,), (0, 0), (0,), (1,)),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(attributes: Convolution) -> None:
    with pytest.raises(GraphError):
        graph_of(lambda x, w: convolution(x, w, attributes), f64(2, 3, 8), f64(4, 3, 3))


# Training gradients


def loss(attributes: Convolution) -> Graph:
    """The sum of squares of a convolution of one image, with weights that all images share."""

    def function(x: Value, w: Value) -> Value:
        return sum_over(convolution(x, w, attributes).emit("square"), [0, 1, 2])

    return graph_of(function, f64(2, 12, 12), f64(4, 2 // attributes.groups, 3, 3))


@pytest.mark.parametrize("groups", [1, 2])
def test_the_gradient_of_weights_summed_over_rows_is_one_contraction(groups: int) -> None:
    """Nothing that has rows is as large as the gradient of each row."""
    attributes = Convolution((1, 1), (1, 1), (1, 1), (1, 1), groups)
    graph = loss(attributes)
    prepared = prepare(Program(graph, (Grad((1,)),)), Layout(shared_inputs=(1,), summed_outputs=(0,))).graph
    x, w = RNG.normal(size=(5, 2, 12, 12)), RNG.normal(size=graph.inputs[1].type.shape)
    one = prepare(Program(graph, (Grad((1,)),)), Layout(shared_inputs=(1,))).graph
    np.testing.assert_allclose(run(prepared, x, w, rows=5)[0], run(one, x, w, rows=5)[0].sum(axis=0), rtol=1e-11)
    assert operations(prepared).count("dot_general") == 1
    products = [node for node in prepared.nodes if node.op.name == "dot_general"]
    assert not products[0].results[0].is_batched


def test_a_gradient_keeps_to_its_bound_on_memory() -> None:
    graph = prepare(
        Program(loss(Convolution((1, 1), (1, 1), (1, 1), (1, 1))), (Grad((0, 1)),)),
        Layout(shared_inputs=(1,), summed_outputs=(1,)),
    ).graph
    rows = 300
    x, w = RNG.normal(size=(rows, 2, 12, 12)), RNG.normal(size=(4, 2, 3, 3))
    executable = compile(graph)
    executable.run([x, w], rows)
    tracemalloc.start()
    try:
        executable.run([x, w], rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= bytes_bound(graph).at(rows) + 100_000
