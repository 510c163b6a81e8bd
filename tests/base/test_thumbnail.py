"""Pictures in notebooks: what a reader of PNG sees is the field."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest

from opkit.base.show import Shown
from opkit.base.thumbnail import image, pictures, plane


def pixels(html: str) -> np.ndarray:
    picture = pytest.importorskip("PIL.Image")
    found = re.search(r"data:image/png;base64,([^']+)'", html)
    assert found is not None
    return np.asarray(picture.open(io.BytesIO(base64.b64decode(found[1]))))


def test_low_is_dark_high_is_bright_and_y_goes_up() -> None:
    field = np.zeros((8, 12))
    field[0, 0], field[7, 11] = -1.0, 3.0
    html = image(field)
    drawn = pixels(html)
    assert drawn.shape == (8, 12, 3) and html.endswith("-1 to 3")
    assert drawn[7, 0].tolist() == [0x44, 0x01, 0x54]  # y = 0 is the lowest row
    assert drawn[0, 11].tolist() == [0xFD, 0xE7, 0x25]


def test_large_fields_are_small_and_odd_ones_have_none() -> None:
    assert pixels(image(np.random.default_rng(0).random((1000, 500)))).shape == (
        125,
        63,
        3,
    )
    assert plane(np.ones((5, 3, 8, 9))) is not None
    for odd in (
        np.ones(9),
        np.ones((2, 900)),
        np.full((9, 9), np.nan),
        np.ones((0, 9)),
    ):
        assert plane(odd) is None
    assert plane([["a"] * 9] * 9) is None
    constant = pixels(image(np.ones((9, 9))))
    assert (constant == constant[0, 0]).all()


class Named(Shown):
    def _facts(self) -> dict[str, Any]:
        return {}

    def _pictures(self) -> dict[str, str]:
        return pictures({"<b>": np.ones((9, 9)), "n": 3.0})


def test_names_are_escaped() -> None:
    html = Named()._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;" in html and html.count("<img") == 1
