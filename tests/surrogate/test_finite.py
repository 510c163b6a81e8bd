"""No infinity goes in or comes out of a surrogate without a word."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from opkit.errors import NonFiniteError, OpkitInputError

KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": lambda a: a,
    "torch": torch.from_numpy,
    "xarray": lambda a: xr.DataArray(a, dims=("sample", "y", "x")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1e39, -1e308, np.inf, np.nan])
def test_beyond_float32_is_refused_by_sample_and_place(
    darcy: Any, kind: str, value: float
) -> None:
    """1e39 is finite in float64 and infinite in float32, where the model computes."""
    a = np.array(darcy.permeability[:3], np.float64)
    a[2, 5, 7] = value
    with pytest.raises(OpkitInputError, match=r"sample 2 at \[0, 5, 7\]"):
        darcy.load()(KINDS[kind](a))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_that_is_not_finite_is_an_error(darcy: Any, kind: str) -> None:
    """The largest float32 is a finite input; the network cannot square it."""
    surrogate = darcy.load()
    with torch.no_grad():
        for weight in surrogate.model.parameters():
            weight.mul_(1e30)
    a = np.array(darcy.permeability[:2], np.float64)
    with pytest.raises(NonFiniteError, match=r"sample 0 at \["):
        surrogate(KINDS[kind](a))
