"""Building graphs: nodes are interned, types are checked, dead nodes are dropped.

The same op on the same operands with the same attributes (typed bytes: 0.0 and -0.0 differ) is one node, so common
subexpressions never exist twice; a `barrier` region is the exception that memory-for-time trades are built on.
Inputs may be added at any time: values are renumbered, inputs first, when the graph is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradwire_engine.attributes import NONE, Attributes, Constant
from gradwire_engine.errors import EngineError, GraphError
from gradwire_engine.graph import Graph, Input, Node, Operation
from gradwire_engine.op import Op, record_of
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import TensorType
from gradwire_engine.value import Value


class GraphBuilder:
    """A graph under construction. Not shared between threads.

    `note` is asked at each new node for something to remember beside it, in `finish_with_notes`.
    """

    def __init__(self, note: Callable[[], Any] | None = None) -> None:
        self._note = note
        self._notes: list[Any] = []
        self._inputs: list[tuple[Input, int]] = []
        self._nodes: list[tuple[Node, tuple[Value, ...]]] = []
        self._interned: dict[tuple[object, ...], tuple[Value, ...]] = {}
        self._count = 0

    def fresh(self) -> GraphBuilder:
        """An empty builder, for a graph that this one refers to."""
        return GraphBuilder()

    def input(self, name: str, type: TensorType) -> Value:
        """A new input, after those that exist. GraphError where no array can have this type."""
        type.require_sound()
        value = Value(self, self._count, type)
        self._inputs.append((Input(name, type), self._count))
        self._count += 1
        return value

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs so far."""
        return tuple(parameter for parameter, _ in self._inputs)

    @property
    def node_count(self) -> int:
        """Number of nodes so far, dead ones included."""
        return len(self._nodes)

    def emit_all(
        self,
        op: str | Operation,
        operands: Sequence[Value],
        attributes: Attributes = NONE,
        subgraphs: Sequence[Graph] = (),
    ) -> tuple[Value, ...]:
        """The results of `op` on `operands`: those of an equal node if there is one, else of a new one.

        GraphError where the op's type rule refuses the operands.
        """
        return self._intern(OPS[op] if isinstance(op, str) else op, operands, attributes, subgraphs, None)

    def copy(self, node: Node, operands: Sequence[Value]) -> tuple[Value, ...]:
        """The results of `node` on other operands *of the same types*; the type rule is not asked again."""
        return self._intern(node.op, operands, node.attributes, node.subgraphs, node.results)

    def _intern(
        self,
        op: Operation,
        operands: Sequence[Value],
        attributes: Attributes,
        subgraphs: Sequence[Graph],
        results: tuple[TensorType, ...] | None,
    ) -> tuple[Value, ...]:
        numbers = tuple([operand.number for operand in operands])
        key = (op, numbers, attributes, tuple([g.hash for g in subgraphs])) if subgraphs else (op, numbers, attributes)
        known = self._interned.get(key)
        if known is not None:
            return known
        for operand in operands:
            if operand.builder is not self:
                raise GraphError(f"{op.name}: operand {operand} belongs to another graph")
        if results is None:
            results = result_types(record_of(op), attributes, [operand.type for operand in operands], subgraphs)
        values = tuple([Value(self, self._count + i, type) for i, type in enumerate(results)])
        self._count += len(values)
        self._nodes.append((Node(op, numbers, attributes, tuple(subgraphs), results), values))
        if self._note is not None:
            self._notes.append(self._note())
        self._interned[key] = values
        return values

    def constant(self, array: np.ndarray) -> Value:
        """A constant of the array's value."""
        return self.emit_all("constant", (), Constant.of(np.asarray(array)))[0]

    def inline(self, graph: Graph, operands: Sequence[Value]) -> list[Value]:
        """The outputs of `graph` on `operands`, its nodes copied into this one."""
        if tuple(operand.type for operand in operands) != graph.input_types:
            got = ", ".join(str(operand.type) for operand in operands)
            raise GraphError(f"got operands ({got}) for {', '.join(map(str, graph.input_types))}")
        values: list[Value] = list(operands)
        for node in graph.nodes:
            values.extend(self.copy(node, [values[n] for n in node.operands]))
        return [values[number] for number in graph.outputs]

    def finish(self, outputs: Sequence[Value], names: Sequence[str] = ()) -> Graph:
        """The graph that returns `outputs`: inputs first, then the nodes that the outputs need, in order."""
        return self.finish_with_notes(outputs, names)[0]

    def finish_with_notes(self, outputs: Sequence[Value], names: Sequence[str] = ()) -> tuple[Graph, tuple[Any, ...]]:
        """As `finish`, and what was noted at each of its nodes; nothing where nothing was."""
        needed = bytearray(self._count)
        for output in outputs:
            needed[output.number] = 1
        kept: list[tuple[Node, tuple[Value, ...]]] = []
        notes: list[Any] = []
        for index in reversed(range(len(self._nodes))):
            node, values = self._nodes[index]
            if any([needed[value.number] for value in values]):
                kept.append((node, values))
                if self._notes:
                    notes.append(self._notes[index])
                for operand in node.operands:
                    needed[operand] = 1
        renumbered = [0] * self._count
        for index, (_, number) in enumerate(self._inputs):
            renumbered[number] = index
        following = len(self._inputs)
        nodes: list[Node] = []
        for node, values in reversed(kept):
            for value in values:
                renumbered[value.number] = following
                following += 1
            nodes.append(node._replace(operands=tuple([renumbered[n] for n in node.operands])))
        returned = tuple(renumbered[output.number] for output in outputs)
        return Graph(self.inputs, tuple(nodes), returned, tuple(names)), tuple(reversed(notes))


def result_types(
    op: Op, attributes: Attributes, operands: Sequence[TensorType], subgraphs: Sequence[Graph] = ()
) -> tuple[TensorType, ...]:
    """The types of an op's results; GraphError, with the op's name, where the operands do not fit it."""
    if not isinstance(attributes, op.attributes):
        raise GraphError(f"{op.name}: got {type(attributes).__name__} attributes, expected {op.attributes.__name__}")
    if op.arity is not None and len(operands) != op.arity:
        raise GraphError(f"{op.name}: got {len(operands)} operands, expected {op.arity}")
    if len(subgraphs) != op.subgraphs:
        raise GraphError(f"{op.name}: got {len(subgraphs)} subgraphs, expected {op.subgraphs}")
    try:
        results = op.types(attributes, operands, *subgraphs)
        for result in results:
            result.require_sound()
        return results
    except EngineError as error:
        error.args = (f"{op.name}: {error.message}",)
        error.message = error.args[0]
        raise
