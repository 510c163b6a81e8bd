"""Solvers on quadratic grids: contract, axes, guesses, ladder, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from fixtures.grid_samples import batch, complete, draw

import opkit
from opkit.case import load_case
from opkit.errors import NotConvergedError
from opkit.generate.check_solver import check_solver
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.ladder import Cheaper
from opkit.solvers.fem.quads.solver import GridSolver

pytestmark = pytest.mark.fem

SMALL = {
    "hyperelastic-cell": "[9, 48]",
    "hyperelastic-cell-strain": "[9, 48]",
    "pipe": "[13, 33]",
    "channel-bumps": "[15, 65]",
}
CELLS = [name for name in SMALL if name.startswith("hyper")]


def solver_of(name: str, *settings: str) -> GridSolver:
    return load_case(name, [f"resolution={SMALL[name]}", *settings]).build_solver()


def samples(solver: GridSolver, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return batch(*(draw(solver, rng) for _ in range(count)))


@pytest.mark.parametrize(
    "name",
    [
        "hyperelastic-cell",
        "pipe",
        pytest.param("hyperelastic-cell-strain", marks=pytest.mark.slow),
        pytest.param("channel-bumps", marks=pytest.mark.slow),
    ],
)
def test_the_battery_for_solvers_passes(name: str) -> None:
    case = load_case(name, [f"resolution={SMALL[name]}"])
    for finding in check_solver(case, samples=2):
        assert finding.passed is not False, finding


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_is_its_samples_on_axes(name: str) -> None:
    """Bit for bit what one sample gives, each node at its logical axes."""
    solver = solver_of(name)
    inputs = samples(solver, 2)
    solution, points = solver.solve(inputs), solver.points(inputs)
    shape = solver.resolution
    assert points.shape == (2, *shape, 2)
    for i in range(2):
        sample = {key: value[i] for key, value in inputs.items()}
        one = solver.solve_one(complete(solver, sample))
        for field in solver.outputs:
            array = solution.outputs[field]
            assert array.shape == (2, *shape) and array.dtype == np.float64
            np.testing.assert_array_equal(solver.in_order(array)[i], one.fields[field])
        placed = solver.in_order(np.moveaxis(points[i], -1, 0))
        np.testing.assert_array_equal(placed, one.points.T)
        assert solution.error[i] == one.residual
        assert solution.details["linear_solves"][i] == one.linear_solves
        for key, value in one.quantities.items():
            assert solution.details[key][i] == value
    assert {"factorisations", "load_steps"} <= solution.details.keys()
    if name in CELLS:  # the first row is the void, the last the edge of the square
        r = np.abs(points - 0.5).max(axis=-1)
        assert (r[:, 0] < 0.41).all()
        np.testing.assert_allclose(r[:, -1], 0.5, atol=1e-15)
    else:  # x grows along x, height along y
        assert (np.diff(points[..., 0], axis=2) > 0).all()
        assert (np.diff(points[..., 1], axis=1) > 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_a_guess_changes_the_work_and_not_the_answer(name: str) -> None:
    """To 1e-6 of the largest value: both have relative residuals of 1e-8."""
    solver = solver_of(name)
    inputs = samples(solver, 2)
    cold = solver.solve(inputs)
    x, y = np.moveaxis(solver.points(inputs), -1, 0)
    wave = 1 + 0.01 * np.sin(2 * x) * np.cos(4 * y)
    guess = {key: value * wave for key, value in cold.outputs.items()}
    bare = {key: guess[key] for key in solver.state if key != "pressure"}
    for start in (guess, bare, cold.outputs):
        warm = solver.solve_from(inputs, start)
        assert (warm.details["from_guess"] == 1).all()
        assert (warm.details["factorisations"] <= cold.details["factorisations"]).all()
        for key, value in cold.outputs.items():
            limit = 1e-6 * np.abs(value).max()
            np.testing.assert_allclose(warm.outputs[key], value, rtol=0, atol=limit)
    assert (solver.residual(inputs, cold.outputs) <= solver.rtol).all()
    without = {key: cold.outputs[key] for key in bare}
    # the pressure that leaves the least residual, in a norm equivalent to another
    assert (solver.residual(inputs, without) <= 100 * solver.rtol).all()
    assert (solver.residual(inputs, guess) > 1e-3).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_ladder_trades_accuracy_for_work(name: str) -> None:
    """Rungs on this grid come near the solution; coarser ones lie at the same nodes."""
    solver = solver_of(name)
    inputs = samples(solver, 1)
    exact = solver.solve(inputs)
    field = solver.state[0]
    rungs = solver.cheaper()
    labels = [label for label, _ in rungs]
    assert len(set(labels)) == len(labels) > 3

    def error(rung: Cheaper) -> float:
        found = rung.solve(inputs)
        assert found.outputs.keys() == exact.outputs.keys()
        gap = found.outputs[field] - exact.outputs[field]
        assert all(v.shape == exact.outputs[k].shape for k, v in found.outputs.items())
        return float(np.linalg.norm(gap) / np.linalg.norm(exact.outputs[field]))

    errors = [error(rung) for _, rung in rungs]
    assert errors[0] < 1e-2  # rtol 1e-3
    own = [e for e, (_, rung) in zip(errors, rungs, strict=True)
           if rung.inner.resolution == solver.resolution]  # fmt: skip
    # the loosest tolerance is 1e-1, of a residual in which an error counts more
    assert max(own) < 0.1
    np.testing.assert_array_equal(rungs[0][1].points(inputs), solver.points(inputs))


def test_a_coarse_start_on_the_ladder_is_exact() -> None:
    solver = solver_of("channel-bumps", "resolution=[17, 97]")
    inputs = samples(solver, 1) | {"reynolds": np.array([100.0])}
    label, rung = solver.cheaper()[0]
    assert label == "48 x 8 cells from 24 x 4, rtol 1e-08"
    cold, cascade = solver.solve(inputs), rung.solve(inputs)
    assert cascade.details["from_guess"] == 1
    for key, value in cold.outputs.items():
        # twice the residual of 1e-8, which is that of a velocity error 100 times larger
        limit = 2e-6 * np.abs(value).max()
        np.testing.assert_allclose(cascade.outputs[key], value, rtol=0, atol=limit)


@pytest.mark.parametrize("name", ["hyperelastic-cell-strain", "pipe"])
def test_prolongation_has_the_order_of_the_elements(name: str) -> None:
    """Third order, second where a field is bilinear; common nodes keep their values."""
    full = solver_of(name)
    errors = []
    for cells in ((2, 8), (4, 16), (8, 32)):
        cells = cells if name in CELLS else cells[::-1]
        resolution = full.with_cells((4 * cells[0], 4 * cells[1]))
        fine = solver_of(name, f"resolution={list(resolution)}")
        coarse = solver_of(name, f"resolution={list(full.with_cells(cells))}")
        values = []
        for solver in (coarse, fine):
            axes = solver.coordinates()
            y, x = np.meshgrid(axes["y"].values, axes["x"].values, indexing="ij")
            wave = np.sin(2 * np.pi * x + y)
            if name not in CELLS:
                wave = np.sin(3 * x + y)
            values.append(np.exp(y) * wave)
        rung = Cheaper(fine, coarse)
        smooth = rung._prolong(values[0][None])[0] - values[1]
        assert np.abs(smooth[::4, ::4]).max() < 1e-14  # common nodes
        corners = coarse.in_order(values[0])[coarse.grid.vertices]
        linear = coarse.on_axes(coarse.grid.at_nodes(corners))
        flat = rung._prolong(linear[None])[0] - values[1]
        errors.append([np.abs(smooth).max(), np.abs(flat).max()])
    orders = np.log2(np.array(errors[:-1]) / errors[1:])[-1]
    # a tenth for what is left of higher terms on these grids
    np.testing.assert_allclose(orders, [3, 2], atol=0.1)
    # and a bilinear field stays bilinear in each coarse cell
    again = fine.grid.at_nodes(fine.in_order(rung._prolong(linear[None])[0])[
        fine.grid.vertices])  # fmt: skip
    np.testing.assert_allclose(
        fine.on_axes(again), rung._prolong(linear[None])[0], atol=1e-13
    )


def test_points_of_the_resolution() -> None:
    solver = solver_of("pipe")
    assert solver.grid == QuadGrid(16, 6) and solver.with_cells((16, 6)) == (13, 33)
    cell = solver_of("hyperelastic-cell")
    assert cell.grid == QuadGrid(4, 24, periodic=True)
    assert cell.with_cells((4, 24)) == (9, 48)
    for name, shape, words in (
        ("pipe", "[12, 33]", "12 points: give an odd number"),
        ("hyperelastic-cell", "[9, 44]", "multiple of 8"),
    ):
        with pytest.raises(opkit.errors.CaseError, match=words):
            load_case(name, [f"resolution={shape}"]).build_solver()


def test_numbers_of_the_solver_hold_where_the_case_gives_none() -> None:
    solver = solver_of("hyperelastic-cell", "solver.parameters.traction=2e4")
    inputs = samples(solver, 2)
    own = solver.solve(inputs).outputs["von_mises"]
    given = solver.solve({**inputs, "traction": np.array([2e4, 4e4])})
    np.testing.assert_array_equal(given.outputs["von_mises"][0], own[0])
    assert given.outputs["von_mises"][1].max() > 1.5 * own[1].max()


def test_nothing_is_stored_where_a_load_is_impossible(tmp_path: Path) -> None:
    """One line that names the sample's seed and the last load reached."""
    case = load_case(
        "hyperelastic-cell-strain",
        [
            "resolution=[9, 48]",
            "parameters.stretch.low=0.5",
            "parameters.stretch.high=0.501",
        ],
    )
    with pytest.raises(NotConvergedError, match="last load reached is stretch 0") as e:
        opkit.generate(case, tmp_path / "d.h5", samples=3)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "d.h5").exists()


def test_shapes_that_overlap_are_refused_before_anything_is_stored(
    tmp_path: Path,
) -> None:
    case = load_case(
        "channel-bumps",
        [
            "resolution=[9, 33]",
            "parameters.widths.low=1.3",
            "parameters.widths.high=1.4",
        ],
    )
    with pytest.raises(opkit.errors.OpkitInputError, match="overlaps with") as caught:
        opkit.generate(case, tmp_path / "d.h5", samples=3)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "d.h5").exists()
