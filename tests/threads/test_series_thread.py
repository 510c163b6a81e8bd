"""Series and numbers on their way from the case to the prediction."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import opkit
from opkit.case import load_case
from opkit.case.record import parse_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, DataError, OpkitInputError
from opkit.evaluate import solver as solver_scores
from opkit.figures import run as figures
from opkit.figures.data_file import draw as draw_file
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator, operator_class
from opkit.operators.shapes import DataShape
from opkit.report.page import report
from opkit.solvers.heat_rod import HeatRod

from .test_thread import run, settings

INPUTS = ["end_temperature", "diffusivity"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of the rod, pod-gp trained on it, and its predictions."""
    path = tmp_path_factory.mktemp("series")
    few = ["resolution=17", "solver.parameters.intervals=20", "distribution.terms=4"]
    counts = ["samples.train=80", "samples.validation=40", "samples.test=30"]
    run("generate", "heat-boundary", "--out", path / "d.h5", *settings(*few, *counts))
    run("train", path / "d.h5", "--operator", "pod-gp", "--out", path / "run")
    run(
        "predict", path / "run", path / "d.h5", "--split", "test",
        "--out", path / "p.nc",
    )  # fmt: skip
    return path


@pytest.fixture
def given(folder: Path) -> xr.Dataset:
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as dataset:
        return dataset.isel(sample=slice(120, 150)).load()


def test_a_file_holds_series_and_numbers(folder: Path, given: xr.Dataset) -> None:
    """Dims as netCDF has them; stored outputs are those of a solver of its own."""
    dims = {name: given[name].dims for name in (*INPUTS, "flux", "heat")}
    assert dims == {
        "end_temperature": ("sample", "time"),
        "diffusivity": ("sample",),
        "flux": ("sample", "time"),
        "heat": ("sample",),
    }
    solver = HeatRod(
        diffusivity=float(given.diffusivity[0]), resolution=(17,), intervals=20
    )
    g = given.end_temperature.values[:1].astype(float)
    exact = solver.solve({"end_temperature": g}).outputs
    # float32 storage of the series, float64 of the number
    np.testing.assert_allclose(given.flux.values[:1], exact["flux"], atol=1e-6)
    np.testing.assert_array_equal(given.heat.values[:1], exact["heat"])
    findings = json.loads(run("validate", folder / "d.h5", "--json").stdout)
    assert all(each["passed"] for each in findings)


def test_samples_have_series_and_all_outputs_in_one(folder: Path) -> None:
    samples = FieldDataset(folder / "d.h5", "test")
    item = samples[3]
    with DataFile(folder / "d.h5") as file:
        stored = {v.name: file.read(v.name, 123) for v in file.header.variables}
    np.testing.assert_array_equal(item["series"][0], stored["end_temperature"])
    packed = np.concatenate(
        [stored["temperature"], stored["flux"], [np.float32(stored["heat"])]]
    )
    np.testing.assert_array_equal(item["outputs"][0], packed)
    assert samples.output_channels == ("temperature", "flux", "heat")
    assert samples.readout_sizes == (21, 1)
    with pytest.raises(DataError, match="needs outputs with a time dimension"):
        FieldDataset(folder / "d.h5", "test", mode="autoregressive")


def test_kinds_of_arrays_agree_and_are_close_to_the_solver(
    folder: Path, given: xr.Dataset
) -> None:
    surrogate = opkit.load(folder / "run")
    answer = surrogate(given[INPUTS])
    assert answer.flux.dims == ("sample", "time")
    assert answer.heat.dims == ("sample",)
    np.testing.assert_array_equal(answer.time, given.time)
    for name in ("temperature", "flux", "heat"):
        error = np.linalg.norm(answer[name] - given[name]) / np.linalg.norm(given[name])
        # 80 samples of five numbers: 6 % measured; the mean of all has an error of 1
        assert error < 0.1, name
    arrays = {name: torch.from_numpy(given[name].values) for name in INPUTS}
    in_torch = surrogate(arrays)
    np.testing.assert_allclose(in_torch["flux"], answer.flux, rtol=1e-6, atol=1e-6)
    alone = surrogate({name: values[2] for name, values in arrays.items()})
    assert alone["heat"].shape == ()
    np.testing.assert_allclose(alone["heat"], answer.heat[2], atol=1e-6)
    with xr.open_dataset(folder / "p.nc", engine="h5netcdf") as predicted:
        np.testing.assert_allclose(predicted.heat, answer.heat, atol=1e-6)
        np.testing.assert_array_equal(predicted.time, given.time)


