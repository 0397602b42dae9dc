"""Programs: a graph, and the transforms that are asked of it, as plain data.

Each transform's signature rule (how inputs and outputs change) is documented here and, for other languages, in the
wire contract; `transforms.apply` carries them out. Indices refer to the function as it stands before the transform.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gradwire_engine.graph import Graph


class JacobianMode(enum.Enum):
    """How a Jacobian is computed; all give the same numbers up to rounding."""

    AUTO = "auto"
    FORWARD = "forward"
    REVERSE = "reverse"


@dataclass(frozen=True, slots=True)
class Jvp:
    """Forward mode.

    Inputs: the function's, then a tangent for each entry of `inputs`.
    Outputs: the function's, then the tangent of every floating-point output.
    """

    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Vjp:
    """Reverse mode, with the cotangents given.

    Inputs: the function's, then a cotangent for every floating-point output. Outputs: the function's, then the gradient
    with respect to each entry of `inputs`.
    """

    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grad:
    """Reverse mode of output 0, a floating-point scalar.

    Outputs: that value (if `keep_value`), the gradient with respect to each entry of `inputs`, then the function's
    other outputs unchanged.
    """

    inputs: tuple[int, ...]
    keep_value: bool = False


@dataclass(frozen=True, slots=True)
class Jacobian:
    """All partial derivatives.

    Outputs: for each floating-point output, for each entry of `inputs`, an array of the output's shape followed by the
    input's.
    """

    inputs: tuple[int, ...]
    mode: JacobianMode = JacobianMode.AUTO


@dataclass(frozen=True, slots=True)
class Vmap:
    """A new axis of static `size`.

    `in_axes`: for each input the position of the new axis, or -1 where the input is the same for every element.
    `out_axes`: for each output its position; empty means 0 for all.
    """

    size: int
    in_axes: tuple[int, ...]
    out_axes: tuple[int, ...] = ()


Transform = Jvp | Vjp | Grad | Jacobian | Vmap


@dataclass(frozen=True)
class Program:
    """A graph of one example, and transforms in the order in which they are applied."""

    graph: Graph
    transforms: tuple[Transform, ...] = ()
    opset: int = 1
    snapshot_bytes: int = 0
    """What loops may keep of their carries for reverse mode, for one example; beyond, they keep snapshots and run steps
    again. 0: as the limits say."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a request's batch lies on a program's inputs and outputs.

    Which inputs are the same for all rows, which outputs are summed over the rows, and which outputs are wanted (empty:
    all, in order). Index lists are ascending, except `outputs`.
    """

    shared_inputs: tuple[int, ...] = ()
    summed_outputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may be; each limit's error names it."""

    bytes: int = 8 << 20
    """Serialized program."""
    nodes: int = 200_000
    """Nodes, before and after transforms, those of subgraphs counted wherever they are used."""
    rank: int = 16
    nesting: int = 32
    transforms: int = 64
    snapshot_bytes: int = 64 << 20
    """Carries that the loops of one example keep for reverse mode, where the program does not say."""
