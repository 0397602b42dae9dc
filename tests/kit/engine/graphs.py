"""Random valid graphs over every op of the table, as a Hypothesis strategy.

A graph grows node by node: an op is drawn, types for its operands are drawn to suit it, and earlier values are made to
fit them by ops that convert and move (`Drawing.fitted`). So every op meets the results of every other one.

With `tame`, operands of non-linear ops are first mapped into the domain that the op's record is tested on: values stay
finite and moderate, and two roads to one number agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from tests.kit.engine.drawing import Draw, Drawing, array_of
from tests.kit.engine.recipes import RECIPES

from gradwire_engine.graph import Graph
from gradwire_engine.types import DType, TensorType


@st.composite
def graphs(
    draw: Draw,
    *,
    max_nodes: int = 8,
    max_outputs: int = 5,
    dtypes: Sequence[DType] = tuple(DType),
    tame: bool = False,
    differentiable: bool = False,
) -> Graph:
    """A graph of a few inputs, nodes and outputs; with `differentiable`, input 0 and all outputs are floating point."""
    drawing = Drawing(draw, RECIPES, dtypes, tame)
    floating = [dtype for dtype in dtypes if dtype.is_floating]
    for index in range(drawing.integer(1, 3)):
        dtype = drawing.choose(floating if differentiable and index == 0 else dtypes)
        drawing.add([drawing.builder.input(f"x{index}", TensorType(dtype, drawing.shape()))])
    drawing.grow(drawing.integer(1, max_nodes))
    outputs = drawing.latest(drawing.integer(1, max_outputs), floating_only=differentiable)
    return drawing.builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


def points(graph: Graph, *, special: bool = False, rows: int | None = None) -> st.SearchStrategy[list[np.ndarray]]:
    """Arrays for the inputs of a graph; with `rows`, stacks of them."""

    def arrays(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        lead = () if rows is None else (rows,)
        return [array_of(rng, type, (*lead, *type.shape), special) for type in graph.input_types]

    return st.integers(0, 2**32 - 1).map(arrays)
