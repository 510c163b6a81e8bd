"""Training that goes on with what a surrogate had the solver solve."""

from pathlib import Path

import numpy as np
import pytest

import opkit
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError
from opkit.generate import generate
from opkit.surrogate.bundle import files as bundle
from opkit.train import train

OWN = (
    "resolution=9",
    "solver.parameters.terms=4",
    "parameters.coefficients.size=4",
    "samples.train=40",
    "samples.validation=50",
    "samples.test=20",
)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Darcy flow set by four numbers, learnt by Gaussian processes, and a store.

    The store holds queries far from the law, and three samples of the first file: one
    of its training split, one of validation, one of test.
    """
    made = tmp_path_factory.mktemp("pod")
    data = generate(opkit.load_case("darcy-parametric", OWN), made / "d.h5")
    train(data, made / "run", operator="pod-gp", device="cpu")
    s = opkit.load(made / "run")
    with DataFile(data) as file:
        known = file.read("coefficients", np.array([0, 45, 95]))
    s.solve({"coefficients": far(60)}, exact=True, store=made / "store.h5")
    s.solve({"coefficients": known}, exact=True, store=made / "store.h5")
    return made


def far(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(4, 0.5, (count, 4))


def test_a_direct_operator_learns_anew_and_bounds_are_for_the_queries(
    pod, tmp_path
) -> None:
    before = opkit.load(pod / "run")
    assert not before({"coefficients": far(20, 8)}, check=True).resembles_training(
    ).any()  # fmt: skip
    result = train(
        pod / "d.h5", tmp_path / "next", start=pod / "run", more=[pod / "store.h5"],
        device="cpu",
    )  # fmt: skip
    after = opkit.load(tmp_path / "next")
    with DataFile(pod / "store.h5") as file:
        splits = {name: len(rows) for name, rows in file.header.splits.items()}
        assert len(file) == 63
    made = after.config.provenance
    # all but the three that the first file holds
    total = made.train_samples + made.validation_samples
    assert total == 90 + 60
    assert 40 < made.train_samples <= 40 + splits["train"]
    assert made.more_data[0].startswith("store.h5 ")
    assert not result.flags
    queries = {"coefficients": far(40, 8)}
    solver = before.checker.context.case_solver.solver
    truth = solver.solve(queries).outputs["pressure"]

    def error(s) -> np.ndarray:
        off = (s(queries)["pressure"] - truth).reshape(40, -1)
        return np.linalg.norm(off, axis=1) / np.linalg.norm(
            truth.reshape(40, -1), axis=1
        )

    # learnt from 48 samples of the law of the queries in place of none
    assert error(after).mean() < error(before).mean() / 3
    checked = after(queries, check=True)
    # a test at 5 % takes up to all but a few for usual; 28 of 40 is far beyond chance
    assert checked.resembles_training().sum() >= 28
    # coverage 0.95 of bounds that a handful of such samples helped to make
    assert (error(after) <= checked.error_bound).mean() >= 0.8


def test_further_files_of_the_start_are_kept_and_asked_for_by_name(
    pod, tmp_path
) -> None:
    copy = tmp_path / "store.h5"
    copy.write_bytes((pod / "store.h5").read_bytes())
    go = {"start": pod / "run", "device": "cpu"}
    train(pod / "d.h5", tmp_path / "one", more=[copy], **go)
    go["start"] = tmp_path / "one"
    train(pod / "d.h5", tmp_path / "two", **go)
    one, two = (bundle.read_config(tmp_path / name) for name in ("one", "two"))
    assert one.provenance.more_data == two.provenance.more_data
    assert one.provenance.train_samples == two.provenance.train_samples
    # named again it is still one file
    train(pod / "d.h5", tmp_path / "three", more=[copy], **go)
    three = bundle.read_config(tmp_path / "three").provenance
    assert three.train_samples == one.provenance.train_samples
    copy.unlink()
    with pytest.raises(OpkitInputError, match="it is gone: bring it back"):
        train(pod / "d.h5", tmp_path / "four", **go)
    assert not (tmp_path / "four").exists()


def test_a_run_does_not_resume_with_a_store_that_has_grown(darcy, tmp_path) -> None:
    s, store = darcy.load(), tmp_path / "store.h5"
    s.solve(darcy.permeability[:10], exact=True, store=store)
    one = ["training.epochs=1"]
    train(
        darcy.data, tmp_path / "go", overrides=one, start=darcy.run, more=[store],
        device="cpu",
    )  # fmt: skip
    two = {"operator": "fno", "overrides": ["training.epochs=2"], "device": "cpu"}
    s.solve(darcy.permeability[10:12], exact=True, store=store)
    with pytest.raises(OpkitInputError, match=r"store\.h5 has changed since"):
        train(darcy.data, tmp_path / "go", resume=True, **two)
