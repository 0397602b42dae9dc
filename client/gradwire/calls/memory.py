"""What is remembered of a function: its traces, each with the guard under which it holds, and the plans of its calls.

A function is traced once for each structure and types of its arguments, as long as its guard holds. When only the
content of large arrays that it closes over has changed, it is traced once more with those arrays as traced values; if
that succeeds, whatever it computes from them is in the graph, and from then on new content is sent without tracing. If
it does not (the code looks at the numbers), every change traces again; the program stays the same as long as the graph
does, so the service prepares nothing anew.

Threads may trace the same function at the same time; the last one's trace is kept, and all are right. Memory is
bounded: the oldest traces and plans give way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final, Generic, TypeVar

import numpy as np

from gradwire.calls.capture import Captures, capture
from gradwire.calls.guards import Guard, replacing, with_replaced
from gradwire.errors import GradwireError
from gradwire.tracing.trace import Captured, Trace, active_trace
from gradwire.tracing.trees import Tree
from gradwire.wire.fields import header
from gradwire.wire.programs import encode_program, program_id
from gradwire.wire.tensors import packed_array, tensor_digest, tensor_head
from gradwire_engine.graph import Graph
from gradwire_engine.program import Program, Transform
from gradwire_engine.types import DType, TensorType

INPUTS: Final = 3
"""The number of the field `inputs` of an EvaluateRequest."""

_SIGNATURES: Final = 64
_VARIANTS: Final = 8
_PLANS: Final = 256
_PROGRAMS: Final = 256

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Bounded(Generic[Key, Item]):
    """A dictionary that forgets its oldest entries. Without locks, so that a fork finds none held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: dict[Key, Item] = {}
        self.get = self._items.get

    def put(self, key: Key, item: Item) -> None:
        """Add or replace an entry."""
        items = self._items
        items.pop(key, None)
        items[key] = item
        while len(items) > self._limit:
            try:
                items.pop(next(iter(items)), None)
            except (RuntimeError, StopIteration):  # another thread was faster
                return

    def discard(self, key: Key) -> None:
        """Remove an entry if it is there."""
        self._items.pop(key, None)

    def clear(self) -> None:
        """Remove all."""
        self._items.clear()

    def __contains__(self, key: Key) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)


class Constant:
    """An array that a program takes as a shared input: ready to be sent, inline or by its digest."""

    def __init__(self, array: np.ndarray) -> None:
        self.dtype: Final = DType.of(array.dtype)
        self.data: Final = packed_array(array, self.dtype)

    @cached_property
    def digest(self) -> bytes:
        """What names it."""
        content: Any = self.data.reshape(-1).view(np.uint8)
        return tensor_digest(self.dtype, self.data.shape, memoryview(content))

    @cached_property
    def parts(self) -> tuple[bytes, np.ndarray]:
        """An input of a request, inline and to be kept."""
        head = tensor_head(self.dtype, self.data.shape, self.data.nbytes, self.digest)
        return header(INPUTS, len(head) + self.data.nbytes) + head, self.data

    @cached_property
    def reference(self) -> bytes:
        """An input of a request, by its digest."""
        head = tensor_head(self.dtype, self.data.shape, 0, self.digest)
        return header(INPUTS, len(head)) + head


@dataclass(frozen=True)
class SerializedProgram:
    """A program's bytes, and their identity."""

    graph: Graph
    data: bytes
    id: str


@dataclass(frozen=True)
class Followed:
    """Which large arrays of the guard are inputs of the graph."""

    which: tuple[int | None, ...]
    """For each captured array its place among the guard's, None for arrays from elsewhere."""
    same_as: tuple[int, ...]
    """For each array of the guard the first one that was the same object."""


