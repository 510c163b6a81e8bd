"""Numbers that float32 cannot hold are noticed where they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from opkit.case.data import draw
from opkit.case.record import Case
from opkit.datasets.rounding import rounded
from opkit.errors import DataError

X = np.linspace(0, 1, 50)
BATCH = np.stack([np.sin(6 * X), np.cos(6 * X)])


def test_what_a_type_cannot_hold() -> None:
    for scale in (1e-37, 1.0, 1e38):  # in float32's own range
        np.testing.assert_allclose(
            rounded("p", scale * BATCH, "float32"), scale * BATCH, rtol=1e-7, atol=1e-44
        )
    with pytest.raises(
        DataError, match=r"p reaches 1e\+40, .* \(3.4e\+38\).*--float64"
    ):
        rounded("p", 1e40 * BATCH, "float32")
    with pytest.raises(
        DataError, match=r"p varies by 0.00\d* around 100000.*--float64"
    ):
        rounded("p", 1e5 + 1e-3 * BATCH, "float32")
    np.testing.assert_array_equal(
        rounded("p", 1e5 + 1e-3 * BATCH, "float64"), 1e5 + 1e-3 * BATCH
    )
    rounded("p", np.full((3, 50), 300.1), "float32")  # constant, to the last digit
    rounded("p", 1e5 + 1e-3 * BATCH[:1], "float32")  # one sample may be as good as that
    rounded("p", np.array([1.0, 1.0 + 1e-9]), "float32")  # one number per sample
    assert np.isnan(rounded("p", np.full((2, 3), np.nan), "float32")).all()


def test_a_drawn_input_beyond_the_range(heat: Callable[..., Case]) -> None:
    case = heat()
    solver = Loud(case.build_solver())
    with pytest.raises(DataError, match=r"initial_temperature reaches .*--float64"):
        draw(case, solver, 0, 0, "float32")
    assert (
        np.abs(draw(case, solver, 0, 0, "float64")["initial_temperature"]).max() > 1e39
    )


class Loud:
    """A solver whose inputs are too large for float32."""

    def __init__(self, solver: Any) -> None:
        self._solver = solver

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        return {k: v * 1e45 for k, v in self._solver.sample(rng).items()}
