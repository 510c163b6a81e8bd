"""The training loop: what it learns, and what it leaves."""

import math

import numpy as np
import pytest
import torch

from opkit.case.recipe import Training
from opkit.errors import OpkitInputError
from opkit.metrics import functional
from opkit.surrogate import surrogate
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import (
    Epoch,
    Finished,
    Started,
    Step,
    Warned,
    plan,
    train,
)
from opkit.train.loop import checkpoint
from opkit.train.loop import optimiser as schedules


def test_learns_a_linear_map_and_leaves_a_whole_run_directory(tmp_path, make_data):
    events = []
    data = make_data(train=64)
    overrides = ["training.epochs=30", "model.hidden_channels=16"]
    result = train(
        data,
        tmp_path / "run",
        operator="fno",
        overrides=overrides,
        progress=events.append,
    )
    by_name = {row.predictor: row.relative_l2 for row in result.scores[:2]}
    # a map that is diagonal in Fourier space is easy for an FNO: well below the mean
    assert by_name["surrogate"] < 0.25 < 0.9 < by_name["mean"]
    assert not result.flags
    names = {path.name for path in result.run.iterdir()}
    assert names >= {
        "config.yaml", "environment.json", "log.jsonl", "metrics.csv", "checkpoints",
        "bundle",
    }  # fmt: skip
    rows = RunDirectory(result.run).metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    best = min(rows, key=lambda row: row["validation"])
    assert (result.best_epoch, result.best_validation) == (
        best["epoch"],
        best["validation"],
    )
    kinds = [type(event) for event in events]
    assert kinds[0] is Started and kinds[-1] is Finished
    assert kinds.count(Epoch) == 30 and kinds.count(Step) == 30 * 8
    log = [e["event"] for e in RunDirectory(result.run).events()]
    assert log == ["started", "finished"]
    card = (result.bundle / "card.md").read_text()
    assert "u - Δu = a" in card and f"{by_name['surrogate']:.4f}" in card


def test_the_kept_weights_are_the_best_on_validation(tmp_path, make_data):
    def noise(a, u):  # nothing to learn but the mean: training on overfits
        u[:] = 3 + np.random.default_rng(1).normal(size=u.shape)

    data = make_data(train=8, edit=noise)
    overrides = ["training.learning_rate=0.03", "training.schedule=constant"]
    overrides += ["training.epochs=25"]
    result = train(data, tmp_path / "run", operator="fno", overrides=overrides)
    assert result.best_epoch < 25
    s = surrogate.load(result.run)
    from opkit.datasets.field_dataset import FieldDataset

    held = FieldDataset(data, "validation")
    x, t = (
        torch.stack([held[i][k] for i in range(len(held))])
        for k in ("inputs", "outputs")
    )
    error = functional.relative_l2(s.predict(x), t).mean().item()
    assert error == pytest.approx(result.best_validation, rel=1e-5)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path, make_data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(make_data(), tmp_path / "run", operator="fno")
    assert torch.equal(torch.rand(3), expected)


def test_accumulated_batches_equal_one_large_batch(tmp_path, make_data, runs):
    # 24 samples: 3 batches of 8 in groups of 3, or one of 24
    data = make_data()
    for name, size, groups in (("a", 8, 3), ("b", 24, 1)):
        overrides = [f"training.batch_size={size}", f"training.accumulate={groups}"]
        train(data, tmp_path / name, operator="fno", overrides=overrides)
    # the same sums in another order, in fp32, over four steps of Adam
    np.testing.assert_allclose(
        runs.columns(tmp_path / "a"), runs.columns(tmp_path / "b"), rtol=2e-4
    )


def test_lazy_reading_equals_reading_into_memory(tmp_path, make_data, runs):
    data = make_data()
    train(data, tmp_path / "memory", operator="fno")
    overrides = ["training.memory=1e-9"]
    train(data, tmp_path / "lazy", operator="fno", overrides=overrides)
    runs.assert_equal(tmp_path / "memory", tmp_path / "lazy")


def test_patience_stops_early(tmp_path, make_data):
    overrides = [
        "training.learning_rate=1e-12",
        "training.epochs=50",
        "training.patience=3",
    ]
    overrides += ["training.weight_decay=0", "training.schedule=constant"]
    result = train(make_data(), tmp_path / "run", operator="fno", overrides=overrides)
    epochs = len(RunDirectory(result.run).metrics())
    assert epochs == result.best_epoch + 3 < 50


