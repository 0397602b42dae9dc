"""The functions that control flow is given: traced as graphs of their own, closed over what they use from around them.

A body is traced like any function, inside the trace around it. What it takes from there (large arrays, values of the
traces around it) becomes explicit: inputs of its graph, and operands of the operation that refers to it. Large arrays
stay inputs of the outermost program, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradwire.calls.arguments import refuse
from gradwire.errors import TracingError
from gradwire.numpy_functions import LIBRARY
from gradwire.tracing.capture import TracedFunction, capture
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Captured, Trace, Tracer
from gradwire.tracing.trees import Tree, tuple_of
from gradwire_engine.attributes import NONE, Attributes
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.errors import EngineError
from gradwire_engine.graph import Graph
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import astype

Function = Callable[..., Any]


def require_functions(what: str, **functions: Any) -> None:
    """TracingError for an argument of control flow that is to be a function, and is none."""
    for name, function in functions.items():
        if not callable(function):
            raise refuse(f"{what}: {name} is a {function.__class__.__name__}, and a function is expected: lambda …: …")


def is_python_number(leaf: Any) -> bool:
    """Whether a leaf is a number that takes its type from what it meets."""
    kind = leaf.__class__
    return kind is float or kind is int or kind is bool


def takes(type: TensorType, weak: DType) -> bool:
    """Whether a Python number of a kind becomes a scalar of this type, as it does in numpy's expressions."""
    return not type.shape and "bif".index(weak.numpy.kind) <= "bif".index(type.dtype.numpy.kind)


def require_entries(what: str, value: Any, count: int, meaning: str) -> Sequence[Any]:
    """A tuple or list of `count` entries that a function returned; TracingError, with its meaning, otherwise."""
    if not isinstance(value, (tuple, list)) or len(value) != count:
        got = f"{len(value)} values" if isinstance(value, (tuple, list)) else f"a {value.__class__.__name__}"
        raise refuse(f"{what} returns {got}, expected {meaning}")
    return value


def traced_body(
    function: Callable[..., Any], called: str, arguments: Tree, types: Sequence[TensorType], names: Sequence[str]
) -> TracedFunction:
    """The graph of a body; `arguments` is the structure of the tuple that it is called with."""
    return capture(LIBRARY, function, tuple_of(arguments, Tree(dict)), types, names, called, is_body=True)


def captured_by(*bodies: TracedFunction) -> list[Captured | Tracer]:
    """Everything that some bodies take from around them, once."""
    by_identity: dict[Any, Captured | Tracer] = {}
    for body in bodies:
        for operand in body.captured:
            by_identity.setdefault(_identity(operand), operand)
    return list(by_identity.values())


def _identity(operand: Captured | Tracer) -> Any:
    return (id(operand._trace), operand._value.number) if isinstance(operand, Tracer) else id(operand)


def closed(
    body: TracedFunction,
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
    number_of = {_identity(operand): number for number, operand in enumerate(body.captured, declared)}
    own: list[tuple[int | None, str, TensorType]] = [
        (number, graph.inputs[number].name, graph.inputs[number].type) for number in range(declared)
    ]
    outer = [(number_of.get(_identity(operand)), f"c{i}", _type_of(operand)) for i, operand in enumerate(captured)]
    values: dict[int, Value] = {}
    for number, name, type in (outer + own) if captured_first else (own + outer):
        value = builder.input(name, type)
        if number is not None:
            values[number] = value
    following = len(graph.inputs)
    for node in graph.nodes:
        results = builder.copy(node, [values[n] for n in node.operands])
        values.update(enumerate(results, following))
        following += len(results)
    outputs = [values[n] for n in graph.outputs]
    if dtypes is not None:
        outputs = [x if x.dtype is dtype else astype(x, dtype) for x, dtype in zip(outputs, dtypes, strict=True)]
    return builder.finish(outputs, graph.output_names)


def _type_of(operand: Captured | Tracer) -> TensorType:
    return operand._value.type if isinstance(operand, Tracer) else operand.type


def emitted(
    trace: Trace, op: str, operands: Sequence[Value], attributes: Attributes = NONE, bodies: Sequence[Graph] = ()
) -> list[Tracer]:
    """The results of an operation that refers to bodies."""
    try:
        results = trace.builder.emit_all(op, operands, attributes, bodies)
    except EngineError as error:
        raise TracingError(at_user_line(f"{op}: {error.message}"), reason=error.reason) from None
    return [trace.wrap(result) for result in results]
