"""Odd tensors and arguments are refused in one line; none becomes other numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import opkit
from opkit.errors import OpkitInputError
from opkit.surrogate.surrogate import Surrogate

BUNDLES = Path(__file__).parents[1] / "data" / "golden" / "bundles"
FIELDS = torch.linspace(0, 1, 162).reshape(2, 9, 9)
ODD: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: FIELDS[0].to_sparse(),
    "csr": lambda: FIELDS[0].to_sparse_csr(),
    "meta": lambda: FIELDS.to("meta"),
    "quantised": lambda: torch.quantize_per_tensor(FIELDS, 0.1, 0, torch.quint8),
    "nested": lambda: torch.nested.nested_tensor([FIELDS[0], FIELDS[1]]),
    "complex": lambda: FIELDS.to(torch.cfloat),
    "eight bits": lambda: FIELDS.to(torch.float8_e4m3fn),
}


@pytest.fixture(scope="module")
def fno() -> Surrogate:
    return opkit.load(BUNDLES / "fno")


@pytest.mark.filterwarnings("ignore")  # of torch, about prototypes
@pytest.mark.parametrize("name", ODD)
def test_odd_tensors(fno: Surrogate, name: str) -> None:
    odd = ODD[name]()
    for call in (fno, fno.predict, lambda t: fno({"permeability": t})):
        with pytest.raises(OpkitInputError) as refused:
            call(odd)
        assert "\n" not in str(refused.value)


def test_other_types_are_the_same_numbers(fno: Surrogate) -> None:
    wanted = fno(FIELDS > 0.5)
    for kind in (torch.float16, torch.bfloat16, torch.float64, torch.int8):
        got = fno((FIELDS > 0.5).to(kind)).float()
        torch.testing.assert_close(got, wanted, rtol=2e-2, atol=1e-2)  # 8 bits of bf16
    assert fno(FIELDS[:0]).shape == (0, 9, 9)
    assert fno(np.empty((0, 9, 9))).shape == (0, 9, 9)


@pytest.mark.parametrize("odd", [np.zeros((9, 9)), "text", None, [1.0]])
def test_predict_takes_tensors(fno: Surrogate, odd: Any) -> None:
    with pytest.raises(OpkitInputError, match="predict takes"):
        fno.predict(odd)


@pytest.mark.parametrize("coverage", ["0.9", None, [0.5], float("nan"), 0, 1, 2, True])
def test_coverage(fno: Surrogate, coverage: Any) -> None:
    with pytest.raises(OpkitInputError, match="between 0 and 1"):
        fno(1 + FIELDS.numpy(), check=True, coverage=coverage)


@pytest.mark.parametrize("tolerance", [float("inf"), float("nan"), -1, "a", [0.1]])
def test_tolerance(fno: Surrogate, tolerance: Any) -> None:
    with pytest.raises(OpkitInputError, match="positive number"):
        fno.solve(1 + FIELDS.numpy(), tolerance=tolerance)
