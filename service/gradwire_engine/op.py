"""The record of an op: everything the engine knows about it, in one place.

A record says how the op types, evaluates, differentiates, transposes and batches, what it costs, and on what it is
tested. Nothing is registered elsewhere: `ops.table` collects the records and closes. A derivative is exactly one of

    Zero            piecewise constant (sign, floor, comparisons): the tangent is known to be zero
    Refused         not differentiable, and the reason
    Partials        element by element: one partial derivative an operand, multiplied with that operand's tangent
    Jvp             a formula for the tangent that is not element by element
    Linear          linear in some operands: its own tangent map; carries the transpose rule
    Bilinear        linear in each of two operands; carries the transpose rule
    Expansion       differentiated as the graph of simpler ops that it abbreviates
    Structured      refers to graphs: differentiated by differentiating these

Reverse mode has no rules of its own: it is the transpose of the linear ops that these rules emit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from gradwire_engine.attributes import NONE, Attributes
from gradwire_engine.bounds import Bound
from gradwire_engine.graph import Graph, Node, Operation
from gradwire_engine.types import TensorType
from gradwire_engine.value import Builder, Value


class Masked(NamedTuple):
    """A tangent or cotangent, and where it may be non-zero.

    `mask` is a bool value of the same shape, false where the tangent is *known* to be zero because of the program's
    structure; None where nothing is known to be zero. A tangent that is zero everywhere is no `Masked` but None.
    """

    value: Value
    mask: Value | None = None


Tangents = Sequence[Masked | None]


@dataclass(frozen=True)
class Zero:
    """The tangent is zero wherever the op is differentiable, and zero by convention elsewhere."""


@dataclass(frozen=True)
class Refused:
    """Differentiation is an error."""

    because: str


@dataclass(frozen=True)
class Partials:
    """Element-wise rule: (attributes, operands, result) -> one partial derivative for each operand, None for zero."""

    rule: Callable[[Any, Sequence[Value], Value], tuple[Value | None, ...]]


@dataclass(frozen=True)
class Jvp:
    """General rule: (attributes, operands, results, tangents of operands) -> tangents of results."""

    rule: Callable[[Any, Sequence[Value], Sequence[Value], Tangents], Tangents]


@dataclass(frozen=True)
class Linear:
    """Linear in the operands `operands`, jointly (None: in all); others (conditions, indices) are not differentiated.

    `transpose(attributes, cotangent, operands, types)` gives one cotangent for each operand of the node, None for those
    that are not linear; the `operands` it gets are None where they are linear, `types` are the types of all.
    `mask(attributes, masks, operands)` gives the result's mask from the masks of the linear operands (a constant true
    where nothing is known, a constant false where the tangent is absent), or None where every element may be non-zero.
    `tangent(attributes, operands, tangents)` replaces the usual tangent map (the op itself, on the tangents).
    """

    operands: tuple[int, ...] | None
    transpose: Callable[[Any, Masked, Sequence[Value | None], Sequence[TensorType]], Tangents]
    mask: Callable[[Any, Sequence[Value], Sequence[Value]], Value | None] | None = None
    tangent: Callable[[Any, Sequence[Value], Tangents], Masked | None] | None = None


@dataclass(frozen=True)
class Bilinear:
    """Linear in operand 0 and in operand 1, each with the other fixed.

    `transpose(attributes, cotangent, operands, types)` as for `Linear`: exactly one of the two operands is None.
    `product(attributes, operands, index, tangent)` is the op with operand `index` replaced by its tangent.
    """

    transpose: Callable[[Any, Masked, Sequence[Value | None], Sequence[TensorType]], Tangents]
    product: Callable[[Any, Sequence[Value], int, Masked], Masked]


@dataclass(frozen=True)
class Expansion:
    """Differentiated as what it abbreviates: (attributes, operands) -> results in simpler ops."""

    expand: Callable[[Any, Sequence[Value]], Sequence[Value]]


PushForward = Callable[[Builder, Graph, Sequence[Value], Tangents], tuple[list[Value], list[Masked | None]]]
"""(builder, graph, operands, tangents) -> outputs and their tangents: a graph on dual numbers inside `builder`."""

PrimalPart = Callable[[Graph, Sequence[bool], Sequence[int]], Graph]
"""(graph, which inputs are linear, outputs that depend on none of these) -> these outputs, as a graph of the others."""

PullBack = Callable[[Builder, Graph, Sequence[Value | None], Tangents], list[Masked | None]]
"""(builder, graph, operands, cotangents of the outputs) -> a cotangent for each operand that is None, in which the
graph is linear. It runs the graph and its backward pass inside `builder`."""


@dataclass(frozen=True)
class Halves:
    """A node of values and tangents, cut in two.

    `primal(builder, operands)` emits what does not depend on the linear operands (None there): a value for each result,
    None for the linear ones, and the residuals that the other half needs. `needed` are the operands that it needs
    besides. `linear(builder, operands, residuals)` emits it: a value for each linear result, in order.
    """

    primal: Callable[[Builder, Sequence[Value | None]], tuple[list[Value | None], list[Value]]]
    needed: frozenset[int]
    linear: Callable[[Builder, Sequence[Value | None], Sequence[Value]], list[Value]]


@dataclass(frozen=True)
class Structured:
    """The rules of an op that refers to graphs; each gets the transform itself, to use it on these graphs.

    `push(builder, node, operands, tangents, push_forward)` gives the results and their tangents, from one node that
    moves both. `linear_results(node, linear)` says which results depend on the operands marked in `linear`.
    `divide(node, linear, primal_part)` tells the two halves of such a node apart, as `linearize` does with graphs.
    `transpose(builder, node, operands, cotangents, types, pull_back)` is the rule of the half that is linear: operands
    are None where they are linear; cotangents arrive for each result, and leave for each operand.
    """

    push: Callable[[Builder, Node, Sequence[Value], Tangents, PushForward], tuple[Sequence[Value], Tangents]]
    linear_results: Callable[[Node, Sequence[bool]], Sequence[bool]]
    divide: Callable[[Node, Sequence[bool], PrimalPart], Halves]
    transpose: Callable[[Builder, Node, Sequence[Value | None], Tangents, Sequence[TensorType], PullBack], Tangents]


@dataclass(frozen=True)
class Steps:
    """The steps of a loop: `length`, or as many as value number `count` says, at most; backwards if `reverse`."""

    length: int
    count: int | None
    reverse: bool


@dataclass(frozen=True)
class Tape:
    """Of a loop that can be gone through once more, in either direction.

    `carries(node)` gives those results that are a carry as each step began, stacked, and which carry. `steps(first,
    node)` are its steps, where `first` is the number of the node's first result. `whole`: it keeps all of its tape, or
    snapshots in place of all of it.
    """

    carries: Callable[[Node], Mapping[int, int]]
    steps: Callable[[int, Node], Steps]
    whole: bool = False


class KeptLoop(NamedTuple):
    """A loop that keeps snapshots, as those need it that read its tape before."""

    node: Node
    operands: Sequence[Value]
    reverse: bool
    """Whether it runs from its last step."""
    carries: Sequence[int]
    """Those of which it keeps snapshots: what it takes to run on from one."""
    snapshots: int
    positions: Value
    """At which steps they were taken."""
    states: Sequence[Value]
    """Of each of `carries` its snapshots."""


Reread = Callable[[Builder, Node, Sequence[Value], Mapping[int, int], KeptLoop], Sequence[Value]]
"""(builder, node, operands, which of them were tapes and of which carry, the loop) -> results, without these tapes."""

GraphFlops = Callable[[Node, Sequence[Bound], Callable[[Bound], Bound]], Bound]
"""(node, what each of its graphs takes at most, what that makes for all rows that a graph is applied to) -> operations
at most."""


def _never(attributes: Any) -> bool:
    return False


def _no_bytes(attributes: Any) -> int:
    return 0


@dataclass(frozen=True, kw_only=True)
class Control:
    """What passes and plans ask about an op that refers to graphs, beside the groups of its operands
    (`ops.control.operands`)."""

    inlined: Literal["first", "last"] | None = None
    """Its graph takes its place: before anything else happens, or, behind a barrier, before the graph is run."""
    repeats: bool = False
    """Its graphs run step by step, with the same constants."""
    open_ended: bool = False
    """Only the run knows how many steps there are."""
    prunable: Callable[[Any], bool] = _never
    """Whether, with these attributes, results that nothing uses may be taken from it."""
    tape: Tape | None = None
    reread: Reread | None = None
    """Of an op whose stacked operands may be tapes: how it does without them."""
    flops: GraphFlops | None = None
    """Of every op that refers to graphs."""
    snapshot_bytes: Callable[[Any], int] = _no_bytes
    """What it takes to know which snapshots there are, with these attributes; the snapshots are operands or results."""


Derivative = Zero | Refused | Partials | Jvp | Linear | Bilinear | Expansion | Structured


@dataclass(frozen=True)
class Domain:
    """Where an operand is tested: an interval, and points to stay away from (kinks and poles) by `clearance`."""

    low: float = -2.0
    high: float = 2.0
    avoid: tuple[float, ...] = ()
    clearance: float = 0.1
    ramp: float = 0.0
    """Matrices have 1, 2, 3, … times this added along the diagonal: they are regular, and no eigenvalue is repeated."""


@dataclass(frozen=True)
class Case:
    """One way to apply an op in tests: shapes of the operands and attributes."""

    shapes: tuple[tuple[int, ...], ...]
    attributes: Attributes = NONE
    dtypes: tuple[str | None, ...] = ()
    """Per operand: None for the dtype under test, else a fixed dtype (indices, conditions)."""


@dataclass(frozen=True)
class TestData:
    """On what an op is tested: the domain of each operand (the last repeats), applications, and tolerance."""

    domains: tuple[Domain, ...] = (Domain(),)
    cases: tuple[Case, ...] = ()
    ulps: float = 4.0
    """Allowed error of a float32 evaluation against the float64 one, in units in the last place of float32."""
    dtypes: str = "fi"
    """What the op accepts: kinds of numpy dtypes, f floating, i integer, b bool."""

    __test__ = False


@dataclass(frozen=True, eq=False)
class Op:
    """An op. Records are compared by identity; there is one of each name."""

    name: str
    arity: int | None
    """Number of operands; None where any number from 1 up."""
    types: Callable[..., tuple[TensorType, ...]]
    """Type rule: (attributes, operand types, *subgraphs) -> result types, or GraphError."""
    evaluate: Callable[..., Any]
    """numpy evaluation: (attributes, *arrays) -> array, or a tuple of results. Total; never changes an operand."""
    derivative: Derivative
    batch: Callable[..., tuple[Value, ...]]
    """Batch rule: (attributes, operands, which have the new axis 0, its length, *subgraphs) -> results with the new
    axis 0."""
    tests: TestData
    attributes: type[Attributes] = Attributes
    flops: float | Callable[[Any, Sequence[TensorType], Sequence[TensorType]], tuple[int, int]] = 1.0
    """Operations for each element of the largest of operands and results, or a rule giving (constant, per row). Of ops
    that refer to graphs, `control` has a rule."""
    scratch: float | tuple[float, ...] = 0.0
    """Memory that `evaluate` needs besides operands and results, in multiples of their bytes: of the sum of all, or a
    factor for each operand, then one for the results."""
    elementwise: bool = False
    """Every result element depends on the operand elements at its own place only."""
    subgraphs: int = 0
    """Number of subgraphs the op refers to."""
    control: Control = Control()
    library: str = "numpy"
    """What `evaluate` needs: numpy, or scipy, which the SDK alone does not have."""

    def __post_init__(self) -> None:
        if not self.tests.cases:
            raise TypeError(f"op {self.name}: no test cases")

    def __repr__(self) -> str:
        return f"Op({self.name})"


def record_of(op: Operation) -> Op:
    """The whole record of an op that stands in a graph."""
    assert isinstance(op, Op)
    return op


def op_of(node: Node) -> Op:
    """The whole record of a node's op."""
    op = node.op
    assert isinstance(op, Op)
    return op


Array = np.ndarray
