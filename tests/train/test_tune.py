"""Search over a recipe's search block."""

import copy

import pytest

from opkit.errors import Interrupted, OpkitInputError
from opkit.surrogate.bundle.run_list import list_runs
from opkit.train.tune import tune

pytest.importorskip("optuna")


def test_best_first_reproducible_and_every_trial_is_a_run(tmp_path, make_data, case):
    changed = copy.deepcopy(case)
    changed["recipes"]["fno"]["search"] = {
        "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "model.n_modes": {"choices": [[4, 4], [8, 8]]},
        "model.n_layers": {"low": 1, "high": 2, "integer": True},
    }
    data = make_data(case=changed)
    overrides = ["training.epochs=2"]
    seen = []
    trials = tune(
        data, tmp_path / "a", operator="fno", trials=3, overrides=overrides,
        progress=seen.append,
    )  # fmt: skip
    values = [trial.validation for trial in trials]
    assert values == sorted(values) and len(seen) == 3
    assert {t.settings for t in trials} == {t.settings for t in seen}
    assert all(any("model.n_modes=[" in s for s in t.settings) for t in trials)
    rates = {s for t in trials for s in t.settings if "learning_rate" in s}
    assert len(rates) == 3
    by_path = {run.path: run.best_validation for run in list_runs(tmp_path / "a")}
    assert by_path == {t.run: t.validation for t in trials}
    again = tune(data, tmp_path / "b", operator="fno", trials=3, overrides=overrides)
    assert [(t.settings, t.validation) for t in again] == [
        (t.settings, t.validation) for t in trials
    ]


def test_no_search_block_and_a_used_folder_are_refused(tmp_path, make_data):
    data = make_data()
    with pytest.raises(OpkitInputError, match="search block"):
        tune(data, tmp_path / "a", operator="fno", trials=1)
    search = ["search={training.weight_decay: {low: 0, high: 1}}"]
    with pytest.raises(OpkitInputError, match="not empty"):
        tune(data, tmp_path, operator="fno", trials=1, overrides=search)
    with pytest.raises(OpkitInputError, match="low must be below high"):
        search = ["search={training.weight_decay: {low: 2, high: 1}}"]
        tune(data, tmp_path / "a", operator="fno", trials=1, overrides=search)


MODES = "search={model.n_modes: {choices: [[4, 4], [40, 40]]}}"


def test_a_trial_that_fails_is_listed_and_the_search_goes_on(tmp_path, make_data):
    data = make_data()  # 16 x 16 points: 40 modes do not fit
    words = [MODES, "training.epochs=1"]
    trials = tune(data, tmp_path / "a", operator="fno", trials=4, overrides=words)
    fits = ["[4, 4]" in trial.settings[0] for trial in trials]
    assert True in fits and False in fits and fits == sorted(fits, reverse=True)
    for trial, good in zip(trials, fits, strict=True):
        assert (trial.validation is not None) == (trial.reason is None) == good
        assert good or "n_modes [40, 40] exceeds" in str(trial.reason)
    assert len({trial.validation for trial in trials if trial.reason is None}) == 1


def test_all_trials_failed(tmp_path, make_data):
    words = ["search={model.n_modes: {choices: [[40, 40]]}}", "training.epochs=1"]
    with pytest.raises(OpkitInputError, match=r"all 2 trials failed.*40.* exceeds"):
        tune(make_data(), tmp_path / "a", operator="fno", trials=2, overrides=words)


def test_ctrl_c_says_what_is_kept_and_resume_gives_the_whole(tmp_path, make_data):
    data = make_data()
    words = [
        "search={training.learning_rate: {low: 1e-4, high: 1e-2}}",
        "training.epochs=1",
    ]

    def search(folder, **more):
        return tune(data, folder, operator="fno", trials=3, overrides=words, **more)

    def stop(trial):
        if trial.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"2 of 3 trials.*best: trial.*--resume"):
        search(tmp_path / "a", progress=stop)
    before = (tmp_path / "a/trial-000/bundle/model.safetensors").stat().st_mtime_ns
    with pytest.raises(OpkitInputError, match=r"not empty.*--resume"):
        search(tmp_path / "a")
    with pytest.raises(OpkitInputError, match="with other settings and seed"):
        search(tmp_path / "a", resume=True, seed=1)
    again, whole = search(tmp_path / "a", resume=True), search(tmp_path / "b")
    assert [(t.settings, t.validation) for t in again] == [
        (t.settings, t.validation) for t in whole
    ]
    file = tmp_path / "a/trial-000/bundle/model.safetensors"
    assert file.stat().st_mtime_ns == before
