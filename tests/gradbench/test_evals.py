"""The evals whose programs have no loop: their own inputs, golden values, and what they leave out.

Answers pass through JSON, as in the protocol. The golden values are the benchmark's, or follow from the eval's
definition by a route without automatic differentiation: `references`.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.gradbench.comparison import require_equal
from tests.gradbench.evals import ba as ba_eval
from tests.gradbench.evals import det as det_eval
from tests.gradbench.evals import kmeans as kmeans_eval
from tests.gradbench.questions import REFERENCES, asked, input_of, own_inputs, require_right
from tests.gradbench.references import ba, det, gmm, hello, ht, kmeans, llsq, lse

import gradwire as gw

pytestmark = pytest.mark.usefixtures("service")


OWN_INPUTS = [
    *own_inputs("gmm", {"32_100_1000", "64_50_1000", "64_100_1000"}),
    *own_inputs("kmeans", {"k=1000,n=10000,d=8", "k=1000,n=10000,d=16"}),
    *own_inputs("lse", {"n=320000", "n=640000", "n=1280000"}),
    *own_inputs("det"),
    *own_inputs("llsq"),
]


@pytest.mark.parametrize(("module", "description"), OWN_INPUTS)
def test_the_inputs_of_the_eval(module: str, description: str) -> None:
    require_right(module, description, input_of(module, description))


def test_hello() -> None:
    answers = [asked("hello", function, input) for function, _, input in hello.inputs()]
    require_equal(list(hello.ANSWERS), answers)


@pytest.mark.parametrize("size", sorted(gmm.GOLDEN))
def test_gmm_has_the_golden_values(size: str) -> None:
    require_equal(gmm.GOLDEN[size], asked("gmm", "objective", input_of("gmm", size)))


@pytest.mark.parametrize(
    ("module", "function", "golden"),
    [
        ("kmeans", "cost", kmeans.GOLDEN_COST),
        ("lse", "primal", lse.GOLDEN),
        ("det", "primal", det.GOLDEN),
        ("llsq", "primal", llsq.GOLDEN),
    ],
)
def test_the_first_input_has_the_golden_value(module: str, function: str, golden: float) -> None:
    _, input = next(REFERENCES[module].inputs())
    require_equal(golden, asked(module, function, input))


def test_kmeans_has_the_golden_norm() -> None:
    direction = asked("kmeans", "dir", next(kmeans.inputs())[1])
    require_equal(kmeans.GOLDEN_NORM, float(np.linalg.norm(direction)))


@pytest.mark.parametrize(("gamma", "m"), [(1.0, 0), (0.7, 0), (2.0, 3)])
@pytest.mark.parametrize(("d", "k"), [(1, 1), (1, 3), (4, 1), (5, 3)])
def test_gmm_with_any_prior(d: int, k: int, gamma: float, m: int) -> None:
    """The eval itself asks only for m = 0 and γ = 1."""
    require_right("gmm", "small", gmm.made_up(d, k, 9, gamma, m))


def test_kmeans_finds_its_hessian_diagonal() -> None:
    """As the direction is made of it, its off-diagonal part must vanish."""
    points = np.random.default_rng(0).normal(size=(9, 2))
    hessian = gw.hessian(kmeans_eval.cost)(points[:3], points).reshape(6, 6)
    counts = 2.0 * np.bincount(np.argmin(((points[:, None] - points[:3]) ** 2).sum(2), axis=1))
    np.testing.assert_allclose(hessian, np.diag(np.repeat(counts, 2)), atol=1e-13)


def test_lse_of_numbers_whose_exponentials_overflow() -> None:
    require_right("lse", "large", {"x": (1000.0 * np.random.default_rng(0).normal(size=50)).tolist()})
    require_right("lse", "equal", {"x": [800.0] * 4})


def test_llsq_where_a_point_is_zero() -> None:
    require_right("llsq", "n=17,m=9", {"x": np.random.default_rng(0).normal(size=9).tolist(), "n": 17})


# det


def test_det_of_the_smallest_matrices() -> None:
    require_equal(-3.0, asked("det", "primal", {"A": [-3.0], "ell": 1}))
    require_equal([1.0], asked("det", "gradient", {"A": [-3.0], "ell": 1}))
    require_right("det", "2", {"A": [1.0, 2.0, 3.0, 5.0], "ell": 2})
    require_equal([5.0, -3.0, -2.0, 1.0], asked("det", "gradient", {"A": [1.0, 2.0, 3.0, 5.0], "ell": 2}))


def test_det_of_a_singular_matrix_has_its_cofactors_as_gradient() -> None:
    """Nothing is divided by the determinant."""
    matrix = np.random.default_rng(4).normal(size=(5, 5))
    matrix[4] = matrix[0] + matrix[1]
    require_right("det", "singular", {"A": matrix.ravel().tolist(), "ell": 5})


@pytest.mark.parametrize("size", [5, 8, pytest.param(11, marks=pytest.mark.long)])
def test_det_number_by_number_computes_each_minor_once(size: int) -> None:
    """A program of as many products as there are minors with a column, and its gradient; both ways are one function."""
    matrix = np.random.default_rng(size).random((size, size))
    graph = str(gw.trace(det_eval.by_minors, matrix))
    assert graph.count("= multiply") == size * 2 ** (size - 1) - size
    value, gradient = gw.value_and_grad(det_eval.by_minors)(matrix)
    input = {"A": matrix.ravel().tolist(), "ell": size}
    require_equal(float(value), asked("det", "primal", input))
    require_equal(gradient.ravel().tolist(), asked("det", "gradient", input))


# ba


def test_ba_of_the_first_file() -> None:
    input = ba.input_of_file("ba1_n49_m7776_p31843.txt")
    require_right("ba", "ba1", input)
    require_equal(ba.GOLDEN_ERRORS, asked("ba", "objective", input))
    jacobian = asked("ba", "jacobian", input)
    assert {name: jacobian[name][-1] for name in ("rows", "cols")} == ba.GOLDEN_LAST
    assert {name: len(part) for name, part in jacobian.items()} == dict.fromkeys(("rows", "cols", "vals"), 31)


def test_ba_of_the_small_file() -> None:
    require_right("ba", "test", ba.input_of_file("ba_test.txt"))


@pytest.mark.long
def test_ba_of_as_many_observations_as_the_largest_file() -> None:
    require_right("ba", "ba14", ba.made_up(14, 4_000, 500_000, 1_255_268))


def dense(matrix: ba_eval.SparseMatrix, shape: tuple[int, int]) -> np.ndarray:
    found = np.zeros(shape)
    for row, (start, end) in enumerate(zip(matrix.rows, matrix.rows[1:], strict=False)):
        found[row, matrix.cols[start:end]] = matrix.vals[start:end]
    return found


def test_ba_with_cameras_and_points_that_differ() -> None:
    """The eval's are all the same, and it looks at the first two rows and the last entry only."""
    rng = np.random.default_rng(0)
    n, m, p = 2, 3, 7
    inputs = [ba.made_up(seed, 1, 1, 1) for seed in range(p)]
    given = ba_eval.Problem(
        cameras=np.array([inputs[i]["cam"] for i in range(n)]),
        points=np.array([inputs[i]["x"] for i in range(m)]),
        weights=rng.random(p),
        features=rng.normal(size=(p, 2)),
        camera_of=rng.integers(0, n, p),
        point_of=rng.integers(0, m, p),
    )
    expected = np.zeros((3 * p, 11 * n + 3 * m + p))
    for i, (camera, point) in enumerate(zip(given.camera_of, given.point_of, strict=True)):
        parameters = np.array([*given.cameras[camera], *given.points[point], given.weights[i]], dtype=complex)
        places = [*range(11 * camera, 11 * camera + 11), *range(11 * n + 3 * point, 11 * n + 3 * point + 3)]
        expected[2 * i : 2 * i + 2, [*places, 11 * n + 3 * m + i]] = ba.block(parameters, given.features[i])
        expected[2 * p + i, 11 * n + 3 * m + i] = -2 * given.weights[i]
    found = dense(ba_eval.assemble(given, *ba_eval.DERIVATIVES(*given.rows)), expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_ba_of_a_camera_that_is_not_turned() -> None:
    """Rodrigues' formula divides by the angle; the branch that is taken there is right to first order."""
    input = ba.made_up(3, 2, 2, 31)
    input["cam"][:3] = [0.0, 0.0, 0.0]
    require_right("ba", "not turned", input)
    given = ba_eval.problem(input)
    camera, point, weight, feature = (part[0] for part in given.rows)
    forward = gw.jacfwd(ba_eval.reprojection_error)(camera, point, weight, feature)
    parameters = np.array([*camera, *point, weight], dtype=complex)
    np.testing.assert_allclose(forward, ba.block(parameters, feature)[:, :11], rtol=1e-10, atol=1e-12)


# ht


@pytest.mark.parametrize(("name", "by_triangle"), [("simple_small_hand1", False), ("complicated_small_hand1", True)])
def test_ht_of_the_files(name: str, by_triangle: bool) -> None:
    input = ht.input_of_file(name, by_triangle=by_triangle)
    require_right("ht", name, input)
    require_equal(ht.GOLDEN[name], asked("ht", "objective", input)[0])


def test_ht_has_the_golden_norms() -> None:
    input = ht.input_of_file("simple_small_hand1", by_triangle=False)
    norms = [float(np.linalg.norm(asked("ht", function, input))) for function in ("objective", "jacobian")]
    require_equal(list(ht.GOLDEN_NORMS), norms)


@pytest.mark.parametrize("by_triangle", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ht_of_hands_made_up(seed: int, by_triangle: bool) -> None:
    require_right("ht", "made up", ht.made_up(seed, by_triangle=by_triangle))


@pytest.mark.parametrize("by_triangle", [False, True])
def test_ht_of_a_hand_that_is_not_turned(by_triangle: bool) -> None:
    """No turn and nearly none are taken for none; the derivative by the axis-angle is then zero, not NaN."""
    for angle in (0.0, 5e-5):
        input = ht.made_up(5, by_triangle=by_triangle)
        input["theta"][:3] = [angle, 0.0, 0.0]
        require_right("ht", "not turned", input)
        jacobian = np.array(asked("ht", "jacobian", input))
        assert not jacobian[:, 2 * by_triangle : 2 * by_triangle + 3].any()


@pytest.mark.long
def test_ht_of_the_largest_size() -> None:
    """A Jacobian larger than a message."""
    require_right("ht", "large", ht.made_up(7, by_triangle=True, vertices=10_000, points=100_000))
