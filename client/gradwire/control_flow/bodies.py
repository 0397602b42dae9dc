"""The functions that control flow is given: traced as graphs of their own, closed over what they use from around them.

A body is traced like any function, inside the trace around it. What it takes from there (large arrays, values of the
traces around it) becomes explicit: inputs of its graph, and operands of the operation that refers to it. Large arrays
stay inputs of the outermost program, as everywhere.

A carry keeps its structure and its types from step to step; Python numbers that a body returns take the type of the
carry, as they take that of an array in an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradwire.calls.capture import Captures, capture, name_of
from gradwire.calls.template import leaf_type
from gradwire.errors import TracingError
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import as_type
from gradwire.tracing.trace import Captured, Trace, Tracer
from gradwire.tracing.trees import LEAF, Tree, flatten, tuple_of
from gradwire.transformations.steps import refuse
from gradwire_engine.attributes import NONE, Attributes
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError
from gradwire_engine.graph import Graph
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype


@dataclass(frozen=True)
class Carry:
    """What goes from step to step of a loop: its leaves, and the types that they keep."""

    what: str
    """The loop, for messages."""
    function: Callable[..., Any]
    leaves: list[Any]
    tree: Tree
    types: list[TensorType]
    names: list[str]

    @staticmethod
    def of(what: str, function: Callable[..., Any], init: Any) -> Carry:
        """The first one. Python numbers are float64, int64 and bool, as arguments are."""
        leaves, tree = flatten(init)
        names = tree.paths("carry" if what == "scan" else "val")
        types = [leaf_type(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
        typed = [
            as_type(leaf, type.dtype.numpy)[()] if is_python_number(leaf) else leaf
            for leaf, type in zip(leaves, types, strict=True)
        ]
        return Carry(what, function, typed, tree, types, names)

    @property
    def value(self) -> Any:
        """As the function sees it."""
        return self.tree.build(self.leaves)

    def following(self, returned: Any) -> Carry:
        """The next one, as the function returned it."""
        return replace(self, leaves=self.leaves_of(returned))

    def leaves_of(self, returned: Any) -> list[Any]:
        """The leaves of what the function returned, each of the type that it went in with; TracingError otherwise."""
        try:
            leaves = self.tree.leaves_of(returned, self.names[0] if self.tree.is_leaf else "what comes out")
        except TracingError as error:
            raise refuse(
                f"{self.what}: what comes out of {name_of(self.function)} is not nested like what goes in: {error}"
            ) from None
        return [self._carried(*each) for each in zip(leaves, self.types, self.names, strict=True)]

    def _carried(self, leaf: Any, type: TensorType, name: str) -> Any:
        if is_python_number(leaf) and takes(type, leaf_type(leaf, name).dtype):
            return as_type(leaf, type.dtype.numpy)[()]
        got = None if leaf is None else leaf_type(leaf, f"{name}, which {name_of(self.function)} returns,")
        if got == type:
            return leaf
        raise refuse(
            f"{self.what}: {name} goes in as {type} and comes out of {name_of(self.function)} as {got}; its type stays "
            f"the same from step to step{_remedy(type, got)}"
        )


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
        places = self.tree.paths("result")
        return [
            self._common(place, *pair, *weak)
            for place, pair, weak in zip(
                places, zip(first, second, strict=True), zip(*self._weak, strict=True), strict=True
            )
        ]

    def _common(self, place: str, one: TensorType, two: TensorType, one_weak: bool, two_weak: bool) -> DType:
        if one_weak and two_weak:
            return DType.of(np.result_type(one.dtype.numpy, two.dtype.numpy))
        if one == two or (two_weak and takes(one, two.dtype)):
            return one.dtype
        if one_weak and takes(two, one.dtype):
            return two.dtype
        if one.shape == two.shape:
            both = np.result_type(one.dtype.numpy, two.dtype.numpy)
            remedy = f"Convert one of them, for example with .astype(np.{both})"
        else:
            remedy = "Bring them to one shape with np.broadcast_to or np.reshape"
        raise refuse(
            f"cond: {place} is {one} from {name_of(self._functions[0])} and {two} from {name_of(self._functions[1])}; "
            f"both branches return the same types. {remedy}"
        )

    @property
    def _names(self) -> str:
        return " and ".join(name_of(one) for one in self._functions)


def is_python_number(leaf: Any) -> bool:
    """Whether a leaf is a number that takes its type from what it meets."""
    kind = leaf.__class__
    return kind is float or kind is int or kind is bool


def takes(type: TensorType, weak: DType) -> bool:
    """Whether a Python number of a kind becomes a scalar of this type, as it does in numpy's expressions."""
    return not type.shape and "bif".index(weak.numpy.kind) <= "bif".index(type.dtype.numpy.kind)


