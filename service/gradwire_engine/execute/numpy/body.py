"""A graph that a branch or loop runs, ready to run: what is the same in all runs is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradwire_engine.execute.numpy.steps import Context, RunnerOf, Step, make_steps, run_steps
from gradwire_engine.graph import Node
from gradwire_engine.plan.plan import BodyPlan, GraphPlan
from gradwire_engine.types import TensorType


class Body:
    """A graph that is run many times. Where its plan has a steady body, that runs as soon as the masks allow it."""

    def __init__(self, plan: BodyPlan, runner_of: RunnerOf) -> None:
        self._steps = _BodySteps(plan.graph, plan.constants, runner_of)
        steady = plan.steady
        self._steady = None if steady is None else _BodySteps(steady.graph, plan.constants, runner_of)
        self._constant_masks = () if steady is None else steady.constants
        self._carried_masks = () if steady is None else steady.carries

    def begin(self, constants: Sequence[np.ndarray], context: Context) -> BodyRuns:
        """Runs with these constants, on these rows."""
        steady = self._steady
        if steady is not None and not all([constants[i].all() for i in self._constant_masks]):
            steady = None
        return BodyRuns(self._steps, steady, self._carried_masks, constants, context)


class _BodySteps:
    """The steps of a body, those that run once apart from those that run each time."""

    def __init__(self, plan: GraphPlan, constants: int, runner_of: RunnerOf) -> None:
        self._once: list[Step] = make_steps(plan, plan.schedule.once, runner_of)
        self._each: list[Step] = make_steps(plan, plan.schedule.each, runner_of)
        self._constants = constants
        self._inputs = len(plan.graph.inputs)
        self._values = len(plan.graph.types)
        self._outputs = plan.graph.outputs

    def begin(self, constants: Sequence[np.ndarray], context: Context) -> list[Any]:
        """The values that all runs with these constants share."""
        values: list[Any] = [None] * self._values
        values[: self._constants] = constants
        run_steps(self._once, values, context)
        return values

    def run(self, shared: list[Any], inputs: Iterable[np.ndarray], context: Context) -> list[Any]:
        """The outputs for the other inputs."""
        values = shared.copy()
        values[self._constants : self._inputs] = inputs
        run_steps(self._each, values, context)
        return [values[n] for n in self._outputs]


class BodyRuns:
    """The runs of a body with the same constants, on the same rows."""

    def __init__(
        self,
        steps: _BodySteps,
        steady: _BodySteps | None,
        masks: Sequence[int],
        constants: Sequence[np.ndarray],
        context: Context,
    ) -> None:
        self.context = context
        self._steps = steps
        self._shared = steps.begin(constants, context)
        self._steady = steady
        self._masks = masks
        self._constants = constants
        self._count = 0

    def run(self, carries: Sequence[Any], slices: Iterable[Any] = ()) -> list[Any]:
        """The outputs of the next run. The masks are looked at before runs 0, 1, 2, 4, 8, …"""
        if self._steady is not None:
            if not self._count & (self._count - 1) and all([np.all(carries[k]) for k in self._masks]):
                self._steps, self._steady = self._steady, None
                self._shared = self._steps.begin(self._constants, self.context)
            self._count += 1
        return self._steps.run(self._shared, [*carries, *slices], self.context)


class Application(NamedTuple):
    """A node that refers to graphs, as its runner gets it."""

    node: Node
    types: tuple[TensorType, ...]
    """Of its operands."""
    bodies: tuple[Body, ...]
    """Its graphs."""
    dying: frozenset[int]
    """The operands, by position, that nothing needs after it."""
