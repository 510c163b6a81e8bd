"""Numbers per sample on their way from the case to the prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import opkit
from opkit.case import load_case
from opkit.case.record import parse_case
from opkit.datasets.conformity import duplicates
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.read import DataFile
from opkit.errors import OpkitError, OpkitInputError
from opkit.generate.check_solver import check_solver
from opkit.solvers.burgers import Burgers
from opkit.train.loop.guards import digest

from .test_thread import run, settings

LOW, HIGH = 0.02, 0.3


def case_text(**changes: object) -> str:
    data = load_case("burgers").dump()
    del data["solver"]["parameters"]["viscosity"]
    law = {"kind": "log-uniform", "low": LOW, "high": HIGH, "units": "1"}
    data |= {"name": "burgers-nu", "resolution": 32, "parameters": {"viscosity": law}}
    data["recipes"] = {}
    return yaml.safe_dump(data | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parameters")
    (path / "case.yaml").write_text(case_text())
    run("generate", "case", path / "case.yaml", "--out", path / "d.h5", "--samples", 40)
    few = ["training.epochs=2", "model.n_modes=[8]", "model.hidden_channels=8"]
    run("train", path / "d.h5", "--out", path / "run", *settings(*few))
    return path


def test_each_sample_is_solved_with_its_own_viscosity(folder: Path) -> None:
    """The stored record equals a solve by a solver that has that viscosity."""
    with DataFile(folder / "d.h5") as file:
        viscosity = file.read("viscosity", slice(None))
        assert ((viscosity > LOW) & (viscosity < HIGH)).all()
        assert len(np.unique(viscosity)) == len(viscosity)
        for row in (0, 7):
            initial = file.read("initial_velocity", row).astype(float)[None]
            alone = Burgers(
                **load_case("burgers").solver.parameters
                | {"viscosity": float(viscosity[row]), "resolution": (32,)}
            )
            exact = alone.solve({"initial_velocity": initial}).outputs["velocity"][0]
            stored = file.read("velocity", row)
            # float32 storage
            assert np.abs(stored - exact).max() <= 1e-7 * np.abs(exact).max()


def test_the_file_follows_its_specification(folder: Path) -> None:
    """Inputs are redrawn from their laws, outputs checked by the solver."""
    findings = json.loads(run("validate", folder / "d.h5", "--json").stdout)
    assert all(each["passed"] for each in findings)
    text = run("inspect", folder / "d.h5").stdout
    assert "log-uniform" in text
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as dataset:
        assert dataset.viscosity.dims == ("sample",)


def test_kinds_of_inputs_agree(folder: Path) -> None:
    """xarray, numpy and torch, in a batch and alone; a scalar in xarray broadcasts."""
    surrogate = opkit.load(folder / "run")
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as dataset:
        two = dataset.isel(sample=slice(0, 2))[["initial_velocity", "viscosity"]].load()
    by_name = {name: values.values for name, values in two.items()}
    expected = surrogate(by_name)["velocity"]
    np.testing.assert_array_equal(surrogate(two).velocity.values, expected)
    one = {name: values[0] for name, values in by_name.items()}
    # another batch size: float32 rounding of matrix products
    alone = surrogate(one)["velocity"]
    np.testing.assert_allclose(alone, expected[0], rtol=0, atol=2e-6)
    number = two.assign(viscosity=two.viscosity[0].drop_vars("sample"))
    same = two.assign(viscosity=two.viscosity.copy(data=[float(number.viscosity)] * 2))
    np.testing.assert_array_equal(surrogate(number).velocity, surrogate(same).velocity)
    predicted = run("predict", folder / "run", folder / "d.h5", "-o", folder / "p.nc")
    assert predicted
    with xr.open_dataset(folder / "p.nc", engine="h5netcdf") as out:
        np.testing.assert_allclose(out.velocity[:2], expected, rtol=0, atol=2e-6)


def test_gradients_with_respect_to_parameters(folder: Path) -> None:
    """Against a central difference in float64; its error is O(h²)."""
    surrogate = opkit.load(folder / "run")
    surrogate.model.double()
    torch.manual_seed(0)
    # the modulation begins as the identity: give it weights
    weight = surrogate.model.operator.modulation.last.weight
    weight.copy_(0.1 * torch.randn_like(weight))
    x = torch.randn(1, 32, dtype=torch.float64)

    def total(nu: torch.Tensor) -> torch.Tensor:
        fields = surrogate({"initial_velocity": x, "viscosity": nu})["velocity"]
        return fields.square().sum()

    nu = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    total(nu).backward()
    h = 1e-5
    with torch.no_grad():
        slope = (total(nu + h) - total(nu - h)) / (2 * h)
    assert float(slope) != 0
    assert float(nu.grad) == pytest.approx(float(slope), rel=1e-6)


def test_numbers_beyond_those_trained_are_flagged(folder: Path) -> None:
    """Half the range beyond it is out of range; novelty grows with the distance."""
    surrogate = opkit.load(folder / "run")
    with DataFile(folder / "d.h5") as file:
        initial = file.read("initial_velocity", slice(0, 3))
    inputs = {"initial_velocity": initial, "viscosity": np.array([0.1, 1.5, 30.0])}
    checked = surrogate(inputs, check=True)
    assert checked.in_range["viscosity"].tolist() == [True, False, False]
    assert checked.in_range["initial_velocity"].all()
    assert checked.resembles_training().tolist() == [True, False, False]
    assert np.all(np.diff(checked.novelty) > 0)


def test_the_residual_knows_the_viscosity(folder: Path) -> None:
    """The exact solution has a small residual only with its own viscosity."""
    with DataFile(folder / "d.h5") as file:
        case = parse_case(file.header.case)
        inputs = {v.name: file.read(v.name, slice(0, 2)) for v in file.header.inputs}
        outputs = {"velocity": file.read("velocity", slice(0, 2)).astype(float)}
    solver = case.build_solver()
    inputs = {name: values.astype(float) for name, values in inputs.items()}
    assert solver.residual(inputs, outputs).max() < 1e-4
    other = inputs | {"viscosity": 1.1 * inputs["viscosity"]}
    assert solver.residual(other, outputs).min() > 1e-3


def test_solving_where_the_prediction_will_not_do(folder: Path) -> None:
    """The fallback solves with each sample's number."""
    surrogate = opkit.load(folder / "run")
    with DataFile(folder / "d.h5") as file:
        inputs = {v.name: file.read(v.name, slice(0, 3)) for v in file.header.inputs}
        truth = file.read("velocity", slice(0, 3))[:, -1]
    solved = surrogate.solve(inputs, tolerance=1e-6)
    assert (solved.action != "accepted").all()
    gap = np.linalg.norm(solved.outputs["velocity"] - truth, axis=1)
    # the solver's rtol, and float32 storage
    assert (gap <= 1e-5 * np.linalg.norm(truth, axis=1)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"viscosity": None}, "inputs lack viscosity"),
        ({"viscosity": np.array([0.1, np.nan])},
         "viscosity holds NaN .* in sample 1: remove"),
        ({"initial_velocity": np.full((2, 32), np.inf)},
         r"initial_velocity holds NaN or infinity.* in sample 0 at \[0\]"),
        ({"viscosity": np.full(3, 0.1)}, "viscosity: 3 samples, the inputs have 2"),
        ({"viscosity": np.array([0.1, -0.1])}, "viscosity of sample 1 is -0.1"),
        ({"viscosity": np.ones((2, 2))}, "viscosity has 2 axes"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_one_line(folder: Path, change: dict, words: str) -> None:
    """Missing, not finite, without a logarithm, of another shape."""
    surrogate = opkit.load(folder / "run")
    inputs = {"initial_velocity": np.zeros((2, 32)), "viscosity": np.array([0.1, 0.2])}
    inputs = {k: v for k, v in (inputs | change).items() if v is not None}
    with pytest.raises(OpkitInputError, match=words):
        surrogate(inputs)


def test_a_copy_that_xarray_made_of_a_data_file(folder: Path, tmp_path: Path) -> None:
    """It has the attributes of a data file: predicted as any netCDF, bad or sound."""
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as stored:
        two = stored.isel(sample=slice(0, 2))[["initial_velocity", "viscosity"]].load()

    def predicted(change: xr.Dataset, code: int = 0) -> str:
        change.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
        words = ("predict", folder / "run", tmp_path / "in.nc", "-o")
        said = run(*words, tmp_path / "out.nc", "--force", code=code).stderr
        if code:
            assert not (tmp_path / "out.nc").exists()
        return " ".join(said.split())

    units = two.viscosity.assign_attrs(units="m2 s-1")
    assert "viscosity is in 'm2 s-1'" in predicted(two.assign(viscosity=units), 2)
    misspelt = two.rename(viscosity="viscosty")
    assert "Did you mean 'viscosity' by 'viscosty'?" in predicted(misspelt, 2)
    assert "lacks viscosity" in predicted(two[["initial_velocity"]], 2)
    negative = two.assign(viscosity=two.viscosity.copy(data=[0.1, -3.0]))
    assert "viscosity of sample 1 is -3" in predicted(negative, 2)
    predicted(two)
    expected = opkit.load(folder / "run")(two)
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as out:
        np.testing.assert_array_equal(out.velocity, expected.velocity)
    text = run("validate", tmp_path / "in.nc", code=2).stderr
    assert "another program wrote the file" in " ".join(text.split())


def test_data_of_a_case_that_lack_a_number(folder: Path, tmp_path: Path) -> None:
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as stored:
        stored.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    words = [
        "import", tmp_path / "out.h5", "--case", folder / "case.yaml", "--train",
        tmp_path / "in.nc", "--input", "initial_velocity=initial_velocity", "--output",
        "velocity=velocity",
    ]  # fmt: skip
    for more, hint in (
        ([], "--input viscosity=ARRAY."),
        (["--input", "viscosty=viscosity"], "'viscosity' by 'viscosty'?"),
    ):
        said = " ".join(run(*words, *more, code=2).stderr.split())
        assert "case burgers-nu: its input viscosity is missing: name it" in said
        assert said.endswith(hint)
    assert not (tmp_path / "out.h5").exists()


def test_constant_channels(folder: Path) -> None:
    """The option channels trains and loads."""
    few = ["training.epochs=1", "model.n_modes=[8]", "model.parameters=channels"]
    run("train", folder / "d.h5", "--out", folder / "ch", *settings(*few))
    inputs = {"initial_velocity": np.ones(32), "viscosity": 0.1}
    assert opkit.load(folder / "ch")(inputs)["velocity"].shape == (32,)


def test_the_battery_for_solvers_passes(folder: Path) -> None:
    """What holds for solvers of fields holds for those with numbers."""
    case = load_case(str(folder / "case.yaml"))
    for finding in check_solver(case):
        assert finding.passed is not False, finding


def test_a_law_and_a_value_for_one_number(tmp_path: Path) -> None:
    """One of them has to go."""
    data = yaml.safe_load(case_text())
    data["solver"]["parameters"]["viscosity"] = 0.1
    with pytest.raises(OpkitError, match="leave one of them away"):
        parse_case(data).build_solver()


def test_the_text_of_cases_without_parameters_is_what_it_was() -> None:
    """Content hashes of files made before stay."""
    assert "parameters" not in load_case("darcy").dump()
    assert "design" not in load_case("darcy").dump()


@pytest.fixture(scope="module")
def numbers_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Darcy flow over ten numbers, without an input field."""
    folder = tmp_path_factory.mktemp("numbers")
    size = ["--resolution", 17, "--samples", 60]
    run("generate", "case", "darcy-parametric", "--out", folder / "d.h5", *size)
    few = ["training.epochs=3", "model.n_modes=[6, 6]", "model.hidden_channels=8"]
    run("train", folder / "d.h5", "--out", folder / "run", *settings(*few))
    return folder


def test_numbers_without_fields(numbers_alone: Path) -> None:
    """Every verb that reads a run or its data; arrays, dicts and xarray agree."""
    data, run_folder = numbers_alone / "d.h5", numbers_alone / "run"
    surrogate = opkit.load(run_folder)
    with xr.open_dataset(data, engine="h5netcdf") as dataset:
        two = dataset.isel(sample=slice(0, 2))[["coefficients"]].load()
    assert two.coefficients.dims == ("sample", "coefficients_component")
    c = two.coefficients.values
    expected = surrogate({"coefficients": c})["pressure"]
    assert expected.shape == (2, 17, 17)
    np.testing.assert_array_equal(surrogate(c), expected)
    np.testing.assert_array_equal(surrogate(two).pressure, expected)
    # another batch size: float32 rounding of matrix products
    np.testing.assert_allclose(surrogate(c[0]), expected[0], rtol=0, atol=1e-6)
    far = c.copy()
    far[1] *= 10
    checked = surrogate({"coefficients": far}, check=True)
    assert checked.in_range["coefficients"].tolist() == [True, False]
    solved = surrogate.solve({"coefficients": c}, tolerance=1e-6)
    truth = load_case("darcy-parametric", ("resolution=17",)).build_solver()
    exact = truth.solve({"coefficients": c}).outputs["pressure"]
    gap = np.abs(solved.outputs["pressure"] - exact).max()
    assert gap <= 1e-5 * np.abs(exact).max()
    run("evaluate", run_folder, "--solver")
    run("report", run_folder, "-o", numbers_alone / "r.html")
    run("plot", run_folder)
    run("inspect", data, "--plot", numbers_alone / "d.png")
    run("predict", run_folder, data, "-o", numbers_alone / "p.nc", "--split", "test")
    run("validate", data)


def test_no_sample_counts_as_another_for_lack_of_fields(numbers_alone: Path) -> None:
    """What differs in its numbers alone is no duplicate; the same numbers are one."""
    with DataFile(numbers_alone / "d.h5") as file:
        assert not duplicates(file)
    samples = FieldDataset(numbers_alone / "d.h5", None)
    assert len({digest(samples[i]) for i in range(len(samples))}) == len(samples)


@pytest.mark.parametrize(
    "inputs", [np.zeros(9), np.zeros((2, 3, 10)), np.zeros((2, 17, 17))]
)
def test_arrays_that_are_not_the_numbers(
    numbers_alone: Path, inputs: np.ndarray
) -> None:
    """Another count, another number of axes."""
    with pytest.raises(OpkitInputError, match=r"give \(\[batch,\] 10\)"):
        opkit.load(numbers_alone / "run")(inputs)