def _remedy(type: TensorType, got: TensorType | None) -> str:
    if got is None:
        return ""
    if got.shape != type.shape:
        return f". Start with an array of the shape {got.shape}, or bring what comes out to {type.shape}"
    if got.dtype.is_floating and not type.dtype.is_floating:
        start = "0.0 instead of 0" if not type.shape else ".astype(np.float64)"
        return f". Start with floating-point numbers: {start}"
    return f". Convert what comes out with .astype(np.{type.dtype.value}), or start with np.{got.dtype.value}"


def require_entries(what: str, value: Any, count: int, meaning: str) -> Sequence[Any]:
    """A tuple or list of `count` entries that a function returned; TracingError, with its meaning, otherwise."""
    if not isinstance(value, (tuple, list)) or len(value) != count:
        got = f"{len(value)} values" if isinstance(value, (tuple, list)) else f"a {value.__class__.__name__}"
        raise refuse(f"{what} returns {got}, expected {meaning}")
    return value


def traced_body(
    function: Callable[..., Any], called: str, arguments: Tree, types: Sequence[TensorType], names: Sequence[str]
) -> Captures:
    """The graph of a body; `arguments` is the structure of the tuple that it is called with."""
    return capture(function, tuple_of(arguments, Tree(dict)), types, names, called, is_body=True)


def captured_by(*bodies: Captures) -> list[Captured | Tracer]:
    """Everything that some bodies take from around them, once."""
    found: dict[Any, Captured | Tracer] = {}
    for body in bodies:
        for one in body.captured:
            found.setdefault(_identity(one), one)
    return list(found.values())


def _identity(one: Captured | Tracer) -> Any:
    return (id(one._trace), one._value.number) if isinstance(one, Tracer) else id(one)


def closed(
    body: Captures,
    captured: Sequence[Captured | Tracer],
    *,
    captured_first: bool = False,
    dtypes: Sequence[DType] | None = None,
) -> Graph:
    """The body's graph with `captured` as its inputs before or after the declared ones, whichever of them it uses.

    `dtypes`: the types that its results are converted to.
    """
    builder = GraphBuilder()
    graph = body.graph
    declared = len(graph.inputs) - len(body.captured)
    place = {_identity(one): declared + i for i, one in enumerate(body.captured)}
    own: list[tuple[int | None, str, TensorType]] = [
        (i, graph.inputs[i].name, graph.inputs[i].type) for i in range(declared)
    ]
    outer = [
        (place.get(_identity(one)), f"c{i}", one._value.type if isinstance(one, Tracer) else one.type)
        for i, one in enumerate(captured)
    ]
    values: list[Any] = [None] * len(graph.inputs)
    for index, name, type in (outer + own) if captured_first else (own + outer):
        value = builder.input(name, type)
        if index is not None:
            values[index] = value
    for node in graph.nodes:
        values.extend(builder.copy(node, [values[n] for n in node.operands]))
    outputs = [values[n] for n in graph.outputs]
    if dtypes is not None:
        outputs = [x if x.dtype is dtype else astype(x, dtype) for x, dtype in zip(outputs, dtypes, strict=True)]
    return builder.finish(outputs, graph.output_names)


def operands_of(trace: Trace, captured: Sequence[Captured | Tracer]) -> list[Value]:
    """What bodies take from around them, as values of the trace that they stand in."""
    return [trace.value_of(one) if isinstance(one, Tracer) else trace.capture(one) for one in captured]


def emitted(
    trace: Trace, op: str, operands: Sequence[Value], attributes: Attributes = NONE, bodies: Sequence[Graph] = ()
) -> list[Tracer]:
    """The results of an operation that refers to bodies."""
    try:
        results = trace.builder.emit_all(op, operands, attributes, bodies)
    except EngineError as error:
        raise TracingError(at_user_line(f"{op}: {error.message}"), reason=error.reason) from None
    return [trace.wrap(one) for one in results]
