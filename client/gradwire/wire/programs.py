"""Programs and graphs to bytes and back: the gate through which every graph from outside passes.

`decode_program` takes bytes from strangers. What comes out is immutable and sound: every op is known, every operand
defined before its use, every type the one that the op's own rule gives, every size within the limits. What does not
pass is an EngineError with a stable reason and the path of the part at fault. Cost is linear in the bytes, and there is
no recursion: subgraphs refer only to earlier ones, and nest at most 32 deep.

`encode_graph` and `decode_graph` carry a batched, optimised graph between our own processes, with the batch axis as -1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, get_args

from google.protobuf.message import DecodeError

from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, tensor_pb2
from gradwire.wire.attributes import read_attributes, write_attributes
from gradwire.wire.errors import WireError
from gradwire.wire.records import dtype_number, read_dtype, read_record, write_record
from gradwire_engine import attributes as a
from gradwire_engine.attributes import Attributes
from gradwire_engine.builder import result_types
from gradwire_engine.errors import EngineError, GraphError, LimitError, UnsupportedError
from gradwire_engine.graph import MAX_NESTING, Graph, Input, Node
from gradwire_engine.op import Op
from gradwire_engine.ops.table import OPS, OPSET
from gradwire_engine.program import Limits, Program, Transform
from gradwire_engine.types import TensorType
from gradwire_engine.verify import verify_type

MAX_NAME_BYTES: Final = 256

_OP_NUMBERS: Final = {name: ops_pb2.Op.Value(f"OP_{name.upper()}") for name in OPS}
_OPS_BY_NUMBER: Final = {number: OPS[name] for name, number in _OP_NUMBERS.items()}
_TRANSFORMS: Final[Mapping[str, type[Transform]]] = {kind.__name__.lower(): kind for kind in get_args(Transform)}
"""The transforms, by the field of the message `Transform` that carries each."""
_ARGUMENTS: Final = {kind: tuple(field.name for field in fields(kind)) for kind in _TRANSFORMS.values()}
"""For each transform the fields of its message."""


def program_id(data: bytes) -> str:
    """The identity of a serialized program: the SHA-256 of exactly these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# Encoding


def encode_program(program: Program) -> bytes:
    """The program as bytes; the same program always gives the same bytes."""
    message = program_pb2.Program(opset=program.opset, snapshot_bytes=program.snapshot_bytes)
    _encode_graph(program.graph, message.graph, message.subgraphs, {})
    message.transforms.extend(_encode_transform(transform) for transform in program.transforms)
    return message.SerializeToString(deterministic=True)


def encode_graph(graph: Graph) -> bytes:
    """A graph, possibly batched, as bytes."""
    return encode_program(Program(graph))


def _encode_graph(graph: Graph, message: graph_pb2.Graph, subgraphs: Any, known: dict[str, int]) -> None:
    """Fill in `message`; subgraphs are appended to `subgraphs`, each once, before those that refer to them."""
    for input in graph.inputs:
        message.inputs.append(graph_pb2.Value(name=input.name, type=_encode_type(input.type)))
    for node in graph.nodes:
        entry = message.nodes.add(op=_OP_NUMBERS[node.op.name], operands=node.operands)
        write_attributes(node.attributes, entry)
        for subgraph in node.subgraphs:
            if subgraph.hash not in known:
                inner = graph_pb2.Graph()
                _encode_graph(subgraph, inner, subgraphs, known)
                known[subgraph.hash] = len(subgraphs)
                subgraphs.append(inner)
            entry.subgraphs.append(known[subgraph.hash])
    for index, number in enumerate(graph.outputs):
        name = graph.output_names[index] if index < len(graph.output_names) else ""
        message.outputs.append(graph_pb2.Output(value=number, name=name))


def _encode_type(type: TensorType) -> tensor_pb2.TensorType:
    return tensor_pb2.TensorType(dtype=dtype_number(type.dtype), shape=type.shape)


def _encode_transform(transform: Transform) -> program_pb2.Transform:
    message = program_pb2.Transform()
    kind = type(transform)
    arguments = getattr(message, kind.__name__.lower())
    arguments.SetInParent()
    write_record(transform, arguments, _ARGUMENTS[kind])
    return message


