"""Requests as clients in other languages send them: every method and field of the contract, and every refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.duration_pb2 import Duration
from tests.recorded.cases import Case, numbers
from tests.recorded.exchanges import REQUEST_ID, STREAM, Sent
from tests.recorded.operations import FORWARD, evaluate, graph, jacobian, node, tensor, value

from gradwire.v1 import graph_pb2 as g
from gradwire.v1 import ops_pb2, program_pb2, service_pb2, tensor_pb2

Transform = program_pb2.Transform
X: Final = np.float64(0.5)
ROW: Final = numbers(3)


def program(g: g.Graph, *transforms: Transform, **fields: Any) -> program_pb2.Program:
    """A program of opset 1, unless said otherwise."""
    return program_pb2.Program(**{"opset": 1, "graph": g, "transforms": transforms, **fields})


def id_of(data: bytes) -> str:
    """A program's id."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def message(method: str, found: Any) -> Sent:
    """A message as a call."""
    return Sent(method, (found.SerializeToString(),))


def request(**fields: Any) -> Sent:
    """An EvaluateRequest, field by field."""
    return message("Evaluate", service_pb2.EvaluateRequest(**fields))


def digest_of(found: tensor_pb2.Tensor) -> bytes:
    """The digest of an inline tensor, as the contract defines it."""
    head = bytes([found.dtype, len(found.shape)]) + b"".join([n.to_bytes(8, "little") for n in found.shape])
    return hashlib.sha256(head + found.data).digest()


SINE = graph([value("x", X)], [node("sin", 0)], [1])
PRODUCT = graph([value("x", X), value("y", X)], [node("sin", 0), node("multiply", 0, 1), node("add", 2, 3)], [4])
WEIGHTED = graph(
    [value("x", ROW), value("w", ROW)],
    [node("multiply", 0, 1), node("sum", 2, axes=g.AxesAttributes(axes=[0])), node("greater", 0, 1)],
    [3, 2, 4],
)
_GRAD = Transform(grad=program_pb2.Grad(inputs=[0, 1], keep_value=True))


def broadcast(*shape: int) -> g.Node:
    return node("broadcast_to", 0, shape=g.ShapeAttributes(shape=shape))


def sums_of(*shape: int) -> g.Graph:
    """The sum of many copies of x."""
    axes = g.AxesAttributes(axes=range(len(shape)))
    return graph([value("x", X)], [broadcast(*shape), node("sum", 1, axes=axes)], [2])


def halving(max_steps: int) -> program_pb2.Program:
    """x halved until it is at most 1."""
    one = graph([value("x", X)], [node("constant", constant=g.ConstantAttributes(value=tensor(1.0)))], [1])
    one.nodes.append(node("greater", 0, 1))
    one.outputs[0].value = 2
    half = graph([value("x", X)], [node("constant", constant=g.ConstantAttributes(value=tensor(0.5)))], [2])
    half.nodes.append(node("multiply", 0, 1))
    loop = node("while", 0, subgraphs=[0, 1], **{"while": g.WhileAttributes(max_steps=max_steps)})
    return program(graph([value("x", X)], [loop], [1]), subgraphs=[one, half])


# What goes well


def _evaluations() -> dict[str, list[Sent]]:
    product, weighted = program(PRODUCT, _GRAD), program(WEIGHTED)
    xs, ws = numbers(4, 3), numbers(4, 3, seed=1)
    batch = service_pb2.Batch
    return {
        "one example": [evaluate(product, [X, X])],
        "rows": [evaluate(product, [numbers(5), numbers(5, seed=1)], batch=batch(rows=5))],
        "no rows": [evaluate(product, [np.zeros(0), np.zeros(0)], batch=batch(rows=0))],
        "shared inputs": [evaluate(weighted, [xs, ROW], batch=batch(rows=4, shared_inputs=[1]))],
        "summed outputs": [
            evaluate(weighted, [xs, ws], batch=batch(rows=4, summed_outputs=[0, 1])),
            evaluate(weighted, [xs, ROW], batch=batch(rows=4, summed_outputs=[0], shared_inputs=[1])),
            evaluate(weighted, [xs[:0], ROW], batch=batch(rows=0, summed_outputs=[0], shared_inputs=[1])),
        ],
        "outputs by index": [
            evaluate(weighted, [ROW, ROW], outputs=[1]),
            evaluate(weighted, [ROW, ROW], outputs=[2, 0]),
            evaluate(weighted, [ROW, ROW], outputs=[1, 1]),
            evaluate(weighted, [xs, ws], outputs=[2, 0], batch=batch(rows=4, summed_outputs=[0])),
        ],
        "options": [
            evaluate(product, [X, X], options=service_pb2.Options(executor=service_pb2.EXECUTOR_REFERENCE)),
            evaluate(product, [X, X], options=service_pb2.Options(executor=service_pb2.EXECUTOR_NATIVE)),
            evaluate(product, [X, X], options=service_pb2.Options(timeout=Duration(seconds=50))),
            evaluate(product, [X, X], options=service_pb2.Options(timeout=Duration())),
        ],
        "fields of a later version": [
            Sent("Evaluate", (evaluate(product, [X, X]).requests[0] + b"\xfa\x7f\x03new\x80\x7d\x01",)),
        ],
        "a request id of one's own": [
            Sent("Evaluate", evaluate(product, [X, X]).requests, ((REQUEST_ID, "mine-1"),)),
            Sent("Evaluate", evaluate(product, [X]).requests, ((REQUEST_ID, "mine-2"),)),
        ],
    }


