"""Public objects show themselves in one line, and as a table in notebooks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import opkit
from opkit.base.show import Shown
from opkit.datasets.read import DataFile
from opkit.train import plan, train


class Pair(Shown):
    def _facts(self) -> dict[str, Any]:
        return {"a <b>": 0.123456, "nothing": None, "c": {"d": 2, "e": (1, 2)}}


def test_facts_are_rounded_escaped_and_left_out_where_there_are_none() -> None:
    assert repr(Pair()) == "Pair(a <b>: 0.1235, c: d 2, e 1; 2)"
    assert "<b>" not in Pair()._repr_html_()


def test_a_case_names_its_equation() -> None:
    text = repr(opkit.load_case("darcy"))
    assert text.startswith("Case(case: darcy-v1, title: Two-dimensional Darcy flow")
    assert "grid: 421 x 421" in text and len(text) < 400


@pytest.fixture
def objects(make_data, tmp_path) -> list[Shown]:
    data = make_data(validation=40)
    result = train(data, tmp_path / "run", overrides=["training.epochs=1"])
    surrogate = opkit.load(result.run)
    a = np.ones((3, 16, 16), np.float32)
    checked = surrogate(a, check=True, coverage=0.5)
    return [DataFile(data), plan(data), result, surrogate, checked]


def test_all_of_them_are_one_line_and_a_sound_table(objects) -> None:
    for shown in objects:
        text, page = repr(shown), shown._repr_html_()
        assert "\n" not in text and len(text) < 800, text
        rows = ET.fromstring(page).findall("tr")
        assert len(rows) >= 3, page
    result = objects[2]
    assert f"best epoch: {result.best_epoch}" in repr(result)
    assert "relative L2 on test" in repr(objects[3])
    assert "samples: 3, coverage: 0.5" in repr(objects[4])
    data, checked = objects[0]._repr_html_(), objects[4]._repr_html_()
    assert data.count("<img") == 2 and checked.count("<img") == 1
