"""Loops: scan, while_loop, fori_loop.

The signatures are JAX's. Inside a traced function each is one operation that refers to the graphs of its functions,
differentiable in both modes. Outside of any, they are what they look like: Python's own loops over numpy's scalars and
arrays, so that a function that uses them can be run, and debugged, as it is.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gradwire.calls.arguments import leaf_type, refuse
from gradwire.control_flow.bodies import (
    Function,
    captured_by,
    closed,
    emitted,
    require_entries,
    require_functions,
    traced_body,
)
from gradwire.control_flow.carry import Carry
from gradwire.errors import RowError, TracingError
from gradwire.tracing.capture import TracedFunction, name_of
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Trace, Tracer, active_trace
from gradwire.tracing.trees import LEAF, Tree, flatten, tuple_of
from gradwire_engine.attributes import Scan, While
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import iota

LARGEST_MAX_STEPS: Final = 2**31 - 1
"""The service's own limit."""

# scan


def scan(
    f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False, unroll: int = 1
) -> tuple[Any, Any]:
    """``carry, ys``: f(carry, x) -> (carry, y) for each entry of `xs` along axis 0, from `init` on.

    `xs` is nested as you like, all leaves with the same length of axis 0; None with `length` for steps without input.
    `ys` are the y, stacked along a new axis 0. `reverse` runs from the last entry to the first; `ys` stay in the order
    of `xs`. The carry keeps its structure, shapes and types. `unroll` is taken, as JAX has it, and changes nothing.
    """
    require_functions("scan", f=f)
    operator.index(unroll)
    carry = Carry.of("scan", f, init)
    x_leaves, x_tree = flatten(xs)
    x_types = [leaf_type(leaf, name) for leaf, name in zip(x_leaves, x_tree.paths("xs"), strict=True)]
    steps = _steps(x_types, x_tree.paths("xs"), length)
    trace = active_trace()
    if trace is not None:
        values = [trace.value_of(leaf) for leaf in x_leaves]
        return _scan(trace, f, carry, values, x_tree, steps, reverse)
    collected: list[list[Any]] = []
    structure: Tree | None = None
    arrays = [np.asarray(leaf) for leaf in x_leaves]
    for i in reversed(range(steps)) if reverse else range(steps):
        entry = x_tree.build([array[i] for array in arrays])
        state, y = require_entries(f"scan: {name_of(f)}", f(carry.value, entry), 2, "(carry, y)")
        carry = carry.following(state)
        leaves, structure = flatten(y)
        collected.append(leaves)
    if structure is None:
        return carry.value, _nothing(f, carry, x_types, x_tree)
    ordered = collected[::-1] if reverse else collected
    return carry.value, structure.build([np.stack([np.asarray(y) for y in ys]) for ys in zip(*ordered, strict=True)])


def _steps(types: Sequence[TensorType], names: Sequence[str], length: Any) -> int:
    """The number of steps, from `length` and from axis 0 of everything that is scanned over."""
    source, steps = "length", None if length is None else _integer("scan: length", length)
    for type, name in zip(types, names, strict=True):
        if not type.shape:
            raise refuse(f"scan: {name} is {type}, which has no axis to go along; pass arrays, np.asarray of a list")
        if steps is None:
            source, steps = name, type.shape[0]
        elif steps != type.shape[0]:
            raise refuse(f"scan: {name} has {type.shape[0]} entries, and {source} {steps}; all have the same")
    if steps is None:
        raise refuse("scan: without xs, length= says how many steps there are")
    if steps < 0:
        raise refuse(f"scan: length is {steps}; it is at least 0")
    return steps


