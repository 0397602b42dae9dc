"""A worker process: runs plans, one task at a time. The pool starts it:
`python -m gradwire_server.child.worker`.

This file wires the engine to the `TaskLoop`. It never loads grpc. Worst cases: a task over its memory gets MemoryError
and is answered with TASK_MEMORY_LIMIT; a task over its time is killed by the front; when the front ends, however it
ends, so does this process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from gradwire.wire.explanations import encode_trace_table
from gradwire.wire.programs import decode_graph, decode_program
from gradwire_engine.errors import GraphError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.explain import explain
from gradwire_engine.program import Limits
from gradwire_server.child.start import enter, say_ready, serve_until_the_end
from gradwire_server.child.task_loop import CompiledPlan, Engine, TaskLoop
from gradwire_server.ipc.arena import mapped


class ReferenceEngine:
    """The engine as the task loop needs it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def compile(self, plan: bytes) -> CompiledPlan:
        graph = decode_graph(plan)
        return CompiledPlan(
            inputs=graph.input_types, outputs=graph.output_types, executable=compile(graph), executor="reference"
        )

    def explain(
        self,
        program: bytes,
        inputs: Sequence[np.ndarray],
        mode: Literal["forward", "reverse"],
        seeds: Sequence[np.ndarray],
        max_values: int,
    ) -> bytes:
        decoded = decode_program(program, self._limits)
        if decoded.transforms:
            raise GraphError("a graph is explained as written; leave the transforms out", path="transforms")
        return encode_trace_table(explain(decoded.graph, inputs, mode, seeds, max_values=max_values))


def serve(arguments: Sequence[str], engine: Callable[[Limits], Engine]) -> None:
    """Be a worker with this engine until the front ends it."""
    channel, (fileno, arena_bytes, memory_bytes, limits) = enter(arguments)
    arena = mapped(int(fileno), int(arena_bytes), writable=True)
    os.close(int(fileno))
    loop = TaskLoop(channel, arena, engine(Limits(**json.loads(limits))), int(memory_bytes))
    say_ready(channel, int(memory_bytes))
    serve_until_the_end(loop.serve)


if __name__ == "__main__":
    serve(sys.argv[1:], ReferenceEngine)
