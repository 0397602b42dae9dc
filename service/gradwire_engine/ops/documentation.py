"""The table of ops as a page of text, from the records alone.

What an op computes, and what happens at its corners, is said in the wire contract (`proto/gradwire/v1/ops.proto`); here
stands what the engine does with it. `service/OPS.md` is this page; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from gradwire_engine.errors import GraphError
from gradwire_engine.op import (
    Bilinear,
    Case,
    Expansion,
    Jvp,
    Linear,
    Op,
    Partials,
    Refused,
    Structured,
    Zero,
)
from gradwire_engine.ops.table import OPS, OPSET
from gradwire_engine.types import DType, TensorType

_PREFACE: Final = f"""# The operations

Opset {OPSET}: {len(OPS)} operations, in the order of the table in
[ops/table.py](gradwire_engine/ops/table.py). This page is made from their records by `hatch run ops`; do not edit it.
What each one computes, and what happens at its corners, is in [ops.proto](../proto/gradwire/v1/ops.proto).

- **operands**: how many. **types**: element types of the operands whose type is not fixed: f float32 and float64,
  i int32 and int64, b bool. **attributes**: the record in [attributes.py](gradwire_engine/attributes.py), with fields.
- **example**: operands and result of the first test case; f is float64, i int64, b bool.
- **derivative**: *0*: piecewise constant. *partials*: a factor for each operand, element by element. *formula*: a JVP
  that is not element by element. *linear*, in all or some operands, and *bilinear*: with a transpose rule of its own.
  *expansion*: differentiated as simpler operations. *graphs*: by differentiating the graphs that it refers to.
  *refused*: it is gone before anything is differentiated. Reverse mode is the transpose of forward mode, without rules.
- **batch**: *stack*: the operation itself, on the stack of all rows. *rule*: a rule of its own.
- **flops**: for each element of the largest operand or result; *by shape*: a formula. **library**: what evaluates it.

"""

_HEADINGS: Final = (
    "operation", "operands", "types", "attributes", "example", "derivative", "batch", "flops", "library",
)  # fmt: skip


def page() -> str:
    """The page, in Markdown."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_row, OPS.values())]
    return _PREFACE + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(op: Op) -> tuple[str, ...]:
    return (
        f"`{op.name}`",
        "any" if op.subgraphs else "1 or more" if op.arity is None else str(op.arity),
        ", ".join(op.tests.dtypes) if op.arity != 0 and not op.subgraphs else "",
        _attributes(op),
        _example(op),
        _derivative(op),
        "stack" if op.batch.__qualname__.startswith("stacked.") else "rule" if op.arity != 0 else "",
        f"{op.flops:g}" if isinstance(op.flops, float | int) and not op.subgraphs else "by shape",
        op.library,
    )


def _attributes(op: Op) -> str:
    names = [field.name for field in fields(op.attributes)]
    return f"{op.attributes.__name__}: {', '.join(names)}" if names else ""


def _example(op: Op) -> str:
    if op.subgraphs or not op.tests.cases:
        return ""
    case = op.tests.cases[0]
    kind = "f" if "f" in op.tests.dtypes else op.tests.dtypes[0]
    operands = _operands(case, {"f": DType.FLOAT64, "i": DType.INT64, "b": DType.BOOL}[kind])
    try:
        results = op.types(case.attributes, operands)
    except GraphError:
        return ""
    return f"`({', '.join(map(_shown, operands))}) → {', '.join(map(_shown, results))}`"


def _operands(case: Case, dtype: DType) -> list[TensorType]:
    fixed = case.dtypes or (None,) * len(case.shapes)
    return [
        TensorType(dtype if name is None else DType(name), shape)
        for shape, name in zip(case.shapes, fixed, strict=True)
    ]


def _shown(type: TensorType) -> str:
    return str(type).replace("float64", "f").replace("int64", "i").replace("bool", "b")


def _derivative(op: Op) -> str:
    match op.derivative:
        case Zero():
            return "0"
        case Refused():
            return "refused"
        case Partials():
            return "partials"
        case Jvp():
            return "formula"
        case Linear(operands):
            return _linear(op, range(op.arity or 0) if operands is None else operands)
        case Bilinear():
            return "bilinear"
        case Expansion():
            return "expansion"
        case Structured():
            return "graphs"


def _linear(op: Op, operands: Sequence[int]) -> str:
    """In which operands, counted from 1; and whether the others are differentiated too."""
    if len(operands) == (op.arity or 0):
        return "linear"
    fixed = op.tests.cases[0].dtypes or (None,) * (op.arity or 0)
    varies = any(name is None for i, name in enumerate(fixed) if i not in operands)
    return f"{'formula, ' if varies else ''}linear in {' and '.join(str(1 + i) for i in operands)}"
