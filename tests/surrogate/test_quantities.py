"""Quantities of interest of a surrogate: values, conformal bounds, solving by them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import binom

import opkit
from opkit.case import load_case
from opkit.case.record import parse_case
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, OpkitInputError
from opkit.generate import generate
from opkit.train import train

FRESH = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Darcy flow over ten numbers; its mean pressure and the pressure at a point."""
    made = tmp_path_factory.mktemp("quantities")
    data = load_case("darcy-parametric", ("resolution=17",)).dump()
    data["quantities"] = {
        "mean_pressure": {"kind": "mean", "of": "pressure", "units": "Pa"},
        "probe": {"kind": "value", "of": "pressure", "at": [0.25, 0.5], "units": "Pa"},
    }
    data["samples"] = {"train": 60, "validation": 120, "test": FRESH}
    (made / "case.yaml").write_text(yaml.safe_dump(data))
    case = load_case(str(made / "case.yaml"))
    generate(case, made / "d.h5", seed=2)
    few = ["training.epochs=8", "model.n_modes=[6, 6]", "model.hidden_channels=8"]
    train(made / "d.h5", made / "run", operator="fno", overrides=few)
    return made


def test_values_are_those_of_the_prediction(folder: Path) -> None:
    """The mean by the trapezoidal rule, the value at a node."""
    surrogate = opkit.load(folder / "run")
    with DataFile(folder / "d.h5") as file:
        c = file.read("coefficients", file.indices("test"))[:5]
    checked = surrogate({"coefficients": c}, check=True)
    p = checked.prediction["pressure"]
    weights = np.ones(17)
    weights[[0, -1]] = 0.5
    mean = np.einsum("byx,y,x->b", p, weights, weights) / 16**2
    found = checked.quantities
    assert found["mean_pressure"].units == "Pa"
    np.testing.assert_allclose(found["mean_pressure"].value, mean, rtol=1e-6)
    np.testing.assert_allclose(found["probe"].value, p[:, 8, 4], rtol=1e-6)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_promised_coverage_is_held(folder: Path, coverage: float) -> None:
    """On fresh samples; given the calibration samples, coverage is Beta distributed.

    The tolerance is the 1e-3 quantile of the binomial law, at a coverage lowered by
    three standard deviations of that Beta law.
    """
    surrogate = opkit.load(folder / "run")
    n = surrogate.calibration.record.samples
    with DataFile(folder / "d.h5") as file:
        rows = file.indices("test")
        c, truth = file.read("coefficients", rows), file.read("pressure", rows)
    checked = surrogate({"coefficients": c}, check=True, coverage=coverage)
    low = coverage - 3 * np.sqrt(coverage * (1 - coverage) / n)
    fewest = binom.ppf(1e-3, FRESH, low)
    exact = truth[:, 8, 4].astype(float)
    probe = checked.quantities["probe"]
    assert (np.abs(probe.value - exact) <= probe.error_bound).sum() >= fewest
    # bounds are no wider than the errors: half of them is not enough
    assert (np.abs(probe.value - exact) <= probe.error_bound / 4).sum() < FRESH


def test_solving_by_a_quantity(folder: Path) -> None:
    """A tolerance in the quantity's units decides which samples are solved."""
    surrogate = opkit.load(folder / "run")
    with DataFile(folder / "d.h5") as file:
        c = file.read("coefficients", file.indices("test"))[:20]
    bound = surrogate({"coefficients": c}, check=True).quantities["probe"].error_bound
    asked = {"coefficients": c}
    loose = surrogate.solve(asked, tolerance=2 * bound.max(), quantity="probe")
    tight = surrogate.solve(asked, tolerance=bound.min() / 2, quantity="probe")
    similar = loose.verdict.resembles_training()
    assert ((loose.action == "accepted") == similar).all()
    assert (tight.action != "accepted").all()
    with pytest.raises(OpkitInputError, match=r"no quantity 'prob'.*mean_pressure"):
        surrogate.solve(asked, tolerance=1.0, quantity="prob")


