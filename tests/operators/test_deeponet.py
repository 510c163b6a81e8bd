"""DeepONet and POD-DeepONet: sensors, periodic trunk, principal modes."""

import numpy as np
import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.deeponet.deeponet import DeepONet
from opkit.operators.deeponet.pod import PODDeepONet
from opkit.operators.layers.grids import coordinates, interpolation_matrix, resample
from opkit.operators.shapes import DataShape


def square(n: int, periodic: bool = False, channels: tuple[int, int] = (1, 1)):
    return DataShape(*channels, (n, n), (periodic,) * 2, (1.0, 1.0))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("source", "target"), [(9, 17), (17, 9), (8, 21), (2, 5)])
def test_interpolation_is_linear_and_second_order(source, target, periodic):
    matrix = interpolation_matrix(source, target, periodic)
    torch.testing.assert_close(matrix.sum(1), torch.ones(target).double())
    if not periodic:  # exact on linear functions
        s = torch.linspace(0, 1, source, dtype=torch.float64)
        t = torch.linspace(0, 1, target, dtype=torch.float64)
        torch.testing.assert_close(matrix @ (3 * s - 1), 3 * t - 1)

    def error(n: int) -> float:
        x = coordinates((n,), (periodic,)).double()
        y = coordinates((101,), (periodic,)).double()
        wave = (2 * torch.pi * x).sin()
        return (
            (resample(wave, (101,), (periodic,)) - (2 * torch.pi * y).sin()).abs().max()
        )

    # |error| <= h²/8 max|f''|
    h = 1 / source if periodic else 1 / (source - 1)
    assert error(source) <= h**2 / 8 * (2 * np.pi) ** 2 * (1 + 1e-6)


def test_resampling_copies_shared_points_on_every_axis():
    x = torch.randn(2, 1, 9, 8, 5)
    fine = resample(x, (17, 16, 5), (False, True, False))
    torch.testing.assert_close(fine[:, :, ::2, ::2], x)


def test_answer_at_scattered_points_is_the_answer_on_the_grid():
    torch.manual_seed(0)
    model = DeepONet(square(7, channels=(1, 2)), DeepONet.Options(n_basis=8))
    x = torch.randn(3, 1, 7, 7)
    u = model(x)
    points = coordinates((7, 7), (False, False))[:, [1, 4, 6], [0, 5, 6]]
    torch.testing.assert_close(model(x, points), u[:, :, [1, 4, 6], [0, 5, 6]])


def test_periodic_axes_close():
    model = DeepONet(square(8, periodic=True), DeepONet.Options(n_basis=8)).double()
    x = torch.randn(1, 1, 8, 8).double()
    ends = torch.tensor([[0.0, 1.0, 0.0], [0.3, 0.3, 1.3]]).double()
    u = model(x, ends)[0, 0]
    torch.testing.assert_close(u[0], u[1])


def test_is_linear_in_the_basis_of_the_trunk():
    """u lies in the span of p trunk functions and the bias, for every input."""
    model = DeepONet(square(9), DeepONet.Options(n_basis=3)).double()
    with torch.no_grad():
        u = model(torch.randn(20, 1, 9, 9).double()).flatten(1)
    singular = torch.linalg.svdvals(u - u.mean(0))
    assert singular[3] < 1e-12 * singular[0] < singular[2]


def test_sensors_limit_the_size_of_the_branch():
    options = DeepONet.Options(sensors=(5, 5), branch_widths=(4,))
    model = DeepONet(square(33), options)
    x = torch.randn(2, 1, 33, 33)
    again = x.clone()
    again[:, :, ::8, ::8] += 0  # the sensors lie on points 0, 8, ..., 32
    again[:, :, 1::8] += 1
    torch.testing.assert_close(model(x), model(again))
    with pytest.raises(OpkitInputError, match=r"sensors=\[33, 33\]"):
        DeepONet(square(33), DeepONet.Options(sensors=(5,)))


@pytest.mark.parametrize("branch", ["mlp", "cnn"])
def test_branches(branch):
    model = DeepONet(square(17, channels=(2, 3)), DeepONet.Options(branch=branch))
    assert model(torch.randn(2, 2, 17, 17)).shape == (2, 3, 17, 17)


@pytest.mark.parametrize("periodic", [False, True])
def test_pod_modes_are_principal_components(periodic):
    """Projection error and energy are those of a weighted SVD (Eckart and Young)."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((30, 2 * 64)) @ np.diag(0.9 ** np.arange(128))
    samples += rng.standard_normal(128)
    p, data = 6, square(8, periodic, channels=(1, 2))
    model = PODDeepONet(data, PODDeepONet.Options(n_basis=p)).double()
    outputs = torch.from_numpy(samples.reshape(30, 2, 8, 8))
    model.prepare({"outputs": outputs})

    end = np.ones(8)
    if not periodic:
        end[[0, -1]] = 0.5
    weights = np.tile(np.outer(end, end).ravel() / end.sum() ** 2, 2)
    scaled = (samples - samples.mean(0)) * np.sqrt(weights)
    singular = np.linalg.svd(scaled, compute_uv=False)
    energy = (singular[:p] ** 2).sum() / (singular**2).sum()
    assert model.energy.item() == pytest.approx(energy, rel=1e-6)

    modes = model.modes.numpy().reshape(p, -1)
    gram = modes * weights @ modes.T
    # orthogonal in the quadrature; the length is the coefficient's standard deviation
    np.testing.assert_allclose(gram, np.diag(singular[:p] ** 2 / 30), atol=1e-10)
    basis = modes * np.sqrt(weights) / np.sqrt(np.diag(gram))[:, None]
    rest = scaled - scaled @ basis.T @ basis
    assert (rest**2).sum() == pytest.approx((singular[p:] ** 2).sum(), rel=1e-6)


def test_pod_knows_only_the_span_of_the_training_outputs():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((12, 1, 6, 6))).float()
    model = PODDeepONet(square(6), PODDeepONet.Options(n_basis=4))
    model.prepare({"outputs": x})
    with torch.no_grad():
        u = model(torch.randn(20, 1, 6, 6)).flatten(1) - model.mean.flatten()
    basis = torch.linalg.svd(model.modes.flatten(1), full_matrices=False).Vh
    torch.testing.assert_close(u @ basis.T @ basis, u, rtol=1e-4, atol=1e-5)


def test_pod_refusals_name_the_remedy():
    model = PODDeepONet(square(6), PODDeepONet.Options(n_basis=4))
    x = torch.randn(10, 1, 6, 6)
    with pytest.raises(OpkitInputError, match="call prepare"):
        model(x)
    with pytest.raises(OpkitInputError, match="n_basis=3"):
        model.prepare({"outputs": x[:4]})
    with pytest.raises(OpkitInputError, match="vary in 1 direction"):
        model.prepare({"outputs": x[:1] * torch.arange(10.0)[:, None, None, None]})
    with pytest.raises(OpkitInputError, match="the grid it was built for"):
        model.prepare({"outputs": torch.randn(10, 1, 7, 6)})
    with pytest.raises(OpkitInputError, match="not finite"):
        model.prepare({"outputs": x / 0})
