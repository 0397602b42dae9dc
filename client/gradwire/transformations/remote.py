"""Transformed functions as the caller has them: what `remote`, `grad`, `vmap` and the others return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gradwire.calls.exchange import Pending, submit
from gradwire.calls.mapping import map_in_chunks
from gradwire.calls.transformed import TransformedFunction
from gradwire.connection.default import current_client
from gradwire.errors import TracingError
from gradwire.inspection.graphs import Graph, graph_of
from gradwire.inspection.tables import TraceTable, explain_inside
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import active_trace
from gradwire.transformations.rows import EACH_ROW

Function = Callable[..., Any]


class Remote(TransformedFunction):
    """A function whose calls a service evaluates.

    Called like the function that it was made of, with numbers, arrays, and nested tuples, lists and dicts of them.
    Results are numpy scalars and new, writable arrays, nested as the function returns them.
    """

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Self:
        """A function as a `Remote`, if it is none."""
        return function if isinstance(function, cls) else cls(function)

    def submit(self, *args: Any, **kwargs: Any) -> Pending:
        """Send a call and return at once: a `concurrent.futures.Future` of its result."""
        _require_no_trace("submit")
        return submit(*self.prepared(args, kwargs), current_client())

    def map(self, *batches: Any, chunk: int | None = None, progress: bool = False) -> Any:
        """The function on batches too large for one message.

        Of a function made by `vmap`: its result for these arguments, computed in chunks of its rows. Of any other: its
        results for each row of the arguments, stacked, as ``vmap`` of it would give them. Results are in order; what is
        summed over rows is summed over all. A few chunks are under way at a time, so neither side holds more than that
        besides arguments and results. `chunk`: rows a request (default: chosen by their size). `progress`: show a bar.
        """
        _require_no_trace("map")
        return map_in_chunks(self, batches, by_row=EACH_ROW, chunk=chunk, progress=progress)

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The function's graph for arguments like these, and its transforms."""
        return graph_of(self, args, kwargs)

    def explain(self, *args: Any, mode: str | None = None, seeds: Any = None) -> TraceTable:
        """The trace table of the function inside, at a point; `mode` defaults to how it is differentiated."""
        return explain_inside(self, args, mode=mode, seeds=seeds)


def _require_no_trace(method: str) -> None:
    if active_trace() is not None:
        raise TracingError(at_user_line(f".{method} sends requests, which a traced function cannot; call the function"))


def remote(fun: Function) -> Remote:
    """The function itself, evaluated by the service, without derivative."""
    return Remote.of(fun)
