"""What must hold for every op, as functions of its record.

`test_ops` applies them to the table; `test_planted_mistakes` applies them to records with a wrong rule and expects each
to fail. A check raises AssertionError, or lets an exception of the engine through. Nothing here knows the ops one by
one: operands come from a record's own test data.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tests.kit.engine.applications import (
    BY_DEFINITION,
    Application,
    accepts,
    all_close,
    applications,
    differences,
    directions,
    evaluated,
    in_float64,
    random,
    random_like,
)
from tests.kit.engine.mask_checks import check_masks
from tests.kit.engine.oracles import Oracle

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.graph import Graph
from gradwire_engine.op import Bilinear, Linear, Op
from gradwire_engine.program import Layout
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import vjp
from gradwire_engine.transforms.transpose import transpose
from gradwire_engine.transforms.vmap import batch, vmap
from gradwire_engine.types import DType, TensorType

# Types


def check_types(op: Op) -> None:
    """The type rule says what numpy returns, and takes exactly the element types that the record lists."""
    taken = set()
    for case in op.tests.cases:
        for dtype in DType:
            application = Application(op, case, dtype)
            if accepts(application):
                taken.add(dtype.numpy.kind)
                expected = application.graph.output_types
                found = evaluated(op, case.attributes, *application.operands(random()))
                assert [TensorType.of(each) for each in found] == list(expected), str(application)
    if any(case.shapes for case in op.tests.cases):
        assert taken == set(op.tests.dtypes)
    sizes = [type.elements for a in applications(op) for type in a.types]
    if sizes and op.arity:
        assert 0 in sizes, "no case is empty"
        assert 1 in sizes, "no case has one element"


def check_operands_unchanged(op: Op) -> None:
    """Operands may be read-only and strided, and are not written to."""
    for application in applications(op):
        operands = application.operands(random())
        for operand in operands:
            operand.flags.writeable = False
        expected = evaluated(op, application.case.attributes, *operands)
        strided = [np.stack([operand, operand], axis=-1)[..., 0] for operand in operands]
        copies = [operand.copy() for operand in strided]
        found = evaluated(op, application.case.attributes, *strided)
        all_close(found, expected, 1e-6 if application.dtype is DType.FLOAT32 else 1e-13, application)
        for operand, copy in zip(strided, copies, strict=True):
            np.testing.assert_array_equal(operand, copy, err_msg=f"{application} changed an operand")


# Derivatives


def check_jvp(op: Op) -> None:
    """Forward mode against central differences of fourth order."""
    for application in in_float64(op):
        rng = random()
        operands, moves = application.operands(rng), directions(application, rng)
        values, tangents = _pushed(application, operands, moves)
        for value, expected in zip(values, compile(application.graph).run(operands, 1), strict=True):
            np.testing.assert_array_equal(value, expected)
        all_close(tangents, differences(application.graph, application.varied, operands, moves), 2e-7, application)


def _pushed(
    application: Application, operands: Sequence[np.ndarray], moves: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The results, and the tangents of the floating-point ones."""
    found = compile(jvp(application.graph, application.varied)).run([*operands, *moves], 1)
    results = len(application.graph.outputs)
    return found[:results], found[results:]


