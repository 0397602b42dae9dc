"""Linear algebra where it is easily wrong: singular matrices, repeated values, stacks with one bad matrix, no elements.

Determinants and their derivatives are compared with exact expansions by minors, in integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tests.kit.engine.building import f64, graph_of, operations, run
from tests.kit.engine.derivatives import by_jvp, by_vjp, roads, second

from gradwire_engine.attributes import DotGeneral, TriangularSolve
from gradwire_engine.graph import Graph
from gradwire_engine.plan.cost import cost
from gradwire_engine.program import Layout
from gradwire_engine.transforms.jacobian import jacobian_forward
from gradwire_engine.transforms.jvp import jvp
from gradwire_engine.transforms.reverse import grad, vjp
from gradwire_engine.transforms.vmap import batch
from gradwire_engine.value import Value
from gradwire_engine.vocabulary import dot_general, matmul, matrix_transpose, solve, sum_over, triangular_solve

RNG = np.random.default_rng(0)


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale)


def several(x: Value, op: str) -> tuple[Value, ...]:
    return x.builder.emit_all(op, [x])


def total(x: Value) -> Value:
    return sum_over(x, tuple(range(len(x.shape))))


# det at matrices of every rank


def minor(matrix: Sequence[Sequence[int]], rows: Sequence[int], columns: Sequence[int]) -> int:
    """The determinant of what is left without some rows and columns, exactly."""
    kept = [[x for j, x in enumerate(row) if j not in columns] for i, row in enumerate(matrix) if i not in rows]
    if not kept:
        return 1
    return sum((-1) ** j * x * minor(kept, [0], [j]) for j, x in enumerate(kept[0]))


def derivative_of_det(matrix: Sequence[Sequence[int]], places: Sequence[tuple[int, int]]) -> int:
    """By the elements at these places, one after the other."""
    rows, columns = [i for i, _ in places], [j for _, j in places]
    if len(set(rows)) < len(rows) or len(set(columns)) < len(columns):
        return 0

    def sign(order: Sequence[int]) -> int:
        return (-1) ** sum(a > b for a, b in itertools.combinations(order, 2))

    return (-1) ** (sum(rows) + sum(columns)) * sign(rows) * sign(columns) * minor(matrix, rows, columns)


def exactly(matrix: np.ndarray, order: int) -> np.ndarray:
    """All derivatives of this order of the determinant."""
    places = list(np.ndindex(*matrix.shape))
    found = [derivative_of_det(matrix.tolist(), chosen) for chosen in itertools.product(places, repeat=order)]
    return np.array(found, dtype=float).reshape(matrix.shape * order)


def of_rank(n: int, rank: int) -> np.ndarray:
    left, right = RNG.integers(-3, 4, (n, rank)), RNG.integers(-3, 4, (rank, n))
    found = np.asarray(left @ right)
    return found if np.linalg.matrix_rank(found) == rank else of_rank(n, rank)


RANKS = [(n, rank) for n in (1, 2, 3, 4) for rank in range(n + 1)]


@pytest.mark.parametrize(("n", "rank"), RANKS)
def test_det_and_its_first_and_second_derivatives_are_exact_at_every_rank(n: int, rank: int) -> None:
    matrix, graph = of_rank(n, rank), graph_of(lambda a: a.emit("det"), f64(n, n))
    close(run(graph, matrix)[0], exactly(matrix, 0))
    for road, derivative in roads(graph).items():
        np.testing.assert_allclose(derivative(graph, [matrix])[0], exactly(matrix, 1), atol=1e-11, err_msg=road)
    for road, twice in second(graph, 0, 0).items():
        np.testing.assert_allclose(run(twice, matrix)[0], exactly(matrix, 2), atol=1e-11, err_msg=road)


@pytest.mark.parametrize(("n", "rank"), [(2, 0), (2, 1), (2, 2), (3, 3)])
def test_the_third_derivative_of_det_is_exact_where_there_is_one(n: int, rank: int) -> None:
    matrix = of_rank(n, rank)
    thrice = graph_of(lambda a: a.emit("det"), f64(n, n))
    for _ in range(3):
        thrice = jacobian_forward(thrice, [0])
        thrice = Graph(thrice.inputs, thrice.nodes, thrice.outputs[:1])
    close(run(thrice, matrix)[0], exactly(matrix, 3), 1e-11)


def test_the_third_derivative_of_det_at_a_singular_matrix_says_that_it_is_none() -> None:
    thrice = graph_of(lambda a, x: a.emit("cofactors_along", x), f64(3, 3), f64(3, 3))
    assert np.isnan(run(jvp(thrice, [0]), of_rank(3, 2), np.eye(3), np.ones((3, 3)))[1]).any()


@pytest.mark.parametrize("size", [1e-200, 1e-60, 1e60])
def test_cofactors_are_products_and_neither_vanish_nor_overflow_early(size: float) -> None:
    found = run(graph_of(lambda a: a.emit("cofactors"), f64(2, 2)), size * np.array([[1.0, 2.0], [3.0, 4.0]]))[0]
    np.testing.assert_allclose(found, size * np.array([[4.0, -3.0], [-2.0, 1.0]]), rtol=1e-13)


def test_slogdet_of_a_singular_matrix_is_minus_infinity() -> None:
    sign, size = run(graph_of(lambda a: several(a, "slogdet"), f64(2, 2)), np.ones((2, 2)))
    assert (sign, size) == (0.0, -np.inf)


# Repeated values


def turned(values: Sequence[float]) -> np.ndarray:
    q = np.linalg.qr(RNG.normal(size=(len(values), len(values)))).Q
    return np.asarray(q * values @ q.T)


REPEATED = {"identity": np.eye(3), "two of three": np.diag([1.0, 1.0, 3.0]), "turned": turned([2.0, 2.0, 2.0, 5.0]),
            "zero": np.zeros((2, 2))}  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_symmetric_functions_of_repeated_eigenvalues_have_their_derivatives(name: str) -> None:
    matrix = REPEATED[name]
    squares = graph_of(lambda a: total(several(a, "eigh")[0].emit("square")), f64(*matrix.shape))
    trace = graph_of(lambda a: total(several(a, "eigh")[0]), f64(*matrix.shape))
    for road, derivative in roads(squares).items():
        np.testing.assert_allclose(derivative(squares, [matrix])[0], 2 * matrix, atol=1e-12, err_msg=road)
    close(by_vjp(trace, [matrix])[0], np.eye(len(matrix)))
    close(by_jvp(trace, [matrix])[0], np.eye(len(matrix)))


def test_nothing_that_is_not_finite_comes_of_repeated_values() -> None:
    for op in ("eigh", "svd"):
        graph = graph_of(lambda a, op=op: several(a, op), f64(3, 3))
        for matrix in (np.eye(3), np.zeros((3, 3)), np.ones((3, 3))):
            assert all(np.isfinite(each).all() for each in run(jvp(graph, [0]), matrix, RNG.normal(size=(3, 3))))


def polar(a: Value) -> Value:
    u, _, vh = several(a, "svd")
    return matmul(u, vh)


def test_the_orthogonal_factor_has_its_derivative_at_repeated_singular_values() -> None:
    direction = RNG.normal(size=(3, 3))
    moved = run(jvp(graph_of(polar, f64(3, 3)), [0]), np.eye(3), direction)[1]
    close(moved, (direction - direction.T) / 2)
    nuclear = graph_of(lambda a: total(several(a, "svd")[1]), f64(3, 3))
    turn = np.linalg.qr(RNG.normal(size=(3, 3))).Q
    close(by_vjp(nuclear, [turn])[0], turn)
    (hessian,) = run(second(nuclear, 0, 0)["forward over reverse"], turn)[:1]
    pushed = np.tensordot(hessian, direction, 2)
    close(pushed, (direction - turn @ direction.T @ turn) / 2)


def pinv(a: Value) -> Value:
    return a.emit("pinv", a.builder.constant(np.float64(1e-9)))


def test_the_pseudo_inverse_has_its_derivative_at_repeated_values_and_below_full_rank() -> None:
    direction = RNG.normal(size=(3, 3))
    graph = graph_of(pinv, f64(3, 3))
    close(run(jvp(graph, [0]), np.eye(3), direction)[1], -direction)
    u, v = RNG.normal(size=(3, 1)), RNG.normal(size=(3, 1))
    du, dv = RNG.normal(size=(3, 1)), RNG.normal(size=(3, 1))

    def at(step: float) -> np.ndarray:
        left, right = u + step * du, v + step * dv
        return np.asarray(right @ left.T / np.sum(left**2) / np.sum(right**2))

    found = run(jvp(graph, [0]), u @ v.T, du @ v.T + u @ dv.T)[1]
    close(found, (at(1e-5) - at(-1e-5)) / 2e-5, 1e-8)


# One bad matrix in a stack


def regular(*shape: int) -> np.ndarray:
    return RNG.uniform(-0.5, 0.5, shape) + 2 * np.diag(np.arange(1.0, shape[-1] + 1))


BAD: dict[str, np.ndarray] = {
    "nan": np.full((3, 3), np.nan), "infinite": np.diag([1.0, np.inf, 1.0]), "indefinite": np.diag([1.0, -1.0, 2.0]),
    "singular": np.diag([1.0, 0.0, 2.0]), "zero": np.zeros((3, 3)),
}  # fmt: skip

FACTORISATIONS: dict[str, tuple[Callable[[Value], Sequence[Value]], Sequence[str]]] = {
    "cholesky": (lambda a: [a.emit("cholesky")], ("nan", "infinite", "indefinite", "singular", "zero")),
    "solve": (lambda a: [solve(a, a.like(1.0))], ("nan", "infinite", "singular", "zero")),
    "triangular_solve": (lambda a: [triangular_solve(a, a.like(1.0))], ("nan", "infinite", "singular", "zero")),
    "qr": (lambda a: several(a, "qr"), ("nan", "infinite")),
    "eigh": (lambda a: several(a, "eigh"), ("nan", "infinite")),
    "svd": (lambda a: several(a, "svd"), ("nan", "infinite")),
    "cofactors": (lambda a: [a.emit("cofactors")], ("nan", "infinite")),
    "pinv": (lambda a: [a.emit("pinv", sum_over(a.like(0.0), (1, 2)))], ("nan", "infinite")),
}


@pytest.mark.parametrize(("op", "bad"), [(op, bad) for op, (_, every) in FACTORISATIONS.items() for bad in every])
def test_one_bad_matrix_is_nan_and_touches_no_other(op: str, bad: str) -> None:
    function = FACTORISATIONS[op][0]
    good = regular(3, 3, 3)
    stack = good.copy()
    stack[1] = BAD[bad]
    graph = graph_of(lambda a: list(function(a)), f64(3, 3, 3))
    direction = RNG.normal(size=(3, 3, 3))
    for got, expected in zip(run(graph, stack), run(graph, good), strict=True):
        assert np.isnan(got[1]).all()
        assert got[[0, 2]].tobytes() == expected[[0, 2]].tobytes()
    for got, expected in zip(
        run(jvp(graph, [0]), stack, direction), run(jvp(graph, [0]), good, direction), strict=True
    ):
        assert got[[0, 2]].tobytes() == expected[[0, 2]].tobytes()
    seeds = [np.ones(type.shape) for type in graph.output_types]
    got, expected = run(vjp(graph, [0]), stack, *seeds)[-1], run(vjp(graph, [0]), good, *seeds)[-1]
    assert np.isfinite(got[[0, 2]]).all()
    assert got[[0, 2]].tobytes() == expected[[0, 2]].tobytes()


# Shapes


@pytest.mark.parametrize("op", ["cholesky", "det", "cofactors", "slogdet", "qr", "eigh", "svd"])
def test_matrices_without_elements_have_results(op: str) -> None:
    graph = graph_of(lambda a: list(several(a, op)), f64(0, 0))
    found = run(jvp(graph, [0]), np.zeros((0, 0)), np.zeros((0, 0)))
    assert [each.shape for each in found[: len(graph.outputs)]] == [type.shape for type in graph.output_types]
    if op == "det":
        assert found == [1.0, 0.0]
    if op == "slogdet":
        assert found == [1.0, 0.0, 0.0, 0.0]


def test_matrices_of_one_element_are_numbers() -> None:
    def function(a: Value) -> list[Value]:
        return [
            a.emit("cholesky"), a.emit("det"), a.emit("cofactors"), *several(a, "slogdet"), *several(a, "eigh"),
            several(a, "svd")[1], solve(a, a.like(3.0)), pinv(a),
        ]  # fmt: skip

    graph = graph_of(function, f64(1, 1))
    found = [float(np.squeeze(each)) for each in run(jvp(graph, [0]), [[4.0]], [[1.0]])]
    values, tangents = found[: len(graph.outputs)], found[len(graph.outputs) :]
    np.testing.assert_allclose(values, [2, 4, 1, 1, np.log(4), 4, 1, 4, 0.75, 0.25])
    np.testing.assert_allclose(tangents, [0.25, 1, 0, 0, 0.25, 1, 0, 1, -3 / 16, -1 / 16], atol=1e-15)


@pytest.mark.parametrize("op", ["cholesky", "det", "cofactors", "slogdet", "qr", "eigh", "svd"])
def test_axes_before_the_matrix_are_matrices_one_by_one(op: str) -> None:
    stack = regular(2, 3, 3, 3)
    whole = graph_of(lambda a: list(several(a, op)), f64(2, 3, 3, 3))
    one = graph_of(lambda a: list(several(a, op)), f64(3, 3))
    weights = [RNG.normal(size=type.shape) for type in whole.output_types]
    found = run(vjp(whole, [0]), stack, *weights)
    for place in np.ndindex(2, 3):
        expected = run(vjp(one, [0]), stack[place], *[weight[place] for weight in weights])
        for got, wanted in zip(found, expected, strict=True):
            close(got[place], wanted, 1e-13)


@pytest.mark.parametrize("n", [31, 32, 33, 70, 129])
@pytest.mark.parametrize(
    "attributes", [TriangularSolve(lower, turned) for lower in (True, False) for turned in (True, False)], ids=str
)
def test_large_triangles_are_solved_with_as_small_ones(n: int, attributes: TriangularSolve) -> None:
    a, b = regular(2, n, n), RNG.normal(size=(2, n, 3))
    found = run(graph_of(lambda a, b: triangular_solve(a, b, attributes), f64(2, n, n), f64(2, n, 3)), a, b)[0]
    triangle = np.tril(a) if attributes.lower else np.triu(a)
    close(np.matmul(np.swapaxes(triangle, -1, -2) if attributes.transposed else triangle, found), b, 1e-13)


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_triangles_of_every_size_fail_alike(n: int, bad: float) -> None:
    a = regular(2, n, n)
    a[0, n - 1, n - 1 if bad == 0.0 else 0] = bad
    a[:, 0, n - 1] = np.nan  # never looked at
    found = run(graph_of(triangular_solve, f64(2, n, n), f64(2, n, 2)), a, np.ones((2, n, 2)))[0]
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    nothing = run(graph_of(triangular_solve, f64(2, n, n), f64(2, n, 0)), a, np.ones((2, n, 0)))[0]
    assert nothing.shape == (2, n, 0)


def test_a_matrix_that_is_the_same_for_all_rows_is_not_repeated() -> None:
    graph = graph_of(lambda a, b: [solve(a, b), triangular_solve(a, b)], f64(20, 20), f64(20, 1))
    batched = batch(graph, Layout(shared_inputs=(0,)))
    assert operations(batched) == ["solve", "triangular_solve"]
    a, b = regular(20, 20), RNG.normal(size=(5, 20, 1))
    for got, matrix in zip(run(batched, a, b, rows=5), (a, np.tril(a)), strict=True):
        close(got, np.linalg.solve(matrix, b))
    assert cost(batched).bytes.per_row < 8 * 20 * 20


# Symmetry


def test_what_needs_a_symmetric_matrix_takes_the_symmetric_part_and_has_symmetric_gradients() -> None:
    matrix = regular(3, 3)
    matrix += np.eye(3)
    symmetric = (matrix + matrix.T) / 2
    for function in (
        lambda a: total(a.emit("cholesky").emit("square") * a.emit("cholesky")),
        lambda a: total(several(a, "eigh")[0] * several(a, "eigh")[0]),
    ):
        graph = graph_of(function, f64(3, 3))
        close(run(graph, matrix)[0], run(graph, symmetric)[0])
        (gradient,) = run(grad(graph, [0]), matrix)
        np.testing.assert_allclose(gradient, gradient.T, atol=1e-14)


def test_the_gradient_of_a_log_determinant_by_cholesky_is_the_inverse() -> None:
    matrix = regular(4, 4)
    matrix = matrix @ matrix.T

    def logdet(a: Value) -> Value:
        factor = a.emit("cholesky")
        diagonal = dot_general(factor, a.builder.constant(np.eye(4)), DotGeneral((1,), (1,), (0,), (0,)))
        return sum_over(diagonal.emit("log"), (0,)) * 2.0

    graph = graph_of(logdet, f64(4, 4))
    inverse = np.linalg.inv(matrix)
    close(run(grad(graph, [0]), matrix)[0], inverse)
    (hessian,) = run(second(graph, 0, 0)["forward over reverse"], matrix)[:1]
    swapped = np.einsum("ik,lj->ijkl", inverse, inverse)
    close(hessian, -(swapped + np.einsum("il,kj->ijkl", inverse, inverse)) / 2, 1e-11)


def test_a_solution_is_its_equation_differentiated() -> None:
    a, b = regular(3, 3), RNG.normal(size=(3, 2))
    graph = graph_of(lambda a, b: matmul(a, solve(a, b)), f64(3, 3), f64(3, 2))
    by_a, by_b = by_jvp(graph, [a, b])
    close(by_a, np.zeros((3, 2, 3, 3)))
    close(by_b.reshape(6, 6), np.eye(6))
    turned_back = graph_of(lambda a: matmul(matrix_transpose(a.emit("cholesky")), a.like(1.0)), f64(3, 3))
    close(by_vjp(turned_back, [a + a.T])[0], by_jvp(turned_back, [a + a.T])[0])