# Decoding


def decode_program(data: bytes, limits: Limits | None = None) -> Program:
    """The program in bytes from outside.

    Raises WireError (MALFORMED_REQUEST) for bytes that are no program, GraphError (INVALID_GRAPH), UnsupportedError
    (UNSUPPORTED_OP, UNSUPPORTED_OPSET), LimitError (PROGRAM_TOO_EXPENSIVE); each with the path of the part at fault.
    """
    limits = limits or Limits()
    _require_within(len(data), limits.bytes, "bytes", "max-program-bytes", "the serialized program is too large")
    message = _parsed(data)
    if not 1 <= message.opset <= OPSET:
        raise UnsupportedError(
            f"opset {message.opset} is not known here; this server evaluates opsets 1 to {OPSET}",
            path="opset",
            reason="UNSUPPORTED_OPSET",
        )
    everything = (message.graph, *message.subgraphs)
    count = sum(len(graph.nodes) for graph in everything)
    _require_within(count, limits.nodes, "nodes", "max-program-nodes", "the program has too many nodes")
    count = sum(len(graph.inputs) + len(graph.outputs) for graph in everything)
    _require_within(count, limits.nodes, "values", "max-program-nodes", "the program has too many inputs and outputs")
    _require_within(
        len(message.transforms),
        limits.transforms,
        "transforms",
        "max-transforms",
        "the program has too many transforms",
    )
    decoder = _Decoder(limits, allow_rows=False)
    subgraphs: list[Graph] = []
    for index, subgraph in enumerate(message.subgraphs):
        subgraphs.append(decoder.graph(subgraph, subgraphs, f"subgraphs[{index}]"))
    graph = decoder.graph(message.graph, subgraphs, "graph")
    transforms = tuple(
        _decode_transform(transform, f"transforms[{index}]") for index, transform in enumerate(message.transforms)
    )
    return Program(graph, transforms, message.opset, message.snapshot_bytes)


def decode_graph(data: bytes) -> Graph:
    """A graph made by `encode_graph` in one of our own processes; checked all the same."""
    message = _parsed(data)
    decoder = _Decoder(Limits(), allow_rows=True)
    subgraphs: list[Graph] = []
    for index, subgraph in enumerate(message.subgraphs):
        subgraphs.append(decoder.graph(subgraph, subgraphs, f"subgraphs[{index}]"))
    return decoder.graph(message.graph, subgraphs, "graph")


def _parsed(data: bytes) -> program_pb2.Program:
    message = program_pb2.Program()
    try:
        message.ParseFromString(bytes(data))
    except DecodeError:
        raise WireError("these bytes are not a serialized gradwire.v1.Program", path="program") from None
    return message


def _require_within(value: int, limit: int, unit: str, name: str, what: str) -> None:
    if value > limit:
        raise LimitError(what, value=value, limit=limit, unit=unit, name=name)


