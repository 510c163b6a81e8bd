"""Data files that a surrogate was not trained on: a test split alone, other axes."""

import numpy as np
import pytest

import opkit
from opkit.errors import DataError
from opkit.evaluate.run import evaluate
from opkit.figures import run as figures
from opkit.report.page import report

N = 16


def samples(count, seed):
    k = np.random.default_rng(seed).uniform(1, 2, (count, N, N)).astype("f4")
    dims = ("sample", "y", "x")
    return {"k": (dims, k), "t": (dims, k**2)}


def saved(data, path, **options):
    options.setdefault("periodic", ["y", "x"])
    return opkit.save(data, path, ["k"], ["t"], **options)


@pytest.fixture
def run(tmp_path):
    data = {"train": samples(16, 0), "validation": samples(4, 1)}
    file = saved(data, tmp_path / "data.h5")
    overrides = ["training.epochs=1", "model.n_modes=[4,4]", "model.hidden_channels=4"]
    return opkit.train(file, tmp_path / "run", operator="fno", overrides=overrides).run


def test_a_test_split_alone_is_measured(run, tmp_path):
    """Trained without a test split, and measured on a file that has nothing else."""
    alone = saved({"test": samples(6, 2)}, tmp_path / "alone.h5")
    whole = {"train": samples(8, 3), "test": samples(6, 2)}
    rows = evaluate(run, alone).rows
    assert {row.predictor for row in rows} == {"surrogate"}
    assert {row.split for row in rows} == {"test"}
    beside = {
        (r.predictor, r.resolution): r
        for r in evaluate(run, saved(whole, tmp_path / "whole.h5")).rows
    }
    predicted = opkit.load(run)(samples(6, 2)["k"][1])
    truth = samples(6, 2)["t"][1].reshape(6, -1)
    errors = np.linalg.norm(
        np.asarray(predicted).reshape(6, -1) - truth, axis=1
    ) / np.linalg.norm(truth, axis=1)
    assert rows[0].relative_l2 == pytest.approx(errors.mean(), rel=1e-5)  # float32
    for row in rows:
        same = beside["surrogate", row.resolution].relative_l2
        assert row.relative_l2 == pytest.approx(same, rel=1e-6)  # of other batches
    assert "test" in report(run, tmp_path / "r.html", alone).read_text()
    assert figures.draw(run, alone)


def test_axes_that_are_not_periodic_are_another_domain(run, tmp_path):
    """16 points of a period and 16 with both ends span 1, with other spacings."""
    other = saved({"test": samples(6, 2)}, tmp_path / "other.h5", periodic=[])
    with pytest.raises(DataError, match=r"axis [xy] is not periodic.*--periodic"):
        evaluate(run, other)
