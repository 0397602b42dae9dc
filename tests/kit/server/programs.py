"""Serialized programs to prepare."""

from __future__ import annotations

import gradwire_engine.vocabulary as v
from gradwire.wire.programs import encode_program
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.program import Grad, Program
from gradwire_engine.types import DType, TensorType

NUMBER = TensorType(DType.FLOAT64)


def a_program(x: str = "x", y: str = "y") -> bytes:
    """Value and gradient of sin(x) + x·y."""
    builder = GraphBuilder()
    a, b = builder.input(x, NUMBER), builder.input(y, NUMBER)
    return encode_program(Program(builder.finish([v.sin(a) + a * b], ["f"]), (Grad((0, 1), keep_value=True),)))


def a_long_program(nodes: int) -> bytes:
    builder = GraphBuilder()
    x = y = builder.input("x", NUMBER)
    for _ in range(nodes // 2):
        y = v.sin(y) * x
    return encode_program(Program(builder.finish([y]), (Grad((0,)),)))
