"""Training on equations that are drawn as it goes."""

import math

import pytest
import torch

import opkit.hypino
from opkit.errors import BundleError, OpkitInputError
from opkit.operators.hypino.loss import hypino_loss
from opkit.operators.hypino.network import HyPINO
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.surrogate.bundle.run_list import summarise
from opkit.surrogate.surrogate import load
from opkit.train import plan, train
from opkit.train.equations.run import scores
from opkit.train.equations.setup import model_options
from opkit.train.equations.stream import (
    ProblemStream,
    StreamOptions,
    as_problems,
    as_sample,
)
from opkit.train.equations.task import EquationTask
from opkit.train.loop.batches import slices

CPU = torch.device("cpu")
LAW = ManufacturedDistribution(frequency=2, min_steps=2, max_steps=3)
SMALL = (
    "training.epochs=2", "training.batch_size=4", "training.compile=false",
    "stream.problems=12", "stream.chunk=6", "stream.validation=8",
    "stream.points=32", "stream.boundary_points=16",
    "model.channels=16", "model.depths=[1]", "model.heads=[4]",
    "model.head_groups=4",
)  # fmt: skip


def stream(seed=0, epochs=4, **changes):
    options = {"problems": 12, "chunk": 6, "points": 32, "boundary_points": 16}
    options |= {"validation": 8, "unlabelled_from": 0.5, **changes}
    return ProblemStream(StreamOptions(**options), LAW, (32, 32), epochs, seed)


def drawn(source, epoch, batch_size=4, rank=0, world=1):
    parts = slices(len(source), batch_size, rank, world)
    batches = [batch for batch, _ in source.draw(epoch, parts, CPU)]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_problems_depend_on_seed_and_epoch_alone():
    first, again, other = drawn(stream(), 1), drawn(stream(), 1), drawn(stream(1), 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["grids"], other["grids"])
    assert not torch.equal(first["grids"], drawn(stream(), 2)["grids"])
    assert first["grids"].flatten(1).unique(dim=0).shape[0] == 12


def test_problems_do_not_depend_on_batches_and_processes():
    whole = drawn(stream(), 3, batch_size=12)
    for size in (4, 5):
        cut = drawn(stream(), 3, batch_size=size)
        assert all(torch.equal(whole[name], cut[name]) for name in whole)
    two = [drawn(stream(), 3, batch_size=6, rank=rank, world=2) for rank in (0, 1)]
    assert all(
        torch.equal(whole[name], torch.cat([part[name] for part in two]))
        for name in whole
    )


def test_unlabelled_problems_come_late_and_evenly_spread():
    assert drawn(stream(), 2)["labelled"].all()
    assert drawn(stream(), 3)["labelled"].tolist() == [True, False] * 6
    third = drawn(stream(unlabelled=1 / 3, chunk=12), 3)["labelled"].tolist()
    assert third.count(False) == 4
    assert all(third[k : k + 3].count(False) == 1 for k in range(0, 12, 3))


def test_held_out_problems_are_labelled_and_of_no_epoch():
    source = stream()
    batches = {purpose: source.labelled(purpose) for purpose in ("validation", "test")}
    for memory in batches.values():
        assert len(memory) == 8 and memory.fields["labelled"].all()
    everything = [memory.fields["grids"] for memory in batches.values()]
    everything += [drawn(source, epoch)["grids"] for epoch in range(1, 5)]
    together = torch.cat(everything).flatten(1)
    assert together.unique(dim=0).shape == together.shape


def test_samples_and_problems_are_the_same():
    problems = as_problems(drawn(stream(), 3))
    again = as_problems(as_sample(problems))
    assert problems.solution.shape == (5, 12, 32)
    for name in problems.__dataclass_fields__:
        assert torch.equal(getattr(problems, name), getattr(again, name))


def test_the_task_is_the_loss_of_its_batch():
    torch.manual_seed(0)
    model, batch = HyPINO(plan_options()), drawn(stream(), 3)
    values = EquationTask(plan_recipe().training, stream()).errors(
        model, batch, torch.Generator()
    )
    expected = hypino_loss(model, as_problems(batch))["loss"]
    assert values.shape == (12,)
    torch.testing.assert_close(values, expected.expand(12))


