"""What a case and a data file claim of parameters and columns is compared first."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import hostile_hdf5
import numpy as np
import pytest
import torch

from opkit.base import safe_yaml
from opkit.case.record import parse_case
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, DataError, OpkitInputError
from opkit.evaluate.run import _identity
from opkit.operators import budget
from opkit.train import train

CASES = Path(__file__).parents[2] / "cases"


def stated(**changes: object) -> dict[str, object]:
    """The parametric Darcy case with other keys."""
    found: dict[str, object] = safe_yaml.read(CASES / "darcy-parametric.yaml")
    return found | changes


@pytest.mark.parametrize(
    ("law", "said"),
    [
        ({"kind": "normal", "std": 1e308}, "mean + 9 std"),
        ({"kind": "normal", "mean": -1e308, "std": 1e307}, "mean + 9 std"),
        ({"kind": "uniform", "low": -1.7e308, "high": 1.7e308}, "high - low"),
        ({"kind": "choice", "values": [1.0] * 100_000}, "at most 1000"),
        ({"kind": "uniform", "low": 0, "high": 1, "size": 10**9}, "1000"),
    ],
)
def test_laws_of_numbers_that_are_none(law: dict[str, object], said: str) -> None:
    with pytest.raises(CaseError, match=re.escape(said)) as refused:
        parse_case(stated(parameters={"coefficients": law}))
    assert "\n" not in str(refused.value)


def test_a_sobol_design_of_too_many_components() -> None:
    """SciPy has directions for 21,201 dimensions."""
    many = {f"p{k}": {"kind": "normal", "size": 1000} for k in range(22)}
    parse_case(stated(parameters=many))
    with pytest.raises(CaseError, match="21201 components of parameters"):
        parse_case(stated(parameters=many, design="sobol"))


def column(name: str, values: np.ndarray) -> Callable[[h5py.File], None]:
    """Another column of a data file."""

    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


@pytest.mark.parametrize(
    "change",
    [
        column("solver_error", np.zeros((20, 2))),
        column("solver_error", np.zeros(20, "S4")),
        column("solver_error", np.zeros(3)),
        column("sample", np.zeros((20, 2), "i8")),
        column("sample", np.zeros(20)),
        column("sha256", np.zeros((20, 3), "u1")),
        column("sha256", np.zeros((20, 32))),
    ],
)
def test_columns_of_samples(
    tmp_path: Path, change: Callable[[h5py.File], None]
) -> None:
    path = tmp_path / "a.h5"
    with hostile_hdf5.changed(path) as file:
        change(file)
    with pytest.raises(DataError, match=r"for 20 samples|no axis of the") as refused:
        DataFile(path, trusted=True)
    assert "\n" not in str(refused.value)


def test_a_measure_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with hostile_hdf5.changed(path) as file:
        del file["solver_error"].attrs["long_name"]
    with pytest.raises(DataError, match="long_name"):
        assert DataFile(path, trusted=True).measure


def test_a_case_without_a_name() -> None:
    assert _identity({"title": "no name"}) == _identity({}) == "none"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.hidden_channels=10000000000000000000", "an option is over 1048576"),
        ("model.n_layers=1e308", "an option is over 1048576"),
        ("model.hidden_channels=1000000", "this machine can train"),
        ("training.workers=10000", "less than or equal to 1024"),
        ("training.memory=1e308", "less than or equal to 1000000000"),
        ("training.learning_rate=.nan", "finite"),
    ],
)
def test_recipes_of_numbers_that_no_machine_has(
    tmp_path: Path, make_data: Callable[[], Path], setting: str, said: str
) -> None:
    with pytest.raises(OpkitInputError, match=re.escape(said)) as refused:
        train(make_data(), tmp_path / "run", operator="fno", overrides=[setting])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_model_of_too_many_layers_is_not_built_to_its_end() -> None:
    built = 0
    with pytest.raises(budget.TooMuch), budget.at_most(1000, 6):
        for built in range(100):  # noqa: B007
            torch.nn.Linear(2, 2)
    assert built == 3
    with pytest.raises(budget.TooMuch), budget.at_most(1000, 6):
        torch.nn.Linear(2, 1 << 40)
