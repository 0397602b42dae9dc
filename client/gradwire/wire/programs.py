"""Programs and graphs to bytes and back: the gate through which every graph from outside passes.

`decode_program` takes bytes from strangers. What comes out is immutable and sound: every op is known, every operand
defined before its use, every type the one that the op's own rule gives, every size within the limits. What does not
pass is an EngineError with a stable reason and the path of the part at fault. Cost is linear in the bytes, and there is
no recursion: subgraphs refer only to earlier ones, and nest at most 32 deep.

`encode_graph` and `decode_graph` carry a batched, optimised graph between our own processes, with the batch axis as -1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, tensor_pb2
from gradwire.wire.errors import WireError
from gradwire.wire.tensors import WIRE_DTYPES
from gradwire_engine import attributes as a
from gradwire_engine.attributes import NONE, Attributes
from gradwire_engine.builder import result_types
from gradwire_engine.errors import EngineError, GraphError, LimitError, UnsupportedError
from gradwire_engine.graph import MAX_NESTING, Graph, Input, Node
from gradwire_engine.op import Op
from gradwire_engine.ops.table import OPS, OPSET
from gradwire_engine.program import Grad, Jacobian, JacobianMode, Jvp, Limits, Program, Transform, Vjp, Vmap
from gradwire_engine.types import ROWS, DType, TensorType
from gradwire_engine.verify import verify_type

MAX_NAME_BYTES: Final = 256

_OP_NUMBERS: Final = {name: ops_pb2.Op.Value(f"OP_{name.upper()}") for name in OPS}
_OPS_BY_NUMBER: Final = {number: OPS[name] for name, number in _OP_NUMBERS.items()}
_DTYPES: Final = {number: dtype for dtype, number in WIRE_DTYPES.items()}
_MODES: Final = {
    JacobianMode.AUTO: program_pb2.JACOBIAN_MODE_UNSPECIFIED,
    JacobianMode.FORWARD: program_pb2.JACOBIAN_MODE_FORWARD,
    JacobianMode.REVERSE: program_pb2.JACOBIAN_MODE_REVERSE,
}
_MODES_BY_NUMBER: Final = {number: mode for mode, number in _MODES.items()}


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
    for one in graph.inputs:
        message.inputs.append(graph_pb2.Value(name=one.name, type=_encode_type(one.type)))
    for node in graph.nodes:
        entry = message.nodes.add(op=_OP_NUMBERS[node.op.name], operands=node.operands)
        if node.attributes is not NONE:
            _FAMILIES[type(node.attributes)][1](node.attributes, entry)
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
    return tensor_pb2.TensorType(dtype=_dtype_number(type.dtype), shape=type.shape)


def _dtype_number(dtype: DType) -> tensor_pb2.DType.ValueType:
    return tensor_pb2.DType.ValueType(WIRE_DTYPES[dtype])


def _encode_transform(transform: Transform) -> program_pb2.Transform:
    match transform:
        case Jvp(inputs):
            return program_pb2.Transform(jvp=program_pb2.Jvp(inputs=inputs))
        case Vjp(inputs):
            return program_pb2.Transform(vjp=program_pb2.Vjp(inputs=inputs))
        case Grad(inputs, keep_value):
            return program_pb2.Transform(grad=program_pb2.Grad(inputs=inputs, keep_value=keep_value))
        case Jacobian(inputs, mode):
            return program_pb2.Transform(jacobian=program_pb2.Jacobian(inputs=inputs, mode=_MODES[mode]))
        case Vmap(size, in_axes, out_axes):
            return program_pb2.Transform(vmap=program_pb2.Vmap(size=size, in_axes=in_axes, out_axes=out_axes))


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
            Input(_name(one.name, f"{path}.inputs[{i}].name"), self._type(one.type, f"{path}.inputs[{i}].type"))
            for i, one in enumerate(message.inputs)
        )
        types = [one.type for one in inputs]
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
        type = TensorType(_dtype(message.dtype, f"{path}.dtype"), tuple(message.shape))
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
        attributes = _decode_attributes(op, message)
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


def _dtype(number: int, path: str) -> DType:
    found = _DTYPES.get(number)
    if found is None:
        raise GraphError(f"element type {number} does not exist; 1 to {len(_DTYPES)} do", path=path)
    return found


def _name(text: str, path: str) -> str:
    if len(text.encode()) > MAX_NAME_BYTES:
        raise GraphError(f"the name has {len(text.encode())} bytes, at most {MAX_NAME_BYTES} are allowed", path=path)
    return text


def _decode_attributes(op: Op, message: graph_pb2.Node) -> Attributes:
    field = message.WhichOneof("attributes")
    if op.attributes is Attributes:
        if field is not None:
            raise GraphError(f"{op.name} takes no attributes, got {field}", path=field)
        return NONE
    expected, _, decode = _FAMILIES[op.attributes]
    if field != expected:
        raise GraphError(f"{op.name}: got attributes {field or 'none'}, expected {expected}", path=field or expected)
    attributes: Attributes = decode(getattr(message, field))
    return attributes


def _decode_transform(message: program_pb2.Transform, path: str) -> Transform:
    match message.WhichOneof("kind"):
        case "jvp":
            return Jvp(tuple(message.jvp.inputs))
        case "vjp":
            return Vjp(tuple(message.vjp.inputs))
        case "grad":
            return Grad(tuple(message.grad.inputs), message.grad.keep_value)
        case "jacobian":
            mode = _MODES_BY_NUMBER.get(message.jacobian.mode)
            if mode is None:
                raise GraphError(f"Jacobian mode {message.jacobian.mode} does not exist", path=f"{path}.jacobian.mode")
            return Jacobian(tuple(message.jacobian.inputs), mode)
        case "vmap":
            vmap = message.vmap
            return Vmap(vmap.size, tuple(vmap.in_axes), tuple(vmap.out_axes))
        case _:
            raise GraphError("no transform is set, or one that this server does not know", path=path)


# One line a family: the field of `Node` that carries it, how it is written, how it is read.


def _write_constant(value: a.Constant, entry: graph_pb2.Node) -> None:
    tensor = entry.constant.value
    tensor.dtype, tensor.data = _dtype_number(value.type.dtype), value.data
    tensor.shape.extend(value.type.shape)


def _read_constant(message: graph_pb2.ConstantAttributes) -> a.Constant:
    tensor = message.value
    if tensor.digest:
        raise GraphError("a constant is inline, without digest", path="constant.value.digest")
    type = TensorType(_dtype(tensor.dtype, "constant.value.dtype"), tuple(tensor.shape))
    verify_type(type, "constant.value.shape")
    if type.dtype is DType.BOOL and tensor.data and np.frombuffer(tensor.data, np.uint8).max() > 1:
        raise GraphError("a bool is the byte 0 or 1, nothing else", path="constant.value.data")
    return a.Constant(type, tensor.data)


def _write_iota(value: a.Iota, entry: graph_pb2.Node) -> None:
    entry.iota.dtype, entry.iota.axis = _dtype_number(value.dtype), value.axis
    entry.iota.shape.extend(value.shape)


def _read_iota(message: graph_pb2.IotaAttributes) -> a.Iota:
    return a.Iota(_dtype(message.dtype, "iota.dtype"), tuple(message.shape), message.axis)


def _write_exponent(value: a.Exponent, entry: graph_pb2.Node) -> None:
    entry.exponent.exponent = value.exponent
    entry.exponent.SetInParent()


def _write_order(value: a.Order, entry: graph_pb2.Node) -> None:
    entry.order.order = value.order
    entry.order.SetInParent()


def _write_cast(value: a.Cast, entry: graph_pb2.Node) -> None:
    entry.dtype.dtype = _dtype_number(value.dtype)


def _write_shape(value: a.Shape, entry: graph_pb2.Node) -> None:
    entry.shape.shape.extend(value.shape)
    entry.shape.SetInParent()


def _write_permutation(value: a.Permutation, entry: graph_pb2.Node) -> None:
    entry.permutation.permutation.extend(value.permutation)
    entry.permutation.SetInParent()


def _write_slice(value: a.Slice, entry: graph_pb2.Node) -> None:
    entry.slice.start.extend(value.start)
    entry.slice.limit.extend(value.limit)
    entry.slice.stride.extend(value.stride)
    entry.slice.SetInParent()


def _read_slice(message: graph_pb2.SliceAttributes) -> a.Slice:
    return a.Slice(tuple(message.start), tuple(message.limit), tuple(message.stride))


def _write_pad(value: a.Pad, entry: graph_pb2.Node) -> None:
    entry.pad.low.extend(value.low)
    entry.pad.high.extend(value.high)
    entry.pad.interior.extend(value.interior)
    entry.pad.SetInParent()


def _read_pad(message: graph_pb2.PadAttributes) -> a.Pad:
    return a.Pad(tuple(message.low), tuple(message.high), tuple(message.interior))


def _write_axis(value: a.Axis, entry: graph_pb2.Node) -> None:
    entry.axis.axis = value.axis
    entry.axis.SetInParent()


def _write_axes(value: a.Axes, entry: graph_pb2.Node) -> None:
    entry.axes.axes.extend(value.axes)
    entry.axes.SetInParent()


def _write_cumulative(value: a.Cumulative, entry: graph_pb2.Node) -> None:
    entry.cumulative.axis, entry.cumulative.reverse = value.axis, value.reverse
    entry.cumulative.SetInParent()


def _write_search_sorted(value: a.SearchSorted, entry: graph_pb2.Node) -> None:
    entry.search_sorted.batch_dims, entry.search_sorted.right = value.batch_dims, value.right
    entry.search_sorted.SetInParent()


def _write_dot_general(value: a.DotGeneral, entry: graph_pb2.Node) -> None:
    message = entry.dot_general
    message.lhs_contract.extend(value.lhs_contract)
    message.rhs_contract.extend(value.rhs_contract)
    message.lhs_batch.extend(value.lhs_batch)
    message.rhs_batch.extend(value.rhs_batch)
    message.SetInParent()


def _read_dot_general(message: graph_pb2.DotGeneralAttributes) -> a.DotGeneral:
    return a.DotGeneral(
        tuple(message.lhs_contract), tuple(message.rhs_contract), tuple(message.lhs_batch), tuple(message.rhs_batch)
    )


def _write_gather(value: a.Gather, entry: graph_pb2.Node) -> None:
    entry.gather.batch_dims, entry.gather.offset_dims = value.batch_dims, value.offset_dims
    entry.gather.out_of_range = graph_pb2.OUT_OF_RANGE_ZERO if value.fill_zero else graph_pb2.OUT_OF_RANGE_NAN


def _read_gather(message: graph_pb2.GatherAttributes) -> a.Gather:
    if message.out_of_range not in (graph_pb2.OUT_OF_RANGE_NAN, graph_pb2.OUT_OF_RANGE_ZERO):
        raise GraphError(f"got {message.out_of_range}, expected NAN or ZERO", path="gather.out_of_range")
    zero = message.out_of_range == graph_pb2.OUT_OF_RANGE_ZERO
    return a.Gather(message.batch_dims, message.offset_dims, zero)


def _write_scatter(value: a.Scatter, entry: graph_pb2.Node) -> None:
    entry.scatter.batch_dims, entry.scatter.offset_dims = value.batch_dims, value.offset_dims
    entry.scatter.shape.extend(value.shape)
    entry.scatter.SetInParent()


def _read_scatter(message: graph_pb2.ScatterAttributes) -> a.Scatter:
    if any(length < 0 for length in message.shape[1:]) or any(length < ROWS for length in message.shape[:1]):
        raise GraphError(f"got shape {tuple(message.shape)}, expected lengths of at least 0", path="scatter.shape")
    return a.Scatter(message.batch_dims, message.offset_dims, tuple(message.shape))


def _write_triangular_solve(value: a.TriangularSolve, entry: graph_pb2.Node) -> None:
    message = entry.triangular_solve
    message.lower, message.transposed, message.unit_diagonal = value.lower, value.transposed, value.unit_diagonal
    message.SetInParent()


def _read_triangular_solve(message: graph_pb2.TriangularSolveAttributes) -> a.TriangularSolve:
    return a.TriangularSolve(message.lower, message.transposed, message.unit_diagonal)


def _write_windows(value: a.Windows, entry: graph_pb2.Node) -> None:
    entry.windows.kernel.extend(value.kernel)
    entry.windows.strides.extend(value.strides)
    entry.windows.dilations.extend(value.dilations)
    entry.windows.SetInParent()


def _read_windows(message: graph_pb2.WindowsAttributes) -> a.Windows:
    return a.Windows(tuple(message.kernel), tuple(message.strides), tuple(message.dilations))


def _write_overlap_add(value: a.OverlapAdd, entry: graph_pb2.Node) -> None:
    entry.overlap_add.strides.extend(value.strides)
    entry.overlap_add.dilations.extend(value.dilations)
    entry.overlap_add.shape.extend(value.shape)
    entry.overlap_add.SetInParent()


def _read_overlap_add(message: graph_pb2.OverlapAddAttributes) -> a.OverlapAdd:
    return a.OverlapAdd(tuple(message.strides), tuple(message.dilations), tuple(message.shape))


def _write_convolution(value: a.Convolution, entry: graph_pb2.Node) -> None:
    message = entry.convolution
    message.strides.extend(value.strides)
    message.low.extend(value.low)
    message.high.extend(value.high)
    message.dilations.extend(value.dilations)
    message.groups, message.batch_dims = value.groups, value.batch_dims


def _read_convolution(message: graph_pb2.ConvolutionAttributes) -> a.Convolution:
    lists = (message.strides, message.low, message.high, message.dilations)
    strides, low, high, dilations = (tuple(values) for values in lists)
    return a.Convolution(strides, low, high, dilations, message.groups, message.batch_dims)


def _write_rows(value: a.Rowwise, message: graph_pb2.Rows) -> None:
    message.row_axes, message.batched = value.row_axes, value.batched
    message.shared.extend(value.shared)


def _read_rows(message: graph_pb2.Rows) -> dict[str, Any]:
    return {"row_axes": message.row_axes, "shared": tuple(message.shared), "batched": message.batched}


def _write_cond(value: a.Cond, entry: graph_pb2.Node) -> None:
    _write_rows(value, entry.cond.rows)
    entry.cond.SetInParent()


def _write_scan(value: a.Scan, entry: graph_pb2.Node) -> None:
    message = entry.scan
    message.constants, message.carries, message.length = value.constants, value.carries, value.length
    message.reverse, message.counted, message.sums = value.reverse, value.counted, value.sums
    message.row_sums.extend(value.row_sums)
    message.snapshots = value.snapshots
    message.recorded.extend(value.recorded)
    _write_rows(value, message.rows)


def _read_scan(message: graph_pb2.ScanAttributes) -> a.Scan:
    return a.Scan(
        constants=message.constants,
        carries=message.carries,
        length=message.length,
        reverse=message.reverse,
        counted=message.counted,
        sums=message.sums,
        row_sums=tuple(message.row_sums),
        snapshots=message.snapshots,
        recorded=tuple(message.recorded),
        **_read_rows(message.rows),
    )


def _write_while(value: a.While, entry: graph_pb2.Node) -> None:
    message = getattr(entry, "while")
    message.condition_constants, message.body_constants = value.condition_constants, value.body_constants
    message.max_steps, message.counted = value.max_steps, value.counted
    message.recorded.extend(value.recorded)
    message.snapshots = value.snapshots
    _write_rows(value, message.rows)


def _read_while(message: graph_pb2.WhileAttributes) -> a.While:
    return a.While(
        condition_constants=message.condition_constants,
        body_constants=message.body_constants,
        max_steps=message.max_steps,
        counted=message.counted,
        recorded=tuple(message.recorded),
        snapshots=message.snapshots,
        **_read_rows(message.rows),
    )


def _write_replay(value: a.Replay, entry: graph_pb2.Node) -> None:
    message = entry.replay
    for name in _REPLAY_NUMBERS:
        setattr(message, name, getattr(value, name))
    message.taped.extend(value.taped)
    message.row_sums.extend(value.row_sums)
    _write_rows(value, message.rows)


def _read_replay(message: graph_pb2.ReplayAttributes) -> a.Replay:
    numbers = {name: getattr(message, name) for name in _REPLAY_NUMBERS}
    return a.Replay(**numbers, taped=tuple(message.taped), row_sums=tuple(message.row_sums), **_read_rows(message.rows))


_REPLAY_NUMBERS: Final = (
    "length",
    "snapshots",
    "forward_constants",
    "forward_carries",
    "forward_stacked",
    "constants",
    "carries",
    "reverse",
    "counted",
    "sums",
)

_Family = tuple[str, Callable[[Any, graph_pb2.Node], None], Callable[[Any], Attributes]]

_FAMILIES: Final[dict[type[Attributes], _Family]] = {
    a.Constant: ("constant", _write_constant, _read_constant),
    a.Iota: ("iota", _write_iota, _read_iota),
    a.Exponent: ("exponent", _write_exponent, lambda message: a.Exponent(message.exponent)),
    a.Order: ("order", _write_order, lambda message: a.Order(message.order)),
    a.Cast: ("dtype", _write_cast, lambda message: a.Cast(_dtype(message.dtype, "dtype.dtype"))),
    a.Shape: ("shape", _write_shape, lambda message: a.Shape(tuple(message.shape))),
    a.Permutation: ("permutation", _write_permutation, lambda message: a.Permutation(tuple(message.permutation))),
    a.Slice: ("slice", _write_slice, _read_slice),
    a.Pad: ("pad", _write_pad, _read_pad),
    a.Axis: ("axis", _write_axis, lambda message: a.Axis(message.axis)),
    a.Axes: ("axes", _write_axes, lambda message: a.Axes(tuple(message.axes))),
    a.Cumulative: ("cumulative", _write_cumulative, lambda message: a.Cumulative(message.axis, message.reverse)),
    a.SearchSorted: (
        "search_sorted",
        _write_search_sorted,
        lambda message: a.SearchSorted(message.batch_dims, message.right),
    ),
    a.DotGeneral: ("dot_general", _write_dot_general, _read_dot_general),
    a.Gather: ("gather", _write_gather, _read_gather),
    a.Scatter: ("scatter", _write_scatter, _read_scatter),
    a.TriangularSolve: ("triangular_solve", _write_triangular_solve, _read_triangular_solve),
    a.Windows: ("windows", _write_windows, _read_windows),
    a.OverlapAdd: ("overlap_add", _write_overlap_add, _read_overlap_add),
    a.Convolution: ("convolution", _write_convolution, _read_convolution),
    a.Cond: ("cond", _write_cond, lambda message: a.Cond(**_read_rows(message.rows))),
    a.Scan: ("scan", _write_scan, _read_scan),
    a.While: ("while", _write_while, _read_while),
    a.Replay: ("replay", _write_replay, _read_replay),
}
