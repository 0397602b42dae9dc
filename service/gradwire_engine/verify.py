"""The checker: a graph that passes here is sound, whoever made it.

Every operand precedes its use, every type is what the op's type rule says, every index is in range, the batch axis
stands at 0 only, and subgraphs nest within the limit. Tests run it before and after every transform and pass; whatever
arrives from outside has been checked in the same way while it was decoded.
"""

from __future__ import annotations

from gradwire_engine.builder import result_types
from gradwire_engine.errors import EngineError, GraphError
from gradwire_engine.graph import MAX_NESTING, Graph, Node
from gradwire_engine.ops.table import OPS
from gradwire_engine.types import TensorType


def verify(graph: Graph) -> None:
    """GraphError, with a path, unless `graph` is sound."""
    if graph.nesting > MAX_NESTING:
        raise GraphError(f"subgraphs nest {graph.nesting} deep, at most {MAX_NESTING} is allowed")
    types: list[TensorType] = []
    for index, parameter in enumerate(graph.inputs):
        verify_type(parameter.type, f"inputs[{index}].type")
        types.append(parameter.type)
    for position, node in enumerate(graph.nodes):
        path = f"nodes[{position}]"
        for which, subgraph in enumerate(node.subgraphs):
            try:
                verify(subgraph)
            except EngineError as error:
                raise error.at(f"{path}.subgraphs[{which}]") from None
        _verify_node(node, types, path)
        types.extend(node.results)
    for index, number in enumerate(graph.outputs):
        if not 0 <= number < len(types):
            raise GraphError(f"value {number} does not exist; there are {len(types)}", path=f"outputs[{index}].value")


def verify_type(type: TensorType, path: str) -> None:
    """GraphError, with the path, unless an array of this type can exist."""
    try:
        type.require_sound()
    except GraphError as error:
        raise error.at(path) from None


def _verify_node(node: Node, types: list[TensorType], path: str) -> None:
    if OPS.get(node.op.name) is not node.op:
        raise GraphError(f"op {node.op.name!r} is not in the table", path=path)
    for which, operand in enumerate(node.operands):
        if not 0 <= operand < len(types):
            raise GraphError(
                f"value {operand} is not defined here; values 0 to {len(types) - 1} are",
                path=f"{path}.operands[{which}]",
            )
    try:
        expected = result_types(node.op, node.attributes, [types[n] for n in node.operands], node.subgraphs)
    except EngineError as error:
        raise error.at(path) from None
    if expected != node.results:
        raise GraphError(f"{node.op.name}: results are {node.results}, its type rule says {expected}", path=path)
