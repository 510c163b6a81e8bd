"""Evaluation: figures found again, other data, baselines."""

import copy

import pytest
import torch

from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import BundleError, CaseError
from opkit.evaluate import scores
from opkit.evaluate.run import evaluate
from opkit.figures import plots
from opkit.figures import run as figures
from opkit.operators.inputs import Inputs
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.run_list import list_runs
from opkit.train import train


@pytest.fixture
def run(tmp_path, make_data):
    data = make_data(n=32)
    overrides = ["subsample=2", "training.epochs=3"]
    return train(data, tmp_path / "run", operator="fno", overrides=overrides).run


def test_stored_figures_are_found_again_exactly(run):
    evaluation = evaluate(run)
    assert evaluation.reproduced is True
    assert [r.relative_l2 for r in evaluation.rows] == [
        r.relative_l2 for r in evaluation.stored
    ]
    assert evaluate(run / "bundle").reproduced is True


def test_rows_are_predictors_at_all_resolutions(run, tmp_path):
    rows = {(r.predictor, r.resolution): r for r in evaluate(run).rows}
    assert set(rows) == {
        ("surrogate", (16, 16)),
        ("mean", (16, 16)),
        ("surrogate", (32, 32)),
        ("mean", (32, 32)),
        ("upsampled", (32, 32)),
        ("surrogate", (8, 8)),
        ("mean", (8, 8)),
    }
    # by hand: the mean of the training outputs, the mean over test samples of errors
    train_set, test_set = (
        FieldDataset(tmp_path / "data.h5", s, 2) for s in ("train", "test")
    )
    mean = torch.stack([train_set[i]["outputs"] for i in range(24)]).mean(0)
    errors = [
        ((mean - u).norm() / u.norm()).item()
        for u in (test_set[i]["outputs"] for i in range(8))
    ]
    assert rows["mean", (16, 16)].relative_l2 == pytest.approx(
        sum(errors) / 8, rel=1e-5
    )


def test_finer_grids_contain_the_training_grid(tmp_path, make_data):
    # 96 points are also divided by 3 and 6, whose grids do not contain every fourth
    overrides = ["subsample=4", "training.epochs=1"]
    result = train(
        make_data(n=96), tmp_path / "run", operator="fno", overrides=overrides
    )
    sizes = [r.resolution[0] for r in result.scores if r.predictor == "surrogate"]
    assert sizes == [24, 96, 48, 12]


def test_other_data_are_measured_but_not_compared(run, make_data):
    other = make_data("other.h5", n=32, seed=7)
    evaluation = evaluate(run, other)
    assert not evaluation.same_data and evaluation.reproduced is None
    assert evaluation.rows[0].relative_l2 != evaluation.stored[0].relative_l2


def test_data_of_another_case_or_gone_are_refused(run, make_data, tmp_path, request):
    case = copy.deepcopy(request.getfixturevalue("case"))
    case["version"] = 2
    with pytest.raises(CaseError, match="helmholtz-v2"):
        evaluate(run, make_data("other.h5", n=32, case=case))
    (tmp_path / "data.h5").unlink()
    with pytest.raises(BundleError, match="--data"):
        evaluate(run)


def test_upsampling_is_exact_for_linear_fields_and_periodic_across_the_edge():
    x = torch.linspace(0, 1, 5)
    coarse = (x[:, None] + 2 * x).expand(2, 1, 5, 5)
    fine = torch.linspace(0, 1, 9)
    expected = (fine[:, None] + 2 * fine).expand(2, 1, 9, 9)
    torch.testing.assert_close(
        scores.upsample(coarse, (9, 9), (False, False)), expected
    )
    wave = torch.tensor([0.0, 1.0, 0.0, -1.0])[None, None]
    upsampled = scores.upsample(wave, (8,), (True,))[0, 0]
    torch.testing.assert_close(
        upsampled, torch.tensor([0, 0.5, 1, 0.5, 0, -0.5, -1, -0.5])
    )


def test_list_and_figures_of_a_run(run, tmp_path):
    (summary,) = list_runs(tmp_path)
    assert (summary.operator, summary.case, summary.epochs) == ("fno", "helmholtz", 3)
    assert summary.error == surrogate.load(run).config.scores[0].relative_l2
    pytest.importorskip("matplotlib")
    paths = figures.draw(run)
    assert {p.name for p in paths} >= {"curves.png", "samples.png", "worst.png"}
    assert all(p.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for p in paths)


@pytest.mark.parametrize(
    ("loss", "metric", "axis"),
    [
        ("relative_l2", "relative_l2", "relative L2 error"),
        ("relative_h1", "relative_l2", "relative H1 (training), relative L2 (valid"),
    ],
)
def test_curves_name_loss_and_validation(tmp_path, monkeypatch, loss, metric, axis):
    drawn = []
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "save", lambda plt, figure, path: drawn.append(figure))
    row = {"epoch": 1, "train_loss": 0.1, "validation": 0.2, "learning_rate": 1e-3}
    plots.curves(tmp_path / "a.png", [row, row | {"epoch": 2}], loss, metric)
    upper = drawn[0].axes[0]
    assert upper.get_ylabel().startswith(axis)
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    assert [label.partition(" (")[0] for label in labels[:2]] == [
        "training loss",
        "validation",
    ]


def test_every_other_point_takes_nothing_from_numbers_per_sample():
    """Fields and places are thinned, numbers are not, weights are those of the rest."""
    grid = torch.arange(2 * 5 * 5.0).view(2, 1, 5, 5)
    inputs = Inputs(
        grid,
        parameters=torch.arange(6.0).view(2, 3),
        points=torch.stack([grid[:, 0], -grid[:, 0]], -1),
        weights=torch.ones(2, 5, 5),
    )
    few = scores.thinned(inputs, (..., slice(None, None, 2), slice(None, None, 2)))
    assert torch.equal(few.fields, grid[..., ::2, ::2])
    assert torch.equal(few.parameters, inputs.parameters)
    assert torch.equal(few.points, inputs.points[:, ::2, ::2])
    assert few.weights is None