def _programs_and_constants() -> dict[str, list[Sent]]:
    data = program(PRODUCT, _GRAD, snapshot_bytes=12345).SerializeToString()
    inputs = [tensor(X), tensor(X)]
    large = tensor(numbers(70, seed=9))
    digest = digest_of(large)
    sums = program(graph([value("x", numbers(70))], [node("sum", 0, axes=g.AxesAttributes(axes=[0]))], [1]))
    kept = tensor_pb2.Tensor(dtype=large.dtype, shape=large.shape, digest=digest)

    def total(*given: tensor_pb2.Tensor) -> Sent:
        return request(program=sums.SerializeToString(), inputs=given)

    return {
        "a program by its id": [
            message("Register", service_pb2.RegisterRequest(program=data)),
            request(program_id=id_of(data), inputs=inputs),
            request(program_id=id_of(data), program=data, inputs=inputs),
        ],
        "a program that is not known": [request(program_id=id_of(b"nothing"), inputs=inputs)],
        "a program under a wrong id": [request(program_id=id_of(b"nothing"), program=data, inputs=inputs)],
        "a program's id that is none": [request(program_id="sha1:123", inputs=inputs)],
        "neither program nor id": [request(inputs=inputs)],
        "a constant by its digest": [total(tensor_pb2.Tensor(**_fields(large), digest=digest)), total(kept)],
        "a constant that is not known": [
            total(tensor_pb2.Tensor(dtype=large.dtype, shape=large.shape, digest=hashlib.sha256(b"").digest())),
        ],
        "a constant under a wrong digest": [
            total(tensor_pb2.Tensor(**_fields(large), digest=hashlib.sha256(b"").digest())),
            total(tensor_pb2.Tensor(**_fields(large), digest=b"short")),
        ],
    }


def _fields(found: tensor_pb2.Tensor) -> dict[str, Any]:
    return {"dtype": found.dtype, "shape": found.shape, "data": found.data}


def _registered() -> dict[str, list[Sent]]:
    def register(found: program_pb2.Program, *layouts: service_pb2.Batch) -> Sent:
        return message("Register", service_pb2.RegisterRequest(program=found.SerializeToString(), layouts=layouts))

    batch = service_pb2.Batch
    vmapped = Transform(vmap=program_pb2.Vmap(size=4, in_axes=[0, -1], out_axes=[0, 1, 0]))
    return {
        "signature and cost": [register(program(PRODUCT)), register(program(PRODUCT, _GRAD))],
        "layouts": [
            register(program(WEIGHTED, snapshot_bytes=1), batch(shared_inputs=[1]), batch(summed_outputs=[0, 1])),
        ],
        "transforms": [
            register(program(WEIGHTED, vmapped)),
            register(program(WEIGHTED, jacobian([1], FORWARD))),
            register(program(PRODUCT, Transform(jvp=program_pb2.Jvp(inputs=[1])))),
            register(program(PRODUCT, Transform(vjp=program_pb2.Vjp(inputs=[1, 0])))),
        ],
        "a loop that ends when it likes": [register(halving(1000))],
        "a layout that does not fit": [
            register(program(WEIGHTED), batch(shared_inputs=[2])),
            register(program(WEIGHTED), batch(summed_outputs=[2])),
        ],
        "no program": [register(program_pb2.Program())],
    }


