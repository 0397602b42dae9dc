"""The whole road inside the engine: from a program and a layout to what a worker runs, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kit.engine.building import F64, f64, graph_of, run
from tests.kit.engine.network import NETWORK, small_network

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import GraphError, LimitError
from gradwire_engine.graph import Input
from gradwire_engine.plan.cost import cost
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Layout, Limits, Program, Transform, Vjp, Vmap
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import sin, sum_over

FORWARD, REVERSE = JacobianMode.FORWARD, JacobianMode.REVERSE


@pytest.mark.parametrize(
    ("transforms", "mode"),
    [
        ((), "value"),
        ((Vmap(2, (0, 0, 0)),), "value"),
        ((Jvp((0,)),), "forward"),
        ((Jvp((0,)), Jvp((0,))), "forward"),
        ((Jacobian((0,), FORWARD),), "forward"),
        ((Grad((0,)),), "reverse"),
        ((Vjp((0,)), Vmap(2, (0, 0, 0, 0))), "reverse"),
        ((Jacobian((0,), REVERSE),), "reverse"),
        ((Jacobian((0,)),), "mixed"),
        ((Grad((0,)), Jvp((0,))), "mixed"),
        ((Grad((0,)), Jacobian((0,), FORWARD)), "mixed"),
    ],
)
def test_the_mode_says_how_a_program_is_differentiated(transforms: tuple[Transform, ...], mode: str) -> None:
    assert prepare(Program(graph_of(small_network, *NETWORK), transforms), Layout()).mode == mode


def test_the_signature_is_of_one_example_and_of_all_outputs() -> None:
    graph = graph_of(small_network, *NETWORK, names="wxy", output_names=["loss"])
    program = Program(graph, (Grad((0, 1), keep_value=True),))
    for layout in (Layout(), Layout(shared_inputs=(0,), summed_outputs=(1,)), Layout(outputs=(2,))):
        prepared = prepare(program, layout)
        assert prepared.inputs == (Input("w", f64(3, 4)), Input("x", f64(4)), Input("y", f64(3)))
        assert prepared.outputs == (Input("loss", F64), Input("grad_w", f64(3, 4)), Input("grad_x", f64(4)))
        verify(prepared.graph)


def test_the_graph_has_rows_where_the_layout_says_so() -> None:
    program = Program(graph_of(small_network, *NETWORK), (Grad((0, 1), keep_value=True),))
    graph = prepare(program, Layout(shared_inputs=(0,), summed_outputs=(1,), outputs=(1, 0))).graph
    assert graph.input_types == (f64(3, 4), f64(ROWS, 4), f64(ROWS, 3))
    assert graph.output_types == (f64(3, 4), f64(ROWS))


def test_the_cost_is_that_of_the_graph() -> None:
    prepared = prepare(Program(graph_of(small_network, *NETWORK), (Grad((0,)),)), Layout())
    assert prepared.cost == cost(prepared.graph)
    assert prepared.cost.nodes == len(prepared.graph.nodes)
    assert prepared.cost.flops.at(10) > prepared.cost.flops.at(1) > 0
    assert prepared.cost.bytes.at(10) > prepared.cost.bytes.at(1) > 0


def test_preparing_is_the_same_every_time() -> None:
    program = Program(graph_of(small_network, *NETWORK), (Grad((0,)), Jacobian((1,))))
    first, second = (prepare(program, Layout(shared_inputs=(0,))) for _ in range(2))
    assert str(first.graph) == str(second.graph)
    assert first.graph.hash == second.graph.hash


def test_the_rows_are_an_axis_like_others_when_axes_are_counted() -> None:
    most = graph_of(sin, f64(*[1] * 15))
    assert prepare(Program(most), Layout()).graph.output_types[0].rank == 16
    with pytest.raises(GraphError, match="rank 17, the largest is 16, the batch axis included"):
        prepare(Program(graph_of(sin, f64(*[1] * 16))), Layout())


def test_jacobians_of_many_axes_are_refused_with_the_transform() -> None:
    graph = graph_of(sin, f64(*[1] * 9))
    with pytest.raises(GraphError, match=r"rank 1[78]") as refused:
        prepare(Program(graph, (Jacobian((0,)),)), Layout())
    assert refused.value.path == "transforms[0]"


def test_what_grows_too_large_only_when_batched_is_refused_too() -> None:
    graph = graph_of(small_network, *NETWORK)
    prepared = prepare(Program(graph), Layout())
    with pytest.raises(LimitError) as refused:
        prepare(Program(graph), Layout(), Limits(nodes=len(prepared.graph.nodes) - 1))
    assert refused.value.name == "max-program-nodes"


def test_a_program_without_inputs_has_rows_all_the_same() -> None:
    builder = GraphBuilder()
    table = builder.constant(np.arange(3, dtype=np.int32))
    program = Program(builder.finish([table, sum_over(table, [0])]))
    for rows in (0, 1, 4):
        stacked, summed = run(prepare(program, Layout(summed_outputs=(1,))).graph, rows=rows)
        np.testing.assert_array_equal(stacked, np.tile(np.arange(3), (rows, 1)))
        assert summed == 3 * rows
        assert summed.dtype == np.int32


def test_a_program_without_outputs_is_prepared() -> None:
    program = Program(graph_of(lambda x: [], TensorType(DType.BOOL, (2,))))
    assert run(prepare(program, Layout()).graph, np.zeros((3, 2), bool), rows=3) == []