@dataclass(eq=False)
class Remembered:
    """One trace of a function, and when it holds."""

    captures: Captures
    state: tuple[Guard, tuple[Constant, ...]]
    """When it holds, and what the captured arrays hold then, in order. Replaced as a whole."""
    followed: Followed | None = None
    """Where new content of large arrays needs no new trace."""
    may_follow: bool = True
    """Whether it is worth trying to trace the large arrays."""
    programs: Bounded[tuple[int, tuple[Transform, ...], int], SerializedProgram] = field(
        default_factory=lambda: Bounded(_PROGRAMS)
    )

    def current(self, function: Callable[..., Any]) -> tuple[Constant, ...] | None:
        """The constants to send, if the trace still holds."""
        guard, constants = self.state
        if guard.holds():
            return constants
        followed = self.followed
        if followed is None or not guard.moved():
            return None
        guard = Guard(function)
        arrays = guard.large_arrays()
        if len(arrays) != len(followed.same_as) or any(
            arrays[i].array is not arrays[same].array for i, same in enumerate(followed.same_as)
        ):
            return None
        constants = tuple(
            [
                old if which is None else Constant(arrays[which].copy)
                for which, old in zip(followed.which, constants, strict=True)
            ]
        )
        self.state = (guard, constants)
        return constants

    def has_moved(self) -> bool:
        """Whether nothing but the content of large arrays has changed."""
        return self.state[0].moved()

    def program(self, graph: Graph, transforms: tuple[Transform, ...], snapshot_bytes: int) -> SerializedProgram:
        """A graph made of this trace, under transforms, as bytes."""
        key = (id(graph), transforms, snapshot_bytes)
        known = self.programs.get(key)
        if known is None or known.graph is not graph:
            data = encode_program(Program(graph, transforms, snapshot_bytes=snapshot_bytes))
            known = SerializedProgram(graph, data, program_id(data))
            self.programs.put(key, known)
        return known


class FunctionMemory:
    """Everything remembered of one function."""

    def __init__(self) -> None:
        self._traces: Bounded[tuple[Tree, tuple[TensorType, ...]], list[Remembered]] = Bounded(_SIGNATURES)
        self._plans: Bounded[Hashable, Bounded[Hashable, Any]] = Bounded(_SIGNATURES)

    def plans(self, steps: Hashable) -> Bounded[Hashable, Any]:
        """The plans of the function under some steps."""
        found = self._plans.get(steps)
        if found is None:
            found = Bounded(_PLANS)
            self._plans.put(steps, found)
        return found

    def clear(self) -> None:
        """Forget everything; the next call traces."""
        self._traces.clear()
        self._plans.clear()

    def trace(
        self,
        function: Callable[..., Any],
        arguments: Tree,
        types: Sequence[TensorType],
        names: Callable[[], Sequence[str]],
    ) -> Remembered:
        """A trace of the function that holds now, an old one or a new one."""
        key = (arguments, tuple(types))
        variants = self._traces.get(key) or []
        moved: list[Remembered] = []
        for known in variants:
            if known.current(function) is not None:
                return known
            if known.has_moved():
                moved.append(known)
        may_follow = all(known.may_follow for known in moved)
        found = _following(function, arguments, types, names()) if moved and may_follow else None
        if found is None:
            captures = capture(function, arguments, types, names())
            constants = tuple([Constant(one.array) for one in captures.captured if isinstance(one, Captured)])
            if not captures.is_closed:
                return Remembered(captures, (Guard(_no_state), constants))
            found = Remembered(captures, (Guard(function), constants), may_follow=not moved)
        self._traces.put(key, [found, *[known for known in variants if known not in moved]][:_VARIANTS])
        return found


def _following(
    function: Callable[..., Any], arguments: Tree, types: Sequence[TensorType], names: Sequence[str]
) -> Remembered | None:
    """A trace with the large arrays that the function reads as traced values; None where it looks at their numbers."""
    guard = Guard(function)
    arrays = [one.array for one in guard.large_arrays()]
    first: dict[int, int] = {}
    same_as = tuple([first.setdefault(id(array), i) for i, array in enumerate(arrays)])
    stand_ins = [Captured(_native_copy(arrays[i])) for i in sorted(set(same_as))]
    by_array = dict(zip(sorted(set(same_as)), stand_ins, strict=True))
    traces: list[Trace] = []

    def substituted(*positional: Any, **keywords: Any) -> Any:
        trace = active_trace()
        assert trace is not None
        traces.append(trace)
        tracers = {which: trace.wrap(trace.capture(one)) for which, one in by_array.items()}
        replaced = with_replaced(function, replacing(arrays, [tracers[same] for same in same_as]))
        if replaced is None:
            raise _CannotFollow("the function's arrays cannot be replaced")
        return replaced(*positional, **keywords)

    try:
        captures = capture(substituted, arguments, types, names)
    except Exception:  # whatever the code does with traced arrays: it is then traced as it is
        return None
    met = [array for trace in traces for array in trace.met]
    if not captures.is_closed or any(np.may_share_memory(one, array) for one in met for array in arrays):
        return None
    held = [one for one in captures.captured if isinstance(one, Captured)]
    places = {id(one): which for which, one in by_array.items()}
    followed = Followed(tuple([places.get(id(one)) for one in held]), same_as)
    return Remembered(captures, (Guard(function), tuple([Constant(one.array) for one in held])), followed)


def _native_copy(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=DType.of(array.dtype).numpy, order="C", copy=True)


class _CannotFollow(GradwireError):
    """The function's arrays cannot be replaced by traced values."""


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
