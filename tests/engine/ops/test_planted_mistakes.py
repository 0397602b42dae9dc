"""A test of the tests: every check fails on an op with a mistake of the kind that it is there for.

Each mistake is planted in the record of a real op, which passes the same check without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tests.kit.engine import oracles
from tests.kit.engine.checks import CHECKS, check_against

from gradwire_engine.errors import GraphError
from gradwire_engine.op import Bilinear, Jvp, Linear, Masked, Op, Partials, Tangents, Zero
from gradwire_engine.ops.table import OPS
from gradwire_engine.tangents import scale, sum_tangent
from gradwire_engine.types import DType, TensorType
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import broadcast_to, cos, erfcx, flip, sinc, slice_axis, true, where

TABLE = dict(OPS)
against_autograd = "another engine"


def check(name: str, op: Op) -> None:
    if name == against_autograd:
        check_against(oracles.oracle("autograd"), op)
    else:
        CHECKS[name](op)


@dataclass(frozen=True)
class Mistake:
    """What is wrong with an op, and the checks that must say so."""

    what: str
    op: Op
    caught_by: tuple[str, ...]


def with_evaluation(name: str, evaluate: Callable[..., Any]) -> Op:
    return replace(TABLE[name], evaluate=evaluate)


def with_partials(name: str, rule: Callable[..., tuple[Value | None, ...]]) -> Op:
    return replace(TABLE[name], derivative=Partials(rule))


def transposed_by(name: str, change: Callable[[Tangents], Tangents]) -> Op:
    """The op, with the results of its transpose rule changed."""
    rule = TABLE[name].derivative
    assert isinstance(rule, Linear | Bilinear)
    right = rule.transpose

    def transpose(attributes: Any, ct: Masked, operands: Sequence[Any], types: Sequence[TensorType]) -> Tangents:
        return change(right(attributes, ct, operands, types))

    return replace(TABLE[name], derivative=replace(rule, transpose=transpose))


def doubled(tangents: Tangents) -> Tangents:
    return [None if t is None else Masked(t.value * 2.0, t.mask) for t in tangents]


def unmasked(tangents: Tangents) -> Tangents:
    return [None if t is None else Masked(t.value) for t in tangents]


def all_known_to_be_zero(tangents: Tangents) -> Tangents:
    return [None if t is None else Masked(t.value, ~true(t.value.builder, t.value.shape)) for t in tangents]


def turned(tangents: Tangents) -> Tangents:
    return [None if t is None else Masked(flip(t.value, [len(t.value.shape) - 1])) for t in tangents]


def _windows_of_which_the_last_one_counts(attributes: Any, x: np.ndarray) -> np.ndarray:
    count = len(attributes.shape)
    first = x.ndim - 2 * count
    result = np.zeros((*x.shape[:first], *attributes.shape), dtype=x.dtype)
    for place in np.ndindex(*x.shape[first:]):
        position, element = place[:count], place[count:]
        at = [
            p * s + i * d
            for p, s, i, d in zip(position, attributes.strides, element, attributes.dilations, strict=True)
        ]
        result[(..., *at)] = x[(..., *place)]
    return result


def _weights_of_the_first_row(
    attributes: Any, operands: Sequence[Value], batched: Sequence[bool], size: int
) -> tuple[Value, ...]:
    x, w = operands
    if batched[1] and size == 3:
        w = broadcast_to(slice_axis(w, 0, 0, 1), w.shape)
    return TABLE["convolution"].batch(attributes, (x, w), batched, size)


def _writes_into_its_operand(_: Any, x: np.ndarray) -> np.ndarray:
    return np.negative(x, out=x)


def _writes_where_it_may(_: Any, x: np.ndarray) -> np.ndarray:
    return np.negative(x, out=x if x.flags.writeable else None)


def _not_on_the_rows_but_on_all(attributes: Any, x: np.ndarray) -> np.ndarray:
    """A softmax shifted by the peak of all rows: a NaN in one of them reaches the others."""
    powers = np.exp(x - np.max(x, initial=-np.inf))
    return np.asarray(powers / np.sum(powers, axis=attributes.axes, keepdims=True))


def _warns(_: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(all="warn"):
        return np.asarray(np.floor_divide(x, y))


def _raises_at_zero(_: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if np.any(y == 0):
        raise ZeroDivisionError
    return np.asarray(np.remainder(x, y))


def _half_precision(_: Any, x: np.ndarray) -> np.ndarray:
    return np.sin(x) if x.dtype == np.float64 else np.sin(x.astype(np.float16)).astype(x.dtype)


def _forgets_that_the_result_has_fewer_axes(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return (operands[0],)


def _takes_integers_too(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return (operands[0],)


def _takes_float64_only(attributes: Any, operands: Sequence[TensorType]) -> tuple[TensorType, ...]:
    if operands[0].dtype is DType.INT32:
        raise GraphError("no")
    return (operands[0].with_dtype(DType.FLOAT64),)


def _partials_evaluated_at_the_result(_: Any, x: Sequence[Value], r: Value) -> tuple[Value | None, ...]:
    return (cos(r),)


def _max_sharing_nothing(attributes: Any, operands: Any, results: Any, tangents: Any) -> Tangents:
    """The right tangent, without saying what was not selected."""
    (x,), (t,), axes = operands, tangents, attributes.axes
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    top = broadcast_to(results[0].emit("reshape", attributes=type_shape(shape)), x.shape)
    return [sum_tangent(Masked(where(x.equals(top), t.value, 0.0)), axes)]


def _only_the_first_result_moves(attributes: Any, operands: Any, results: Any, tangents: Any) -> Tangents:
    """The right tangent of the first result; the others are said not to move."""
    rule = TABLE["qr"].derivative
    assert isinstance(rule, Jvp)
    first, *others = rule.rule(attributes, operands, results, tangents)
    return [first, *[None for _ in others]]


def _last_result_of_the_first_row(attributes: Any, operands: Sequence[Value], batched: Any, size: int) -> Any:
    *first, last = operands[0].builder.emit_all("eigh", operands, attributes)
    return (*first, broadcast_to(slice_axis(last, 0, 0, 1), last.shape))


def _solved_with_the_same_matrix(attributes: Any, ct: Masked, operands: Any, types: Any) -> Tangents:
    return [None, Masked(operands[0].emit("solve", ct.value))]


def type_shape(shape: tuple[int, ...]) -> Any:
    return type(OPS["reshape"].tests.cases[0].attributes)(shape)


def _half_the_batch(attributes: Any, operands: Sequence[Value], batched: Sequence[bool], size: int) -> Any:
    """Repeats the operand even where it has the rows already, and keeps the first copy."""
    x, y = operands
    whole = [
        x if batched[0] else broadcast_to(x, (size, *x.shape)),
        y if batched[1] else broadcast_to(y, (size, *y.shape)),
    ]
    return (whole[0].emit("subtract", whole[1]),) if all(batched) else (whole[1].emit("subtract", whole[0]),)


def _axes_not_moved(attributes: Any, operands: Sequence[Value], batched: Sequence[bool], size: int) -> Any:
    return operands[0].builder.emit_all("flip", operands, attributes)


MISTAKES = (
    Mistake(
        "a result of another shape than the rule says",
        replace(TABLE["sum"], types=_forgets_that_the_result_has_fewer_axes),
        ("types",),
    ),
    Mistake(
        "element types that the record does not list", replace(TABLE["sin"], types=_takes_integers_too), ("types",)
    ),
    Mistake("a result of another element type", replace(TABLE["negative"], types=_takes_float64_only), ("types",)),
    Mistake(
        "test data without an empty operand",
        replace(TABLE["sin"], tests=replace(TABLE["sin"].tests, cases=TABLE["sin"].tests.cases[:2])),
        ("types",),
    ),
    Mistake(
        "it writes into a read-only operand",
        with_evaluation("negative", _writes_into_its_operand),
        ("operands unchanged",),
    ),
    Mistake(
        "it writes into its operand where it may",
        with_evaluation("negative", _writes_where_it_may),
        ("operands unchanged",),
    ),
    Mistake(
        "a partial derivative too large by a thousandth",
        with_partials("sin", lambda _, x, r: (cos(x[0]) * 1.001,)),
        ("jvp", against_autograd),
    ),
    Mistake(
        "a partial derivative with the wrong sign",
        with_partials("cosh", lambda _, x, r: (-x[0].emit("sinh"),)),
        ("jvp", against_autograd),
    ),
    Mistake(
        "a partial derivative at the wrong point",
        with_partials("sin", _partials_evaluated_at_the_result),
        ("jvp", against_autograd),
    ),
    Mistake(
        "partial derivatives in the wrong order",
        with_partials("divide", lambda _, x, r: (-(r / x[1]), 1.0 / x[1])),
        ("jvp", against_autograd),
    ),
    Mistake(
        "a partial derivative left out",
        with_partials("hypot", lambda _, x, r: (x[0] / r, None)),
        ("jvp", "masks", against_autograd),
    ),
    Mistake(
        "a derivative that skips an order of its family",
        with_partials("sinc", lambda a, x, r: (sinc(x[0], a.order + 2),)),
        ("jvp", against_autograd),
    ),
    Mistake(
        "a family that goes on with the wrong sign",
        with_partials("erfcx", lambda a, x, r: (erfcx(x[0], a.order + 1) * (1.0 if a.order % 2 == 0 else -1.0),)),
        ("jvp", "second order", against_autograd),
    ),
    Mistake("no derivative at all", replace(TABLE["exp"], derivative=Zero()), ("jvp", "masks", against_autograd)),
    Mistake(
        "a partial derivative in which a value counts as constant",
        with_partials("exp", lambda _, x, r: (r.emit("stop_gradient"),)),
        ("second order",),
    ),
    Mistake(
        "a partial derivative in another element type",
        with_partials(
            "sqrt", lambda _, x, r: (r.builder.constant(np.float64(0.5)) / r if not r.shape else r * 0.5 / (r * r),)
        ),
        ("derivative types",),
    ),
    Mistake(
        "a bilinear op with one factor only",
        replace(
            TABLE["multiply"],
            derivative=Bilinear(
                TABLE["multiply"].derivative.transpose,  # type: ignore[union-attr]
                lambda _, operands, index, t: scale(operands[0], t),
            ),
        ),
        ("jvp", against_autograd),
    ),
    Mistake("a transpose twice too large", transposed_by("sum", doubled), ("adjoint", against_autograd)),
    Mistake(
        "cotangents in the wrong order", transposed_by("subtract", lambda parts: list(reversed(parts))), ("adjoint",)
    ),
    Mistake(
        "a transposed contraction twice too large", transposed_by("dot_general", doubled), ("adjoint", against_autograd)
    ),
    Mistake(
        "a transposed convolution that does not turn the kernel round",
        transposed_by("convolution", turned),
        ("adjoint", against_autograd),
    ),
    Mistake(
        "windows that overwrite each other where they overlap",
        with_evaluation("overlap_add", _windows_of_which_the_last_one_counts),
        ("adjoint", against_autograd),
    ),
    Mistake(
        "a convolution of all rows with the weights of the first",
        replace(TABLE["convolution"], batch=_weights_of_the_first_row),
        ("batch",),
    ),
    Mistake(
        "a running sum transposed in its own direction",
        replace(
            TABLE["cumulative_sum"],
            derivative=Linear(
                None, lambda a, ct, operands, types: [Masked(ct.value.emit("cumulative_sum", attributes=a))]
            ),
        ),
        ("adjoint", against_autograd),
    ),
    Mistake(
        "a running maximum that moves with every element",
        replace(TABLE["cumulative_max"], derivative=Jvp(lambda a, operands, results, tangents: tangents)),
        ("jvp", "masks", against_autograd),
    ),
    Mistake("a transpose that loses what is known to be zero", transposed_by("reshape", unmasked), ("masks",)),
    Mistake("a transpose that knows too much to be zero", transposed_by("flip", all_known_to_be_zero), ("masks",)),
    Mistake(
        "a tangent that does not say what was not selected",
        replace(TABLE["max"], derivative=Jvp(_max_sharing_nothing)),
        ("masks",),
    ),
    Mistake(
        "a mask of the wrong elements",
        replace(TABLE["flip"], derivative=replace(TABLE["flip"].derivative, mask=lambda a, masks, operands: masks[0])),
        ("masks",),
    ),  # type: ignore[arg-type]
    Mistake(
        "a batch rule that mistakes which operand has the rows",
        replace(TABLE["subtract"], batch=_half_the_batch),
        ("batch",),
    ),
    Mistake("a batch rule that does not move the axes", replace(TABLE["flip"], batch=_axes_not_moved), ("batch",)),
    Mistake(
        "a result, of several, whose tangent is left out",
        replace(TABLE["qr"], derivative=Jvp(_only_the_first_result_moves)),
        ("jvp", "second order", "masks", against_autograd),
    ),
    Mistake(
        "a result, of several, of which all rows are the first one",
        replace(TABLE["eigh"], batch=_last_result_of_the_first_row),
        ("batch",),
    ),
    Mistake(
        "a system whose transpose is solved with the matrix as it is",
        replace(TABLE["solve"], derivative=replace(TABLE["solve"].derivative, transpose=_solved_with_the_same_matrix)),  # type: ignore[arg-type]
        ("adjoint", against_autograd),
    ),
    Mistake(
        "a factorisation that gives up on all rows because of one",
        with_evaluation("cholesky", lambda _, a: np.linalg.cholesky((a + np.swapaxes(a, -1, -2)) / 2)),
        ("total", "rows"),
    ),
    Mistake("an evaluation in half precision", with_evaluation("sin", _half_precision), ("float32",)),
    Mistake("an evaluation that warns", with_evaluation("floor_divide", _warns), ("total",)),
    Mistake("an evaluation that raises", with_evaluation("remainder", _raises_at_zero), ("total",)),
    Mistake("memory that the record does not mention", replace(TABLE["softmax"], scratch=0.0), ("scratch",)),
    Mistake("an evaluation that mixes rows", with_evaluation("softmax", _not_on_the_rows_but_on_all), ("rows",)),
)

PLANTED = [
    pytest.param(mistake, name, id=f"{mistake.what} - {name}") for mistake in MISTAKES for name in mistake.caught_by
]


@pytest.mark.parametrize(("mistake", "name"), PLANTED)
def test_it_is_caught(mistake: Mistake, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, TABLE[mistake.op.name])
    # Batch rules emit ops by name: the wrong op stands in the table while it is checked.
    monkeypatch.setattr("gradwire_engine.builder.OPS", TABLE | {mistake.op.name: mistake.op})
    with pytest.raises((AssertionError, ArithmeticError, RuntimeWarning, ValueError, GraphError)):
        check(name, mistake.op)


def test_every_check_catches_something() -> None:
    assert {name for mistake in MISTAKES for name in mistake.caught_by} == {*CHECKS, against_autograd}
