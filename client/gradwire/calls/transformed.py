"""A Python function under a tuple of steps: from the arguments of a call to the request, or to a part of a graph.

Outside of a trace a call becomes one request. Inside one, nothing is sent: the function is traced by itself, its
transforms are applied to that graph by the engine, and the result is copied into the graph of the function around it,
whose values are operands there. So levels of differentiation never mix, in any order and depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gradwire.calls.arguments import Call, Leaves, call_key
from gradwire.calls.constants import Constant
from gradwire.calls.exchange import evaluate
from gradwire.calls.kept import KeptTrace
from gradwire.calls.memory import MEMORIES, FunctionMemory, Templates
from gradwire.calls.signature import CallSignature, NotExact, Step
from gradwire.calls.template import RequestTemplate, make_template
from gradwire.connection.current import PROCESS
from gradwire.connection.default import current_client
from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import value_as
from gradwire.tracing.capture import leaf_names, name_of
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Trace, Tracer, active_trace, leaked
from gradwire.tracing.trees import Tree, flatten
from gradwire_engine.errors import EngineError
from gradwire_engine.transform import apply


class TransformedFunction:
    """A function, and the transformations under which a service evaluates it, the innermost first."""

    def __init__(self, function: Callable[..., Any], steps: tuple[Step, ...] = ()) -> None:
        if not callable(function):
            raise TypeError(f"expected a function, got {type(function).__name__}")
        self._function = function
        self._steps = steps
        self._memory: FunctionMemory = MEMORIES.of(function)
        self._templates: Templates = self._memory.templates(steps)
        self.__name__ = name_of(function)
        self.__doc__ = getattr(function, "__doc__", None)
        self.__wrapped__ = function

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._function, self._steps)

    def __repr__(self) -> str:
        labels = [step.label for step in reversed(self._steps)]
        return f"<gradwire.{type(self).__name__} {' of '.join([*labels, self.__name__])}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate: one request, or inside a traced function a part of its graph."""
        trace = active_trace()
        if trace is not None:
            return self._inlined(trace, args, kwargs)
        return evaluate(*self.prepared(args, kwargs), current_client())

    @staticmethod
    def of(function: Callable[..., Any]) -> TransformedFunction:
        """A function that is transformed already as it is, any other under no steps."""
        return function if isinstance(function, TransformedFunction) else TransformedFunction(function)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The transformations, the innermost first."""
        return self._steps

    @property
    def base(self) -> TransformedFunction:
        """The function inside, under no steps."""
        return TransformedFunction(self._function)

    @property
    def has_axis(self) -> bool:
        """Whether vmap is among the steps."""
        return any(step.on_batch() is not None for step in self._steps)

    def then(self, step: Step) -> Self:
        """This function, transformed once more."""
        return type(self)(self._function, (*self._steps, step))

    def clear(self) -> None:
        """Forget all traces of the function: the next call traces it anew."""
        self._memory.clear()
        self._templates.clear()
        self._templates = self._memory.templates(self._steps)

    def call_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Leaves, Call]:
        """The leaves of some arguments, and the call that they make."""
        leaves, tree = flatten((args, kwargs))
        return leaves, Call.of(leaves, tree, self._leaf_names(tree))

    def _leaf_names(self, tree: Tree) -> list[str]:
        """For each leaf of a call its name in the function's terms."""
        if not any(step.takes_directions for step in self._steps):
            return leaf_names(self._function, tree)
        positional, _ = tree.children
        primals, directions = positional.children
        names = leaf_names(self._function, Tree(tuple, (primals, Tree(dict))))
        return names + [f"tangent {i}" for i in range(directions.size)]

    def prepared(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[RequestTemplate, Leaves, tuple[Constant, ...]]:
        """The template of the request that evaluates a call, and what is filled in: the leaves and the constants."""
        key, leaves = call_key(args, kwargs)
        snapshot_bytes = PROCESS.snapshot_bytes
        if snapshot_bytes:
            key = key, snapshot_bytes
        template = self._templates.get(key)
        if template is not None:
            constants = template.kept.current(self._function)
            if constants is not None:
                return template, leaves, constants
        leaves, tree = flatten((args, kwargs))
        for leaf in leaves:
            if isinstance(leaf, Tracer):
                raise leaked(leaf)  # no function is being traced here
        call = Call.of(leaves, tree, self._leaf_names(tree))
        kept, signature = self.signature(call)
        template = make_template(kept, signature, call, snapshot_bytes)
        self._templates.put(key, template)
        return template, leaves, kept.constants

    def signature(self, call: Call, *, in_trace: bool = False) -> tuple[KeptTrace, CallSignature]:
        """The trace that a call needs, and its signature: with the request's batch where that is exact."""
        steps = self._steps if in_trace else self._with_batch()
        if steps is not self._steps:
            try:
                return self._signature(call, steps)
            except NotExact:
                pass
        return self._signature(call, self._steps)

    def _with_batch(self) -> tuple[Step, ...]:
        """The steps, with the rows of the request as the axis of the last that has one."""
        steps = self._steps
        for i in reversed(range(len(steps))):
            on_batch = steps[i].on_batch()
            if on_batch is not None:
                return (*steps[:i], on_batch, *steps[i + 1 :])
        return steps

    def _signature(self, call: Call, steps: tuple[Step, ...]) -> tuple[KeptTrace, CallSignature]:
        calls = [call]
        for step in reversed(steps):
            calls.append(step.inner_call(calls[-1], self.__name__))
        innermost = calls.pop()
        kept = self._memory.trace(self._function, innermost.tree, innermost.types, lambda: innermost.names)
        signature = CallSignature.of(kept.traced)
        inner = innermost
        for step in steps:
            outer = calls.pop()
            signature = step.apply(signature, outer, inner, self.__name__)
            inner = outer
        return kept, signature

    def _inlined(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call as a part of a graph under construction."""
        leaves, call = self.call_of(args, kwargs)
        kept, signature = self.signature(call, in_trace=True)
        try:
            graph = apply(signature.graph, signature.transforms)
        except EngineError as error:
            raise TracingError(at_user_line(f"{self!r}: {error.message}"), reason=error.reason) from None
        contents = kept.contents()
        captured = {
            index: operand if isinstance(operand, Tracer) else contents.get(id(operand), operand.array)
            for index, operand in signature.captured
        }
        leaf_of_input = signature.leaf_of_input
        operands = []
        for index, port in enumerate(signature.inputs):
            operand = captured[index] if index in captured else leaves[leaf_of_input[index]]
            operands.append(value_as(trace, operand, port.type.dtype.numpy))
        trace.loops.update(dict.fromkeys(kept.traced.loops))
        outputs = trace.builder.inline(graph, operands)
        return signature.result.build([None if i < 0 else trace.wrap(outputs[i]) for i in signature.results])