def _probe(outputs, inputs) -> float:
    """The value at the node that ``probe`` is at."""
    assert inputs["coefficients"].shape == (10,)
    return outputs["pressure"][8, 4]


def test_a_function_is_bounded_as_the_same_quantity_of_the_case(folder: Path) -> None:
    """Equal values and bounds: it is measured on the very same samples.

    Calibration predicts 64-bit fields of 32-bit outputs one by one, the training in
    batches: sums differ by rounding, 1e-4 of errors that are 1e-2 of the values.
    """
    surrogate = opkit.load(folder / "run", quantities={"mine": _probe})
    with DataFile(folder / "d.h5") as file:
        c = file.read("coefficients", file.indices("test"))[:20]
    asked = {"coefficients": c}
    checked = surrogate(asked, check=True)
    mine, probe = checked.quantities["mine"], checked.quantities["probe"]
    np.testing.assert_allclose(mine.value, probe.value, rtol=1e-6)
    np.testing.assert_allclose(mine.error_bound, probe.error_bound, rtol=1e-3)
    again = opkit.load(folder / "run")(asked, check=True, quantity=_probe)
    np.testing.assert_array_equal(
        again.quantities["_probe"].error_bound, mine.error_bound
    )
    tolerance = float(np.median(probe.error_bound)) * 1.01
    by_name = surrogate.solve(asked, tolerance=tolerance, quantity="probe")
    by_function = surrogate.solve(asked, tolerance=tolerance, quantity=_probe)
    assert list(by_function.action) == list(by_name.action)


def test_a_function_without_samples_to_measure_it_on(
    folder: Path, tmp_path: Path
) -> None:
    """Values with infinite bounds and the reason; a tolerance is refused in a line."""
    lone = tmp_path / "bundle"
    shutil.copytree(folder / "run" / "bundle", lone)
    with DataFile(folder / "d.h5") as file:
        c = file.read("coefficients", file.indices("test"))[:3]
    surrogate = opkit.load(lone)
    checked = surrogate({"coefficients": c}, check=True, quantity=_probe)
    own = checked.quantities["_probe"]
    assert np.isinf(own.error_bound).all()
    assert "give data=FILE" in own.reason
    with pytest.raises(OpkitInputError, match=r"no error bound: .*give data=FILE"):
        surrogate.solve({"coefficients": c}, tolerance=0.1, quantity=_probe)
    there = opkit.load(lone, quantities={"mine": _probe}, data=folder / "d.h5")
    bound = there({"coefficients": c}, check=True).quantities["mine"].error_bound
    assert np.isfinite(bound).all()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda u, x: u["presure"], r"quantity q: .*KeyError.*pressure.*coefficients"),
        (lambda u, x: u["pressure"], "quantity q: .*gives a number"),
        (lambda u, x: np.nan, "quantity q: the function gives nan"),
        (3, "quantity q: give a function"),
    ],
)
def test_functions_that_give_no_number(folder: Path, function, words) -> None:
    """One line each, when the surrogate is loaded."""
    with pytest.raises(OpkitInputError, match=words):
        opkit.load(folder / "run", quantities={"q": function})
    with pytest.raises(OpkitInputError, match="there is a quantity 'probe'"):
        opkit.load(folder / "run", quantities={"probe": _probe})


def test_quantities_stand_in_the_table(folder: Path) -> None:
    """Mean absolute errors of the surrogate, and of the mean predictor."""
    rows = opkit.load(folder / "run").config.scores
    own, mean = rows[0], rows[1]
    assert own.quantities.keys() == {"mean_pressure", "probe"}
    assert mean.predictor == "mean"
    with DataFile(folder / "d.h5") as file:
        train = file.read("pressure", file.indices("train"))[:, 8, 4].astype(float)
        test = file.read("pressure", file.indices("test"))[:, 8, 4].astype(float)
    exact = np.abs(test - train.mean()).mean()
    assert mean.quantities["probe"] == pytest.approx(exact, rel=1e-5)