def _pulled(
    application: Application, operands: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The gradients by the varied operands, from weights of the floating-point results."""
    found = compile(vjp(application.graph, application.varied)).run([*operands, *weights], 1)
    return found[len(application.graph.outputs) :]


def _weights(application: Application, rng: np.random.Generator) -> list[np.ndarray]:
    """A cotangent for each floating-point result."""
    return random_like([application.graph.output_types[i] for i in application.floating], rng)


def check_adjoint(op: Op) -> None:
    """<u, J v> = <Jᵀ u, v>, to rounding: reverse mode is the transpose of forward mode.

    The same for the op's own transpose rule, if it has one: derivative rules need not emit the op itself.
    """
    for application in in_float64(op):
        rng = random(1)
        operands, moves = application.operands(rng), directions(application, rng)
        tangents, weights = _pushed(application, operands, moves)[1], _weights(application, rng)
        gradients = _pulled(application, operands, weights)
        for gradient, i in zip(gradients, application.varied, strict=True):
            assert gradient.shape == application.types[i].shape, str(application)
        products = [(gradient * move).ravel() for gradient, move in zip(gradients, moves, strict=True)]
        products += [-(weight * tangent).ravel() for weight, tangent in zip(weights, tangents, strict=True)]
        size = sum(np.sum(np.abs(product)) for product in products)
        assert abs(sum(np.sum(product) for product in products)) <= 1e-13 * max(1.0, size), str(application)
    for application in applications(op, "f"):
        if application.dtype is DType.FLOAT64 and application.varied and op.name not in BY_DEFINITION:
            _check_own_transpose(application)


def _check_own_transpose(application: Application) -> None:
    rule = application.op.derivative
    if isinstance(rule, Bilinear):
        groups = [[0], [1]]
    elif isinstance(rule, Linear):
        groups = [[*range(len(application.types))] if rule.operands is None else [*rule.operands]]
    else:
        return
    rng = random(9)
    for group in groups:
        operands = application.operands(rng)
        result = evaluated(application.op, application.case.attributes, *operands)[0]
        builder = GraphBuilder()
        order = [i for i in range(len(operands)) if i not in group] + group
        values = {i: builder.input("x", application.types[i]) for i in order}
        node = [values[i] for i in range(len(operands))]
        linear = builder.finish(builder.emit_all(application.op, node, application.case.attributes))
        weights = np.asarray(rng.standard_normal(result.shape)).astype(result.dtype)
        known = [operands[i] for i in order if i not in group]
        pulled = compile(transpose(linear, len(known))).run([*known, weights], 1)
        terms = [(x * operands[i]).ravel() for x, i in zip(pulled, group, strict=True)]
        difference = np.sum(weights * result) - sum(np.sum(term) for term in terms)
        tolerance = 1e-6 if result.dtype == np.float32 else 1e-13
        scale = max(1.0, float(np.sum(np.abs(np.concatenate(terms)))))
        assert abs(difference) <= tolerance * scale, f"{application}, transposed in {group}"


def check_second_order(op: Op) -> None:
    """Forward mode over reverse mode against differences of gradients."""
    for application in in_float64(op):
        rng = random(2)
        operands, moves = application.operands(rng), directions(application, rng)
        weights = _weights(application, rng)
        pulled = vjp(application.graph, application.varied)
        gradients = Graph(pulled.inputs, pulled.nodes, pulled.outputs[len(application.graph.outputs) :])
        found = compile(jvp(gradients, application.varied)).run([*operands, *weights, *moves], 1)
        expected = differences(gradients, application.varied, [*operands, *weights], moves)
        all_close(found[len(gradients.outputs) :], expected, 2e-7, application)


def check_derivative_types(op: Op) -> None:
    """In either floating-point type, derivatives have the type of what they are derivatives of."""
    for application in applications(op, "f"):
        graph, varied = application.graph, application.varied
        if varied:
            floating = tuple(graph.output_types[i] for i in application.floating)
            assert jvp(graph, varied).output_types == graph.output_types + floating
            wanted = graph.output_types + tuple(application.types[i] for i in varied)
            assert vjp(graph, varied).output_types == wanted


# Batches


def check_batch(op: Op) -> None:
    """Rows at once are the rows one by one: statically, and with the length left open; whichever operands have rows."""
    for application in applications(op):
        if application.dtype in (DType.FLOAT32, DType.INT32):
            continue
        count = len(application.types)
        for batched in itertools.product((False, True), repeat=count):
            for rows in (3, 1, 0) if any(batched) else ():
                rng = random(4)
                stacks, single = application.operands(rng, rows), application.operands(rng)
                inputs = [stack if has else one for stack, one, has in zip(stacks, single, batched, strict=True)]
                expected = _row_by_row(application, inputs, batched, rows)
                what = f"{application}, rows of {batched}"
                in_axes = [0 if has else -1 for has in batched]
                all_close(compile(vmap(application.graph, rows, in_axes)).run(inputs, 1), expected, 1e-13, what)
                shared = tuple(i for i, has in enumerate(batched) if not has)
                graph = batch(application.graph, Layout(shared_inputs=shared))
                all_close(compile(graph).run(inputs, rows), expected, 1e-13, what)


def _row_by_row(
    application: Application, inputs: Sequence[np.ndarray], batched: Sequence[bool], rows: int
) -> list[np.ndarray]:
    stacks = [np.empty((rows, *type.shape), dtype=type.dtype.numpy) for type in application.graph.output_types]
    for row in range(rows):
        operands = [x[row] if has else x for x, has in zip(inputs, batched, strict=True)]
        results = evaluated(application.op, application.case.attributes, *map(np.asarray, operands))
        for stack, result in zip(stacks, results, strict=True):
            stack[row] = result
    return stacks


# Accuracy and totality


def check_float32(op: Op) -> None:
    """A float32 evaluation is within the record's ulps of the float64 one, on the same numbers."""
    for application in applications(op, "f"):
        if application.dtype is DType.FLOAT32 and DType.FLOAT32 in [t.dtype for t in application.graph.output_types]:
            for seed in range(5):
                error = float32_error(application, application.operands(random(seed)))
                assert error <= op.tests.ulps, f"{application}: {error} ulps"


def float32_error(application: Application, operands: Sequence[np.ndarray]) -> float:
    """In ulps of each element; where elements are sums, of the terms: cancellation is not an error of the op."""
    wide = [x.astype(np.float64) if x.dtype == np.float32 else x for x in operands]
    attributes = application.case.attributes
    results = zip(
        evaluated(application.op, attributes, *operands), evaluated(application.op, attributes, *wide), strict=True
    )
    return max(_ulps(application, got, expected, wide) for got, expected in results if got.dtype == np.float32)


def _ulps(application: Application, got: np.ndarray, expected: np.ndarray, wide: Sequence[np.ndarray]) -> float:
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    got, expected = got[finite].astype(np.float64), expected[finite]
    size = np.abs(expected)
    if not application.op.elementwise:
        largest = [np.max(np.abs(x), initial=0.0) for x in wide if x.dtype.kind == "f"]
        size = np.maximum(np.max(size, initial=0.0), np.prod(largest))
    return float(np.max(np.abs(got - expected) / np.spacing(np.asarray(size, dtype=np.float32)), initial=0.0))


_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, np.inf, -np.inf, np.nan)
_EXTREME = {
    DType.FLOAT64: (*_FLOATS, 1e308, -1e308, 5e-324, 2.2250738585072014e-308, 1e16),
    DType.FLOAT32: (*_FLOATS, 3e38, -3e38, 1e-45, 1.1754944e-38, 1e8),
    DType.INT32: (0, 1, -1, 2, 7, -(2**31), 2**31 - 1),
    DType.INT64: (0, 1, -1, 2, 7, 2**31, -(2**63), 2**63 - 1),
    DType.BOOL: (False, True),
}