def _explained() -> dict[str, list[Sent]]:
    def explain(found: program_pb2.Program, *inputs: Any, seeds: Sequence[Any] = (), **fields: Any) -> Sent:
        given = service_pb2.ExplainRequest(
            program=found.SerializeToString(), inputs=map(tensor, inputs), seeds=map(tensor, seeds), **fields
        )
        return message("Explain", given)

    product, weighted = program(PRODUCT), program(WEIGHTED)
    forward, reverse = service_pb2.EXPLAIN_MODE_FORWARD, service_pb2.EXPLAIN_MODE_REVERSE
    logarithm = program(graph([value("x", X)], [node("log", 0), node("multiply", 1, 0), node("exp", 2)], [3, 2]))
    many = program(graph([value("x", X)], [node("sin", i) for i in range(50)], [50]))
    return {
        "forward": [explain(product, X, X, mode=forward), explain(weighted, ROW, ROW), explain(logarithm, 0.0)],
        "reverse": [
            explain(product, X, X, mode=reverse),
            explain(weighted, ROW, ROW, mode=reverse),
            explain(logarithm, 0.0, mode=reverse),
        ],
        "seeds": [
            explain(product, X, X, mode=forward, seeds=[1.0, -2.0]),
            explain(product, X, X, mode=reverse, seeds=[3.0]),
            explain(product, X, X, mode=reverse, seeds=[ROW]),
        ],
        "a loop": [explain(halving(9), 5.0), explain(halving(2), 5.0)],
        "transforms are refused": [explain(program(PRODUCT, _GRAD), X, X)],
        "a table that is too large": [explain(many, X)],
        "wrong inputs": [explain(product, X), explain(product, X, np.float32(1))],
        "an unknown mode": [explain(product, X, X, mode=service_pb2.ExplainMode.ValueType(7))],
    }


# Streams


def _streams() -> dict[str, list[Sent]]:
    def stream(*items: service_pb2.EvaluateStreamRequest) -> list[Sent]:
        return [Sent(STREAM, tuple([one.SerializeToString() for one in items]))]

    def item(id: int, sent: Sent) -> service_pb2.EvaluateStreamRequest:
        return service_pb2.EvaluateStreamRequest(id=id, evaluate=service_pb2.EvaluateRequest.FromString(*sent.requests))

    product = program(PRODUCT, _GRAD)
    good = evaluate(product, [X, X])
    # long enough for the second item to be read while the first one runs
    slow = program(
        graph(
            [value("x", ROW)], [node("scan", 0, subgraphs=[0], scan=g.ScanAttributes(carries=1, length=40_000))], [1]
        ),
        subgraphs=[graph([value("x", ROW)], [node("sin", 0)], [1])],
    )
    blob = service_pb2.Blob(digest=bytes(32), type=value("", ROW).type, data=tensor(ROW).data)
    return {
        "nothing": stream(),
        "evaluations": stream(
            *[
                item(7 * n, evaluate(product, [numbers(n), numbers(n)], batch=service_pb2.Batch(rows=n)))
                for n in (3, 1, 2)
            ]
        ),
        "items that fail alone": stream(
            item(1, good),
            item(2, evaluate(product, [X])),
            item(3, request(program_id=id_of(b"nothing"))),
            item(4, evaluate(halving(3), [np.array([2.0, 100.0, 3.0])], batch=service_pb2.Batch(rows=3))),
            item(5, evaluate(halving(3), [100.0])),
            item(6, good),
            service_pb2.EvaluateStreamRequest(id=8, blob=blob),
            service_pb2.EvaluateStreamRequest(id=9),
        ),
        "an id that is open already": stream(item(5, evaluate(slow, [ROW])), item(5, evaluate(slow, [ROW]))),
        "an item that is no message": [Sent(STREAM, (item(1, good).SerializeToString(), b"\xff\xff\xff"))],
    }


# What is refused


