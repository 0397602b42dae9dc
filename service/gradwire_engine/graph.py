"""Graphs: immutable, in topological order, with their types known.

Values are numbered: inputs first, then each node's results in order. A `Graph` is only made by `GraphBuilder` (which
applies every op's type rule) or re-checked by `verify`; nothing changes one afterwards. No function here recurses over
nodes, so depth is no limit; subgraphs nest at most 32 deep and are walked with that bound.

The text form shows one node a line with its types; it is for people, errors and tests, and is not parsed:

    graph(x: float64, y: float64) {
      v2: float64 = sin(x)
      v3: float64 = multiply(x, y)
      v4: float64 = add(v2, v3)
      return v4
    }
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, Protocol

from gradwire_engine.attributes import NONE, Attributes, Constant
from gradwire_engine.types import DType, TensorType

MAX_NESTING = 32

_OPERANDS_OF_A_NODE = 16


class Operation(Protocol):
    """What a graph knows of an op; `op.op_of` gives the whole record, whose rules speak of graphs."""

    @property
    def name(self) -> str:
        """There is one op of each name."""


class Input(NamedTuple):
    """A parameter: a name for people, and its type."""

    name: str
    type: TensorType


class Node(NamedTuple):
    """One application of an op."""

    op: Operation
    operands: tuple[int, ...]
    attributes: Attributes
    subgraphs: tuple[Graph, ...]
    results: tuple[TensorType, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A function of arrays as data; `outputs` are value numbers, `output_names` are for people."""

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...] = ()

    @cached_property
    def types(self) -> tuple[TensorType, ...]:
        """The type of every value, by number."""
        kinds = [parameter.type for parameter in self.inputs]
        for node in self.nodes:
            kinds.extend(node.results)
        return tuple(kinds)

    @cached_property
    def first_results(self) -> tuple[int, ...]:
        """For each node, the number of its first result."""
        return tuple(accumulate((len(node.results) for node in self.nodes), initial=len(self.inputs)))[:-1]

    def numbered(self) -> Iterator[tuple[int, Node]]:
        """Each node with the number of its first result, in order."""
        return zip(self.first_results, self.nodes, strict=True)

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """Types of the inputs."""
        return tuple(parameter.type for parameter in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        """Types of the outputs."""
        return tuple(self.types[number] for number in self.outputs)

    def output_name(self, index: int) -> str:
        """The name of an output, or a made-up one."""
        named = self.output_names[index] if index < len(self.output_names) else ""
        return named or f"out{index}"

    @cached_property
    def hash(self) -> str:
        """Structural hash: equal for graphs that differ in names only. 64 hexadecimal digits."""
        digest = hashlib.sha256()
        digest.update(repr([_type_key(parameter.type) for parameter in self.inputs]).encode())
        for node in self.nodes:
            digest.update(repr((node.op.name, node.operands, attributes_key(node.attributes))).encode())
            for subgraph in node.subgraphs:
                digest.update(subgraph.hash.encode())
        digest.update(repr(self.outputs).encode())
        return digest.hexdigest()

    @cached_property
    def size(self) -> int:
        """Number of nodes, those of subgraphs counted at each place that refers to them.

        A node with many results or operands counts as several: it is as much work.
        """
        return sum(
            max(1, len(node.results), len(node.operands) // _OPERANDS_OF_A_NODE)
            + sum([subgraph.size for subgraph in node.subgraphs])
            for node in self.nodes
        )

    @cached_property
    def nesting(self) -> int:
        """How deep subgraphs nest: 0 without any."""
        return max((1 + subgraph.nesting for node in self.nodes for subgraph in node.subgraphs), default=0)

    def __str__(self) -> str:
        return "\n".join(text_lines(self))


def _type_key(type: TensorType) -> tuple[str, tuple[int, ...]]:
    return type.dtype.value, type.shape


def attributes_key(attributes: Attributes) -> tuple[object, ...]:
    """The attributes as plain typed values: family, then fields in order."""
    values: list[object] = [type(attributes).__name__]
    for field in fields(attributes):
        value = getattr(attributes, field.name)
        if isinstance(value, TensorType):
            values.append(_type_key(value))
        elif isinstance(value, DType):
            values.append(value.value)
        else:
            values.append(value)
    return tuple(values)


def value_names(graph: Graph) -> list[str]:
    """What each value is called in text: an input by its name if it has a unique one, others v and the number."""
    names = [parameter.name for parameter in graph.inputs]
    taken = {f"v{number}" for number in range(len(graph.types))}
    named = [name if name and names.count(name) == 1 and name not in taken else f"v{i}" for i, name in enumerate(names)]
    return named + [f"v{number}" for number in range(len(names), len(graph.types))]


def attributes_text(attributes: Attributes) -> str:
    """The attributes as they stand in the text form: without defaults, and long constants are abbreviated."""
    if isinstance(attributes, Constant):
        array = attributes.array
        shown = array.tolist() if array.size <= 8 else f"{array.ravel()[:4].tolist()}… {array.size} elements"
        return f"value={shown}"
    parts = []
    for field in fields(attributes):
        value = getattr(attributes, field.name)
        if value == field.default:
            continue
        parts.append(f"{field.name}={value.value if isinstance(value, DType) else value}")
    return ", ".join(parts)


def expression_text(node: Node, names: list[str]) -> str:
    """One node as text: op, operands, attributes."""
    parts = [names[operand] for operand in node.operands]
    if node.attributes is not NONE and (text := attributes_text(node.attributes)):
        parts.append(text)
    return f"{node.op.name}({', '.join(parts)})"


def text_lines(graph: Graph, indent: str = "") -> list[str]:
    """The text form, line by line."""
    names = value_names(graph)
    parameters = ", ".join(f"{names[i]}: {parameter.type}" for i, parameter in enumerate(graph.inputs))
    lines = [f"{indent}graph({parameters}) {{"]
    for first, node in graph.numbered():
        results = ", ".join(f"{names[first + i]}: {type}" for i, type in enumerate(node.results))
        lines.append(f"{indent}  {results} = {expression_text(node, names)}")
        for subgraph in node.subgraphs:
            lines.extend(text_lines(subgraph, indent + "    "))
    returned = ", ".join(names[number] for number in graph.outputs)
    lines.append(f"{indent}  return {returned}")
    lines.append(f"{indent}}}")
    return lines
