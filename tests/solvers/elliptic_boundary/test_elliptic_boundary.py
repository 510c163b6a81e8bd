"""Poisson on a square less corners: exact and manufactured solutions, bad input."""

import numpy as np
import pytest

from opkit.case import load_case
from opkit.case.data import draw, header_of
from opkit.errors import OpkitInputError
from opkit.solvers.elliptic_boundary.curve import curve_of, trace
from opkit.solvers.elliptic_boundary.laws import CornerCuts
from opkit.solvers.elliptic_boundary.solver import EllipticBoundary

PLACES = ("boundary_x", "boundary_y", "normal_x", "normal_y")


def solver(cells=16, **law) -> EllipticBoundary:
    return EllipticBoundary(resolution=(cells, cells), distribution=CornerCuts(**law))


def batch(case: EllipticBoundary, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    samples = [case.sample(np.random.default_rng([seed, i])) for i in range(count)]
    return {name: np.stack([s[name] for s in samples]) for name in samples[0]}


def given(cells, cuts, kind, value, source) -> dict[str, np.ndarray]:
    """A problem from functions: value(x, y, n_x, n_y) on faces, source(x, y)."""
    inside = np.ones((cells, cells), bool)
    for rows, columns in cuts:  # quarters of the side: the same domain on every grid
        part = [slice(*(round(e * cells) for e in edge)) for edge in (rows, columns)]
        inside[tuple(part)] = False
    places = trace(inside).places(cells)
    centres = (np.arange(cells) + 0.5) / cells
    y, x = np.meshgrid(centres, centres, indexing="ij")
    kinds = kind(places["boundary_x"], places["boundary_y"]).astype(float)
    values = value(*(places[name] for name in PLACES))
    fields = {"source": source(x, y) * inside, "inside": inside.astype(float)}
    fields |= places | {
        "boundary_kind": kinds,
        "boundary_value": np.where(kinds > 0, values[1], values[0]),
    }
    return {name: field[None] for name, field in fields.items()}


FOUR = [((0, 0.25), (0, 0.5)), ((0, 0.25), (0.75, 1)), ((0.5, 1), (0, 0.25))]
FOUR += [((0.75, 1), (0.75, 1))]
KINDS = {
    "dirichlet": lambda x, y: np.zeros_like(x),
    "neumann": lambda x, y: np.ones_like(x),
    "mixed": lambda x, y: x > 0.5,
}


def u_exact(x, y):
    return np.sin(2 * x + 1) * np.exp(y) + x * y**2


def u_faces(x, y, nx, ny):
    u_x = 2 * np.cos(2 * x + 1) * np.exp(y) + y**2
    u_y = np.sin(2 * x + 1) * np.exp(y) + 2 * x * y
    return u_exact(x, y), nx * u_x + ny * u_y


def f_exact(x, y):
    return -3 * np.sin(2 * x + 1) * np.exp(y) + 2 * x


@pytest.mark.parametrize("cuts", [[], FOUR[:1], FOUR])
@pytest.mark.parametrize("kind", KINDS)
def test_second_order_with_a_manufactured_solution(cuts, kind):
    errors = []
    for cells in (16, 32, 64):
        case = EllipticBoundary(resolution=(cells, cells), compatibility=1e-2)
        problem = given(cells, cuts, KINDS[kind], u_faces, f_exact)
        inside = problem["inside"][0] > 0
        u = case.solve(problem).outputs["potential"][0][inside]
        centres = (np.arange(cells) + 0.5) / cells
        exact = u_exact(*np.meshgrid(centres, centres))[inside]
        if kind == "neumann":
            exact = exact - exact.mean()
        errors.append(np.abs(u - exact).max())
    # largest error over all cells; boundary cells have first-order truncation errors,
    # whose effect on the solution is still h²
    assert (np.log2(np.divide(errors[:-1], errors[1:])) > 1.75).all(), errors


@pytest.mark.parametrize("kind", KINDS)
def test_linear_potentials_are_exact(kind):
    """Both the ghost cell and the flux are exact for u = a + b x + c y."""

    def faces(x, y, nx, ny):
        return 1 + 2 * x - 3 * y, 2 * nx - 3 * ny

    problem = given(16, FOUR, KINDS[kind], faces, lambda x, y: 0 * x)
    u = solver().solve(problem).outputs["potential"][0]
    centres = (np.arange(16) + 0.5) / 16
    x, y = np.meshgrid(centres, centres)
    inside = problem["inside"][0] > 0
    difference = (u - (1 + 2 * x - 3 * y))[inside]
    if kind == "neumann":
        difference -= difference.mean()
    assert np.abs(difference).max() < 1e-12  # condition number times rounding


def test_maximum_principle_and_symmetry():
    case = solver(corners=4, source={"sigma": 0})
    inputs = batch(case, 5)
    u = case.solve(inputs).outputs["potential"]
    for i, inside in enumerate(inputs["inside"] > 0):
        g = inputs["boundary_value"][i]
        assert g.min() < u[i][inside].min() and u[i][inside].max() < g.max()
    flipped = {k: v[..., ::-1] for k, v in inputs.items()}
    flipped["boundary_x"] = 1 - flipped["boundary_x"]
    flipped["normal_x"] = -flipped["normal_x"]
    mirrored = case.solve(flipped).outputs["potential"]
    np.testing.assert_allclose(mirrored, u[..., ::-1], atol=1e-13)


def test_linear_in_source_and_data():
    case = solver(corners=4, condition="mixed")
    inputs = batch(case, 3)
    parts = []
    for name in ("source", "boundary_value"):
        parts.append(inputs | {name: 0 * inputs[name]})
    whole, u_g, u_f = (
        case.solve(part).outputs["potential"] for part in (inputs, *parts)
    )
    np.testing.assert_allclose(u_f + u_g, whole, atol=1e-13)
    assert min(np.abs(u_f).max(), np.abs(u_g).max()) > 0.1  # neither is negligible


def test_pure_neumann_has_mean_zero_and_says_its_defect():
    case = solver(corners=2, condition="neumann")
    inputs = batch(case, 3)
    solution = case.solve(inputs)
    inside = inputs["inside"] > 0
    means = [
        u[m].mean() for u, m in zip(solution.outputs["potential"], inside, strict=True)
    ]
    assert np.abs(means).max() < 1e-13
    inputs["boundary_value"] = inputs["boundary_value"] + 1e-6
    moved = case.solve(inputs)
    # the curve's length is 4
    np.testing.assert_allclose(moved.details["compatibility"], 4e-6, rtol=1e-6)
    inputs["boundary_value"] = inputs["boundary_value"] + 0.5
    with pytest.raises(OpkitInputError, match=r"differ by 2\. Take 0\.500001"):
        case.solve(inputs)


@pytest.mark.parametrize("condition", ["dirichlet", "neumann", "mixed"])
def test_stored_boundary_data_determine_the_stored_solution(condition):
    """Solving again from the file's own arrays gives the file's potential."""
    name = "elliptic-boundary" + ("-neumann" if condition == "neumann" else "")
    sets = (f"distribution.condition={condition}", "resolution=16")
    case = load_case(name, sets)
    built = case.build_solver()
    header_of(case, built, 0, 4, "float32")  # the file has these variables
    for index in range(4):
        inputs = {k: v[None] for k, v in draw(case, built, 0, index, "float32").items()}
        stored = {k: np.float32(v) for k, v in built.solve(inputs).outputs.items()}
        read = {k: np.float32(v) for k, v in inputs.items()}
        again = built.solve(read).outputs["potential"]
        scale = np.abs(again).max()
        # rounding of the stored potential to float32
        assert np.abs(again - stored["potential"]).max() < 1e-6 * scale
        # every edge's values count: change one face, and the solution changes
        for face in range(0, 64, 7):
            wrong = dict(read)
            wrong["boundary_value"] = read["boundary_value"].copy()
            wrong["boundary_value"][0, face] += 1
            if condition == "neumann":
                wrong["boundary_value"][0] -= 1 / 64
            other = built.solve(wrong).outputs["potential"]
            assert np.abs(other - stored["potential"]).max() > 1e-3 * scale
        # rounding to float32 as the residual sees it: 6e-8 of each value over a cell
        # of size 1/16, against differences of order 1/16
        assert built.residual(read, stored)[0] < 1e-5


def test_faces_run_once_around_counter_clockwise():
    for seed in range(20):
        case = solver(32, corners=(0, 1, 2, 3, 4), high=0.49)
        s = case.sample(np.random.default_rng(seed))
        x, y, nx, ny = (s[name] for name in PLACES)
        assert len(x) == 128
        # area by Gauss's theorem, both from the normals and from the order of travel
        area = s["inside"].sum() / 32**2
        assert ((x * nx + y * ny).sum() / 32 / 2) == pytest.approx(area)
        assert ((-x * -nx + y * ny).sum() / 64) == pytest.approx(area)
        step = np.hypot(x - np.roll(x, -1), y - np.roll(y, -1))
        assert step.max() <= 1 / 32 + 1e-12
        cross = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
        assert cross > 0
        # and any starting face is recognised
        moved = [np.roll(v, 17) for v in (x, y, nx, ny)]
        curve = curve_of(s["inside"] > 0, *moved)
        again = trace(s["inside"] > 0)
        np.testing.assert_array_equal(np.roll(curve.row, -17), again.row)


def test_same_sample_at_twice_the_resolution():
    law = dict(corners=4, low=0.25, high=0.25, condition="mixed")
    coarse, fine = (solver(n, **law).sample(np.random.default_rng(3)) for n in (16, 32))
    g = fine["boundary_value"].reshape(-1, 2).mean(1)
    same = np.ptp(fine["boundary_kind"].reshape(-1, 2), axis=1) == 0
    # the mean of two halves differs from the middle by h² g''/8
    assert np.abs(g - coarse["boundary_value"])[same].max() < 0.02
    f = fine["source"].reshape(16, 2, 16, 2).mean((1, 3))
    assert np.abs(f - coarse["source"]).max() < 0.02 * np.abs(f).max()


def swap(inputs, a, b):
    for name in (*PLACES, "boundary_value", "boundary_kind"):
        inputs[name][0, [a, b]] = inputs[name][0, [b, a]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: swap(s, 5, 9), "not closed: face 4 ends at"),
        (lambda s: s["normal_x"].__setitem__((0, 3), 0.5), "boundary face 3: normal"),
        (lambda s: s["boundary_x"].__setitem__((0, 7), 0.31), "boundary face 7 at"),
        (lambda s: s["inside"].__setitem__((0, 8, 8), 0), "68 boundary faces"),
        (lambda s: s["inside"].__setitem__((0, 8, 8), 0.3), r"cell \(8, 8\), not 0"),
        (lambda s: s["boundary_kind"].__setitem__((0, 2), 2), "face 2 is 2, not 0"),
        (lambda s: s["source"].__setitem__((0, 2, 2), np.nan), "NaN or infinity"),
        (lambda s: s.__setitem__("normal_x", s["normal_x"][:, :60]), "shape"),
        (lambda s: s.pop("boundary_value"), "boundary_value is missing"),
    ],
)
def test_bad_input_names_the_face_or_cell(damage, message):
    case = solver(corners=4)
    inputs = {name: field.copy() for name, field in batch(case, 1).items()}
    case.solve(inputs)
    damage(inputs)
    with pytest.raises(OpkitInputError, match=message):
        case.solve(inputs)


def test_domains_without_one_simple_curve_are_refused():
    whole = np.ones((6, 6), bool)
    hole, touching = whole.copy(), np.zeros((6, 6), bool)
    hole[2, 3] = False
    touching[:3, :3] = touching[3:, 3:] = True
    with pytest.raises(
        OpkitInputError, match=r"second boundary curve, at cell \(1, 3\)"
    ):
        trace(hole)
    with pytest.raises(OpkitInputError, match="touches itself"):
        trace(touching)
    with pytest.raises(OpkitInputError, match="no cell"):
        trace(~whole)


def test_laws_have_the_stated_variance():
    law = CornerCuts().source
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*2 * [(np.arange(16) + 0.5) / 16])
    s = (np.arange(64) + 0.5) / 16
    square = np.mean([law.on_square(rng, x, y) ** 2 for _ in range(600)])
    curve = np.mean([law.on_curve(rng, s) ** 2 for _ in range(600)])
    # few large modes: 600 squares of normals give the variance to about 10%
    assert square == pytest.approx(400, rel=0.2)
    assert curve == pytest.approx(400, rel=0.2)
