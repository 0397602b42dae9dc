"""One trace of a function, as it is kept: when it holds, the arrays that it captured, the programs made of it.

The guard and the content of the captured arrays belong together and are replaced as a whole, so that a thread that
calls sees a pair that was right at one moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gradwire.bounded import Bounded
from gradwire.calls.constants import Constant
from gradwire.calls.guards import Guard
from gradwire.tracing.capture import TracedFunction
from gradwire.tracing.trace import Captured
from gradwire.wire.programs import encode_program, program_id
from gradwire_engine.graph import Graph
from gradwire_engine.program import Program, Transform

_PROGRAMS: Final = 256


@dataclass(frozen=True)
class SerializedProgram:
    """A program's bytes, and their identity."""

    graph: Graph
    data: bytes
    id: str


@dataclass(frozen=True)
class FollowedArrays:
    """Which large arrays of the guard are inputs of the graph."""

    which: tuple[int | None, ...]
    """For each captured array its place among the guard's, None for arrays from elsewhere."""
    same_as: tuple[int, ...]
    """For each array of the guard the first one that was the same object."""


@dataclass(eq=False)
class KeptTrace:
    """One trace of a function, and when it holds."""

    traced: TracedFunction
    state: tuple[Guard, tuple[Constant, ...]]
    """When it holds, and what the captured arrays hold then, in order. Replaced as a whole."""
    followed: FollowedArrays | None = None
    """Where new content of large arrays needs no new trace."""
    may_follow: bool = True
    """Whether it is worth trying to trace the large arrays."""
    programs: Bounded[tuple[int, tuple[Transform, ...], int], SerializedProgram] = field(
        default_factory=lambda: Bounded(_PROGRAMS)
    )

    @property
    def constants(self) -> tuple[Constant, ...]:
        """What the captured arrays hold, as it was when the trace was last known to hold."""
        return self.state[1]

    @property
    def arrays(self) -> list[Captured]:
        """The captured arrays, in order: one for each constant."""
        return [captured for captured in self.traced.captured if isinstance(captured, Captured)]

    def contents(self) -> dict[int, np.ndarray]:
        """What the captured arrays hold, by their ids."""
        return {id(array): constant.data for array, constant in zip(self.arrays, self.constants, strict=True)}

    def current(self, function: Callable[..., object]) -> tuple[Constant, ...] | None:
        """The constants to send, if the trace still holds."""
        guard, constants = self.state
        if guard.holds():
            return constants
        followed = self.followed
        if followed is None or not guard.holds_but_for_arrays():
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

    def holds_but_for_arrays(self) -> bool:
        """Whether nothing but the content of large arrays has changed."""
        return self.state[0].holds_but_for_arrays()

    def program(self, graph: Graph, transforms: tuple[Transform, ...], snapshot_bytes: int) -> SerializedProgram:
        """A graph made of this trace, under transforms, as bytes."""
        key = (id(graph), transforms, snapshot_bytes)
        known = self.programs.get(key)
        if known is None or known.graph is not graph:
            data = encode_program(Program(graph, transforms, snapshot_bytes=snapshot_bytes))
            known = SerializedProgram(graph, data, program_id(data))
            self.programs.put(key, known)
        return known