def plan_recipe():
    return plan("manufactured", operator="hypino", overrides=SMALL).recipe


def plan_options():
    return model_options(plan_recipe().model)


def test_a_run_is_resumed_bit_for_bit_listed_and_loaded(tmp_path):
    whole = train("manufactured", tmp_path / "a", operator="hypino", overrides=SMALL)
    half = (*SMALL, "training.schedule=constant")
    long = train("manufactured", tmp_path / "b", operator="hypino", overrides=half)
    one = (*half, "training.epochs=1")
    train("manufactured", tmp_path / "c", operator="hypino", overrides=one)
    both = train(
        "manufactured", tmp_path / "c", operator="hypino", overrides=half, resume=True
    )
    expected, weights = (opkit.hypino.load(r.run).state_dict() for r in (long, both))
    assert all(torch.equal(expected[name], weights[name]) for name in expected)
    assert both.scores == long.scores

    listed = summarise(whole.run)
    assert (listed.case, listed.operator, listed.epochs) == (
        "manufactured",
        "hypino",
        2,
    )
    assert listed.error == whole.scores[0].relative_l2
    assert listed.best_validation == whole.best_validation
    # two epochs of three steps teach nothing, and the run says so
    assert whole.scores[0].relative_l2 > whole.scores[1].relative_l2
    assert listed.status == "flagged" and "mean of u" in listed.flags[0]
    rows = RunDirectory(whole.run).metrics()
    assert [row["epoch"] for row in rows] == [1, 2]
    with pytest.raises(BundleError, match="holds a hypernetwork"):
        load(whole.run)
    u = opkit.hypino.solve(
        "u_xx + u_yy = f", boundary="u = 0 on all", source="1",
        model=opkit.hypino.load(whole.run), method="network",
    )  # fmt: skip
    assert math.isfinite(u.residual)


def test_scores_of_the_mean_are_those_of_a_plain_computation():
    source, options = stream(), plan_options()
    rows = {row.predictor: row for row in scores(HyPINO(options).eval(), source)}
    fields, errors = source.labelled("test").fields, []
    for k in range(8):
        u = fields["solution"][k, 0][fields["weights"][k] > 0]
        errors.append(float((u - u.mean()).norm() / u.norm()))
    assert rows["mean"].relative_l2 == pytest.approx(sum(errors) / 8, rel=1e-5)


def test_a_plan_counts_steps_and_memory():
    planned = plan("manufactured", operator="hypino", overrides=SMALL)
    assert (planned.steps_per_epoch, planned.steps) == (3, 6)
    assert planned.train_samples == 12 and planned.validation_samples == 8
    assert planned.step_bytes > 4 * 4 * planned.parameters
    bigger = (*SMALL, "training.batch_size=12")
    more = plan("manufactured", operator="hypino", overrides=bigger)
    weights = 16 * planned.parameters
    grown = (more.step_bytes - weights) / (planned.step_bytes - weights)
    assert grown == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize(
    ("data", "operator", "override", "message"),
    [
        ("manufactured", "hypino", "training.noise=0.1", "training.noise is for data"),
        ("manufactured", "hypino", "training.metric=relative_h1", "scattered points"),
        ("manufactured", "hypino", "stream.problem=3", "Did you mean 'problems'"),
        ("manufactured", "hypino", "model.preset=huge", "choose one of tiny"),
        ("manufactured", "hypino", "model.window=5", "do not tile"),
        ("manufactured", "fno", "training.epochs=1", "only hypino trains on a case"),
        ("darcy", "fno", "training.epochs=1", "only hypino trains on a case"),
        ("darcy.h5", "hypino", "training.epochs=1", "not on a file"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, data, operator, override, message):
    with pytest.raises(OpkitInputError, match=message):
        train(data, tmp_path / "run", operator=operator, overrides=[override])
    assert not (tmp_path / "run").exists()


def test_a_stream_block_is_not_for_fields(tmp_path, make_data):
    data, wrong = make_data(), ["stream.problems=3"]
    with pytest.raises(OpkitInputError, match="stream is for hypernetworks"):
        train(data, tmp_path / "run", operator="fno", overrides=wrong)