def test_gradients_reach_back_in_time_only(folder: Path, given: xr.Dataset) -> None:
    """The heat grows with the temperature of the end at early times."""
    surrogate = opkit.load(folder / "run")
    arrays = {n: torch.from_numpy(given[n].values[:1]).float() for n in INPUTS}
    arrays["end_temperature"].requires_grad_()
    surrogate(arrays)["heat"].sum().backward()
    slope = arrays["end_temperature"].grad
    assert slope is not None
    # Duhamel: heat = ∫ κ (1 - Σ ...) g dt, a kernel that decreases from early to late
    assert slope[0, :10].sum() > 3 * slope[0, -5:].sum().abs()


def test_checks_know_series_and_numbers(folder: Path, given: xr.Dataset) -> None:
    surrogate = opkit.load(folder / "run")
    checked = surrogate(given[INPUTS], check=True, coverage=0.9)
    assert checked.resembles_training().mean() > 0.8
    heat = checked.quantities["heat"]
    assert heat.units == "1"
    inside = np.abs(heat.value - given.heat.values) <= heat.error_bound
    assert inside.mean() >= 0.7  # 0.9 promised; 30 samples, 3 standard deviations
    far = given[INPUTS].copy(deep=True)
    far["end_temperature"] *= 8
    verdict = surrogate(far, check=True)
    assert not verdict.in_range["end_temperature"].all()
    assert verdict.in_range["diffusivity"].mean() > 0.8
    assert verdict.resembles_training().mean() < 0.2
    solved = surrogate.solve(given[INPUTS].isel(sample=[0, 1]), tolerance=0.0)
    np.testing.assert_allclose(
        solved.outputs.flux, given.flux[:2], rtol=1e-5, atol=1e-6
    )


def test_scores_are_told_apart(folder: Path) -> None:
    evaluation = opkit.evaluate(folder / "run")
    own, mean = evaluation.rows
    assert evaluation.reproduced
    assert set(own.outputs) == {"temperature", "flux", "heat"}
    assert own.relative_l2 == pytest.approx(np.mean(list(own.outputs.values())))
    assert own.quantities["heat"] < 0.1 * mean.quantities["heat"]
    # errors of a number are related to one size, so that both ratios are the same
    assert own.outputs["heat"] / mean.outputs["heat"] == pytest.approx(
        own.quantities["heat"] / mean.quantities["heat"], rel=1e-5
    )
    text = run("evaluate", folder / "run").stdout
    assert "of flux" in " ".join(text.replace("┃", " ").split())


@pytest.mark.slow
def test_pictures_of_series_and_numbers(folder: Path) -> None:
    """Lines and dots are drawn; the numbers of a sample stand in its heading."""
    drawn = {path.name for path in figures.draw(folder / "run")}
    assert {"samples.png", "worst.png", "numbers.png"} <= drawn
    draw_file(folder / "d.h5", folder / "d.png")
    page = report(folder / "run", folder / "r.html", solver=False).read_text()
    assert "Numbers of all samples" in page
    assert re.search(r"heat -?[\d.]+ \(data -?[\d.]+\)", page)