def _integer(what: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TracingError:
        raise refuse(
            f"{what} is a traced value; the number of steps of a scan is known beforehand. Write gw.while_loop"
        ) from None
    except TypeError:
        raise refuse(f"{what} is {value!r}; it is an integer") from None


def _scan_body(f: Function, carry: Carry, x_types: Sequence[TensorType], x_tree: Tree) -> tuple[TracedFunction, Tree]:
    """The traced step, which returns the leaves of the carry, then those of y; and how y is nested."""
    structures: list[Tree] = []

    def step(state: Any, x: Any) -> list[Any]:
        after, y = require_entries(f"scan: {name_of(f)}", f(state, x), 2, "(carry, y)")
        leaves, tree = flatten(y)
        structures.append(tree)
        return [*carry.leaves_of(after), *leaves]

    entries = [TensorType(type.dtype, type.shape[1:]) for type in x_types]
    types, names = [*carry.types, *entries], [*carry.names, *x_tree.paths("x")]
    return traced_body(step, name_of(f), tuple_of(carry.tree, x_tree), types, names), structures[0]


def _scan(
    trace: Trace, f: Function, carry: Carry, xs: Sequence[Value], x_tree: Tree, steps: int, reverse: bool
) -> tuple[Any, Any]:
    body, y_tree = _scan_body(f, carry, [x.type for x in xs], x_tree)
    captured = captured_by(body)
    operands = [*trace.operands_of(captured), *[trace.value_of(leaf) for leaf in carry.leaves], *xs]
    count = len(carry.leaves)
    attributes = Scan(constants=len(captured), carries=count, length=steps, reverse=bool(reverse))
    results = emitted(trace, "scan", operands, attributes, [closed(body, captured, captured_first=True)])
    return carry.tree.build(results[:count]), y_tree.build(results[count:])


def _nothing(f: Function, carry: Carry, x_types: Sequence[TensorType], x_tree: Tree) -> Any:
    """The ys of no steps: their types are found by tracing one."""
    body, y_tree = _scan_body(f, carry, x_types, x_tree)
    types = body.graph.output_types[len(carry.leaves) :]
    return y_tree.build([np.zeros((0, *type.shape), type.dtype.numpy) for type in types])


# while_loop and fori_loop


def while_loop(cond_fun: Function, body_fun: Function, init_val: Any, *, max_steps: int | None = None) -> Any:
    """``val = body_fun(val)`` from `init_val` on, as long as ``cond_fun(val)`` is true; the last val.

    The value keeps its structure, shapes and types. In a batch each row makes its own number of steps. A row that is
    not done after `max_steps` steps fails, alone: RowError, with reason MAX_STEPS_EXCEEDED.
    """
    require_functions("while_loop", cond_fun=cond_fun, body_fun=body_fun)
    if max_steps is None:
        raise refuse(
            "while_loop: max_steps= is missing. It is the largest number of steps that can be right: a loop that does "
            "not end fails there, and reverse mode knows how much it may have to keep. It costs nothing to be generous"
        )
    limit = _limit("while_loop", max_steps)
    carry = Carry.of("while_loop", body_fun, init_val)
    trace = active_trace()
    if trace is not None:
        return _while(trace, cond_fun, body_fun, carry, limit)
    for _ in range(limit):
        if not _truth(cond_fun, cond_fun(carry.value)):
            return carry.value
        carry = carry.following(body_fun(carry.value))
    if _truth(cond_fun, cond_fun(carry.value)):
        message = f"the while_loop is not done after max_steps = {limit} steps"
        raise RowError(at_user_line(message), rows=(0,), reason="MAX_STEPS_EXCEEDED")
    return carry.value


def _limit(what: str, max_steps: Any) -> int:
    known = isinstance(max_steps, (int, np.integer)) and not isinstance(max_steps, bool)
    if not known or not 1 <= max_steps <= LARGEST_MAX_STEPS:
        shown = "a traced value" if isinstance(max_steps, Tracer) else repr(max_steps)
        raise refuse(
            f"{what}: max_steps is {shown}; it is an integer from 1 to {LARGEST_MAX_STEPS:,} that is known beforehand"
        )
    return int(max_steps)


def _truth(function: Function, truth: Any) -> Any:
    """What a condition returned, if it is one bool."""
    if isinstance(truth, (bool, np.bool_)) or (
        isinstance(truth, (Tracer, np.ndarray)) and not truth.shape and truth.dtype.kind == "b"
    ):
        return truth
    got = "None" if truth is None else leaf_type(truth, f"which {name_of(function)} returns")
    raise refuse(
        f"while_loop: {name_of(function)} returns {got}, and a condition is one bool. Write a comparison, with np.any "
        "or np.all around it if it is of arrays"
    )


def _while(trace: Trace, cond_fun: Function, body_fun: Function, carry: Carry, limit: int) -> Any:
    def condition(value: Any) -> list[Any]:
        return [_truth(cond_fun, cond_fun(value))]

    def body(value: Any) -> list[Any]:
        return carry.leaves_of(body_fun(value))

    arguments = tuple_of(carry.tree)
    test = traced_body(condition, name_of(cond_fun), arguments, carry.types, carry.names)
    step = traced_body(body, name_of(body_fun), arguments, carry.types, carry.names)
    test_captured, step_captured = captured_by(test), captured_by(step)
    attributes = While(condition_constants=len(test_captured), body_constants=len(step_captured), max_steps=limit)
    operands = [
        *trace.operands_of(test_captured),
        *trace.operands_of(step_captured),
        *[trace.value_of(leaf) for leaf in carry.leaves],
    ]
    graphs = [closed(test, test_captured, captured_first=True), closed(step, step_captured, captured_first=True)]
    trace.note_loop(limit)
    return carry.tree.build(emitted(trace, "while", operands, attributes, graphs))


def fori_loop(
    lower: Any, upper: Any, body_fun: Function, init_val: Any, *, max_steps: int | None = None, unroll: Any = None
) -> Any:
    """``val = body_fun(i, val)`` for each i from `lower` up to, without, `upper`; the last val.

    With bounds that are Python integers it is a scan. Bounds that are traced values make it a while_loop, which needs
    `max_steps`. i is an int64. `unroll` is taken, as JAX has it, and changes nothing.
    """
    require_functions("fori_loop", body_fun=body_fun)
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        if max_steps is None:
            raise refuse(
                "fori_loop: the bounds are traced values. Pass max_steps=, the largest number of steps that can be "
                "right, or bounds that are Python integers"
            )
        return _counting(lower, upper, body_fun, init_val, _limit("fori_loop", max_steps))
    first, last = _integer("fori_loop: lower", lower), _integer("fori_loop: upper", upper)
    carry = Carry.of("fori_loop", body_fun, init_val)
    trace = active_trace()
    steps = max(0, last - first)
    if trace is not None:
        counter = iota(trace.builder, DType.INT64, (steps,), 0) + first
        return _scan(trace, _without_y(body_fun), carry, [counter], LEAF, steps, False)[0]
    for i in range(first, last):
        carry = carry.following(body_fun(np.int64(i), carry.value))
    return carry.value


def _without_y(body_fun: Function) -> Function:
    @functools.wraps(body_fun)
    def step(value: Any, i: Any) -> tuple[Any, None]:
        return body_fun(i, value), None

    return step


def _counting(lower: Any, upper: Any, body_fun: Function, init_val: Any, limit: int) -> Any:
    """The loop as a while_loop over (i, val)."""

    @functools.wraps(body_fun)
    def body(state: tuple[Any, Any]) -> tuple[Any, Any]:
        return state[0] + 1, body_fun(*state)

    def is_below(state: tuple[Any, Any]) -> Any:
        return state[0] < upper

    for name, bound in (("lower", lower), ("upper", upper)):
        type = leaf_type(bound, name)
        if type.shape or not type.dtype.is_integer:
            raise refuse(f"fori_loop: {name} is {type}; it is one integer")
    start = lower.astype(np.int64) if isinstance(lower, Tracer) else int(lower)
    return while_loop(is_below, body, (start, init_val), max_steps=limit)[1]
