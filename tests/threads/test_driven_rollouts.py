"""Rollouts driven by functions of time: one step has a closed form, which is linear."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from fixtures.training import write_file
from pydantic import BaseModel
from torch import Tensor

import opkit
from opkit.case import load_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.modes import mode_of
from opkit.errors import DataError, OpkitInputError
from opkit.export.compare import real_inputs
from opkit.operators import OPERATORS
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.shapes import DataShape
from opkit.serve.vectors import input_parts
from opkit.solvers.heat_rod import DrivenRod
from opkit.train.fields.setup import prepare
from opkit.train.fields.task import FieldTask
from opkit.train.loop.recipes import resolve_recipe

from .test_thread import run, settings

RECORDS = 8


class LinearStep(Operator):
    """u' = A u + B (g at both ends of the step), by least squares."""

    accepts = Accepts(("grid",), (1,), parameters=True, series=True)
    direct = True
    physical = True
    driven = True
    weight: Tensor

    class Options(BaseModel):
        pass

    def __init__(self, data: DataShape, options: BaseModel) -> None:
        super().__init__()
        self.count = data.in_channels
        columns = data.in_channels * data.shape[0] + data.series * data.times + 1
        size = data.out_channels * data.shape[0]
        self.register_buffer("weight", torch.zeros(columns, size))

    def _row(self, fields: Tensor, series: Tensor) -> Tensor:
        flat = series.flatten(1) * self.driven
        return torch.cat([fields.flatten(1), flat, flat.new_ones(len(flat), 1)], 1)

    def prepare(self, samples: dict[str, Tensor]) -> None:
        given = torch.cat([samples["inputs"], samples["outputs"]], 1).double()
        history = samples["inputs"].shape[1]
        steps = given.shape[1] - history
        inputs = Inputs(given, series=samples["series"].double())
        rows = [
            self._row(
                given[:, k : k + history], inputs.at_step(k, history).need("series")
            )
            for k in range(steps)
        ]
        after = given[:, history:].transpose(0, 1).flatten(2).flatten(0, 1)
        # ends of the rod are in the state and in the series: apart from rounding once
        x, cut = torch.cat(rows), 1e-5
        self.weight.copy_(torch.linalg.lstsq(x, after, cut, driver="gelsd").solution)

    def forward(self, inputs: Inputs) -> Tensor:
        row = self._row(inputs.fields, inputs.need("series"))
        if row.shape[1] != len(self.weight):
            raise OpkitInputError("another grid")
        return (row @ self.weight).unflatten(1, (1, -1))


