"""cond: two functions, of which a value decides which one is executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire.calls.arguments import leaf_type, refuse
from gradwire.control_flow.bodies import (
    Function,
    captured_by,
    closed,
    emitted,
    is_python_number,
    require_functions,
    takes,
    traced_body,
)
from gradwire.errors import TracingError
from gradwire.tracing.capture import leaf_names, name_of
from gradwire.tracing.trace import Trace, Tracer, active_trace, require_open
from gradwire.tracing.trees import LEAF, Tree, flatten, tuple_of
from gradwire_engine.attributes import Cond
from gradwire_engine.types import DType, TensorType


def cond(pred: Any, true_fun: Function, false_fun: Function, *operands: Any) -> Any:
    """``true_fun(*operands)`` where `pred` is true, else ``false_fun(*operands)``; only one of them is executed.

    `pred` is one bool, or a number, which counts as true unless it is 0. Both functions return the same structure,
    shapes and types; Python numbers take the type of the other's result. In a batch each row takes its own branch, and
    what a branch would do to a row that does not take it has no effect. A `pred` that is no traced value is decided at
    once: the other function is not called.
    """
    require_functions("cond", true_fun=true_fun, false_fun=false_fun)
    type = leaf_type(pred, "pred")
    if type.shape:
        raise refuse(
            f"cond: the predicate is {type}, and it is one bool. Write np.any(pred) or np.all(pred), or "
            "np.where(pred, a, b) to choose for each element"
        )
    if not isinstance(pred, Tracer):
        return (true_fun if pred else false_fun)(*operands)
    require_open(pred)
    trace = active_trace()
    assert trace is not None, "an open tracer has a trace around it"
    return _cond(trace, pred if pred.dtype.kind == "b" else pred != 0, true_fun, false_fun, operands)


def _cond(trace: Trace, pred: Tracer, true_fun: Function, false_fun: Function, arguments: tuple[Any, ...]) -> Any:
    leaves, tree = flatten(arguments)
    names = leaf_names(true_fun, tuple_of(tree, Tree(dict)))
    types = [leaf_type(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
    branches = Branches(true_fun, false_fun)
    then = traced_body(branches.first, name_of(true_fun), tree, types, names)
    otherwise = traced_body(branches.second, name_of(false_fun), tree, types, names)
    dtypes = branches.common_types(then.graph.output_types, otherwise.graph.output_types)
    captured = captured_by(otherwise, then)
    operands = [*[trace.value_of(leaf) for leaf in (pred, *leaves)], *trace.operands_of(captured)]
    graphs = [closed(body, captured, dtypes=dtypes) for body in (otherwise, then)]
    results = emitted(trace, "cond", operands, Cond(), graphs)
    return branches.tree.build(results)


class Branches:
    """The two functions of a cond while they are traced: the second's result must be like the first's."""

    def __init__(self, true_fun: Callable[..., Any], false_fun: Callable[..., Any]) -> None:
        self._functions = true_fun, false_fun
        self._weak: list[list[bool]] = []
        self.tree: Tree = LEAF

    def first(self, *operands: Any) -> list[Any]:
        """The leaves of the first's result."""
        leaves, self.tree = flatten(self._functions[0](*operands))
        return self._noted(leaves)

    def second(self, *operands: Any) -> list[Any]:
        """The leaves of the second's result, in the first's order."""
        result = self._functions[1](*operands)
        try:
            leaves = self.tree.leaves_of(result, "the second")
        except TracingError as error:
            raise refuse(f"cond: {self._names} return results that are not nested alike: {error}") from None
        if any(leaf is None for leaf in leaves) or len(leaves) != len(flatten(result)[0]):
            raise refuse(
                f"cond: {self._names} return results that are not nested alike: one has None where not both do"
            )
        return self._noted(leaves)

    def _noted(self, leaves: list[Any]) -> list[Any]:
        self._weak.append([is_python_number(leaf) for leaf in leaves])
        return leaves

    def common_types(self, first: Sequence[TensorType], second: Sequence[TensorType]) -> list[DType]:
        """The type of each leaf; TracingError where the two differ by more than a Python number's type."""
        paths = self.tree.paths("result")
        return [self._common(*leaf) for leaf in zip(paths, first, second, *self._weak, strict=True)]

    def _common(self, path: str, first: TensorType, second: TensorType, first_weak: bool, second_weak: bool) -> DType:
        if first_weak and second_weak:
            return DType.of(np.result_type(first.dtype.numpy, second.dtype.numpy))
        if first == second or (second_weak and takes(first, second.dtype)):
            return first.dtype
        if first_weak and takes(second, first.dtype):
            return second.dtype
        if first.shape == second.shape:
            both = np.result_type(first.dtype.numpy, second.dtype.numpy)
            remedy = f"Convert one of them, for example with .astype(np.{both})"
        else:
            remedy = "Bring them to one shape with np.broadcast_to or np.reshape"
        true_fun, false_fun = self._functions
        raise refuse(
            f"cond: {path} is {first} from {name_of(true_fun)} and {second} from {name_of(false_fun)}; "
            f"both branches return the same types. {remedy}"
        )

    @property
    def _names(self) -> str:
        return " and ".join(name_of(function) for function in self._functions)