def extreme_operands(application: Application, rng: np.random.Generator, rows: int) -> list[np.ndarray]:
    """Rows of operands made of the numbers at which arithmetic is special; indices out of range among them."""
    return [
        rng.choice(np.array(_EXTREME[type.dtype], dtype=type.dtype.numpy), (rows, *type.shape))
        for type in application.types
    ]


def check_total(op: Op) -> None:
    """Every op, and its derivatives, have a result for every operand: no exception, no warning, the right type."""
    for application in applications(op):
        rows = 200 if op.elementwise else 20
        operands = extreme_operands(application, random(5), rows)
        for graph, seeds in _with_derivatives(application, rows):
            batched = batch(graph, Layout())
            found = compile(batched).run([*operands, *seeds], rows)
            assert [TensorType.of(each) for each in found] == [type.with_rows(rows) for type in batched.output_types]


def check_rows_are_independent(op: Op) -> None:
    """A row of special numbers changes no bit of the other rows, in values and derivatives."""
    rows = 4
    for application in applications(op):
        rng = random(6)
        operands = application.operands(rng, rows)
        bad = extreme_operands(application, rng, rows)
        for graph, seeds in _with_derivatives(application, rows):
            executable = compile(batch(graph, Layout()))
            expected = executable.run([*operands, *seeds], rows)
            for row in range(rows):
                mixed = [x.copy() for x in operands]
                for x, extreme in zip(mixed, bad, strict=True):
                    x[row] = extreme[row]
                found = executable.run([*mixed, *seeds], rows)
                for got, wanted in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(
                        np.delete(got, row, axis=0), np.delete(wanted, row, axis=0), err_msg=str(application)
                    )


