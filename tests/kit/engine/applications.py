"""Ops applied to operands from their records' own test data: what all checks of ops start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradwire_engine.builder import GraphBuilder, result_types
from gradwire_engine.errors import GraphError
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.op import Case, Op
from gradwire_engine.types import DType, TensorType


@dataclass(frozen=True)
class Application:
    """An op, applied in one of its test cases, in one element type."""

    op: Op
    case: Case
    dtype: DType

    @cached_property
    def types(self) -> tuple[TensorType, ...]:
        """Types of the operands."""
        fixed = self.case.dtypes or (None,) * len(self.case.shapes)
        return tuple(
            TensorType(self.dtype if name is None else DType(name), shape)
            for shape, name in zip(self.case.shapes, fixed, strict=True)
        )

    @cached_property
    def graph(self) -> Graph:
        """The op alone."""
        builder = GraphBuilder()
        operands = [builder.input(f"x{i}", type) for i, type in enumerate(self.types)]
        if operands:
            return builder.finish(builder.emit_all(self.op, operands, self.case.attributes))
        return builder.finish(builder.emit_all(self.op, (), self.case.attributes))

    @property
    def floating(self) -> list[int]:
        """The results that have derivatives."""
        return [i for i, type in enumerate(self.graph.output_types) if type.dtype.is_floating]

    @property
    def varied(self) -> list[int]:
        """The operands that can be differentiated."""
        if not self.floating:
            return []
        return [i for i, type in enumerate(self.types) if type.dtype.is_floating]

    def operands(self, rng: np.random.Generator, rows: int | None = None) -> list[np.ndarray]:
        """Operands within the record's domains; with `rows`, stacks of them."""
        if rows is None:
            return [self._operand(i, rng) for i in range(len(self.types))]
        stacks = [[self._operand(i, rng) for _ in range(rows)] for i in range(len(self.types))]
        return [
            np.array(stack, dtype=type.dtype.numpy).reshape((rows, *type.shape))
            for stack, type in zip(stacks, self.types, strict=True)
        ]

    def _operand(self, index: int, rng: np.random.Generator) -> np.ndarray:
        type = self.types[index]
        if type.dtype is DType.BOOL:
            return np.asarray(rng.random(type.shape) < 0.5)
        if type.dtype.is_integer:
            return self._integers(index, rng)
        domains = self.op.tests.domains
        domain = domains[min(index, len(domains) - 1)]
        found = rng.uniform(domain.low, domain.high, type.shape)
        for point in domain.avoid:
            sign = np.where(found < point, -1.0, 1.0)
            found = np.where(np.abs(found - point) < domain.clearance, point + sign * domain.clearance * 1.5, found)
        if domain.ramp:
            found += np.eye(*type.shape[-2:]) * domain.ramp * np.arange(1, type.shape[-1] + 1)
        return np.asarray(found, dtype=type.dtype.numpy)

    def _integers(self, index: int, rng: np.random.Generator) -> np.ndarray:
        type = self.types[index]
        lengths = self._indexed_lengths() if self.case.dtypes and self.case.dtypes[index] else None
        if lengths is None:
            return rng.integers(-6, 7, type.shape).astype(type.dtype.numpy)
        columns = [rng.integers(-n, n, type.shape[:-1]) for n in lengths]  # negative ones count from the end
        return np.stack(columns, axis=-1).astype(type.dtype.numpy)

    def _indexed_lengths(self) -> tuple[int, ...] | None:
        """The lengths of the axes that an index operand points into."""
        attributes: Any = self.case.attributes
        if not hasattr(attributes, "offset_dims"):
            return None
        shape = attributes.shape if hasattr(attributes, "shape") else self.types[0].shape
        first = attributes.batch_dims + attributes.offset_dims
        return tuple(shape[first : first + self.types[1].shape[-1]])

    def __str__(self) -> str:
        return f"{self.op.name}({', '.join(map(str, self.types))}; {self.case.attributes})"


def applications(op: Op, kinds: str = "fib") -> Iterator[Application]:
    """Every case in every element type that the op takes, of the kinds f, i, b that are asked for."""
    for case in op.tests.cases:
        for dtype in DType:
            if dtype.numpy.kind in kinds and dtype.numpy.kind in op.tests.dtypes:
                application = Application(op, case, dtype)
                if accepts(application):
                    yield application
                if not case.shapes:
                    break  # without operands there is nothing to vary


def accepts(application: Application) -> bool:
    """Whether the type rule does."""
    try:
        result_types(application.op, application.case.attributes, application.types)
    except GraphError:
        return False
    return True


BY_DEFINITION = frozenset({"masked_multiply", "stop_gradient"})
"""Ops whose derivative is not that of their values, on purpose; they have tests of their own."""


def in_float64(op: Op) -> Iterator[Application]:
    """The cases whose derivative can be compared with the values, in float64."""
    for application in applications(op, "f"):
        everything = (*application.types, *application.graph.output_types)
        if (
            op.name not in BY_DEFINITION
            and application.varied
            and TensorType(DType.FLOAT32) not in [type.with_shape(()) for type in everything]
        ):
            yield application


def random(seed: int = 0) -> np.random.Generator:
    """The only source of chance."""
    return np.random.default_rng(seed)


def evaluated(op: Op, attributes: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    """The op's evaluation as the executor does it, as a list of arrays."""
    with np.errstate(all="ignore"):
        found = op.evaluate(attributes, *arrays)
    return [np.asarray(each) for each in (found if isinstance(found, tuple) else (found,))]


def directions(application: Application, rng: np.random.Generator) -> list[np.ndarray]:
    """A tangent for each varied operand."""
    return [np.asarray(rng.standard_normal(application.types[i].shape)) for i in application.varied]


def all_close(got: Sequence[Any], expected: Sequence[Any], tolerance: float, what: object) -> None:
    """As many arrays, each equal to `tolerance`."""
    for one, other in zip(got, expected, strict=True):
        close(one, other, tolerance, what)


def close(got: Any, expected: Any, tolerance: float, what: object) -> None:
    """Equal to `tolerance`, relative to the largest element."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: got shape {got.shape}, expected {expected.shape}"
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale, err_msg=str(what))


def random_like(types: Sequence[TensorType], rng: np.random.Generator) -> list[np.ndarray]:
    """Normally distributed numbers: cotangents of results, say."""
    return [np.asarray(rng.standard_normal(type.shape)) for type in types]


def differences(
    graph: Graph, varied: Sequence[int], operands: Sequence[np.ndarray], moves: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The derivatives of the floating-point outputs; zero where one is infinite, as the largest of no elements is."""
    executable = compile(graph)
    floating = [i for i, type in enumerate(graph.output_types) if type.dtype.is_floating]
    step = 1e-3

    def at(distance: float) -> list[np.ndarray]:
        moved = list(operands)
        for i, move in zip(varied, moves, strict=True):
            moved[i] = np.asarray(operands[i] + distance * move)
        outputs = executable.run(moved, 1)
        return [outputs[i] for i in floating]

    points = {k: at(k * step) for k in range(-3, 4)}

    def of(which: int) -> np.ndarray:
        finite = np.isfinite(points[0][which])
        # Six points: the error is of the order of step**6.
        near, middle, far = (
            np.subtract(points[k][which], points[-k][which], where=finite, out=np.zeros(finite.shape))
            for k in (1, 2, 3)
        )
        return np.where(finite, (45.0 * near - 9.0 * middle + far) / (60.0 * step), 0.0)

    return [of(which) for which in range(len(floating))]
