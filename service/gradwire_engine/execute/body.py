"""A graph that is run many times, with part of its inputs the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.cost import depends_on_inputs, schedule
from gradwire_engine.execute.steps import Context, RunnerOf, make_steps, run_steps
from gradwire_engine.graph import Graph


class Body:
    """A graph that is run many times: what depends on its first `constants` inputs only is computed once."""

    def __init__(self, graph: Graph, constants: int, runner_of: RunnerOf) -> None:
        varying = depends_on_inputs(graph, constants)
        plan = schedule(graph, varying)
        moving = [varying[first] for first in graph.first_results]
        self._once = make_steps(graph, plan, [p for p in plan.order if not moving[p]], runner_of)
        self._each = make_steps(graph, plan, [p for p in plan.order if moving[p]], runner_of)
        self._constants = constants
        self._inputs = len(graph.inputs)
        self._values = len(graph.types)
        self._outputs = graph.outputs

    def begin(self, constants: Sequence[np.ndarray], context: Context) -> list[Any]:
        """What all runs with these constants share."""
        values: list[Any] = [None] * self._values
        values[: self._constants] = constants
        run_steps(self._once, values, context)
        return values

    def run(self, begun: list[Any], inputs: Iterable[np.ndarray], context: Context) -> list[Any]:
        """The outputs for the other inputs."""
        values = begun.copy()
        values[self._constants : self._inputs] = inputs
        run_steps(self._each, values, context)
        return [values[n] for n in self._outputs]
