"""Numbers that float32 cannot hold are noticed where they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.datasets.rounding import rounded
from opkit.errors import DataError
from opkit.generate import generate

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
        DataError, match=r"p varies by 0.00\d* around 1e\+05.*--float64"
    ):
        rounded("p", 1e5 + 1e-3 * BATCH, "float32")
    np.testing.assert_array_equal(
        rounded("p", 1e5 + 1e-3 * BATCH, "float64"), 1e5 + 1e-3 * BATCH
    )
    rounded("p", np.full((3, 50), 300.1), "float32")  # constant, to the last digit
    rounded("p", 1e5 + 1e-3 * BATCH[:1], "float32")  # one sample may be as good as that
    rounded("p", np.array([1.0, 1.0 + 1e-9]), "float32")  # one number per sample
    assert np.isnan(rounded("p", np.full((2, 3), np.nan), "float32")).all()


@pytest.mark.parametrize(
    ("scale", "says"), [(1e39, "beyond the range of float32"), (1.0, None)]
)
def test_generation_names_the_range_and_the_remedy(
    heat: Callable[..., Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scale: float,
    says: str | None,
) -> None:
    import toy_heat

    plain = toy_heat.ToyHeat.solve

    def solve(self: Any, inputs: Mapping[str, Any]) -> Any:
        solution = plain(self, inputs)
        outputs = solution.outputs
        for name in outputs:
            outputs[name] = scale * (2 + outputs[name])
        return solution

    monkeypatch.setattr(toy_heat.ToyHeat, "solve", solve)
    if says is None:
        generate(heat(), tmp_path / "a.h5", samples=4)
        return
    with pytest.raises(DataError, match=says) as caught:
        generate(heat(), tmp_path / "a.h5", samples=4)
    assert "--float64" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "a.h5").exists()
    generate(heat(), tmp_path / "b.h5", samples=4, dtype="float64")
    with DataFile(tmp_path / "b.h5") as file:
        assert np.abs(file.read("temperature", 0)).max() > 1e39