class Undriven(LinearStep):
    """The same without what drives it."""

    driven = False


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind in (LinearStep, Undriven):
            name = f"{__name__}:{kind.__name__}"
            patch.setitem(OPERATORS, kind.__name__.lower(), name)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rod of one diffusivity, and what steps it."""
    path = tmp_path_factory.mktemp("driven")
    case = load_case("heat-driven").dump()
    parameters = {"diffusivity": 0.5, "records": RECORDS, "record_interval": 0.05}
    case["solver"]["parameters"] = {**parameters, "rtol": 1e-3}
    # all sines that the nodes tell apart, so that samples determine the whole step
    case["distribution"] |= {"terms": 15, "alpha": 0.1}
    del case["parameters"]
    case |= {"resolution": 17, "samples": {"train": 60, "validation": 20, "test": 5}}
    case["recipes"] = {"linearstep": {"operator": "linearstep", "training": {}}}
    (path / "rod.yaml").write_text(yaml.safe_dump(case))
    run("generate", path / "rod.yaml", "--out", path / "d.h5")
    return path


def trained(folder: Path, operator: str, *more: str) -> Path:
    place = folder / "-".join([operator, *more]).replace("=", "")
    if not place.exists():
        run(
            "train", folder / "d.h5", "--operator", operator, "--out", place,
            *settings("mode=autoregressive", *more),
        )  # fmt: skip
    return place


@pytest.fixture(scope="module")
def given(folder: Path) -> xr.Dataset:
    with xr.open_dataset(folder / "d.h5", engine="h5netcdf") as file:
        names = ["temperature", "end_temperature"]
        return file[names].isel(sample=slice(80, 85)).load()


@pytest.mark.parametrize("history", [1, 2])
def test_a_step_is_given_the_series_at_both_of_its_ends(
    folder: Path, given: xr.Dataset, history: int
) -> None:
    """Least squares find the closed form; float32 rounds it, 2e-7 at a step."""
    surrogate = opkit.load(trained(folder, "linearstep", f"history={history}"))
    steps = RECORDS + 1 - history
    rolled = surrogate.rollout(given, steps)
    true = given.temperature[:, history:]
    assert float(np.abs(rolled.temperature - true).max()) < 2e-5
    np.testing.assert_allclose(rolled.time, true.time)
    without = opkit.load(trained(folder, "undriven", f"history={history}"))
    off = without.rollout(given, steps).temperature - true
    # what happens at the end is most of what happens
    assert float(np.linalg.norm(off) / np.linalg.norm(true)) > 0.3


def test_all_doors_give_the_same_frames(folder: Path, given: xr.Dataset) -> None:
    place = trained(folder, "linearstep", "history=1")
    surrogate = opkit.load(place)
    whole = surrogate.rollout(given, RECORDS).temperature.values
    arrays = {
        "temperature": given.temperature.values[:, :1],
        "end_temperature": given.end_temperature.values,
    }
    by_array = surrogate.rollout(arrays, RECORDS)["temperature"]
    np.testing.assert_array_equal(by_array, whole)
    # further values of the series do not matter, nor do later frames
    hidden = given.temperature.where(given.time == 0)
    masked = given.assign(temperature=hidden)
    one = surrogate(masked).temperature
    np.testing.assert_array_equal(one, whole[:, 0])
    np.testing.assert_array_equal(surrogate(arrays)["temperature"], whole[:, 0])
    frames = [frame["temperature"] for frame in surrogate.frames(arrays)]
    np.testing.assert_array_equal(np.stack(frames, 1), whole)
    one_of = {name: torch.from_numpy(values[2]) for name, values in arrays.items()}
    one_of["end_temperature"].requires_grad_()
    alone = surrogate.rollout(one_of, 3)["temperature"]
    np.testing.assert_allclose(alone.detach(), whole[2, :3], atol=1e-6)
    alone[1].sum().backward()
    slope = one_of["end_temperature"].grad
    assert slope is not None
    assert bool((slope[:3] != 0).all()) and not slope[3:].any()
    run("predict", place, folder / "d.h5", "--split", "test", "-o", folder / "p.nc")
    with xr.open_dataset(folder / "p.nc", engine="h5netcdf") as predicted:
        np.testing.assert_array_equal(predicted.temperature, whole)
        np.testing.assert_array_equal(predicted.time, given.time[1:])
    assert real_inputs(place, surrogate.config).need("series").shape[-1] == 2


def test_the_solver_goes_on_from_predicted_states(
    folder: Path, given: xr.Dataset
) -> None:
    surrogate = opkit.load(trained(folder, "linearstep", "history=2"))
    checked = surrogate.rollout(given, 5, check=True)
    # the solver advances predicted states by the same part of the series
    assert checked.residual is not None and checked.residual.max() < 2e-5
    assert all(values.all() for values in checked.in_range.values())
    late = given.assign(
        end_temperature=given.end_temperature.where(given.time < 0.2, 9)
    )
    beyond = surrogate.rollout(late, 5, check=True)
    assert not beyond.in_range["end_temperature"].any()
    assert surrogate.rollout(late, 2, check=True).in_range["end_temperature"].all()
    store = folder / "store.h5"
    solved = surrogate.solve(given, exact=True, steps=5, store=store)
    # stored in float32
    gap = solved.outputs.temperature - given.temperature[:, 2:7]
    assert float(np.abs(gap).max()) < 1e-6
    findings = run("validate", store).stdout
    assert "False" not in findings
    kept = FieldDataset(store, None, mode="autoregressive", history=1)
    np.testing.assert_allclose(
        kept[0]["series"][0], given.end_temperature[0, 1:7], rtol=1e-6
    )


def test_a_rollout_longer_than_its_series_is_refused(
    folder: Path, given: xr.Dataset
) -> None:
    place = trained(folder, "linearstep", "history=1")
    surrogate = opkit.load(place)
    short = {
        "temperature": given.temperature.values[:, :1],
        "end_temperature": given.end_temperature.values[:, :3],
    }
    why = (
        r"end_temperature: 3 values in time are enough for 2 steps: give 4 for 3, one "
        r"at each given frame \(1\) and at each predicted one, or ask for fewer steps"
    )
    for ask in (surrogate.rollout, surrogate.frames):
        with pytest.raises(OpkitInputError, match=why):
            ask(short, 3)
    with pytest.raises(OpkitInputError, match=why):
        surrogate.rollout(given.isel(time=slice(0, 3)), 3)
    target = ["--steps", RECORDS + 1, "-o", folder / "long.nc"]
    said = run("predict", place, folder / "d.h5", *target, code=2).stderr
    assert "or ask for fewer steps" in said
    with pytest.raises(
        OpkitInputError, match="another length for each number of steps"
    ):
        input_parts(surrogate)


def test_windows_of_training_cut_the_series_too(folder: Path) -> None:
    asked = ["mode=autoregressive", "history=2", "training.unroll=3"]
    recipe = resolve_recipe({}, "linearstep", asked)
    setup = prepare(folder / "d.h5", recipe, 0)
    task = FieldTask.__new__(FieldTask)
    task.setup, task.training = setup, recipe.training
    batch = {role: part[None] for role, part in setup.train[0].items()}
    frames = torch.cat([batch["inputs"], batch["outputs"]], 1)
    window = task._window(batch, torch.Generator().manual_seed(0))
    (start,) = np.flatnonzero((frames[0, :, 0] == window["inputs"][0, 0]).all(1))
    assert start > 0  # of this seed
    series = batch["series"][..., start : start + 5]
    torch.testing.assert_close(window["series"], series, rtol=0, atol=0)


def header_of_trajectories(*more: VariableSpec) -> Header:
    """Three records of u, driven by g, from an initial state before them."""
    own = (
        VariableSpec("initial_u", "input", ("x",), (4,)),
        VariableSpec("g", "input", ("time",), (3,)),
        VariableSpec("u", "output", ("time", "x"), (3, 4)),
    )
    times, places = np.arange(1.0, 4), np.arange(4.0)
    axes = {"time": Axis(times), "x": Axis(places)}
    return Header({}, (*own, *more), axes, {"train": np.arange(2)})


def test_an_initial_state_before_the_records_has_the_first_value(
    tmp_path: Path,
) -> None:
    header = header_of_trajectories()
    g = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    fields = {
        "initial_u": np.zeros((2, 4), np.float32),
        "g": g,
        "u": np.ones((2, 3, 4), np.float32),
    }
    path = write_file(tmp_path / "d.h5", header, fields)
    samples = FieldDataset(path, "train", mode="autoregressive")
    assert samples[0]["outputs"].shape == (3, 1, 4)
    assert samples[0]["series"].tolist() == [[1, 1, 2, 3]]
    later = FieldDataset(path, "train", mode="autoregressive", initial=False)
    assert later[0]["series"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("dims", [(), ("time",)], ids=["number", "series"])
def test_readouts_beside_steps_are_refused(dims: tuple[str, ...]) -> None:
    """What follows from the state of each record is a quantity of that state."""
    flux = VariableSpec("flux", "output", dims, (3,) * len(dims))
    with pytest.raises(DataError, match="declare it as a quantity of u, which a roll"):
        mode_of("autoregressive").refuse(header_of_trajectories(flux), 3)


def test_a_step_is_the_sum_of_decaying_sines() -> None:
    """Against modes that go on without a look at nodes, as in Duhamel's series."""
    kappa, dt = 0.5, 0.05
    rod = DrivenRod(diffusivity=kappa, resolution=(65,), records=6, rtol=1e-5)
    drawn = rod.sample(np.random.default_rng(3))
    g, x = drawn["end_temperature"], np.linspace(0, 1, 65)
    solution = rod.solve({name: values[None] for name, values in drawn.items()})
    k = np.arange(1, 2001)
    rate, c = kappa * (k * np.pi) ** 2, 2 / (k * np.pi)
    modes = np.sin(np.outer(x, k) * np.pi)
    b = np.zeros(len(k))
    inside = slice(1, -1)
    rest = drawn["initial_temperature"] - g[0] * (1 - x)
    b[:63] = np.linalg.solve(modes[inside, :63], rest[inside])
    for m in range(6):
        slope = (g[m + 1] - g[m]) / dt
        b = b * np.exp(-rate * dt) + slope * c * np.expm1(-rate * dt) / rate
        exact = g[m + 1] * (1 - x) + modes @ b
        gap = np.abs(solution.outputs["temperature"][0, m + 1] - exact).max()
        # measured on 17, 33, 65 nodes: 1e-4, 6e-6, 4e-7 of the largest temperature
        assert gap < 1e-6 * np.abs(exact).max()
    assert solution.error < 1e-6