def _malformed() -> dict[str, list[Sent]]:
    good = evaluate(program(SINE), [X])
    (data,) = good.requests

    def with_input(found: tensor_pb2.Tensor) -> Sent:
        return request(program=program(SINE).SerializeToString(), inputs=[found])

    f64 = tensor_pb2.DTYPE_FLOAT64
    return {
        "no bytes": [Sent(method, (b"",)) for method in ("Evaluate", "Register", "Explain")],
        "truncated": [Sent("Evaluate", (data[:-3],)), Sent("Register", (data[:-3],)), Sent("Explain", (data[:-3],))],
        "bytes without meaning": [
            Sent(method, (hashlib.sha256(method.encode()).digest() * 3,))
            for method in ("Evaluate", "Register", "Explain")
        ],
        "a program without meaning": [
            request(program=b"\x00\xff" * 40),
            request(program=program(SINE).SerializeToString()[:-2]),
        ],
        "tensors of a wrong length": [
            with_input(tensor_pb2.Tensor(dtype=f64, data=bytes(4))),
            with_input(tensor_pb2.Tensor(dtype=f64, shape=[2], data=bytes(8))),
            with_input(tensor_pb2.Tensor(dtype=f64)),
        ],
        "tensors of no type or shape": [
            with_input(tensor_pb2.Tensor(data=bytes(8))),
            with_input(tensor_pb2.Tensor(dtype=tensor_pb2.DType.ValueType(77), data=bytes(8))),
            with_input(tensor_pb2.Tensor(dtype=f64, shape=[-1], data=b"")),
            with_input(tensor_pb2.Tensor(dtype=f64, shape=[1] * 17, data=bytes(8))),
            with_input(tensor_pb2.Tensor(dtype=f64, shape=[2**62, 2**62], data=b"")),
            with_input(tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_BOOL, data=b"\x02")),
        ],
    }


def _misfits() -> dict[str, list[Sent]]:
    sine, weighted = program(SINE), program(WEIGHTED)
    xs, batch = numbers(4, 3), service_pb2.Batch
    return {
        "inputs that do not fit": [
            evaluate(sine, []),
            evaluate(sine, [X, X]),
            evaluate(sine, [np.float32(1.0)]),
            evaluate(weighted, [numbers(2), np.int64(3)]),
        ],
        "batches that do not fit": [
            evaluate(weighted, [xs, ROW], batch=batch(rows=4)),
            evaluate(weighted, [xs, xs], batch=batch(rows=5)),
            evaluate(weighted, [ROW, ROW], batch=batch(rows=1)),
            evaluate(weighted, [xs, xs], batch=batch(rows=4, shared_inputs=[0, 7])),
            evaluate(weighted, [xs, xs], batch=batch(rows=4, shared_inputs=[1, 0])),
            evaluate(weighted, [xs, xs], batch=batch(rows=4, summed_outputs=[2])),
            evaluate(weighted, [xs, xs], batch=batch(rows=4, summed_outputs=[9])),
            evaluate(weighted, [xs, xs], batch=batch(rows=2**40)),
        ],
        "outputs that do not exist": [evaluate(weighted, [ROW, ROW], outputs=[3])],
        "rows whose loops do not end": [
            evaluate(halving(3), [np.array([2.0, 100.0, 3.0, 1e9])], batch=batch(rows=4)),
            evaluate(halving(3), [np.array([2.0, 100.0])], batch=batch(rows=2, summed_outputs=[0])),
            evaluate(halving(3), [100.0]),
        ],
        "answers that are too large": [
            evaluate(program(graph([value("x", X)], [broadcast(200_000)], [1])), [X]),
            evaluate(program(graph([value("x", X)], [broadcast(1000)], [1])), [np.zeros(200)], batch=batch(rows=200)),
        ],
        "programs that are too expensive": [
            evaluate(program(sums_of(10**6, 1000)), [X]),
            evaluate(program(sums_of(10**12)), [X]),
            evaluate(program(graph([value("x", X)], [broadcast(10**12)], [1])), [X]),
            evaluate(program(sums_of(10_000)), [np.zeros(20_000)], batch=batch(rows=20_000)),
            evaluate(program(sums_of(2**40, 2**40)), [X]),
        ],
    }


