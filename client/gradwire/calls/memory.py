"""What is kept of functions: their traces, each with the guard under which it holds, and the templates of their calls.

A function is traced once for each structure and types of its arguments, as long as its guard holds. When only the
content of large arrays that it closes over has changed, it is traced once more with those arrays as traced values; if
that succeeds, whatever it computes from them is in the graph, and from then on new content is sent without tracing. If
it does not (the code looks at the numbers), every change traces again; the program stays the same as long as the graph
does, so the service prepares nothing anew.

Threads may trace the same function at the same time; the last one's trace is kept, and all are right. Memory is
bounded: the oldest traces and templates give way. What is kept of a function goes with the function.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from gradwire.bounded import Bounded
from gradwire.calls.constants import Constant
from gradwire.calls.follow import following_trace
from gradwire.calls.guards import Guard
from gradwire.calls.kept import KeptTrace
from gradwire.calls.template import RequestTemplate
from gradwire.numpy_functions import LIBRARY
from gradwire.tracing.capture import capture
from gradwire.tracing.trace import Captured
from gradwire.tracing.trees import Tree
from gradwire_engine.types import TensorType

_SIGNATURES: Final = 64
_VARIANTS: Final = 8
_TEMPLATES: Final = 256

Templates = Bounded[Hashable, RequestTemplate]
"""The templates of one function under some steps, by the kind of its calls."""


class FunctionMemory:
    """Everything that is kept of one function."""

    def __init__(self) -> None:
        self._traces: Bounded[tuple[Tree, tuple[TensorType, ...]], list[KeptTrace]] = Bounded(_SIGNATURES)
        self._templates: Bounded[Hashable, Templates] = Bounded(_SIGNATURES)

    def templates(self, steps: Hashable) -> Templates:
        """The templates of the function under some steps."""
        templates = self._templates.get(steps)
        if templates is None:
            templates = Bounded(_TEMPLATES)
            self._templates.put(steps, templates)
        return templates

    def clear(self) -> None:
        """Forget everything; the next call traces."""
        self._traces.clear()
        self._templates.clear()

    def trace(
        self,
        function: Callable[..., Any],
        arguments: Tree,
        types: Sequence[TensorType],
        names: Callable[[], Sequence[str]],
    ) -> KeptTrace:
        """A trace of the function that holds now, an old one or a new one."""
        key = (arguments, tuple(types))
        variants = self._traces.get(key) or []
        outdated: list[KeptTrace] = []
        for known in variants:
            if known.current(function) is not None:
                return known
            if known.holds_but_for_arrays():
                outdated.append(known)
        may_follow = all(known.may_follow for known in outdated)
        kept = following_trace(function, arguments, types, names()) if outdated and may_follow else None
        if kept is None:
            traced = capture(LIBRARY, function, arguments, types, names())
            constants = tuple([Constant(array.array) for array in traced.captured if isinstance(array, Captured)])
            if not traced.is_closed:
                return KeptTrace(traced, (Guard(_no_state), constants))
            kept = KeptTrace(traced, (Guard(function), constants), may_follow=not outdated)
        self._traces.put(key, [kept, *[known for known in variants if known not in outdated]][:_VARIANTS])
        return kept


def _no_state() -> None:
    """A function that depends on nothing."""


def _itself(owner: Any) -> Any:
    return owner


class FunctionMemories:
    """The memories of all functions, each for as long as its function lives. Without locks, as in `Bounded`."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[int, int], tuple[Callable[[], Any], FunctionMemory]] = {}

    def of(self, function: Callable[..., Any]) -> FunctionMemory:
        """The memory of a function; a new one, not kept, for callables that cannot be referred to weakly."""
        owner = getattr(function, "__self__", None)
        if owner is not None and hasattr(function, "__func__"):  # a method object is made anew at each look-up
            return self._of(owner, function.__func__)
        return self._of(function, None)

    def _of(self, owner: Any, method: Any) -> FunctionMemory:
        key = (id(owner), id(method))
        known = self._by_id.get(key)
        if known is not None and known[0]() is owner:
            return known[1]
        memory = FunctionMemory()
        reference: Callable[[], Any]
        if isinstance(owner, np.ufunc):
            reference = partial(_itself, owner)  # cannot be referred to weakly, and does not go away
        else:
            try:
                reference = weakref.ref(owner, lambda dead: self._forget(key, dead))
            except TypeError:
                return memory
        self._by_id[key] = (reference, memory)
        return memory

    def _forget(self, key: tuple[int, int], dead: weakref.ref[Any]) -> None:
        known = self._by_id.get(key)
        if known is not None and known[0] is dead:
            del self._by_id[key]


MEMORIES: Final = FunctionMemories()
"""Those of this process."""
