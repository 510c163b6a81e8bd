"""Faults that training must notice, each injected."""

from pathlib import Path

import numpy as np
import pytest
import torch

from opkit.base.seeds import generator
from opkit.errors import DataError, OpkitInputError
from opkit.surrogate.bundle.normalise import Moments, Normaliser
from opkit.surrogate.bundle.run_list import list_runs
from opkit.train import TrainingError, train
from opkit.train.fields import symmetries
from opkit.train.loop import guards
from opkit.train.loop.batches import slices


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("row", "named"), [(5, "training sample 5"), (26, "validation sample 2")]
)
def test_a_sample_that_is_not_finite_is_named(tmp_path, make_data, value, row, named):
    def spoil(a, u):
        u[row, 3, 4] = value

    with pytest.raises(DataError, match=f"{named}: its outputs"):
        train(make_data(edit=spoil), tmp_path / "run", operator="fno")
    assert not (tmp_path / "run").exists()


def test_validation_samples_among_the_training_samples_are_found(tmp_path, make_data):
    def copy(a, u):
        a[25], u[25] = a[7], u[7]

    with pytest.raises(DataError, match=r"1 validation samples .* sample 1\b"):
        train(make_data(edit=copy), tmp_path / "run", operator="fno")


@pytest.mark.parametrize(("row", "of"), [(7, "training"), (26, "validation")])
def test_test_samples_that_were_fitted_to_are_found(tmp_path, make_data, row, of):
    """Equal inputs suffice: outputs of another solver would not make them new."""

    def copy(a, u):
        a[-1] = a[row]

    with pytest.raises(DataError, match=rf"1 test samples are also {of} samples"):
        train(make_data(edit=copy), tmp_path / "run", operator="fno")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes_stops_the_run_and_marks_it(tmp_path, make_data):
    overrides = ["training.learning_rate=1e4", "training.optimiser=sgd"]
    overrides += ["training.schedule=constant", "training.epochs=50"]
    with pytest.raises(TrainingError, match="learning_rate"):
        train(make_data(), tmp_path / "run", operator="fno", overrides=overrides)
    (summary,) = list_runs(tmp_path)
    assert summary.status == "failed" and "learning_rate" in summary.flags[0]
    assert not (tmp_path / "run" / "bundle").exists()


def test_loss_guard():
    guard = guards.LossGuard()
    guard.epoch(1.0, 1)
    guard.epoch(0.1, 2)
    guard.epoch(0.9, 3)
    with pytest.raises(TrainingError, match=r"rose from 0\.1 to 1\.01"):
        guard.epoch(1.01, 4)
    with pytest.raises(TrainingError, match="step 7"):
        guard.step(float("nan"), 1, 7)


def test_the_normaliser_knows_nothing_of_validation_and_test(tmp_path, make_data):
    def shift(a, u):
        u[24:] += 1e6

    from opkit.surrogate import surrogate

    train(make_data(edit=shift), tmp_path / "run", operator="fno")
    normaliser = surrogate.load(tmp_path / "run").model.outputs
    assert normaliser.high.item() < 1e5


def test_a_normaliser_fitted_on_other_data_is_noticed():
    def fitted(values: torch.Tensor) -> Normaliser:
        moments = Moments()
        moments.add(values)
        return Normaliser(2).fit(moments)

    x = torch.randn(20, 2, 8)
    assert guards.normaliser_of(fitted(x), fitted(x), "input") is None
    assert "input" in guards.normaliser_of(fitted(x), fitted(x[:15]), "input")


def test_a_normaliser_fitted_on_the_wrong_split_marks_the_run(
    tmp_path, make_data, monkeypatch
):
    from dataclasses import replace

    from opkit.train import main
    from opkit.train.fields.model import fit_normalisers

    def wrong(model, problem):
        swapped = replace(problem, train=problem.validation, validation=problem.train)
        return fit_normalisers(model, swapped)

    monkeypatch.setattr(main, "fit_normalisers", wrong)
    result = train(make_data(), tmp_path / "run", operator="fno")
    assert any("inputs normaliser" in flag for flag in result.flags)
    assert any("outputs normaliser" in flag for flag in result.flags)


def test_too_few_samples_to_hold_out(tmp_path, make_data):
    data = make_data(train=3, validation=0)
    with pytest.raises(DataError, match="validation split"):
        train(data, tmp_path / "run", operator="fno")


def test_held_out_samples_are_not_trained_on(tmp_path, make_data):
    from opkit.train.fields.setup import prepare
    from opkit.train.loop.recipes import resolve_recipe

    data = make_data(train=40, validation=0)
    recipe = resolve_recipe({}, "fno", ["training.holdout=0.25"])
    problem = prepare(data, recipe, seed=3)
    training, held = problem.train.fields["inputs"], problem.validation.fields["inputs"]
    assert (len(training), len(held)) == (30, 10)
    assert len(torch.unique(torch.cat([training, held]).flatten(1), dim=0)) == 40
    again = prepare(data, recipe, seed=3)
    assert torch.equal(again.validation.fields["inputs"], held)


def test_slices_of_processes_make_up_the_global_batch():
    order = torch.randperm(23, generator=generator(0, 1, 1))
    whole = slices(23, 8, 0, 1, order)
    parts = [slices(23, 4, rank, 2, order) for rank in range(2)]
    for batch, a, b in zip(whole, *parts, strict=True):
        assert sorted(batch.indices.tolist()) == sorted(
            [*a.indices.tolist(), *b.indices.tolist()]
        )
        assert a.total == b.total == batch.total
    # one sample left for two processes: the second one repeats it with weight 0
    last = slices(9, 4, 1, 2)[-1]
    assert last.weight.tolist() == [0.0] and last.total == 1


def test_symmetries_are_the_grids_and_act_alike_on_all_fields():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    random = generator(0, 1, 1)
    seen = set()
    for _ in range(60):
        a, b = symmetries.apply(("flip_x", "flip_y", "shift"), [x, 2 * x], 2, random)
        assert torch.equal(2 * a, b)
        assert a.flatten().sort().values.tolist() == x.flatten().tolist()
        seen.add(tuple(a.flatten().tolist()))
    assert len(seen) > 20  # of 48
    with pytest.raises(OpkitInputError, match="as many points"):
        symmetries.check_symmetries(("transpose",), (3, 4), (True, True))
    with pytest.raises(OpkitInputError, match="periodic"):
        symmetries.check_symmetries(("shift",), (4, 4), (True, False))


def test_a_file_without_a_test_split_is_scored_on_validation(tmp_path, make_data):
    result = train(make_data(test=0), Path(tmp_path / "run"), operator="fno")
    assert {row.split for row in result.scores} == {"validation"}
