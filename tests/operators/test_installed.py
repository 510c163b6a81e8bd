"""Operators of installed packages: built, trained, stored and loaded like our own."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.errors import OpkitInputError
from opkit.operators.interface import (
    acceptance,
    acceptance_table,
    build_operator,
    check_acceptance,
    operator_names,
)
from opkit.operators.shapes import DataShape
from opkit.train import train

AFFINE = '''
from torch import nn

from opkit.operators import interface
from opkit.operators.interface import Accepts, Operator


class Affine(Operator):
    """u(x) = W a(x) + b."""

    accepts = Accepts(geometries=("grid",), dimensions=(1, 2, 3))

    class Options(interface.Options):
        bias: bool = True

    def __init__(self, data, options):
        super().__init__()
        self.map = nn.Linear(data.in_channels, data.out_channels, options.bias)

    def forward(self, inputs):
        return self.map(inputs.fields.movedim(1, -1)).movedim(-1, 1)


class NoOperator:
    """Not derived from Operator."""


class Bare(Operator):
    """Derived from it, and that is all."""
'''
POINTS = """[opkit.operators]
affine = foreign_operator:Affine
fno = foreign_operator:Affine
"""
Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Install]:
    """Install a package with these entry points and this source."""
    folder = tmp_path / "site"
    info = folder / "foreign_operator-1.0.dist-info"
    info.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))

    def put(points: str = POINTS, source: str = AFFINE) -> None:
        head = "Metadata-Version: 2.1\nName: foreign-operator\nVersion: 1.0\n"
        (info / "METADATA").write_text(head)
        (info / "entry_points.txt").write_text(points)
        (folder / "foreign_operator.py").write_text(source)
        sys.modules.pop("foreign_operator", None)
        importlib.invalidate_caches()

    yield put
    sys.modules.pop("foreign_operator", None)


def shape(axes: int = 2) -> DataShape:
    return DataShape(2, 1, (8,) * axes, (False,) * axes, (1.0,) * axes)


def test_it_is_listed_and_built(install: Install) -> None:
    install()
    assert operator_names()["affine"] == "foreign_operator:Affine"
    assert "| affine | grid | 1, 2, 3 | no |" in acceptance_table()
    check_acceptance("affine", "grid", 3)
    with pytest.raises(OpkitInputError, match=r"operator affine takes grid .*not mesh"):
        check_acceptance("affine", "mesh", 1)
    model = build_operator("affine", shape(), {"bias": False})
    x = torch.randn(3, 2, 8, 8)
    with torch.no_grad():
        w = model.map.weight[0]
        # one product and one sum in float32
        torch.testing.assert_close(
            model(x)[:, 0], w[0] * x[:, 0] + w[1] * x[:, 1], rtol=1e-5, atol=1e-6
        )
    with pytest.raises(OpkitInputError, match=r"unknown key 'bas'.*'bias'"):
        build_operator("affine", shape(), {"bas": True})


def test_names_of_opkit_stay_its_own(install: Install) -> None:
    install()
    assert operator_names()["fno"] == "opkit.operators.fno.fno:FNO"


def test_it_trains_and_its_bundle_loads(
    install: Install, make_data: Callable[..., Path], tmp_path: Path
) -> None:
    install()

    def double(a: np.ndarray, u: np.ndarray) -> None:
        u[:] = 2 * a + 1

    data = make_data(edit=double)
    settings = ["training.epochs=40", "training.learning_rate=0.1"]
    run = train(data, tmp_path / "run", operator="affine", overrides=settings).run
    surrogate = opkit.load(run)
    assert surrogate.config.operator == "affine"
    x = np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 16, 16)
    # u = 2 a + 1 is in reach; what is left is the optimiser's, far below the spread
    np.testing.assert_allclose(surrogate(x), 2 * x + 1, rtol=0, atol=0.05)
    weights = surrogate.model.state_dict()
    install("")  # the package is gone
    with pytest.raises(OpkitInputError, match="unknown operator 'affine'"):
        opkit.load(run)
    install()
    again = opkit.load(run)
    assert np.array_equal(again(x), surrogate(x))
    assert again.model.state_dict().keys() == weights.keys()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("nowhere:Affine", r"no module named 'nowhere'.* install"),
        ("foreign_operator:Afine", r"no class 'Afine'.*Did you mean 'Affine'"),
        ("foreign_operator:NoOperator", r"is no class derived from .*Operator"),
        ("foreign_operator:POINTS", r"no class 'POINTS'"),
        ("foreign_operator:nn", r"is no class derived from .*Operator"),
        ("foreign_operator:Bare", r"Bare lacks accepts, Options, forward"),
    ],
)
def test_what_is_no_operator_is_refused_in_one_line(
    install: Install, point: str, message: str
) -> None:
    install(f"[opkit.operators]\nstrange = {point}\n")
    with pytest.raises(OpkitInputError, match=message) as caught:
        build_operator("strange", shape(), {})
    assert str(caught.value).startswith("operator strange: ")
    assert "\n" not in str(caught.value)
    # others work, and are listed, beside it
    assert "strange" not in acceptance()
    with pytest.raises(OpkitInputError, match=r"not mesh with 1: use .*lsm-points"):
        check_acceptance("lsm", "mesh", 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import foreign_dependency",
            r"no module named 'foreign_dep.* install",
        ),
        (
            "raise RuntimeError('line one\\nline two')",
            "RuntimeError: line one line two",
        ),
        ("def", "SyntaxError"),
    ],
)
def test_a_module_that_does_not_import_is_one_line(
    install: Install, source: str, message: str
) -> None:
    install(source=source)
    with pytest.raises(OpkitInputError, match=message) as caught:
        build_operator("affine", shape(), {})
    assert "\n" not in str(caught.value)
