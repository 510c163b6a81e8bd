"""The solver's errors are measured as the surrogate's."""

import numpy as np
import pytest

from opkit.case import load_case
from opkit.case.recipe import Recipe
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.evaluate.solver import error, table
from opkit.generate import generate


def fields(seed, shape):
    return {"q": np.random.default_rng(seed).normal(size=shape)}


def relative(e, u, axes):
    return np.sqrt((e**2).sum(axes) / (u**2).sum(axes))


def test_rollouts_of_layers_are_means_over_frames_after_the_given_ones():
    spec = VariableSpec("q", "output", ("time", "layer", "y", "x"), (5, 2, 8, 8))
    predicted, true = (fields(seed, (3, 5, 2, 8, 8)) for seed in (0, 1))
    recipe = Recipe(operator="fno", mode="autoregressive", history=2, subsample=2)
    e, u = ((f[:, 2:, :, ::2, ::2]) for f in (predicted["q"] - true["q"], true["q"]))
    expected = relative(e, u, (-2, -1)).mean()  # of each frame and layer
    assert error(predicted, true, header(spec), recipe) == pytest.approx(
        expected, rel=1e-12
    )


def header(spec):
    axes = {
        d: Axis(np.arange(float(n))) for d, n in zip(spec.dims, spec.shape, strict=True)
    }
    return Header({}, (spec,), axes, {"train": np.arange(3)})


def test_space_time_fields_are_measured_as_one():
    spec = VariableSpec("q", "output", ("time", "y", "x"), (5, 8, 8))
    predicted, true = (fields(seed, (3, 5, 8, 8)) for seed in (0, 1))
    recipe = Recipe(operator="fno", mode="space-time")
    expected = relative(predicted["q"] - true["q"], true["q"], (1, 2, 3)).mean()
    assert error(predicted, true, header(spec), recipe) == pytest.approx(
        expected, rel=1e-12
    )


def test_rows_are_the_solver_and_coarser_grids_with_growing_errors(tmp_path):
    case = load_case("darcy-lognormal", ("resolution=33",))
    data = generate(case, tmp_path / "darcy.h5", samples=20)
    rows = table(Recipe(operator="fno", subsample=2), data, "train")
    assert [row.predictor for row in rows] == [
        "solver",
        "coarse solve 1/2",
        "coarse solve 1/4",
    ]
    assert all(row.resolution == (33, 33) and row.seconds > 0 for row in rows)
    assert rows[0].relative_l2 < 1e-6  # stored as float32
    # far beyond that rounding, and better than zero everywhere
    assert 1e-4 < rows[1].relative_l2 < rows[2].relative_l2 < 1


def test_rows_on_meshes_have_errors_in_both_norms(tmp_path):
    case = load_case("elastic-cantilever", ("resolution=8",))
    data = generate(case, tmp_path / "beam.h5", samples=10)
    whole, half = table(Recipe(operator="spon"), data, "train")
    assert whole.resolution == (33 * 9,)
    assert max(whole.relative_l2, whole.relative_h1) < 1e-5
    # linear elements on twice the spacing; the gradients' order is one lower
    assert 1e-3 < half.relative_l2 < half.relative_h1 < 1
