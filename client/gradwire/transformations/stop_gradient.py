"""stop_gradient: values that derivatives do not see through."""

from __future__ import annotations

from typing import Any

from gradwire.numpy_functions.operands import emit, lift
from gradwire.tracing.trace import Tracer
from gradwire.tracing.trees import flatten


def stop_gradient(x: Any) -> Any:
    """The same values, whose derivative is zero; nested like `x`."""
    leaves, tree = flatten(x)
    return tree.build([_stopped(leaf) for leaf in leaves])


def _stopped(leaf: Any) -> Any:
    return emit(lift(leaf), "stop_gradient") if isinstance(leaf, Tracer) else leaf
