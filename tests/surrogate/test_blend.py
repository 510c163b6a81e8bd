"""Blends: weights from bounds, and surrogates that know different parts of a law."""

import numpy as np
import pytest

import opkit
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError
from opkit.surrogate import Blend, Surrogate
from opkit.surrogate.blend import weights_of


def test_weights_are_inverse_squares_of_bounds() -> None:
    usual = np.ones((1, 2), bool)
    assert weights_of(np.array([[0.1, 0.2]]), usual) == pytest.approx(
        np.array([[0.8, 0.2]])
    )


@pytest.mark.parametrize(
    ("bounds", "usual", "weights"),
    [
        ((0.1, 0.2), (False, True), (0, 1)),  # strange to the first
        ((0.1, 0.2), (False, False), (0.8, 0.2)),  # strange to both
        ((0.1, np.inf), (True, True), (1, 0)),
        ((0.1, np.inf), (False, True), (0, 1)),
        ((np.inf, np.inf), (True, True), (0.5, 0.5)),
        ((0.0, 0.2), (True, True), (1, 0)),
        ((0.0, 0.0), (True, True), (0.5, 0.5)),
    ],
)
def test_who_counts(bounds, usual, weights) -> None:
    found = weights_of(np.array([bounds]), np.array([usual]))
    assert found[0] == pytest.approx(np.array(weights))


def law(low: float, high: float) -> tuple[str, ...]:
    return (
        "resolution=9",
        "solver.parameters.terms=2",
        f"parameters.coefficients={{kind: uniform, low: {low}, high: {high}, size: 2}}",
        "samples.train=40", "samples.validation=80", "samples.test=100",
    )  # fmt: skip


@pytest.fixture(scope="module")
def halves(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[Surrogate], np.ndarray, np.ndarray]:
    """Surrogates of two parts of a law, numbers of their test samples, pressures."""
    folder, members = tmp_path_factory.mktemp("blend"), []
    numbers, true = [], []
    for name, ends in {"low": (-2, 0), "high": (0, 2)}.items():
        case = opkit.load_case("darcy-parametric", law(*ends))
        data = opkit.generate(case, folder / f"{name}.h5")
        opkit.train(data, folder / name, operator="pod-gp", device="cpu")
        members.append(opkit.load(folder / name))
        with DataFile(data) as file:
            rows = file.indices("test")
            numbers.append(file.read("coefficients", rows))
            true.append(file.read("pressure", rows))
    return members, np.concatenate(numbers), np.concatenate(true)


def errors(u: np.ndarray, true: np.ndarray) -> np.ndarray:
    off = np.linalg.norm((u - true).reshape(len(u), -1), axis=1)
    return off / np.linalg.norm(true.reshape(len(u), -1), axis=1)


def test_each_half_is_left_to_who_knows_it(halves) -> None:
    members, numbers, true = halves
    blend = Blend(members)
    checked = blend({"coefficients": numbers}, check=True)
    # 5 % of what each knows may seem strange to it, for each of two checks
    for k, own in enumerate((slice(0, 100), slice(100, 200))):
        assert (checked.weights[own, k] > 0.99).mean() > 0.8
    off = [errors(m({"coefficients": numbers})["pressure"], true) for m in members]
    blended = errors(checked.prediction["pressure"], true)
    best, worst = np.minimum(*off), np.maximum(*off)
    assert blended.mean() < 1.5 * best.mean() < 0.2 * worst.mean()


def test_the_bound_holds_as_often_as_promised(halves) -> None:
    members, numbers, true = halves
    checked = Blend(members)({"coefficients": numbers}, check=True, coverage=0.9)
    off = errors(checked.prediction["pressure"], true)
    usual = checked.usual.any(1)
    assert usual.mean() > 0.8
    # of 200 samples with a promise of 0.9: three standard deviations are 0.064; and
    # 40 samples for calibration, whose own chance adds as much again
    assert (off <= checked.error_bound)[usual].mean() > 0.9 - 0.13
    assert np.isfinite(checked.error_bound[usual]).all()


def test_kinds_and_single_samples_agree(halves) -> None:
    members, numbers, _ = halves
    blend = Blend(members)
    whole = blend({"coefficients": numbers})["pressure"]
    one = blend({"coefficients": numbers[3]})["pressure"]
    assert one == pytest.approx(whole[3], rel=1e-5)
    same = blend({"coefficients": numbers}, check=True).prediction["pressure"]
    assert np.array_equal(same, whole)
    assert "mean weights" in repr(blend({"coefficients": numbers}, check=True))


def test_what_cannot_be_blended(halves) -> None:
    members = halves[0]
    with pytest.raises(OpkitInputError, match="two surrogates or more"):
        Blend(members[:1])
    with pytest.raises(OpkitInputError, match="of one problem"):
        Blend([members[0], opkit.load("zoo:burgers")])


def test_samples_with_nodes_of_their_own_are_blended(tmp_path) -> None:
    """Of two files whose first samples have 8 and 9 points."""
    small = ("hidden_channels=8", "n_layers=1", "n_heads=2", "n_slices=4")
    overrides = [*(f"model.{one}" for one in small), "training.epochs=1"]
    rng, members = np.random.default_rng(0), []
    for first in (8, 9):
        every = [rng.random((first + k % 3, 2)) for k in range(12)]
        samples = ({"points": points, "u": points[:, 0]} for points in every)
        data = opkit.save_meshes(
            samples, tmp_path / f"{first}.h5", [], ["u"],
            splits={"train": 9, "validation": 3},
        )  # fmt: skip
        run = tmp_path / str(first)
        opkit.train(data, run, operator="transolver", overrides=overrides, device="cpu")
        members.append(opkit.load(run))
    cloud = {"points": rng.random((7, 2)), "weights": np.full(7, 1 / 7)}
    blend = Blend(members)
    answers = [member(cloud)["u"] for member in members]
    weights = blend(cloud, check=True).weights[0]
    expected = weights @ np.stack(answers)
    # float32
    np.testing.assert_allclose(blend(cloud)["u"], expected, rtol=1e-5, atol=1e-6)