def _with_derivatives(application: Application, rows: int) -> Iterator[tuple[Graph, list[np.ndarray]]]:
    """The op, its tangent and its gradient, with seeds for as many rows."""
    graph, varied = application.graph, application.varied
    yield graph, []
    if varied:
        rng = random(7)
        dtype = application.dtype.numpy

        def seeds(types: Sequence[TensorType]) -> list[np.ndarray]:
            return [rng.standard_normal((rows, *type.shape)).astype(type.dtype.numpy) for type in types]

        assert dtype.kind == "f" or application.case.dtypes
        yield jvp(graph, varied), seeds([application.types[i] for i in varied])
        yield vjp(graph, varied), seeds([graph.output_types[i] for i in application.floating])


def check_scratch(op: Op) -> None:
    """Beside operands and results, an evaluation needs no more memory than the record says."""
    rows = 20_000
    for application in applications(op):
        if not application.types or not all(type.elements for type in application.types):
            continue
        nodes = batch(application.graph, Layout()).nodes
        if len(nodes) != 1:
            continue  # batched by other ops, which are checked themselves
        (node,) = nodes
        few = application.operands(random(), 10)
        operands = [np.tile(x, (rows // 10, *[1] * (x.ndim - 1))) for x in few]
        attributes = node.attributes.with_rows(rows)
        evaluated(op, attributes, *operands)  # whatever is imported for it
        tracemalloc.start()
        try:
            found = evaluated(op, attributes, *operands)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        results = sum(each.nbytes for each in found)
        sizes = [*(operand.nbytes for operand in operands), results]
        factors = op.scratch if isinstance(op.scratch, tuple) else [op.scratch] * len(sizes)
        allowed = sum(factor * size for factor, size in zip(factors, sizes, strict=True))
        assert peak <= results + allowed + 200_000, f"{application}: {peak - results} of {allowed} bytes"


CHECKS: dict[str, Callable[[Op], None]] = {
    "types": check_types,
    "operands unchanged": check_operands_unchanged,
    "jvp": check_jvp,
    "adjoint": check_adjoint,
    "second order": check_second_order,
    "derivative types": check_derivative_types,
    "masks": check_masks,
    "batch": check_batch,
    "float32": check_float32,
    "total": check_total,
    "rows": check_rows_are_independent,
    "scratch": check_scratch,
}


# Against other engines


def check_against(engine: Oracle, op: Op) -> None:
    """Values, tangents and gradients are those of an independent engine."""
    for application in in_float64(op):
        rng = random(8)
        operands, moves = application.operands(rng), directions(application, rng)
        if not all(operand.size for operand in operands):
            continue  # engines differ on the derivative of nothing, which has no elements to speak of
        arguments = (op.name, application.case.attributes, operands)
        varied, weights = application.varied, _weights(application, rng)
        values, tangents = _pushed(application, operands, moves)
        all_close([values[i] for i in application.floating], engine.values(*arguments), 1e-13, application)
        all_close(tangents, engine.forward(*arguments, varied, moves), 1e-12, application)
        gradients = _pulled(application, operands, weights)
        all_close(gradients, engine.reverse(*arguments, varied, weights), 1e-12, application)
