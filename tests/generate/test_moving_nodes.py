"""Data files of cases whose nodes move and whose inputs are numbers alone."""

from pathlib import Path

import numpy as np
import pytest

from opkit.case import load_case
from opkit.datasets.read import DataFile
from opkit.generate import generate
from opkit.generate.validate import validate
from opkit.solvers.interface import MovesNodes

SMALL = {
    "helmholtz-scattering": ("resolution=[17, 96]", "design=sobol"),
    "bracket-3d": ("resolution=[9, 1, 2]",),
}


@pytest.mark.fem
@pytest.mark.parametrize("name", SMALL)
def test_files_hold_the_nodes_of_each_sample_and_are_valid(
    name: str, tmp_path: Path
) -> None:
    case = load_case(name, SMALL[name])
    path = generate(case, tmp_path / "data.h5", samples=3, seed=1)
    assert all(check.passed for check in validate(path, samples=None))
    solver = case.build_solver()
    assert isinstance(solver, MovesNodes)
    with DataFile(path) as file:
        names = list(case.parameters)
        inputs = {key: file.read(key, slice(None)) for key in names}
        points = file.read("points", slice(None))
    # stored in single precision: half of its last bit is 6e-8 of a coordinate
    np.testing.assert_allclose(points, solver.points(inputs), rtol=1e-7, atol=1e-7)