@pytest.mark.slow
def test_an_export_has_an_output_for_each_variable(folder: Path) -> None:
    """Run by torch alone, it gives what the surrogate gives."""
    run("export", folder / "run", "--to", "pt2")
    record = json.loads((folder / "run" / "model.pt2.json").read_text())
    assert [f["name"] for f in record["outputs"]] == ["temperature", "flux", "heat"]
    assert [f["shape"][1:] for f in record["outputs"]] == [[17], [21], []]
    names = [f["name"] for f in record["inputs"]]
    assert names == ["inputs", "parameters", "series"]
    item = FieldDataset(folder / "d.h5", "test")[4]
    one = {name: item[name][None] for name in names}
    module = torch.export.load(folder / "run" / "model.pt2").module()
    temperature, flux, heat = module(*one.values())
    values = {n: one["series"][:, k] for k, n in enumerate(INPUTS[:1])}
    answer = opkit.load(folder / "run")(
        values | {"diffusivity": one["parameters"][:, 0]}
    )
    torch.testing.assert_close(temperature, answer["temperature"])
    torch.testing.assert_close(flux, answer["flux"])
    torch.testing.assert_close(heat, answer["heat"])


def test_the_solver_is_scored_beside_it(folder: Path) -> None:
    rows = solver_scores.table(
        opkit.load(folder / "run").config.recipe, folder / "d.h5"
    )
    # what is stored is float32 of the same solver
    assert rows[0].relative_l2 < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(time=slice(9)), "axis time has 9 values from 0 to 0.4"),
        (lambda d: d.assign_coords(time=2 * d.time), "21 values from 0 to 2, the"),
        (lambda d: d.drop_vars("end_temperature"), "inputs lack end_temperature"),
        (
            lambda d: {"diffusivity": d.diffusivity.values, "end_temprature": 1},
            "lack end_temperature: give diffusivity, end_temperature, not end_temprat",
        ),
        (
            lambda d: (
                {n: d[n].values[..., :1] for n in INPUTS}
                | {"diffusivity": d.diffusivity.values}
            ),
            "end_temperature has 1 values in time, the surrogate was trained on 21",
        ),
        (
            lambda d: d.assign(end_temperature=d.end_temperature * np.nan),
            "end_temperature holds NaN",
        ),
    ],
)
def test_wrong_series_are_one_line(
    folder: Path, given: xr.Dataset, change: object, message: str
) -> None:
    surrogate = opkit.load(folder / "run")
    assert callable(change)
    with pytest.raises(OpkitInputError, match=message):
        surrogate(change(given[INPUTS]))


