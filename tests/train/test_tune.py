"""Search over a recipe's search block."""

import copy

import pytest

from opkit.errors import OpkitInputError
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
    found = tune(
        data, tmp_path / "a", operator="fno", trials=3, overrides=overrides,
        progress=seen.append,
    )  # fmt: skip
    values = [trial.validation for trial in found]
    assert values == sorted(values) and len(seen) == 3
    assert {t.settings for t in found} == {t.settings for t in seen}
    assert all(any("model.n_modes=[" in s for s in t.settings) for t in found)
    rates = {s for t in found for s in t.settings if "learning_rate" in s}
    assert len(rates) == 3
    by_path = {run.path: run.best_validation for run in list_runs(tmp_path / "a")}
    assert by_path == {t.run: t.validation for t in found}
    again = tune(data, tmp_path / "b", operator="fno", trials=3, overrides=overrides)
    assert [(t.settings, t.validation) for t in again] == [
        (t.settings, t.validation) for t in found
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
