"""The zoo: bundles by name, errors as the cards say, refusals in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import opkit
from opkit import zoo
from opkit.case import parse_case
from opkit.cli import app
from opkit.errors import BundleError
from opkit.surrogate.bundle.zoo_list import card, list_zoo

LARGEST = 3_000_000
"""Bytes of the whole zoo: it lies inside the package."""


def test_there_are_some_and_they_are_small() -> None:
    entries = {entry.name: entry for entry in list_zoo()}
    assert {"burgers", "channel-bumps", "darcy"} <= entries.keys()
    files = [path for path in zoo.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    for name, entry in entries.items():
        loaded = opkit.load(f"zoo:{name}")
        assert loaded.config.opkit_version.startswith("0.2")
        assert f"{entry.error:.4f}" in card(name)
        assert loaded.calibration is not None
        assert len(card(name).splitlines()) > 20 and "- law of " in card(name)


def test_it_is_as_wrong_as_its_card_says() -> None:
    """Solved anew, from another seed than its data: the law is the same."""
    surrogate = opkit.load("zoo:burgers")
    stated = surrogate.config.scores[0].relative_l2
    solver = parse_case(surrogate.config.case, "zoo:burgers").build_solver()
    samples = [solver.sample(np.random.default_rng(k)) for k in range(77, 83)]
    inputs = {k: np.stack([s[k] for s in samples]) for k in samples[0]}
    truth = solver.solve(inputs).outputs["velocity"]
    guess = surrogate(inputs["initial_velocity"].astype(np.float32))
    truth = truth.reshape(guess.shape)
    gap = np.linalg.norm((guess - truth).reshape(6, -1), axis=1)
    errors = gap / np.linalg.norm(truth.reshape(6, -1), axis=1)
    # a mean of 6 samples whose errors vary by about their mean: within 3/√6 of it
    assert errors.mean() < 2.2 * stated


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(
        BundleError, match=r"zoo:burger: no such .* Did you mean 'burgers'"
    ):
        opkit.load("zoo:burger")
    result = CliRunner().invoke(app, ["zoo", "burger"])
    assert isinstance(result.exception, BundleError)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_bundle_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(zoo.FOLDER / "burgers", tmp_path / "burgers")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    content = bytearray((tmp_path / "burgers" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "burgers" / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"burgers/{name}: damaged"):
        opkit.load("zoo:burgers")


def test_it_has_no_data_of_its_own(tmp_path: Path) -> None:
    from opkit.surrogate.bundle.run_directory import data_of_run

    (tmp_path / "config.yaml").write_text("data: mine.h5\nrecipe: {}\n")
    with pytest.raises(
        BundleError, match=r"zoo:burgers does not say .* give --data FILE"
    ):
        data_of_run(Path("zoo:burgers"))


def test_the_command_line_lists_and_shows() -> None:
    runner = CliRunner()
    listing = runner.invoke(app, ["zoo"]).stdout
    assert "channel-bumps" in listing and "pod-gp" in listing
    shown = runner.invoke(app, ["zoo", "zoo:burgers"]).stdout
    assert shown.startswith("# fno for burgers")
