"""Bytes from strangers: a refusal with a known reason, or a sound graph; never anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.engine.graphs import graphs
from tests.wire.programs import REASONS, outcome

from gradwire.v1 import program_pb2
from gradwire.wire.programs import decode_graph, decode_program, encode_graph, encode_program
from gradwire_engine.errors import EngineError
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Grad, Jacobian, Jvp, Layout, Limits, Program, Vjp, Vmap

EXTREME_INTEGERS = (0, 1, 2, 5, -1, -2, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
MANY = pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])

often = pytest.mark.parametrize("examples", [200, MANY])


def holds(examples: int, *strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Run a property on so many examples, always the same ones."""

    def check(body: Callable[..., None]) -> None:
        settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(*strategies)(body))()

    return check


# Random and spoiled bytes


@often
def test_random_bytes(examples: int) -> None:
    outcomes: set[str] = set()

    @holds(examples * 5, st.binary(max_size=200))
    def _(data: bytes) -> None:
        outcomes.update([outcome(data), outcome(b"\x08\x01" + data)])

    assert {"MALFORMED_REQUEST", "UNSUPPORTED_OPSET"} <= outcomes <= REASONS | {"sound"}


@often
def test_valid_bytes_with_a_few_changed(examples: int) -> None:
    outcomes: set[str] = set()

    @holds(examples * 3, st.data())
    def _(data: st.DataObject) -> None:
        graph = data.draw(graphs(max_nodes=5))
        raw = bytearray(encode_program(Program(graph, (Grad((0,)), Vmap(2, (0,))))))
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(raw) - 1))
            match data.draw(st.sampled_from(["change", "insert", "delete", "cut"])):
                case "change":
                    raw[place] = data.draw(st.integers(0, 255))
                case "insert":
                    raw[place:place] = data.draw(st.binary(min_size=1, max_size=4))
                case "delete":
                    del raw[place : place + data.draw(st.integers(1, 4))]
                case "cut":
                    del raw[max(place, 1) :]
            if not raw:
                break
        outcomes.add(outcome(bytes(raw)))

    assert {"MALFORMED_REQUEST", "sound"} <= outcomes <= REASONS | {"sound"}


def spoil(parsed: Message, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Set one field, somewhere in a message, to an extreme value of its type, or drop or repeat it."""
    while True:
        fields = [(field, value) for field, value in parsed.ListFields()]
        if not fields:
            return
        field, value = fields[draw(st.integers(0, len(fields) - 1))]
        if field.is_repeated:
            index = draw(st.integers(0, len(value) - 1))
            if draw(st.integers(0, 9)) == 0:
                del value[index]
                return
            if field.message_type is not None:
                parsed = value[index]
                continue
            try:
                value[index] = draw(st.sampled_from(EXTREME_INTEGERS))
            except ValueError:
                value[index] = 77
            return
        if field.message_type is not None:
            if draw(st.integers(0, 9)) == 0:
                parsed.ClearField(field.name)
                return
            parsed = value
            continue
        if isinstance(value, bool):
            setattr(parsed, field.name, not value)
        elif isinstance(value, int):
            try:
                setattr(parsed, field.name, draw(st.sampled_from(EXTREME_INTEGERS)))
            except ValueError:
                setattr(parsed, field.name, 77)
        elif isinstance(value, bytes):
            setattr(parsed, field.name, value[: len(value) // 2])
        return


@often
def test_valid_messages_with_extreme_numbers(examples: int) -> None:
    """What still decodes is prepared as well, or refused: no number is too large for what comes after decoding."""
    outcomes: set[str] = set()

    @holds(examples * 5, st.data())
    def _(data: st.DataObject) -> None:
        graph = data.draw(graphs(max_nodes=5, differentiable=True, max_outputs=2))
        transforms = data.draw(st.sampled_from([(), (Jvp((0,)),), (Vjp((0,)),), (Jacobian((0,)),), (Vmap(2, (0,)),)]))
        parsed = program_pb2.Program.FromString(encode_program(Program(graph, transforms)))
        for _ in range(data.draw(st.integers(1, 2))):
            spoil(parsed, data.draw)
        raw = parsed.SerializeToString()
        found = outcome(raw)
        outcomes.add(found)
        if found != "sound":
            return
        try:
            prepared = prepare(decode_program(raw), Layout(), Limits(nodes=5_000))
        except EngineError as error:
            outcomes.add(error.reason)
        else:
            assert decode_graph(encode_graph(prepared.graph)).hash == prepared.graph.hash
            assert 0 <= prepared.cost.bytes.at(1) <= 2**64 - 1

    assert {"INVALID_GRAPH", "UNSUPPORTED_OP", "UNSUPPORTED_OPSET", "sound"} <= outcomes <= REASONS | {"sound"}
