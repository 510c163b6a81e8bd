"""Tables that fit the terminal, JSON with numbers, errors as JSON where asked."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import opkit.cli
from opkit.cli import complete, console
from opkit.cli.console import plain, progress_text, table
from opkit.errors import Interrupted
from opkit.export.targets import TARGETS
from opkit.train import plan, train

ROWS = [
    {"name": "permeability", "shape": "12 x 16 x 16", "mean": 0.0049182, "text": "a b"},
    {
        "name": "pressure",
        "shape": "12 x 16 x 16",
        "mean": None,
        "text": "a word " * 9,
    },
]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run one command: exit code, stdout, stderr."""

    def go(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["opkit", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            opkit.cli.main()
        streams = capsys.readouterr()
        return int(end.value.code or 0), streams.out, streams.err

    return go


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_no_number_is_broken_and_no_line_is_too_long(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table(ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for whole in ("12 x 16 x 16", "0.004918", "permeability", "pressure"):
        assert any(whole in line for line in lines), (whole, lines)


@pytest.mark.parametrize("width", [60, 80])
def test_progress_keeps_the_count(width):
    label = "navier-stokes-1e-5 -> a-long-name-of-a-file-in-a-folder.h5"
    note = "epoch 3/40, loss 0.1234, validation 0.2345, 1234 samples/s"
    text = progress_text(label, "1234/5000 steps", "12.3/s  306 s left", note, width)
    assert "1234/5000 steps" in text and "306 s left" in text
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(text.split()).endswith(note)  # whole, below where it must


def test_short_progress_is_one_line():
    assert progress_text("a", "1/2 steps", "", "n", 80) == "a  1/2 steps  n"


@dataclass
class Example:
    path: Path
    errors: tuple[float, ...]
    array: np.ndarray


def test_plain_keeps_numbers_and_has_no_nan():
    value = Example(Path("a/b"), (0.5, float("inf")), np.array([1.5, np.nan]))
    assert plain(value) == {"path": "a/b", "errors": [0.5, None], "array": [1.5, None]}
    assert plain({"n": np.int64(3), "b": np.bool_(True)}) == {"n": 3, "b": True}
    json.loads(json.dumps(plain(value), allow_nan=False))


def test_errors_and_warnings_are_json_where_asked(run, tmp_path):
    code, out, err = run("runs", tmp_path / "none", "--json")
    assert (code, out) == (2, "")
    line = json.loads(err)
    assert line.keys() == {"error", "kind", "code"}
    assert (line["kind"], line["code"]) == ("BundleError", 2)
    code, out, err = run("train", "--no-such-option", "--json")
    assert code == 2 and json.loads(err)["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "x.h5", "--operater", "fno"], "--operator"),
        (["train", "x.h5", "--epochs", "3"], "--set training.epochs=VALUE"),
        (["train", "x.npz"], "No such file"),
        (["generate", "darcy", "-o", "x.txt"], "name it x.h5"),
        (["runs", "nodir"], "opkit train DATA --out nodir/NAME"),
        (["operators", "FN0"], "Did you mean 'fno'?"),
    ],
)
def test_wrong_words_name_the_remedy(run, monkeypatch, tmp_path, words, hint):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*words)
    assert code == 2 and hint in err and len(err.splitlines()) == 1, err


def test_arrays_are_no_data_file_and_the_remedy_is_named(run, tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    for verb in ("train", "inspect", "validate"):
        code, _, err = run(verb, tmp_path / "a.npz")
        assert code == 2 and "opkit import" in err


def test_training_settings_in_the_wrong_place(run, make_data):
    code, _, err = run("train", make_data(), "--dry-run", "--set", "epochs=3")
    assert code == 2 and "Did you mean 'training.epochs'?" in err


def test_ctrl_c_is_told_and_ends_with_130(run, monkeypatch):
    def interrupted(folder):
        raise Interrupted("nothing is kept")

    monkeypatch.setattr("opkit.surrogate.bundle.run_list.list_runs", interrupted)
    assert run("runs") == (130, "", "Interrupted: nothing is kept\n")


def test_json_of_training_is_the_result_of_python(run, make_data, tmp_path):
    data = make_data()
    words = ("train", data, "--seed", 0, "--json")
    _, out, _ = run(*words, "--dry-run")
    assert json.loads(out) == plain(plan(data))
    code, out, _ = run(*words, "-o", tmp_path / "runs/a")
    printed, result = json.loads(out), plain(train(data, tmp_path / "runs/b"))
    assert code == 0 and printed.keys() == result.keys()
    for key in ("best_epoch", "best_validation", "flags"):
        assert printed[key] == result[key]
    assert printed["run"] == str(tmp_path / "runs/a")
    _, out, _ = run("evaluate", tmp_path / "runs/a", "--json")
    rows = json.loads(out)["rows"]
    assert rows[0]["relative_l2"] == printed["scores"][0]["relative_l2"]
    _, out, _ = run("runs", tmp_path / "runs", "--json")
    (first, _) = json.loads(out)
    assert first["error"] == rows[0]["relative_l2"] and first["split"] == "test"
    assert first["best_validation"] == printed["best_validation"]


def test_an_error_on_validation_samples_is_not_called_test(run, make_data, tmp_path):
    train(make_data(test=0), tmp_path / "runs/a", overrides=["training.epochs=1"])
    _, out, _ = run("runs", tmp_path / "runs", "--json")
    (row,) = json.loads(out)
    assert row["split"] == "validation" and row["error"] > 0
    _, out, _ = run("runs", tmp_path / "runs")
    assert "test" not in out and "validation" in out


def test_operators_with_options_and_defaults(run):
    _, out, _ = run("operators", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["fno"]["geometries"] == ["grid"]
    assert rows["fno"]["dimensions"] == [1, 2, 3]
    defaults = {row["option"]: row["default"] for row in rows["fno"]["options"]}
    # null: 16 along each axis, of which there may be one, two or three
    assert defaults["n_modes"] is None and defaults["hidden_channels"] == 32


def test_keys_of_a_recipe_can_all_be_set(run):
    _, out, _ = run("cases", "show", "darcy", "--recipe", "--json")
    values = {row["key"]: row["value"] for row in json.loads(out)}
    assert values["subsample"] == 5 and values["training.epochs"] == 500
    assert {"model.n_modes", "model.norm", "training.patience"} <= values.keys()


def test_completion(monkeypatch):
    assert "darcy-mesh" in complete.cases("dar")
    assert complete.operators("un") == ["unet"]
    assert tuple(TARGETS) == complete.TARGETS
    context = type("Context", (), {"params": {"words": ["darcy"], "operator": "fno"}})()
    assert "samples.train=" in complete.case_keys(context, "samples.")
    assert complete.recipe_keys(context, "training.ep") == ["training.epochs="]
    assert "model.n_modes=" in complete.recipe_keys(context, "model.")


def test_a_number_is_a_number():
    for text in ("421 x 421", "1e-08", "-0.5", "12%", "-", "3/40"):
        assert console.NUMBER.fullmatch(text), text
    assert not console.NUMBER.fullmatch("fno")


def test_an_output_of_one_number_is_for_operators_that_give_one(run, tmp_path):
    np.savez(tmp_path / "a.npz", v=np.ones(6), u=np.ones((6, 8, 8)))
    words = ("--input", "u=u:sample,y,x", "--output", "v=v:sample")
    data = tmp_path / "o.h5"
    assert run("import", data, "--train", tmp_path / "a.npz", *words)[0] == 0
    words = ("--operator", "elliptic-fno", "--out", tmp_path / "run")
    code, _, err = run("train", data, *words)
    assert (
        code == 2
        and "elliptic-fno" in err
        and "deeponet" in err
        and err.count("\n") == 1
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("width", [60, 80])
def test_no_help_is_cut(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    names = [
        command.name or command.callback.__name__.replace("_", "-")
        for command in opkit.cli.app.registered_commands
        if command.callback is not None
    ]
    assert "import" in names
    for words in [[name] for name in names] + [["cases"], ["cases", "show"]]:
        code, out, _ = run(*words, "--help")
        assert code == 0 and "…" not in out, (words, out)
    _, out, _ = run("import", "--help")
    assert "vorticity=u:sample,x,y,time@1:" in out  # the example of the syntax, whole


def test_lines_of_help_flow(run, monkeypatch):
    """At 60 columns as at 200: a line ends where the next word does not fit."""
    lines = {
        60: "network's answer is shown with its distance from them. y",
        200: "the network's answer is shown with its distance from them. y is time",
    }
    for width, line in lines.items():
        monkeypatch.setenv("COLUMNS", str(width))
        _, out, _ = run("solve", "--help")
        assert line in out
