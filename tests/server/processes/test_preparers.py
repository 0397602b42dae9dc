"""What real preparers make of real programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.kit.server.children import PATIENCE, MakePreparers, linux_only, prepare_limits
from tests.kit.server.programs import NUMBER, a_long_program, a_program

import gradwire_engine.vocabulary as v
from gradwire.wire.programs import decode_graph, encode_program
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Layout, Limits, Program
from gradwire_server.processes.preparers import Preparers
from gradwire_server.refusal import Refusal


@pytest.fixture(scope="module")
def engine() -> Iterator[Preparers]:
    """Two of them, for tests that end none."""
    preparers = Preparers(2, prepare_limits(), Limits())
    preparers.start()
    yield preparers
    preparers.close()


def test_a_prepared_program_is_what_the_engine_makes_of_it(engine: Preparers) -> None:
    layout = Layout(shared_inputs=(1,), summed_outputs=(2,), outputs=(2, 0))
    found = engine.prepare(a_program(), layout, PATIENCE)
    builder = GraphBuilder()
    a, b = builder.input("x", NUMBER), builder.input("y", NUMBER)
    program = Program(builder.finish([v.sin(a) + a * b], ["f"]), (Grad((0, 1), keep_value=True),))
    expected = prepare(program, layout)
    assert (found.inputs, found.outputs) == (expected.inputs, expected.outputs)
    assert (found.cost, found.mode, found.plan_id) == (expected.cost, "reverse", expected.graph.hash)
    assert found.prepare_seconds > 0

    x = np.array([0.5, 1.5, -2.0])
    outputs = compile(decode_graph(found.plan)).run([x, np.array(2.0)], 3)
    np.testing.assert_allclose(outputs[0], x.sum())
    np.testing.assert_allclose(outputs[1], [math.sin(one) + 2 * one for one in x])


def test_programs_that_differ_in_names_share_a_plan_and_keep_their_names(engine: Preparers) -> None:
    one, other = (engine.prepare(a_program(*names), Layout(), PATIENCE) for names in (("x", "y"), ("a", "b")))
    assert one.plan_id == other.plan_id
    assert [value.name for value in other.inputs] == ["a", "b"]
    assert engine.prepare(a_program(), Layout(shared_inputs=(0,)), PATIENCE).plan_id != one.plan_id


def test_a_program_may_have_many_inputs(engine: Preparers) -> None:
    builder = GraphBuilder()
    inputs = [builder.input(f"x{number}", NUMBER) for number in range(600)]
    total = inputs[0]
    for one in inputs[1:]:
        total = total + one
    program = encode_program(Program(builder.finish([total]), (Grad((0,)),)))
    assert len(engine.prepare(program, Layout(), PATIENCE).inputs) == 600


def test_what_the_engine_refuses_comes_back_with_reason_and_place(engine: Preparers) -> None:
    good = a_program()
    builder = GraphBuilder()
    vector = builder.input("x", NUMBER.with_shape((3,)))
    not_scalar = encode_program(Program(builder.finish([v.sin(vector)]), (Grad((0,)),)))
    for program, layout, reason, path in (
        (good[:-3], Layout(), "MALFORMED_REQUEST", "program"),
        (not_scalar, Layout(), "INVALID_GRAPH", "transforms[0]"),
        (good, Layout(shared_inputs=(7,)), "INVALID_GRAPH", "batch.shared_inputs[0]"),
        (encode_program(Program(GraphBuilder().finish([]), opset=99)), Layout(), "UNSUPPORTED_OPSET", "opset"),
    ):
        with pytest.raises(Refusal) as caught:
            engine.prepare(program, layout, PATIENCE)
        assert (caught.value.reason, caught.value.violations[0][0][: len(path)]) == (reason, path)
        assert caught.value.is_lasting
    assert engine.prepare(good, Layout(), PATIENCE).mode == "reverse"


def test_limits_of_programs_are_those_it_was_given(make_preparers: MakePreparers) -> None:
    jobs = make_preparers(program_limits=Limits(nodes=10))
    jobs.prepare(a_program(), Layout(), PATIENCE)
    with pytest.raises(Refusal) as caught:
        jobs.prepare(a_long_program(12), Layout(), PATIENCE)
    assert caught.value.reason == "PROGRAM_TOO_EXPENSIVE"
    assert caught.value.details["limit"] == "10"


@linux_only
def test_a_program_over_the_memory_limit_is_refused_and_the_next_prepared(make_preparers: MakePreparers) -> None:
    jobs = make_preparers(memory=16 << 20)
    with pytest.raises(Refusal) as caught:
        jobs.prepare(a_long_program(20_000), Layout(), PATIENCE)
    assert caught.value.reason == "PREPARE_MEMORY_LIMIT"
    assert caught.value.details == {
        "name": "prepare-memory",
        "limit": str(16 << 20),
        "unit": "bytes",
        "setting": "--prepare-memory",
    }
    assert jobs.prepare(a_program(), Layout(), PATIENCE).mode == "reverse"


@linux_only
def test_a_program_over_the_time_limit_is_refused_and_the_next_prepared(make_preparers: MakePreparers) -> None:
    restarts: list[str] = []
    jobs = make_preparers(time=0.5, on_restart=restarts.append)
    with pytest.raises(Refusal) as caught:
        jobs.prepare(a_long_program(150_000), Layout(), PATIENCE)
    assert caught.value.reason == "PREPARE_TIME_LIMIT"
    assert jobs.prepare(a_program(), Layout(), PATIENCE).mode == "reverse"
    assert restarts == ["time_limit"]


@linux_only
def test_a_preparer_never_loads_grpc(make_preparers: MakePreparers) -> None:
    jobs = make_preparers()
    jobs.prepare(a_program(), Layout(), PATIENCE)
    (pid,) = jobs.pids()
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "cygrpc" not in maps
    assert "numpy" in maps