class _Decoder:
    """Messages to graphs, under limits."""

    def __init__(self, limits: Limits, *, allow_rows: bool) -> None:
        self._limits = limits
        self._allow_rows = allow_rows
        self._results = 0
        """Of all nodes so far: a call has as many as its graph has outputs."""

    def graph(self, message: graph_pb2.Graph, subgraphs: Sequence[Graph], path: str) -> Graph:
        """One graph; it may refer to `subgraphs`."""
        inputs = tuple(
            Input(_name(value.name, f"{path}.inputs[{i}].name"), self._type(value.type, f"{path}.inputs[{i}].type"))
            for i, value in enumerate(message.inputs)
        )
        types = [value.type for value in inputs]
        nodes: list[Node] = []
        for position, entry in enumerate(message.nodes):
            try:
                node = self._node(entry, types, subgraphs)
            except EngineError as error:
                raise error.at(f"{path}.nodes[{position}]") from None
            nodes.append(node)
            types.extend(node.results)
        outputs, names = [], []
        for i, output in enumerate(message.outputs):
            if output.value >= len(types):
                raise GraphError(
                    f"value {output.value} does not exist; there are {len(types)}", path=f"{path}.outputs[{i}].value"
                )
            outputs.append(output.value)
            names.append(_name(output.name, f"{path}.outputs[{i}].name"))
        graph = Graph(inputs, tuple(nodes), tuple(outputs), tuple(names))
        nesting = min(self._limits.nesting, MAX_NESTING)
        if graph.nesting > nesting:
            raise LimitError(
                "subgraphs nest too deep",
                value=graph.nesting,
                limit=nesting,
                unit="levels",
                name="max-nesting",
                path=path,
            )
        return graph

    def _type(self, message: tensor_pb2.TensorType, path: str) -> TensorType:
        type = TensorType(read_dtype(message.dtype, f"{path}.dtype"), tuple(message.shape))
        self._require_type(type, path)
        return type

    def _require_type(self, type: TensorType, path: str) -> None:
        verify_type(type, path)
        if type.rank > self._limits.rank:
            raise LimitError(
                "too many axes", value=type.rank, limit=self._limits.rank, unit="axes", name="max-rank", path=path
            )
        if type.is_batched and not self._allow_rows:
            raise GraphError(f"got shape {type.shape}, expected lengths of at least 0", path=path)

    def _node(self, message: graph_pb2.Node, types: Sequence[TensorType], subgraphs: Sequence[Graph]) -> Node:
        op = _OPS_BY_NUMBER.get(message.op)
        if op is None:
            raise UnsupportedError(f"op {_op_name(message.op)} is not supported by this server", path="op")
        operands = tuple(message.operands)
        for which, operand in enumerate(operands):
            if operand >= len(types):
                raise GraphError(
                    f"value {operand} is not defined before this node; values 0 to {len(types) - 1} are",
                    path=f"operands[{which}]",
                )
        for which, index in enumerate(message.subgraphs):
            if index >= len(subgraphs):
                raise GraphError(
                    f"subgraph {index} is not defined before this graph; there are {len(subgraphs)}",
                    path=f"subgraphs[{which}]",
                )
        callees = tuple(subgraphs[index] for index in message.subgraphs)
        self._results += max(1, sum(len(callee.outputs) for callee in callees))
        _require_within(
            self._results,
            self._limits.nodes,
            "values",
            "max-program-nodes",
            "the program's calls have too many results",
        )
        attributes = read_attributes(op, message)
        if attributes.mentions_rows and not self._allow_rows:
            raise GraphError(f"{op.name}: lengths must be at least 0", path=message.WhichOneof("attributes") or "")
        if not self._allow_rows:
            _require_from_clients(op, attributes)
        results = result_types(op, attributes, [types[n] for n in operands], callees)
        for type in results:
            self._require_type(type, "")
        return Node(op, operands, attributes, callees, results)


def _require_from_clients(op: Op, attributes: Attributes) -> None:
    """UnsupportedError for what servers make themselves, once a program has been differentiated."""
    if op.name in ("barrier", "replay"):
        raise UnsupportedError(f"op {op.name} is made by servers and not accepted from clients", path="op")
    if isinstance(attributes, a.Rowwise) and attributes.batched:
        raise GraphError(f"{op.name}: graphs with rows of their own are not accepted", path="rows.batched")
    if isinstance(attributes, a.Scan | a.While) and attributes.snapshots:
        raise GraphError(f"{op.name}: snapshots are chosen by servers and not accepted", path="snapshots")


def _op_name(number: int) -> str:
    try:
        return ops_pb2.Op.Name(ops_pb2.Op.ValueType(number)).removeprefix("OP_").lower()
    except ValueError:
        return f"number {number}"


def _name(text: str, path: str) -> str:
    if len(text.encode()) > MAX_NAME_BYTES:
        raise GraphError(f"the name has {len(text.encode())} bytes, at most {MAX_NAME_BYTES} are allowed", path=path)
    return text


def _decode_transform(message: program_pb2.Transform, path: str) -> Transform:
    field = message.WhichOneof("kind") or ""
    kind = _TRANSFORMS.get(field)
    if kind is None:
        raise GraphError("no transform is set, or one that this server does not know", path=path)
    return kind(**read_record(getattr(message, field), _ARGUMENTS[kind], f"{path}.{field}"))