def _wrong_programs() -> dict[str, list[Sent]]:
    x, f32, n = value("x", X), value("x", np.float32(1)), value("n", np.int64(1))
    twice = node("add", 0, 0)

    def refused(inputs: Sequence[g.Value], *nodes: g.Node, outputs: Sequence[int] = (1,), **fields: Any) -> Sent:
        found = program(graph(inputs, nodes, outputs), **fields)
        return message("Register", service_pb2.RegisterRequest(program=found.SerializeToString()))

    def transformed(*transforms: Transform, of: g.Graph = WEIGHTED) -> Sent:
        found = program(of, *transforms).SerializeToString()
        return message("Register", service_pb2.RegisterRequest(program=found))

    deep = [graph([x], [node("sin", 0)], [1])]
    deep += [graph([x], [node("call", 0, subgraphs=[i])], [1]) for i in range(8)]
    wide = [value("x", numbers(2)), value("y", numbers(3))]
    unknown_op = g.Node(op=ops_pb2.Op.ValueType(9999), operands=[0])
    return {
        "opsets": [refused([x], twice, opset=0), refused([x], twice, opset=2)],
        "operations that do not exist": [refused([x], unknown_op), refused([x], g.Node(operands=[0]))],
        "values that do not exist": [
            refused([x], node("sin", 7)),
            refused([x], node("sin", 1)),
            refused([x], twice, outputs=[5]),
        ],
        "operands of wrong types": [
            refused(wide, node("add", 0, 1), outputs=[2]),
            refused([x, n], node("add", 0, 1), outputs=[2]),
            refused([n], node("sin", 0)),
            refused([x], node("add", 0)),
            refused([g.Value(name="x")], twice),
            refused([g.Value(name="x" * 300, type=x.type)], twice),
        ],
        "attributes that do not fit": [
            refused([x], node("sum", 0)),
            refused([x], node("sum", 0, axes=g.AxesAttributes(axes=[0]))),
            refused([x], node("sin", 0, axes=g.AxesAttributes(axes=[]))),
            refused([value("x", ROW)], node("reshape", 0, shape=g.ShapeAttributes(shape=[2, 2]))),
            refused([value("x", ROW)], node("broadcast_to", 0, shape=g.ShapeAttributes(shape=[-1]))),
            refused([value("x", ROW)], node("gather", 0, 0, gather=g.GatherAttributes())),
            refused([n], node("integer_pow", 0, exponent=g.ExponentAttributes(exponent=-1))),
            refused([x], node("polygamma", 0, order=g.OrderAttributes(order=101))),
        ],
        "graphs that do not fit": [
            refused([x], node("call", 0)),
            refused([x], node("call", 0, subgraphs=[0])),
            refused([x], node("while", 0)),
            refused([x], node("call", 0, subgraphs=[8]), subgraphs=deep),
            refused([f32], node("call", 0, subgraphs=[0]), subgraphs=deep[:1]),
            refused([x], node("call", 0, subgraphs=[0]), subgraphs=[graph([x], [node("call", 0, subgraphs=[0])], [1])]),
            refused(
                [x], node("while", 0, subgraphs=[0, 0], **{"while": g.WhileAttributes(max_steps=0)}), subgraphs=deep[:1]
            ),
        ],
        "transforms that do not fit": [
            transformed(Transform()),
            transformed(Transform(grad=program_pb2.Grad(inputs=[5]))),
            transformed(Transform(grad=program_pb2.Grad(inputs=[0, 0]))),
            transformed(Transform(grad=program_pb2.Grad(inputs=[0])), of=graph([value("x", ROW)], [twice], [1])),
            transformed(Transform(jvp=program_pb2.Jvp(inputs=[0])), of=graph([n], [twice], [1])),
            transformed(Transform(vmap=program_pb2.Vmap(size=2, in_axes=[0]))),
            transformed(Transform(vmap=program_pb2.Vmap(size=2, in_axes=[5, 0]))),
            transformed(Transform(vmap=program_pb2.Vmap(size=2, in_axes=[-1, -1], out_axes=[0]))),
            transformed(jacobian([0], 9)),
        ],
        "programs beyond the limits": [
            transformed(*[Transform(vmap=program_pb2.Vmap(size=1, in_axes=[0]))] * 9, of=SINE),
            refused([x], *[node("sin", 0)] * 6000),
            refused([value("x", np.zeros([1] * 17))], twice),
            Sent("Register", (service_pb2.RegisterRequest(program=bytes(300_000)).SerializeToString(),)),
        ],
    }


# Other services of the same server


def _others() -> dict[str, list[Sent]]:
    def health(service: bytes) -> Sent:
        return Sent("/grpc.health.v1.Health/Check", (b"\x0a" + bytes([len(service)]) + service if service else b"",))

    return {
        "health": [health(b""), health(b"gradwire.v1.GradientService"), health(b"another")],
        "reflection": [Sent("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", (b"\x3a\x00",))],
    }


CASES: Final = [
    Case(f"{kind}: {name}", requests=tuple(sent))
    for kind, found in (
        ("evaluate", _evaluations()),
        ("evaluate", _programs_and_constants()),
        ("register", _registered()),
        ("explain", _explained()),
        ("stream", _streams()),
        ("malformed", _malformed()),
        ("misfit", _misfits()),
        ("wrong program", _wrong_programs()),
        ("server", _others()),
    )
    for name, sent in found.items()
]
