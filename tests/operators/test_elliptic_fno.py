"""The differentiable five-point solve inside `EllipticFNO`."""

import math

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.fno.elliptic import SIZE, FivePoint
from opkit.operators.interface import build_operator
from opkit.operators.shapes import DataShape

SHAPE = DataShape(1, 1, (15, 15), (False, False), (1.0, 1.0))


def test_adjoint_gradient_equals_finite_differences():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        field = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
        return field.requires_grad_()

    assert torch.autograd.gradcheck(
        FivePoint.apply, [draw(2, 3, 5), draw(2, 4, 4), draw(2, 3, 4)]
    )


def test_constant_coefficient_gives_the_torsion_function_at_second_order():
    """-Δw = 1 on the unit square: w(1/2, 1/2) = 0.0736713532… (Fourier series)."""
    exact = sum(
        16 / math.pi**4 * math.sin(i * math.pi / 2) * math.sin(j * math.pi / 2)
        / (i * j * (i**2 + j**2))
        for i in range(1, 400, 2)
        for j in range(1, 400, 2)
    )  # fmt: skip
    errors = []
    for n in (7, 15, 31):
        data = DataShape(1, 1, (n, n), (False, False), (1.0, 1.0))
        model = build_operator("elliptic-fno", data, {"n_modes": [4, 4]})
        with torch.no_grad():
            w = model._solve(torch.zeros(1, 2, n, n))
        errors.append(abs(w[0, 0, n // 2, n // 2].item() - exact))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.2)
    assert exact / SIZE == pytest.approx(1.47, abs=0.01)


def test_layers_across_the_flow_use_the_harmonic_mean():
    """At a point beside the jump the fluxes of harmonic faces leave its source."""
    model = build_operator("elliptic-fno", SHAPE, {"n_modes": [4, 4]})
    log_kappa = torch.zeros(1, 2, 15, 15)
    log_kappa[..., 7:] = math.log(12)
    with torch.no_grad():
        w = model._solve(log_kappa)[0, 0].double()
    h = 1 / 16
    harmonic = 2 * 12 / 13
    row = w[7]
    along_x = harmonic * (row[7] - row[6]) / h - (row[6] - row[5]) / h
    along_y = (w[8, 6] - 2 * w[7, 6] + w[6, 6]) / h
    assert (along_x + along_y).item() == pytest.approx(-h, rel=1e-3)  # solved in fp32


def test_equal_under_transposition_of_the_coefficient():
    model = build_operator("elliptic-fno", SHAPE, {"n_modes": [4, 4]})
    log_kappa = torch.randn(1, 2, 15, 15)
    turned = log_kappa.transpose(-1, -2).flip(1)  # across x becomes across y
    with torch.no_grad():
        a, b = model._solve(log_kappa), model._solve(turned)
    torch.testing.assert_close(a, b.transpose(-1, -2), rtol=1e-4, atol=1e-6)


def test_periodic_axes_and_large_grids_are_refused():
    periodic = DataShape(1, 1, (8, 8), (True, False), (1.0, 1.0))
    with pytest.raises(OpkitInputError, match="periodic"):
        build_operator("elliptic-fno", periodic, {"n_modes": [4, 4]})
    large = DataShape(1, 1, (64, 64), (False, False), (1.0, 1.0))
    with pytest.raises(OpkitInputError, match="subsample"):
        build_operator("elliptic-fno", large, {"n_modes": [4, 4]})