def test_ema_keeps_the_average_of_the_weights(tmp_path, make_data):
    # one step an epoch, decay d: average after two steps of the start w0
    data = make_data()
    common = [
        "training.batch_size=24",
        "training.epochs=2",
        "training.schedule=constant",
    ]
    steps = []
    for name, extra in (("one", "training.epochs=1"), ("two", "training.epochs=2")):
        train(data, tmp_path / name, operator="fno", overrides=[*common, extra])
        steps.append(checkpoint.load(tmp_path / name / "checkpoints")[1]["model"])
    train(
        data, tmp_path / "ema", operator="fno", overrides=[*common, "training.ema=0.5"]
    )
    saved = checkpoint.load(tmp_path / "ema" / "checkpoints")[1]
    from opkit.datasets.read import DataFile
    from opkit.train.fields.model import build_physical_model
    from opkit.train.fields.setup import prepare
    from opkit.train.loop.recipes import resolve_recipe

    recipe = resolve_recipe(dict(DataFile(data).header.case), "fno", common)
    start = dict(build_physical_model(prepare(data, recipe, 0), 0).named_parameters())
    for name, w0 in start.items():
        expected = 0.25 * w0.detach() + 0.25 * steps[0][name] + 0.5 * steps[1][name]
        torch.testing.assert_close(
            saved["state"]["averaged"][name], expected, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("name", ["onecycle", "cosine"])
def test_schedules_equal_torchs(name):
    training = Training(epochs=7, schedule=name, learning_rate=0.3)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    reference = (
        torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.3, total_steps=35)
        if name == "onecycle"
        else torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 35)
    )
    for step in range(35):
        expected = optimiser.param_groups[0]["lr"]
        assert 0.3 * schedules.factor(training, step, 5) == pytest.approx(
            expected, rel=1e-9
        )
        optimiser.step()
        reference.step()


def test_step_schedule_halves_every_step_size_epochs():
    training = Training(epochs=9, schedule="step", step_size=3, step_factor=0.5)
    factors = [schedules.factor(training, step, 2) for step in range(18)]
    assert factors == [1.0] * 6 + [0.5] * 6 + [0.25] * 6


def test_plan_counts_without_training(tmp_path, make_data):
    planned = plan(make_data(), operator="fno", overrides=["training.batch_size=10"])
    assert (planned.train_samples, planned.steps_per_epoch, planned.steps) == (
        24,
        3,
        12,
    )
    assert planned.data_bytes == 24 * 2 * 16 * 16 * 4
    assert planned.parameters > 8 * 8 * 5 * 2 * 8  # more than one layer's weights
    assert planned.step_bytes > 4 * 4 * planned.parameters
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epoch=3"], "mean 'epochs'"),
        (["training.epochs=0"], "greater than or equal to 1"),
        (["training.loss=l2"], "relative_l2"),
        (["model.n_modes=[32, 32]"], "n_modes"),
        (["model.n_modes=[8]"], "one for each axis"),
        (["model.hiden_channels=3"], "hidden_channels"),
        (["mode=autoregressive"], "time"),
        (["operator=fnoo"], "'fno'"),
        (["subsample=0"], "greater than or equal to 1"),
    ],
)
def test_bad_recipes_are_refused_before_anything_is_written(
    tmp_path, make_data, overrides, message
):
    with pytest.raises(OpkitInputError, match=message) as caught:
        train(make_data(), tmp_path / "run", operator="fno", overrides=overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_bf16_trains_with_the_spectral_part_in_fp32(tmp_path, make_data, runs):
    data = make_data(train=64)
    base = ["training.epochs=8"]
    fp32 = train(data, tmp_path / "fp32", operator="fno", overrides=base)
    overrides = [*base, "training.precision=bf16-mixed"]
    bf16 = train(data, tmp_path / "bf16", operator="fno", overrides=overrides)
    # 8 bits of mantissa outside the spectral part: close, and not the same
    assert bf16.best_validation != fp32.best_validation
    assert bf16.best_validation == pytest.approx(fp32.best_validation, rel=0.1)
    kinds = {tensor.dtype for tensor in runs.tensors(bf16.run).values()}
    assert kinds == {torch.float32}


@pytest.mark.slow
def test_compiled_training_gives_the_same_loss_curve(tmp_path, make_data, runs):
    data = make_data()
    train(data, tmp_path / "eager", operator="fno")
    overrides = ["training.compile=true"]
    train(data, tmp_path / "compiled", operator="fno", overrides=overrides)
    # fused kernels round differently, in fp32, over 12 steps
    np.testing.assert_allclose(
        runs.columns(tmp_path / "eager"), runs.columns(tmp_path / "compiled"), rtol=1e-3
    )
    assert not any("_orig_mod" in name for name in runs.tensors(tmp_path / "compiled"))


def test_an_operator_that_wants_to_see_the_outputs_does(tmp_path, make_data):
    overrides = ["model.n_basis=5", "training.epochs=1"]
    result = train(
        make_data(), tmp_path / "run", operator="pod-deeponet", overrides=overrides
    )
    mean = surrogate.load(result.run).model.operator.mean
    assert mean.abs().max() > 0  # the mean of the normalised training outputs


def test_worse_than_the_mean_predictor_is_flagged_everywhere(tmp_path, make_data):
    events = []
    overrides = ["training.epochs=1", "training.learning_rate=3"]
    overrides += ["training.schedule=constant"]
    result = train(
        make_data(), tmp_path / "run", operator="fno", overrides=overrides,
        progress=events.append,
    )  # fmt: skip
    assert any("mean predictor" in flag for flag in result.flags)
    assert [e.flag for e in events if isinstance(e, Warned)] == list(result.flags)
    assert bundle.read_config(result.run).flags == result.flags
    assert result.flags[0] in (result.bundle / "card.md").read_text()
    assert math.isfinite(result.best_validation)
