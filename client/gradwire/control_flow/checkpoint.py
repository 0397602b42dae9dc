"""checkpoint: a function whose intermediate values reverse mode computes again instead of keeping them."""

from __future__ import annotations

import functools
from typing import Any

from gradwire.calls.arguments import leaf_type
from gradwire.control_flow.bodies import Function, captured_by, closed, emitted
from gradwire.numpy_functions import LIBRARY
from gradwire.tracing.capture import capture, leaf_names, name_of
from gradwire.tracing.trace import active_trace
from gradwire.tracing.trees import flatten


def checkpoint(fun: Function) -> Function:
    """The function, whose intermediate values reverse mode does not keep, but computes again when it needs them.

    Values and derivatives are the same; memory is traded for time. Usable as a decorator.
    """
    if not callable(fun):
        raise TypeError(f"expected a function, got {type(fun).__name__}")
    return _Checkpointed(fun)


class _Checkpointed:
    """What `checkpoint` returns: a function that traces as one operation."""

    def __init__(self, function: Function) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function

    def __reduce__(self) -> tuple[Any, ...]:
        return _Checkpointed, (self._function,)

    def __repr__(self) -> str:
        return f"<gradwire.checkpoint of {name_of(self._function)}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace = active_trace()
        if trace is None:
            return self._function(*args, **kwargs)
        leaves, tree = flatten((args, kwargs))
        names = leaf_names(self._function, tree)
        types = [leaf_type(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
        body = capture(LIBRARY, self._function, tree, types, names, is_body=True)
        captured = captured_by(body)
        operands = [*[trace.value_of(leaf) for leaf in leaves], *trace.operands_of(captured)]
        results = emitted(trace, "checkpoint", operands, bodies=[closed(body, captured)])
        return body.result.build(results)
