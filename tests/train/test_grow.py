"""New samples where a surrogate is uncertain, and training that goes on with them."""

import numpy as np
import pytest
from typer.testing import CliRunner

import opkit
from opkit.cli import app
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, DataError, OpkitInputError
from opkit.generate import generate
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import train
from opkit.train.pick_samples import pick


@pytest.fixture(scope="module")
def case():
    return opkit.load_case("darcy", ("resolution=17",))


@pytest.fixture(scope="module")
def grown(darcy, case, tmp_path_factory):
    out = tmp_path_factory.mktemp("grown") / "worst.h5"
    chosen = pick(darcy.run, case, count=6, pool=40, seed=5)
    generate(chosen.case, out, 5, picked=chosen.numbers, marks=chosen.marks)
    return chosen, out


def test_the_most_uncertain_of_the_pool_are_solved_under_their_own_numbers(
    darcy, case, grown, tmp_path
):
    chosen, out = grown
    assert len(chosen.uncertainty) == 40
    worst = sorted(np.argsort(-chosen.uncertainty)[:6])
    assert chosen.numbers == worst != list(range(6))
    everything = generate(case, tmp_path / "all.h5", 5, samples=40)
    with DataFile(out) as file, DataFile(everything) as whole:
        assert list(file.index) == worst
        assert list(file.header.splits) == ["train"] and len(file) == 6
        for name in ("permeability", "pressure"):
            np.testing.assert_array_equal(
                file.read(name, slice(None)), whole.read(name, np.array(worst))
            )
        weights = bundle.read_config(darcy.run).weights_sha256
        assert file.header.provenance["picked_by"] == weights
        assert file.header.provenance["picked_from"] == 40


@pytest.mark.slow
def test_an_interrupted_growth_goes_on_and_other_numbers_are_refused(grown, tmp_path):
    chosen, out = grown
    target = tmp_path / "again.h5"
    options = {"picked": chosen.numbers, "marks": chosen.marks}
    stop = KeyboardInterrupt()

    def interrupt(progress):
        if progress.stage != "solving":
            raise stop

    with pytest.raises(KeyboardInterrupt):
        generate(chosen.case, target, 5, progress=interrupt, **options)
    # the manifest is lost: shards are adopted by what they hold
    (target.with_name("again.h5.parts") / "manifest.jsonl").write_text("")
    generate(chosen.case, target, 5, resume=True, **options)
    with DataFile(target) as one, DataFile(out) as other:
        assert one.content_hash() == other.content_hash()
    others = [n + 1 for n in chosen.numbers]
    with pytest.raises(DataError, match="another case, seed or size"):
        generate(chosen.case, target, 5, resume=True, picked=others)


def test_training_goes_on_with_old_and_new_samples(darcy, grown, tmp_path):
    _, out = grown
    before = bundle.read_config(darcy.run)
    result = train(
        darcy.data,
        tmp_path / "next",
        operator="ignored",
        overrides=["training.epochs=2", "training.learning_rate=1e-3"],
        start=darcy.run,
        more=[out],
        device="cpu",
    )
    after = bundle.read_config(result.run)
    assert after.provenance.train_samples == before.provenance.train_samples + 6
    assert after.provenance.more_data[0].startswith("worst.h5 ")
    first, second = (
        bundle.read(run)[1]["inputs.mean"] for run in (darcy.run, result.run)
    )
    assert (first == second).all()
    # it starts from what was learnt: two epochs alone are far from it
    rows = RunDirectory(result.run).metrics()
    assert rows[0]["validation"] < 1.5 * before.provenance.best_validation
    assert not after.flags


@pytest.mark.slow
def test_a_run_that_goes_on_resumes_exactly(darcy, grown, tmp_path):
    _, out = grown
    settings = ["training.epochs=2", "training.learning_rate=1e-3"]
    go = {"operator": "fno", "device": "cpu"}
    begin = {**go, "start": darcy.run, "more": [out]}
    train(darcy.data, tmp_path / "whole", overrides=settings, **begin)
    settings[0] = "training.epochs=1"
    train(darcy.data, tmp_path / "cut", overrides=settings, **begin)
    settings[0] = "training.epochs=2"
    train(darcy.data, tmp_path / "cut", overrides=settings, resume=True, **go)
    whole, cut = (
        [row["validation"] for row in RunDirectory(tmp_path / name).metrics()]
        for name in ("whole", "cut")
    )
    assert whole == cut


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 0}, "choose another --seed"),
        ({"count": 50}, "larger --pool"),
        ({"settings": ("resolution=33",)}, "--resolution"),
        ({"name": "darcy-lognormal", "settings": ("resolution=17",)}, "not for darcy"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(darcy, change, message):
    settings = change.get("settings", ("resolution=17",))
    case = opkit.load_case(change.get("name", "darcy"), settings)
    with pytest.raises(CaseError, match=message) as caught:
        pick(darcy.run, case, change.get("count", 4), 20, change.get("seed", 7))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_cannot_go_on_is_refused(darcy, grown, tmp_path):
    _, out = grown

    def go(**options):
        arguments = {"operator": "fno", "start": darcy.run, "device": "cpu"} | options
        train(darcy.data, tmp_path / "none", **arguments)

    with pytest.raises(OpkitInputError, match="model cannot change"):
        go(overrides=["model.hidden_channels=16"])
    other = opkit.load_case("darcy", ("resolution=9",))
    coarse = generate(other, tmp_path / "coarse.h5", 3, samples=4)
    with pytest.raises(DataError, match="another grid"):
        go(more=[coarse])
    with pytest.raises(DataError, match="validation"):
        go(more=[out, _copy_of_validation(darcy, tmp_path)])
    assert not (tmp_path / "none").exists()


def _copy_of_validation(darcy, folder):
    """A file whose training samples are validation samples of the first."""
    case = opkit.load_case("darcy", ("resolution=17", "samples.validation=0"))
    split = case.samples.model_copy(update={"train": 2, "validation": 0, "test": 0})
    alone = case.model_copy(update={"samples": split})
    return generate(alone, folder / "leak.h5", 0, picked=[85, 90])


@pytest.mark.slow
def test_both_verbs_on_the_command_line(darcy, tmp_path):
    runner = CliRunner()
    new, run = tmp_path / "new.h5", tmp_path / "run"
    result = runner.invoke(
        app,
        ["generate", "darcy", "--resolution", "17", "--samples", "4", "--seed", "9",
         "--where-uncertain", str(darcy.run), "--pool", "12", "-o", str(new), "-q"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    trained = runner.invoke(
        app,
        ["train", "--continue", str(darcy.run), "--data", str(new), "-o", str(run),
         "--set", "training.epochs=1", "--device", "cpu", "-q"],
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    assert opkit.load(run).config.provenance.train_samples == 84
