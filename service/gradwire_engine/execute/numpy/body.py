"""A graph that is run many times, with part of its inputs the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.execute.numpy.steps import Context, RunnerOf, make_steps, run_steps
from gradwire_engine.graph import Graph
from gradwire_engine.passes.loops.steady import steady
from gradwire_engine.passes.pipeline import simplified
from gradwire_engine.plan.schedule import depends_on_inputs, schedule


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


class Loop:
    """The body of a loop: inputs are constants, carries, then slices; the first outputs are the carries.

    Once the masks among constants and carries are true everywhere, the steps run without them (`passes.steady`).
    """

    def __init__(self, graph: Graph, constants: int, carries: int, runner_of: RunnerOf) -> None:
        self._body = Body(graph, constants, runner_of)
        found = steady(graph, constants, {constants + k: k for k in range(carries)}, simplified)
        self._steady = None if found is None else Body(found[0], constants, runner_of)
        masks = frozenset[int]() if found is None else found[1]
        self._given = [i for i in masks if i < constants]
        self._carried = [i - constants for i in masks if i >= constants]

    def begin(self, constants: Sequence[np.ndarray], context: Context) -> Stretch:
        """Steps with these constants, on these rows."""
        body = self._steady
        if body is not None and not all([constants[i].all() for i in self._given]):
            body = None
        return Stretch(self._body, body, self._carried, constants, context)


class Stretch:
    """Steps of a loop with the same constants, on the same rows."""

    def __init__(
        self, body: Body, later: Body | None, masks: Sequence[int], constants: Sequence[np.ndarray], context: Context
    ) -> None:
        self._body = body
        self._begun = body.begin(constants, context)
        self._later = later
        self._masks = masks
        self._constants = constants
        self._context = context
        self._steps = 0

    def step(self, carries: Sequence[Any], slices: Iterable[Any] = ()) -> list[Any]:
        """The outputs of a step. The masks are looked at before steps 0, 1, 2, 4, 8, …"""
        if self._later is not None:
            if not self._steps & (self._steps - 1) and all([np.all(carries[k]) for k in self._masks]):
                self._body, self._later = self._later, None
                self._begun = self._body.begin(self._constants, self._context)
            self._steps += 1
        return self._body.run(self._begun, [*carries, *slices], self._context)
