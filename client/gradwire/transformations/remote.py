"""Transformed functions: what `grad`, `vmap` and the others return, and how a call of one is carried out.

Outside of a trace a call becomes one request. Inside one, nothing is sent: the function is traced by itself, its
transforms are applied to that graph by the engine, and the result is copied into the graph of the function around it,
whose values are operands there. So levels of differentiation never mix, in any order and depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradwire.calls.capture import leaf_names, name_of
from gradwire.calls.memory import Bounded, Constant, FunctionMemory, Remembered
from gradwire.calls.signature import Arrangement, Call, NotExact, Port
from gradwire.calls.template import Plan, call_of, make_plan, signature_key
from gradwire.connection.current import PROCESS
from gradwire.errors import TracingError
from gradwire.numpy_functions.operands import value_as
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import Captured, Trace, Tracer, active_trace, leaked
from gradwire.tracing.trees import Tree, flatten
from gradwire.transformations.steps import JvpStep, Step, VjpStep
from gradwire.transformations.vmap import VmapStep
from gradwire_engine.errors import EngineError
from gradwire_engine.transform import apply

if TYPE_CHECKING:
    from gradwire.calls.exchange import Pending
    from gradwire.inspection.graphs import Graph
    from gradwire.inspection.tables import TraceTable


class Remote:
    """A function whose calls a service evaluates.

    Called like the function that it was made of, with numbers, arrays, and nested tuples, lists and dicts of them.
    Results are numpy scalars and new, writable arrays, nested as the function returns them.
    """

    def __init__(self, function: Callable[..., Any], steps: tuple[Step, ...] = ()) -> None:
        if not callable(function):
            raise TypeError(f"expected a function, got {type(function).__name__}")
        self._function = function
        self._steps = steps
        self._memory: FunctionMemory = PROCESS.memories.of(function)
        self._plans: Bounded[Any, Plan] = self._memory.plans(steps)
        self.__name__ = name_of(function)
        self.__doc__ = getattr(function, "__doc__", None)
        self.__wrapped__ = function

    def then(self, step: Step) -> Remote:
        """This function, transformed once more."""
        return Remote(self._function, (*self._steps, step))

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self._function, self._steps)

    def __repr__(self) -> str:
        return f"<gradwire.Remote {' of '.join([step.label for step in reversed(self._steps)] + [self.__name__])}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate: one request, or inside a traced function a part of its graph."""
        trace = active_trace()
        if trace is not None:
            return self._inlined(trace, args, kwargs)
        from gradwire.calls.exchange import evaluate
        from gradwire.connection.client import current_client

        plan, leaves, constants = self._planned(args, kwargs)
        return evaluate(plan, current_client(), leaves, constants)

    def submit(self, *args: Any, **kwargs: Any) -> Pending:
        """Send a call and return at once: a `concurrent.futures.Future` of its result."""
        from gradwire.calls.exchange import submit
        from gradwire.connection.client import current_client

        self._require_no_trace("submit")
        plan, leaves, constants = self._planned(args, kwargs)
        return submit(plan, current_client(), leaves, constants)

    def map(self, *batches: Any, chunk: int | None = None, progress: bool = False) -> Any:
        """The function on batches too large for one message.

        Of a function made by `vmap`: its result for these arguments, computed in chunks of its rows. Of any other: its
        results for each row of the arguments, stacked, as ``vmap`` of it would give them. Results are in order; what is
        summed over rows is summed over all. A few chunks are under way at a time, so neither side holds more than that
        besides arguments and results. `chunk`: rows a request (default: chosen by their size). `progress`: show a bar.
        """
        from gradwire.calls.mapping import map_in_chunks

        self._require_no_trace("map")
        return map_in_chunks(self, batches, chunk=chunk, progress=progress)

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The function's graph for arguments like these, and its transforms."""
        from gradwire.inspection.graphs import graph_of

        return graph_of(self, args, kwargs)

    def explain(self, *args: Any, mode: str | None = None, seeds: Any = None) -> TraceTable:
        """The trace table of the function inside, at a point; `mode` defaults to how it is differentiated."""
        from gradwire.inspection.tables import explain_remote

        return explain_remote(self, args, mode=mode, seeds=seeds)

    def clear(self) -> None:
        """Forget all traces of the function: the next call traces it anew."""
        self._memory.clear()
        self._plans.clear()
        self._plans = self._memory.plans(self._steps)

    # How a call is prepared

    def _require_no_trace(self, what: str) -> None:
        if active_trace() is not None:
            raise TracingError(
                at_user_line(f".{what} sends requests, which a traced function cannot; call the function")
            )

    def _planned(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Plan, Sequence[Any], tuple[Constant, ...]]:
        key, leaves = signature_key(args, kwargs)
        snapshot_bytes = PROCESS.snapshot_bytes
        if snapshot_bytes:
            key = key, snapshot_bytes
        plan = self._plans.get(key)
        if plan is not None:
            constants = plan.remembered.current(self._function)
            if constants is not None:
                return plan, leaves, constants
        leaves, tree = flatten((args, kwargs))
        for leaf in leaves:
            if isinstance(leaf, Tracer):
                raise leaked(leaf)  # no function is being traced here
        call = call_of(leaves, tree, self.leaf_names(tree))
        remembered, arrangement = self.arranged(call)
        plan = make_plan(remembered, arrangement, call, snapshot_bytes)
        self._plans.put(key, plan)
        return plan, leaves, remembered.state[1]

    def leaf_names(self, tree: Tree) -> list[str]:
        """For each leaf of a call its name in the function's terms."""
        if not any(isinstance(step, (JvpStep, VjpStep)) for step in self._steps):
            return leaf_names(self._function, tree)
        positional, _ = tree.children
        primals, others = positional.children
        names = leaf_names(self._function, Tree(tuple, (primals, Tree(dict))))
        return names + [f"tangent {i}" for i in range(others.size)]

    def arranged(self, call: Call, *, in_trace: bool = False) -> tuple[Remembered, Arrangement]:
        """The trace that a call needs, and its arrangement: with the request's batch where that is exact."""
        last = max([i for i, step in enumerate(self._steps) if isinstance(step, VmapStep)], default=-1)
        if last >= 0 and not in_trace:
            step = self._steps[last]
            assert isinstance(step, VmapStep)
            batched = (*self._steps[:last], replace(step, is_batch=True), *self._steps[last + 1 :])
            try:
                return self._arranged(call, batched)
            except NotExact:
                pass
        return self._arranged(call, self._steps)

    def _arranged(self, call: Call, steps: tuple[Step, ...]) -> tuple[Remembered, Arrangement]:
        calls = [call]
        for step in reversed(steps):
            calls.append(step.inner_call(calls[-1], self.__name__))
        innermost = calls.pop()
        remembered = self._memory.trace(self._function, innermost.tree, innermost.types, lambda: innermost.names)
        arrangement = untransformed(remembered, len(innermost.types))
        inner = innermost
        for step in steps:
            outer = calls.pop()
            arrangement = step.apply(arrangement, outer, inner, self.__name__)
            inner = outer
        return remembered, arrangement

    # Inside a trace

    def _inlined(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, tree = flatten((args, kwargs))
        call = call_of(leaves, tree, self.leaf_names(tree))
        remembered, arrangement = self.arranged(call, in_trace=True)
        try:
            graph = apply(arrangement.graph, arrangement.transforms)
        except EngineError as error:
            raise TracingError(at_user_line(f"{self!r}: {error.message}"), reason=error.reason) from None
        captured = [one for one in remembered.captures.captured if isinstance(one, Captured)]
        content = {id(one): constant.data for one, constant in zip(captured, remembered.state[1], strict=True)}
        carried = {
            index: one if isinstance(one, Tracer) else content.get(id(one), one.array)
            for index, one in arrangement.carried
        }
        operands = []
        leaf_of = {index: leaf for leaf, index in enumerate(arrangement.arguments) if index >= 0}
        for index, port in enumerate(arrangement.inputs):
            operand = carried[index] if index in carried else leaves[leaf_of[index]]
            operands.append(value_as(trace, operand, port.type.dtype.numpy))
        trace.loops.update(dict.fromkeys(remembered.captures.loops))
        outputs = trace.builder.inline(graph, operands)
        results = [None if index < 0 else trace.wrap(outputs[index]) for index in arrangement.results]
        return arrangement.result.build(results)


def untransformed(remembered: Remembered, declared: int) -> Arrangement:
    """A traced function as it is."""
    captures = remembered.captures
    graph = captures.graph
    carried = tuple([(declared + i, one) for i, one in enumerate(captures.captured)])
    count = len(graph.outputs)
    return Arrangement(
        graph=graph,
        transforms=(),
        inputs=tuple([Port(type) for type in graph.input_types]),
        outputs=tuple([Port(type) for type in graph.output_types]),
        carried=carried,
        arguments=tuple(range(declared)),
        results=tuple(range(count)),
        result=captures.result,
    )


def as_remote(function: Callable[..., Any]) -> Remote:
    """A function as a `Remote`, if it is none."""
    return function if isinstance(function, Remote) else Remote(function)
