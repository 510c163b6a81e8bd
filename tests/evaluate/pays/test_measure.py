"""Whole measurements of a solver whose cost is known: its sweeps are the clock."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from opkit.cli import app
from opkit.cli.console import plain
from opkit.datasets.read import DataFile
from opkit.errors import OpkitError, OpkitInputError
from opkit.evaluate.pays import Pays, measure, words
from opkit.surrogate.surrogate import Surrogate

OWN = 5.0
Load = Callable[..., Surrogate]
Count = Callable[..., Pays]


def test_a_slow_solve_pays_after_queries_by_hand(
    relax: Path, load: Load, count: Count, sweeps: Any
) -> None:
    pays = count(load(seconds=1e4), samples=12)
    with DataFile(relax.parent / "data.h5") as file:
        fields = file.read("load", file.indices("test"))
        generation = file.header.provenance["generation_seconds"]
    assert pays.samples == 12 and pays.seconds == pays.seconds_in_batch == OWN
    full, tight, loose = pays.rungs
    for rung, rtol in ((full, 1e-8), (tight, 1e-2), (loose, 0.3)):
        assert rung.seconds == np.median(sweeps(fields, rtol))
        assert rung.seconds_in_batch == pytest.approx(sweeps(fields, rtol).mean())
    # stored as float32; tolerances bound the residual, and that bounds the error
    assert full.relative_l2 < 1e-6 < tight.relative_l2 < loose.relative_l2
    assert tight.relative_l2 < pays.relative_l2 < loose.relative_l2
    assert (pays.comparison, pays.rival) == ("equal error", "rtol 0.01")
    assert pays.ratio == tight.seconds / OWN
    cost = pays.break_even
    assert (cost.generation, cost.generation_seconds) == ("stored", generation)
    whole = generation + 1e4
    assert cost.against_exact == math.ceil(whole / (full.seconds - OWN))
    assert cost.against_rival == math.ceil(whole / (tight.seconds - OWN))
    assert pays.pays and pays.queries == cost.against_rival
    assert pays.verdict == (
        f"pays after {pays.queries:.0f} queries (against the cheapest solve of equal "
        "error, rtol 0.01)"
    )


def test_the_exact_answer_from_the_prediction(
    load: Load, count: Count, sweeps: Any
) -> None:
    exact = count(load(seconds=100.0), samples=12).exact
    assert exact.counted == "iterations"
    assert exact.count < exact.cold_count  # few per cent off in the slowest modes
    assert exact.cold_seconds / exact.seconds == exact.ratio > 1
    # with the prediction in its time
    assert exact.seconds > OWN
    assert exact.tolerance == 1e-8 and exact.agree
    # residuals of 1e-8 in the lowest mode, whose eigenvalue is 1/16 of the load's
    # highest: up to 1.6e-7 on both sides
    assert 0 < exact.difference < 4e-7


def test_answers_that_differ_are_not_called_exact(
    load: Load, count: Count, plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = plugin.Relax.solve_from

    def wrong(self: Any, inputs: Any, guess: Any) -> Any:
        solution = own(self, inputs, guess)
        solution.outputs["sag"][:] *= 1.01
        return solution

    monkeypatch.setattr(plugin.Relax, "solve_from", wrong)
    pays = count(load())
    assert pays.exact.agree is False and pays.break_even.as_a_guess is None
    assert pays.exact.difference == pytest.approx(0.01, rel=1e-3)
    assert any("above the solver's tolerance" in line for line in words.lines(pays))


def test_a_budget_ends_the_measurement(load: Load, count: Count) -> None:
    pays = count(load(), budget=1.0)
    assert pays.samples == 1
    assert all(rung.seconds_in_batch is None for rung in pays.rungs)
    assert "medians of 1 test samples" in words.lines(pays)[-1]


def test_a_rung_that_is_unexpectedly_better(
    load: Load, count: Count, solver: Any, plugin: Any
) -> None:
    tool = solver()
    rungs = [
        ("loose", plugin.Relax(resolution=(15,), rtol=0.3)),
        ("lucky", Lucky(plugin.Relax(resolution=(15,)))),
        ("looser", plugin.Relax(resolution=(15,), rtol=0.5)),
        ("broken", plugin.Relax(resolution=(15,), fails=True)),
        ("short", plugin.Relax(resolution=(7,))),
    ]
    object.__setattr__(tool, "cheaper", lambda: rungs)
    pays = count(load(), samples=2)
    by_name = {rung.label: rung for rung in pays.rungs}
    # cheaper than all others and exact: no solve of equal error is claimed
    assert by_name["lucky"].relative_l2 < 1e-6
    assert (pays.comparison, pays.rival) == ("cheapest solve", "lucky")
    assert not pays.pays
    assert pays.exact.rival == "lucky" and pays.exact.rival_seconds == 1
    assert pays.break_even.as_a_guess is None  # one sweep is hard to beat
    assert pays.verdict == (
        "does not pay: solve it (the cheapest solve, lucky, which is more accurate, is "
        "5 times faster)"
    )
    assert by_name["broken"].seconds is None
    assert by_name["broken"].note == "told to fail"
    assert "load" in by_name["short"].note
    text = words.lines(pays)
    assert "broken was not measured: told to fail." in text


class Lucky:
    """The exact answer in one sweep."""

    def __init__(self, solver: Any) -> None:
        self._solver = solver
        self.coordinates, self.sample = solver.coordinates, solver.sample
        self.residual = solver.residual

    def solve(self, inputs: Any) -> Any:
        count = sys.modules["toy_relax"].SWEEPS
        before = count[0]
        solution = self._solver.solve(inputs)
        count[0] = before + len(inputs["load"])
        return solution


def test_a_surrogate_better_than_every_rung_but_the_full_solve(
    load: Load, count: Count, solver: Any
) -> None:
    solver(ladder=(0.3, 0.5))
    pays = count(load(), samples=2)
    assert (pays.comparison, pays.rival) == ("full solve", "solver")
    assert pays.break_even.against_rival == pays.break_even.against_exact
    assert "for no cheaper one is as accurate" in pays.verdict
    assert any(
        "every cheaper solve of the ladder is less" in x for x in words.lines(pays)
    )


def test_solvers_without_a_ladder_are_coarsened(
    load: Load, count: Count, solver: Any
) -> None:
    solver("RelaxAlone")
    pays = count(load(), samples=2)
    labels = [rung.label for rung in pays.rungs]
    # a tenth of the error and the error as tolerances; 14 steps leave no coarse grid
    assert labels[0] == "solver" and [x[:5] for x in labels[1:]] == ["rtol "] * 2
    assert pays.exact.seconds is None
    assert pays.exact.note == "the solver takes no first guess"
    assert pays.break_even.as_a_guess is None


def test_training_data_that_do_not_say_their_cost_are_estimated(
    load: Load, count: Count
) -> None:
    pays = count(load(data_hash="another"), samples=2)
    cost = pays.break_even
    assert cost.generation == "estimated"
    assert cost.generation_seconds == 70 * pays.rungs[0].seconds  # 60 + 10 samples
    assert cost.note == "generation estimated from 70 full solves"
    more = count(load(more_data=("more.h5 0123",)), samples=1).break_even
    assert more.note == "without more.h5"


def test_a_flagged_surrogate_does_not_pay(load: Load, count: Count) -> None:
    flag = "not better than the mean predictor: relative L2 0.3 against 0.2"
    pays = count(load((flag,)), samples=1)
    assert pays.pays is False and pays.verdict == f"does not pay: {flag}"


def test_a_solver_that_is_not_there(load: Load, count: Count, monkeypatch: Any) -> None:
    from opkit.errors import MissingExtraError

    def missing(self: Any) -> Any:
        raise MissingExtraError('dolfinx is not installed: pip install "opkit[fem]"')

    monkeypatch.setattr("opkit.case.record.Case.build_solver", missing)
    pays = count(load(), samples=2)
    assert pays.pays is None and pays.rungs == () and pays.seconds == OWN
    assert pays.verdict.startswith("not known: dolfinx is not installed")
    assert pays.break_even.against_exact is None
    assert pays.break_even.generation == "stored"
    assert words.rows(pays)[0]["method"] == "surrogate"


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"repeats": 0}, {"budget": 0.0}, {"budget": math.nan}]
)
def test_numbers_that_cannot_be(relax: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OpkitInputError, match="at least one sample"):
        measure(relax, **options)


def test_sleep_is_no_processor_time(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions that sleep for 30 ms: what they compute takes a few."""
    predict = Surrogate.predict

    def sleepy(self: Surrogate, inputs: Any, steps: int = 1) -> Any:
        time.sleep(0.03)
        return predict(self, inputs, steps)

    monkeypatch.setattr(Surrogate, "predict", sleepy)
    options = {"samples": 1, "repeats": 1}
    busy, passed = (measure(load(), processor_time=p, **options) for p in (True, False))
    assert busy.seconds < 0.025 < 0.03 <= passed.seconds
    assert ", in processor time." in words.conditions(busy)
    assert "processor time" not in words.conditions(passed)
    elsewhere = property(lambda self: torch.device("cuda"))
    monkeypatch.setattr(Surrogate, "device", elsewhere)
    with pytest.raises(OpkitInputError, match="on cuda, whose work"):
        measure(load(), processor_time=True)


