"""One case for each operation of the table, as programs that any client could write: a graph of that one operation.

What an operation computes and its derivatives in both modes, for several rows at once. Operations of single elements
meet the corners too: both zeros, infinities, NaN, and numbers near the ends of the range.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from tests.recorded.cases import Case, definite, numbers, regular
from tests.recorded.exchanges import Sent

from gradwire.v1 import graph_pb2 as g
from gradwire.v1 import ops_pb2, program_pb2, service_pb2, tensor_pb2

DTYPES: Final = {
    np.dtype(np.float32): tensor_pb2.DTYPE_FLOAT32,
    np.dtype(np.float64): tensor_pb2.DTYPE_FLOAT64,
    np.dtype(np.int32): tensor_pb2.DTYPE_INT32,
    np.dtype(np.int64): tensor_pb2.DTYPE_INT64,
    np.dtype(np.bool_): tensor_pb2.DTYPE_BOOL,
}
FORWARD = program_pb2.JACOBIAN_MODE_FORWARD
REVERSE = program_pb2.JACOBIAN_MODE_REVERSE


def tensor(array: Any, **fields: Any) -> tensor_pb2.Tensor:
    """An array, inline."""
    found = np.asarray(array)
    return tensor_pb2.Tensor(dtype=DTYPES[found.dtype], shape=found.shape, data=found.tobytes(), **fields)


def value(name: str, array: Any, rows: bool = False) -> g.Value:
    """An input like this array, or like a row of it."""
    found = np.asarray(array)
    shape = found.shape[1:] if rows else found.shape
    return g.Value(name=name, type=tensor_pb2.TensorType(dtype=DTYPES[found.dtype], shape=shape))


def node(op: str, *operands: int, **fields: Any) -> g.Node:
    """A node of an operation by its name in the table."""
    return g.Node(op=ops_pb2.Op.Value(f"OP_{op.upper()}"), operands=operands, **fields)


def graph(inputs: Sequence[g.Value], nodes: Sequence[g.Node], outputs: Iterable[int]) -> g.Graph:
    """A graph whose outputs have no names."""
    return g.Graph(inputs=inputs, nodes=nodes, outputs=[g.Output(value=one) for one in outputs])


def jacobian(inputs: Sequence[int], mode: int) -> program_pb2.Transform:
    """All partial derivatives."""
    return program_pb2.Transform(
        jacobian=program_pb2.Jacobian(inputs=inputs, mode=program_pb2.JacobianMode.ValueType(mode))
    )


def evaluate(program: program_pb2.Program, inputs: Sequence[Any], **fields: Any) -> Sent:
    """A request to run a program."""
    message = service_pb2.EvaluateRequest(
        program=program.SerializeToString(), inputs=[tensor(one) for one in inputs], **fields
    )
    return Sent("Evaluate", (message.SerializeToString(),))


@dataclass(frozen=True)
class Application:
    """An operation on operands; each has rows in front."""

    operands: Sequence[np.ndarray]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    subgraphs: Sequence[g.Graph] = ()
    second: bool = False
    """Second derivatives too."""
    is_smooth: bool = True
    """It has derivatives."""
    also: Sequence[Sequence[np.ndarray]] = ()
    """Operands of other types, on which it is evaluated in the same graph."""

    def requests(self, op: str) -> list[Sent]:
        """Its value with a tangent by forward mode, and its derivatives by reverse mode."""
        varied = [i for i, one in enumerate(self.operands) if one.dtype.kind == "f"]
        if not varied or not self.is_smooth:
            return [self._request(op, [self.operands, *self.also])]
        found = [numbers(*self.operands[i].shape, seed=30 + i, dtype=self.operands[i].dtype) for i in varied]
        forward, reverse = program_pb2.Transform(jvp=program_pb2.Jvp(inputs=varied)), jacobian(varied, REVERSE)
        with_tangent = self._request(op, [self.operands, *self.also], found, forward)
        if self.second:
            return [with_tangent, self._request(op, [self.operands], found, forward, reverse)]
        return [with_tangent, self._request(op, [self.operands], [], reverse)]

    def _request(
        self,
        op: str,
        groups: Sequence[Sequence[np.ndarray]],
        more: Sequence[np.ndarray] = (),
        *transforms: program_pb2.Transform,
    ) -> Sent:
        """The operation on each group of operands, and what the transforms take besides."""
        operands = [one for group in groups for one in group]
        inputs = [value(f"x{i}", one, rows=True) for i, one in enumerate(operands)]
        nodes, place = [], 0
        for group in groups:
            taken = range(place, place + len(group))
            nodes.append(node(op, *taken, subgraphs=range(len(self.subgraphs)), **self.attributes))
            place += len(group)
        made = graph(inputs, nodes, range(place, place + len(groups) * self.outputs))
        program = program_pb2.Program(opset=1, graph=made, subgraphs=self.subgraphs, transforms=transforms)
        rows = len(operands[0]) if operands else 2
        return evaluate(program, [*operands, *more], batch=service_pb2.Batch(rows=rows))


# Operations of single elements

_FLOATS: Final = np.array([0.5, -1.5, 0.0, -0.0, 2.25, 1.0, -40.0, 1e300, np.inf, -np.inf, np.nan])
_PAIRS: Final = np.array(
    [
        *[(0.5, 2.25), (-1.5, 3.0), (3.0, -1.5), (2.0, 2.0), (0.0, 0.0), (-0.0, 1.0), (0.0, -1.0)],
        *[(np.inf, 1.0), (1.0, -np.inf), (np.nan, 1.0), (0.0, np.nan)],
    ]
).T
_INTEGERS: Final = np.array([7, -7, 0, 3, -(2**63), 2**63 - 1, 65, -1, 1, 2, -2])
_INTEGER_PAIRS: Final = np.array(
    [
        *[(7, 3), (-7, 3), (7, -3), (0, 0), (5, 0), (-(2**63), -1), (2**63 - 1, 2), (2, 70), (12, -18)],
        *[(-1, 63), (3, 4)],
    ]
).T
_BOOLS: Final = np.array([[False, False, True, True] * 3, [False, True, False, True] * 3])[:, :11]


def _words(text: str) -> list[str]:
    return text.split()


_UNARY: Final = _words(
    """reciprocal sqrt rsqrt cbrt exp exp2 expm1 log log1p log2 log10 expit softplus sin cos tan asin acos atan
    sinh cosh tanh asinh acosh atanh erf erfc gammaln gamma erfinv ndtri log_ndtr"""
)
_UNARY_OF_NUMBERS: Final = _words("negative square abs sign relu")
_BINARY: Final = _words("divide hypot atan2 heaviside logaddexp betaln xlogy xlog1py")
_BINARY_OF_NUMBERS: Final = _words("add subtract multiply pow remainder floor_divide maximum minimum")
_BINARY_OF_INTEGERS: Final = _words("bitwise_and bitwise_or bitwise_xor left_shift right_shift gcd")
_COMPARISONS: Final = _words("equal not_equal less less_equal greater greater_equal")
_OF_BOOLS: Final = _words("logical_and logical_or logical_xor")
_OF_ORDER: Final = _words("polygamma erfcx iv ive sinc exprel")
_ROUNDING: Final = _words("floor ceil round trunc")
_CLASSES: Final = _words("isnan isfinite isinf")


def _float32(*operands: np.ndarray) -> list[np.ndarray]:
    with np.errstate(over="ignore"):
        return [one.astype(np.float32) for one in operands]


def _elementwise() -> dict[str, list[Application]]:
    narrow, narrow_pairs = _float32(_FLOATS), _float32(*_PAIRS)
    integers = [_INTEGER_PAIRS, _INTEGER_PAIRS.astype(np.int32)]
    condition = np.arange(_PAIRS.shape[1]) % 3 == 0
    unary = [Application([_FLOATS], second=True, also=[narrow])]
    binary = [Application(_PAIRS, second=True, also=[narrow_pairs])]
    return {
        **dict.fromkeys(_UNARY, unary),
        **{name: [Application([_FLOATS], second=True, also=[narrow, [_INTEGERS]])] for name in _UNARY_OF_NUMBERS},
        **dict.fromkeys(_BINARY, binary),
        **{name: [Application(_PAIRS, second=True, also=[narrow_pairs, *integers])] for name in _BINARY_OF_NUMBERS},
        **{name: [Application(integers[0], also=integers[1:])] for name in _BINARY_OF_INTEGERS},
        **{name: [Application(_PAIRS, also=[*integers, _BOOLS])] for name in _COMPARISONS},
        **{name: [Application(_BOOLS)] for name in _OF_BOOLS},
        **{
            name: [
                Application([_FLOATS], {"order": g.OrderAttributes(order=order)}, second=order == 0, also=[narrow])
                for order in (0, 2)
            ]
            for name in _OF_ORDER
        },
        **{name: [Application([_FLOATS], also=[narrow])] for name in _ROUNDING},
        **{name: [Application([_FLOATS], also=[narrow])] for name in _CLASSES},
        "logical_not": [Application(_BOOLS[:1])],
        "random_bits": [Application(_INTEGER_PAIRS)],
        "stop_gradient": [Application([_FLOATS], also=[[_INTEGERS]])],
        "integer_pow": [
            *[Application([_FLOATS], {"exponent": g.ExponentAttributes(exponent=n)}, second=True) for n in (3, -2, 0)],
            Application([_INTEGERS], {"exponent": g.ExponentAttributes(exponent=5)}),
        ],
        "masked_multiply": [Application([*_PAIRS, condition, ~condition | (_PAIRS[1] > 0)], second=True)],
        "where": [Application([condition, *_PAIRS], second=True, also=[[condition, *_INTEGER_PAIRS]])],
        "astype": [
            Application([_FLOATS], {"dtype": g.DTypeAttributes(dtype=dtype)}, also=[[_INTEGERS], [condition]])
            for dtype in DTYPES.values()
        ],
    }


# Operations of arrays


def _of(attributes: dict[str, Any], *shapes: tuple[int, ...], dtype: Any = np.float64, **fields: Any) -> Application:
    """Operands of these shapes, two rows of each."""
    operands = [numbers(2, *shape, seed=seed + 1, dtype=dtype) for seed, shape in enumerate(shapes)]
    return Application(operands, attributes, **fields)


def _axes(*axes: int) -> dict[str, Any]:
    return {"axes": g.AxesAttributes(axes=axes)}


def _axis(axis: int) -> dict[str, Any]:
    return {"axis": g.AxisAttributes(axis=axis)}


def _shape(*shape: int) -> dict[str, Any]:
    return {"shape": g.ShapeAttributes(shape=shape)}


def _slice(start: Sequence[int], limit: Sequence[int], stride: Sequence[int]) -> dict[str, Any]:
    return {"slice": g.SliceAttributes(start=start, limit=limit, stride=stride)}


def _pad(low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> dict[str, Any]:
    return {"pad": g.PadAttributes(low=low, high=high, interior=interior)}


def _dot(*axes: Sequence[int]) -> dict[str, Any]:
    names = ("lhs_contract", "rhs_contract", "lhs_batch", "rhs_batch")
    return {"dot_general": g.DotGeneralAttributes(**dict(zip(names, axes, strict=False)))}


def _cumulative(axis: int, reverse: bool = False) -> dict[str, Any]:
    return {"cumulative": g.CumulativeAttributes(axis=axis, reverse=reverse)}


def _windows(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> dict[str, Any]:
    return {"windows": g.WindowsAttributes(kernel=kernel, strides=strides, dilations=dilations)}


def _indices(*shape: int, below: int, dtype: Any = np.int64) -> np.ndarray:
    """Two rows of positions: from the front, from the back, and beyond the end."""
    return (np.arange(2 * int(np.prod(shape))) * 5 % (2 * below + 2) - below).reshape(2, *shape).astype(dtype)


_TIES: Final = np.array([[2.0, -1.0, 2.0, 0.5], [np.nan, 1.0, -np.inf, np.nan]])
_INFINITE: Final = np.array([[-np.inf, -np.inf, -np.inf], [np.inf, 1.0, np.inf]])
_ZEROS: Final = np.array([[2.0, 0.0, -1.5, 3.0, 1.0], [0.0, 0.0, 2.0, 1.0, -1.0]])


def _reductions() -> dict[str, list[Application]]:
    plain = [_of(_axes(0, 2), (2, 3, 2)), _of(_axes(1), (2, 0))]
    whole = _of(_axes(1), (2, 3), dtype=np.int64)
    corners = [Application([one], _axes(0)) for one in (_TIES, _INFINITE)]
    bools = numbers(2, 2, 3) > 0
    along = [_of(_axis(1), (2, 3)), Application([_TIES], _axis(0)), _of(_axis(0), (5,), dtype=np.int32)]
    running = [_of(_cumulative(1, True), (2, 3)), Application([_ZEROS], _cumulative(0), second=True)]
    corner_runs = [Application([one], _cumulative(0)) for one in (_TIES, _INFINITE)]
    run_of_integers = _of(_cumulative(0, True), (4,), dtype=np.int64)
    return {
        **{name: [*plain, whole] for name in ("sum", "prod")},
        "prod": [*plain, whole, Application([_ZEROS], _axes(0), second=True)],
        **{name: [*plain, whole, *corners] for name in ("max", "min")},
        **{name: [*plain, *corners] for name in ("logsumexp", "softmax", "log_softmax", "norm")},
        **{name: [Application([bools], _axes(1)), Application([bools], _axes(0, 1))] for name in ("any", "all")},
        **dict.fromkeys(("argmax", "argmin"), along),
        "argsort": [*along, Application([bools], _axis(0))],
        **{name: [*running, run_of_integers] for name in ("cumulative_sum", "cumulative_prod")},
        **{name: [*running, run_of_integers, *corner_runs] for name in ("cumulative_max", "cumulative_min")},
        "cumulative_logsumexp": [*running, *corner_runs],
    }


def _shapes() -> dict[str, list[Application]]:
    one = np.array(2.5)
    bools = numbers(2, 2, 3) > 0
    return {
        "broadcast_to": [_of(_shape(2, 3), ()), _of(_shape(4, 2, 3), (2, 1)), Application([bools], _shape(2, 2, 3))],
        "reshape": [_of(_shape(3, 2), (2, 3)), _of(_shape(), (1,)), _of(_shape(0, 3), (3, 0))],
        "permute_dims": [
            _of({"permutation": g.PermutationAttributes(permutation=[2, 0, 1])}, (2, 3, 2)),
            Application([bools], {"permutation": g.PermutationAttributes(permutation=[1, 0])}),
        ],
        "slice": [_of(_slice([1, 0], [7, 2], [2, 1]), (7, 3)), _of(_slice([2], [2], [1]), (4,), dtype=np.int32)],
        "concat": [
            _of(_axis(0), (2,), (3,)),
            _of(_axis(1), (2, 1), (2, 3), (2, 0)),
            _of(_axis(0), (2,), dtype=np.int64),
        ],
        "pad": [
            _of(_pad([0, 1], [1, 0], [2, 1]), (2, 3), ()),
            Application([bools, one > np.zeros(2)], _pad([1, 0], [0, 1], [0, 0])),
        ],
        "flip": [_of(_axes(0, 1), (2, 3)), Application([bools], _axes(1))],
        "constant": [
            Application([], {"constant": g.ConstantAttributes(value=tensor(array))})
            for array in (numbers(2, 3), np.float32([np.nan, -0.0]), np.array([2**62, -1]), bools[0], np.int32(7))
        ],
        "iota": [
            Application([], {"iota": g.IotaAttributes(dtype=DTYPES[np.dtype(dtype)], shape=[2, 3], axis=axis)})
            for dtype, axis in ((np.float64, 0), (np.float32, 1), (np.int64, 1), (np.int32, 0))
        ],
    }


def _contractions_and_indexing() -> dict[str, list[Application]]:
    zero, nan = g.OUT_OF_RANGE_ZERO, g.OUT_OF_RANGE_NAN

    def gather(batch: int, offset: int, out_of_range: int) -> dict[str, Any]:
        found = g.GatherAttributes(
            batch_dims=batch, offset_dims=offset, out_of_range=g.OutOfRange.ValueType(out_of_range)
        )
        return {"gather": found}

    def scatter(batch: int, offset: int, *shape: int) -> dict[str, Any]:
        return {"scatter": g.ScatterAttributes(batch_dims=batch, offset_dims=offset, shape=shape)}

    def sorted_search(batch: int, right: bool) -> dict[str, Any]:
        return {"search_sorted": g.SearchSortedAttributes(batch_dims=batch, right=right)}

    def convolution(strides: Sequence[int], low: Sequence[int], high: Sequence[int], groups: int = 1) -> dict[str, Any]:
        ones = [1] * len(strides)
        found = g.ConvolutionAttributes(strides=strides, low=low, high=high, dilations=ones, groups=groups)
        return {"convolution": found}

    def overlap(strides: Sequence[int], dilations: Sequence[int], *shape: int) -> dict[str, Any]:
        return {"overlap_add": g.OverlapAddAttributes(strides=strides, dilations=dilations, shape=shape)}

    tables = np.sort(numbers(2, 5), axis=-1)
    tables[1, 4] = np.nan
    return {
        "dot_general": [
            _of(_dot([1], [0]), (2, 3), (3, 4)),
            _of(_dot([2], [0], [0], [1]), (3, 2, 3), (3, 3, 2)),
            _of(_dot([], []), (2,), (3,)),
            _of(_dot([0], [0]), (3,), (3,), dtype=np.float32),
            _of(_dot([1], [0]), (2, 3), (3, 2), dtype=np.int64),
        ],
        "gather": [
            Application([numbers(2, 5, 2), _indices(4, 1, below=5)], gather(0, 0, nan)),
            Application([numbers(2, 3, 2, 4), _indices(3, 2, 1, below=4, dtype=np.int32)], gather(1, 1, zero)),
            Application([numbers(2, 5) > 0, _indices(4, 1, below=5)], gather(0, 0, nan)),
        ],
        "scatter_add": [
            Application([numbers(2, 2, 3), _indices(3, 1, below=5)], scatter(0, 1, 2, 5)),
            Application([numbers(2, 3, dtype=np.int64), _indices(3, 1, below=4)], scatter(0, 0, 4)),
        ],
        "searchsorted": [
            Application([tables, numbers(2, 6, seed=2)], sorted_search(0, False)),
            Application([np.stack([tables, tables]), np.stack([tables, tables])], sorted_search(1, True)),
        ],
        "windows": [
            _of(_windows([3], [1], [1]), (5,)),
            _of(_windows([2, 2], [1, 2], [2, 1]), (3, 4)),
            Application([numbers(2, 2, 3) > 0], _windows([2], [1], [1])),
        ],
        "overlap_add": [_of(overlap([1], [1], 5), (3, 3)), _of(overlap([2], [1], 5), (2, 2), dtype=np.int32)],
        "convolution": [
            _of(convolution([1], [1], [0]), (2, 2, 5), (3, 2, 2)),
            _of(convolution([2, 1], [0, 1], [1, 0]), (1, 1, 4, 3), (2, 1, 2, 2)),
            _of(convolution([1], [0], [0], 2), (1, 4, 4), (2, 2, 3)),
        ],
    }


def _linear_algebra() -> dict[str, list[Application]]:
    singular = np.array([[[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]], [[np.inf, 1, 0], [0, 1, 0], [0, 0, 1]]])
    mixed = np.concatenate([regular(1, 3, 3), singular])
    small, wide, tall, stack = [regular(2, *shape, seed=4) for shape in ((2, 2), (1, 2), (3, 2), (2, 2, 2))]

    def triangular(lower: bool, transposed: bool, unit_diagonal: bool) -> dict[str, Any]:
        found = g.TriangularSolveAttributes(lower=lower, transposed=transposed, unit_diagonal=unit_diagonal)
        return {"triangular_solve": found}

    flags = ((True, False, False), (False, True, False), (True, True, True))
    return {
        "cholesky": [
            Application([one]) for one in (np.concatenate([definite(1, 3, 3), singular]), definite(2, 2, 2, 2))
        ],
        "triangular_solve": [Application([regular(2, 3, 3), numbers(2, 3, 1)], triangular(*one)) for one in flags],
        "solve": [Application([mixed, numbers(3, 3, 1)]), Application([stack, numbers(2, 2, 2, 1)])],
        "det": [Application([mixed], second=True), Application([stack])],
        "cofactors": [Application([mixed])],
        "cofactors_along": [Application([mixed, numbers(3, 3, 3, seed=5)])],
        "slogdet": [Application([one], outputs=2) for one in (mixed, stack)],
        "qr": [Application([one], outputs=2) for one in (small, wide, tall)],
        "eigh": [Application([one], outputs=2) for one in (definite(2, 3, 3), definite(2, 2, 2, 2))],
        "svd": [Application([one], outputs=3) for one in (small, wide, tall)],
        "pinv": [Application([one, np.full(len(one), 1e-12)]) for one in (mixed, tall)],
    }


# Operations that refer to graphs

_F64: Final = tensor_pb2.TensorType(dtype=tensor_pb2.DTYPE_FLOAT64)


def _named(*names: str) -> list[g.Value]:
    return [g.Value(name=name, type=_F64) for name in names]


def _control_flow() -> dict[str, list[Application]]:
    x, y = np.array([0.5, -1.25, 3.0]), np.array([2.0, 0.75, -0.5])
    product = graph(_named("a", "b"), [node("sin", 0), node("multiply", 2, 1)], [3, 2])
    total = graph(_named("a", "b"), [node("add", 0, 1), node("exp", 1)], [2, 3])
    # (constant, carry, entry) -> (carry, y, term): carry * constant + entry, its square, and the entry times the carry
    step = graph(
        _named("k", "c", "e"),
        [node("multiply", 1, 0), node("add", 3, 2), node("square", 4), node("multiply", 2, 1)],
        [4, 5, 6],
    )
    below = graph(_named("limit", "c"), [node("less", 1, 0)], [2])
    twice = graph(_named("k", "c"), [node("multiply", 1, 0)], [2])
    entries = numbers(3, 4)
    loop = {"condition_constants": 1, "body_constants": 1, "max_steps": 6, "counted": True}
    scan = {"constants": 1, "carries": 1, "length": 4, "sums": 1}
    return {
        "call": [Application([x, y], outputs=2, subgraphs=[product])],
        "checkpoint": [Application([x, y], outputs=2, subgraphs=[product], second=True)],
        "cond": [Application([x > 0, x, y], {"cond": g.CondAttributes()}, 2, [total, product], second=True)],
        "scan": [
            Application([x, y, entries], {"scan": g.ScanAttributes(**scan)}, 3, [step], second=True),
            Application([x, y, entries], {"scan": g.ScanAttributes(**scan, reverse=True)}, 3, [step]),
            Application(
                [np.array([4, 0, 2]), x, y, entries], {"scan": g.ScanAttributes(**scan, counted=True)}, 3, [step]
            ),
        ],
        "while": [
            Application(
                [np.array([9.0, 1.0, 30.0]), np.array([2.0, 3.0, 1.5]), np.array([0.5, 2.0, 1.0])],
                {"while": g.WhileAttributes(**loop, recorded=[0])},
                3,
                [below, twice],
                second=True,
            ),
        ],
        "replay": [Application([x], {"replay": g.ReplayAttributes(length=1)}, 1, [product, product], is_smooth=False)],
        "barrier": [Application([x], is_smooth=False)],
    }


OPERATIONS: Final = {
    **_elementwise(),
    **_reductions(),
    **_shapes(),
    **_contractions_and_indexing(),
    **_linear_algebra(),
    **_control_flow(),
}
"""By the name in the table."""

CASES: Final = [
    Case(f"op {name}", requests=tuple([sent for one in found for sent in one.requests(name)]), any_order=True)
    for name, found in OPERATIONS.items()
]