@pytest.mark.parametrize("name", ["elliptic-fno"])
def test_operators_that_cannot_say_so(name: str) -> None:
    shape = DataShape(1, 1, (8, 8), (False,) * 2, (1.0,) * 2, series=1, times=10)
    with pytest.raises(OpkitInputError, match=f"{name} takes no series .*use fno or"):
        build_operator(name, shape, {})
    shape = DataShape(1, 0, (8, 8), (False,) * 2, (1.0,) * 2, readouts=(1,))
    with pytest.raises(OpkitInputError, match=f"{name} gives fields alone"):
        build_operator(name, shape, {})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeponet", {}),
        ("mionet", {}),
        ("fno", {"n_modes": [8], "hidden_channels": 8}),
        ("fno", {"n_modes": [8], "hidden_channels": 8, "parameters": "channels"}),
        ("unet", {"hidden_channels": 4, "n_scales": 2}),
        ("lsm", {"hidden_channels": 4, "n_scales": 2, "n_heads": 2}),
        (
            "lsm",
            {
                "hidden_channels": 4,
                "n_scales": 2,
                "n_heads": 2,
                "parameters": "channels",
            },
        ),
        ("mgno", {"hidden_channels": 4, "n_layers": 2, "iterations": [[1, 0], [1, 0]]}),
        (
            "mgno",
            {
                "hidden_channels": 4,
                "n_layers": 2,
                "iterations": [[1, 0], [1, 0]],
                "parameters": "channels",
            },
        ),
        ("transolver", {"hidden_channels": 8, "n_layers": 2, "n_heads": 2}),
        ("gno", {"hidden_channels": 8, "n_layers": 2, "kernel_width": 8}),
        ("lno", {"hidden_channels": 8, "n_layers": 2, "kernel_width": 8}),
        (
            "gino",
            {
                "hidden_channels": 8,
                "n_layers": 2,
                "kernel_width": 8,
                "latent_shape": [9],
            },
        ),
    ],
)
def test_answers_depend_on_series_and_are_packed(
    name: str, options: dict[str, object]
) -> None:
    """Every readout and every value of the field has a slope in each series."""
    shape = DataShape(
        1,
        2,
        (16,),
        (False,),
        (1.0,),
        parameters=1,
        series=2,
        times=10,
        readouts=(10, 1),
    )
    assert operator_class(name).accepts.series
    torch.manual_seed(0)
    operator = build_operator(name, shape, options).double()
    for weight in operator.parameters():  # a modulation begins as the identity
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    draw = torch.Generator().manual_seed(1)
    series = torch.randn(3, 2, 10, generator=draw, dtype=torch.double)
    series.requires_grad_()
    inputs = Inputs(
        torch.randn(3, 1, 16, generator=draw, dtype=torch.double),
        parameters=torch.randn(3, 1, generator=draw, dtype=torch.double),
        series=series,
    )
    answer = operator(inputs)
    assert answer.shape == (3, 1, 2 * 16 + 10 + 1)
    packing = shape.packing
    assert packing is not None
    fields, readouts = packing.split(answer)
    torch.testing.assert_close(packing.join(fields, readouts), answer)
    for part in (fields.sum(), readouts[:, :10].sum(), readouts[:, 10].sum()):
        (slope,) = torch.autograd.grad(part, series, retain_graph=True)
        assert (slope.abs().sum((0, 2)) > 0).all()


def test_numbers_of_a_field(tmp_path: Path) -> None:
    """A short vector as the only output, and quantities of its components."""
    data = load_case("conductivity-cell").dump() | {"resolution": 8}
    data["samples"] = {"train": 24, "validation": 8, "test": 6}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(data))
    run("generate", "case", tmp_path / "case.yaml", "--out", tmp_path / "d.h5")
    few = settings("training.epochs=2", "model.n_modes=[4,4]")
    run("train", tmp_path / "d.h5", "--operator", "fno", "--out", tmp_path / "r", *few)
    surrogate = opkit.load(tmp_path / "r")
    with xr.open_dataset(tmp_path / "d.h5", engine="h5netcdf") as dataset:
        two = dataset.isel(sample=slice(0, 2)).load()
    answer = surrogate(two[["conductivity"]])
    name = "effective_conductivity"
    assert answer[name].dims == two[name].dims == ("sample", f"{name}_component")
    checked = surrogate(two[["conductivity"]], check=True)
    assert set(checked.quantities) == {f"{name}[{k}]" for k in range(3)}
    np.testing.assert_allclose(
        checked.quantities[f"{name}[2]"].value, answer[name][:, 2], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            {"name": "a", "dims": ["component"], "units": "1"},
            "has dims .component. and",
        ),
        (
            {"name": "a", "dims": ["x", "component"], "units": "1"},
            "short vectors alone",
        ),
        ({"name": "a", "dims": [], "size": 3, "units": "1"}, "such as size: 3"),
    ],
)
def test_a_case_says_what_an_output_is(output: dict[str, object], message: str) -> None:
    data = load_case("heat-boundary").dump()
    with pytest.raises(CaseError, match=message):
        parse_case(data | {"outputs": [output]})


def test_a_quantity_of_a_number_is_refused() -> None:
    data = load_case("heat-boundary").dump()
    wrong = {"q": {"kind": "mean", "of": "flux", "units": "1"}}
    with pytest.raises(CaseError, match="flux is no field but a number or a series"):
        parse_case(data | {"quantities": wrong})