@pytest.mark.parametrize("width", [60, 80])
def test_the_command_fits_the_terminal(
    relax: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    words_ = ["evaluate", str(relax), "--pays", "--samples", "2", "--repeats", "1"]
    said = CliRunner().invoke(app, words_)
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert max(map(len, lines)) <= width
    for text in ("surrogate", "rtol 0.01", "relative L2", "from the prediction"):
        assert any(text in line for line in lines), said.output
    assert "ays after" in said.output or "not pay" in said.output


def test_json_has_the_keys_of_python(relax: Path) -> None:
    command = ["evaluate", str(relax), "--pays", "--samples", "1", "--json"]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    again = plain(measure(relax, samples=1, repeats=1))
    assert found.keys() == again.keys()
    for part in ("exact", "break_even"):
        assert found[part].keys() == again[part].keys()
    assert [r.keys() for r in found["rungs"]] == [r.keys() for r in again["rungs"]]
    assert found["relative_l2"] == again["relative_l2"]


def test_the_figure(relax: Path, tmp_path: Path) -> None:
    """A sample above the times of surrogate, rival and full solve; nothing is lost."""
    picture = tmp_path / "pays.png"
    command = ["evaluate", str(relax), "--pays", "--samples", "1", "--repeats", "1"]
    command += ["--figure", str(picture)]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    drawn = picture.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, OpkitError)
    assert picture.read_bytes() == drawn
    alone = CliRunner().invoke(app, ["evaluate", str(relax), *command[-2:]])
    assert isinstance(alone.exception, OpkitInputError)
