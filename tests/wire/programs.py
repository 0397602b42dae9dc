"""Programs as messages that can be spoiled, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.engine.building import F64, graph_of

from gradwire.v1 import program_pb2
from gradwire.wire.programs import decode_program, encode_program
from gradwire_engine.errors import EngineError
from gradwire_engine.graph import Graph
from gradwire_engine.program import Limits, Program
from gradwire_engine.verify import verify
from gradwire_engine.vocabulary import sin

REASONS = {"MALFORMED_REQUEST", "INVALID_GRAPH", "UNSUPPORTED_OP", "UNSUPPORTED_OPSET", "PROGRAM_TOO_EXPENSIVE"}


def outcome(data: bytes) -> str:
    """What becomes of bytes from a stranger: the reason of a refusal, or "sound"."""
    try:
        program = decode_program(data)
    except EngineError as error:
        return error.reason if error.message else "a refusal without words"
    verify(program.graph)
    assert decode_program(encode_program(program)).graph.hash == program.graph.hash
    return "sound"


def refused(data: bytes | program_pb2.Program, limits: Limits | None = None) -> EngineError:
    """The refusal of a program."""
    with pytest.raises(EngineError) as error:
        decode_program(data if isinstance(data, bytes) else data.SerializeToString(), limits)
    return error.value


def message(graph: Graph | None = None, **changes: Any) -> program_pb2.Program:
    """A program as a message that can be spoiled."""
    data = encode_program(Program(graph or graph_of(lambda x, y: sin(x) + x * y, F64, F64)))
    parsed = program_pb2.Program.FromString(data)
    for field, value in changes.items():
        setattr(parsed, field, value)
    return parsed