def test_a_quantity_of_nothing() -> None:
    """Refused with the case."""
    data = load_case("darcy").dump()
    data["quantities"] = {"q": {"kind": "mean", "of": "presure"}}
    with pytest.raises(CaseError, match=r"quantities.q.*'presure'.*pressure"):
        parse_case(data)


def test_a_quantity_of_layers() -> None:
    """Refused with the case: which layer is meant is not said."""
    data = load_case("quasi-geostrophic").dump()
    layered = next(v["name"] for v in data["outputs"] if "layer" in v["dims"])
    data["quantities"] = {"q": {"kind": "mean", "of": layered}}
    with pytest.raises(CaseError, match=r"quantities.q: .* has layers"):
        parse_case(data)


def test_quantities_and_slopes_of_the_solver_over_http(folder: Path) -> None:
    """Vectors after the outputs; q(u) of what was solved; uᵀ (J v) = (Jᵀ u) v."""
    pytest.importorskip("aiohttp")
    from fixtures.http import ask, running

    from opkit.serve.server import Server

    surrogate = opkit.load(folder / "run")
    with DataFile(folder / "d.h5") as file:
        row = file.indices("test")[0]
        c, p = file.read("coefficients", row), file.read("pressure", row)
    c = c.astype(np.float64)
    names = ["probe", "mean_pressure"]
    with running(Server(surrogate)) as url:

        def over_http(kind, **more):
            asked = {"name": "forward", "input": [c.tolist()], **more}
            status, reply = ask(f"{url}/{kind}", asked)
            assert status == 200, reply
            return reply

        config = {"quantities": names, "bound": True, "nodes": [8 * 17 + 4]}
        value, *rest = over_http("Evaluate", config=config)["output"]
        checked = surrogate({"coefficients": c}, check=True)
        known = [checked.quantities[name] for name in names]
        assert rest[:2] == [q.value.tolist() for q in known]
        assert rest[2:] == [
            checked.error_bound.tolist(),
            *(q.error_bound.tolist() for q in known),
        ]
        assert rest[0] == value
        sizes = over_http("OutputSizes", config=config)["outputSizes"]
        assert sizes == [1] * 6
        solved = {"quantities": names, "level": "solver"}
        field, probe, mean = over_http("Evaluate", config=solved)["output"]
        assert probe == [pytest.approx(field[8 * 17 + 4], rel=1e-12)]
        # the file holds float32
        assert probe == [pytest.approx(float(p[8, 4]), rel=1e-6)]
        plain = {"inputs": {"coefficients": c.tolist()}, "level": "solver"}
        reply = ask(f"{url}/predict", plain)[1]
        assert reply["quantities"]["mean_pressure"] == pytest.approx(mean[0])
        u, v = np.random.default_rng(0).standard_normal((2, 289))
        wrt = {"outWrt": 0, "inWrt": 0, "config": {"level": "solver"}}
        back = over_http("Gradient", sens=u.tolist(), **wrt)["output"]
        forth = over_http("ApplyJacobian", vec=v[:10].tolist(), **wrt)["output"]
        # differences of second order, h = 1e-3: 1e-6 of a slope
        scale = np.linalg.norm(u) * np.linalg.norm(forth)
        assert abs(u @ forth - back @ v[:10]) < 1e-5 * scale
        for kind, words in (("Gradient", "no derivatives"), ("Evaluate", "Did you")):
            more = {**wrt, "sens": u.tolist()} if kind == "Gradient" else {}
            wrong = {"quantities": ["probe" if more else "prob"]}
            asked = {"input": [c.tolist()], **more, "config": wrong}
            status, reply = ask(f"{url}/{kind}", asked)
            assert status == 400 and words in reply["error"]["message"], reply
