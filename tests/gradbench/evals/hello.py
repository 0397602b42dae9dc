"""hello: the square of a number, and its derivative."""

from __future__ import annotations

from typing import Any

from tests.gradbench.task import Functions, Task

import gradwire as gw


def square(x: Any) -> Any:
    """x²."""
    return x * x


SQUARE, DOUBLE = gw.remote(square), gw.grad(square)

FUNCTIONS: Functions = {
    "square": lambda input: Task(lambda: SQUARE(float(input))),
    "double": lambda input: Task(lambda: DOUBLE(float(input))),
}
