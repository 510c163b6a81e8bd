"""LSM: published sizes, any other size, and what its block computes."""

import numpy as np
import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.interface import build_operator
from opkit.operators.lsm.block import NeuralSpectralBlock, from_patches, to_patches
from opkit.operators.lsm.coordinate_map import (
    analyse_grid,
    analyse_points,
    synthesise_grid,
    synthesise_points,
)
from opkit.operators.lsm.lsm import LSM, LatentOptions, LatentUNet
from opkit.operators.lsm.points import PointLSM, count_published
from opkit.operators.shapes import DataShape

# in and out channels, grid, width, patch, padding, parameters: Wu et al.'s scripts
PUBLISHED = {
    "darcy": (1, 1, (85, 85), 64, (6, 6), (11, 11), 19_187_457),
    "navier-stokes": (10, 1, (64, 64), 64, (4, 4), (0, 0), 19_188_033),
    "airfoil": (2, 1, (221, 51), 32, (14, 4), (3, 13), 4_812_833),
    "pipe": (2, 1, (129, 129), 48, (9, 9), (15, 15), 10_804_913),
    "elasticity-grid": (1, 1, (41, 41), 32, (3, 3), (7, 7), 4_812_801),
    "plasticity": (1, 4, (101, 31, 20), 32, (7, 2, 2), (11, 1, 12), 13_457_828),
}


def grid(*shape: int, channels: tuple[int, int] = (1, 1)) -> DataShape:
    d = len(shape)
    return DataShape(*channels, shape, (False,) * d, (1.0,) * d)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    n_in, n_out, shape, width, patch, padding, parameters = PUBLISHED[name]
    with torch.device("meta"):
        model = LSM(
            grid(*shape, channels=(n_in, n_out)), LSM.Options(hidden_channels=width)
        )
    assert model.unet.patch(shape) == patch
    assert model.unet.padding(shape) == padding
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_published_size_on_points():
    """5,402,785 without the coordinate map; a complex weight counts as one."""
    with torch.device("meta"):
        model = PointLSM(grid(972, channels=(2, 1)), PointLSM.Options(n_code=42))
    assert count_published(model) - count_published(model.map) == 5_402_785
    # the published map, 63,746, has an unused layer 96 -> 128 besides
    assert count_published(model.map) == 63_746 - (96 * 128 + 128)


@pytest.mark.parametrize("shape", [(9,), (100,), (9, 16), (17, 33), (10, 24, 15)])
def test_every_grid_is_padded_to_whole_patches(shape):
    model = LatentUNet(len(shape), LatentOptions(hidden_channels=8))
    sizes = zip(shape, model.patch(shape), model.padding(shape), strict=True)
    for n, patch, padding in sizes:
        assert (n + padding) % (16 * patch) == 0
        assert 0 <= padding < n  # never more padding than grid
    x = torch.randn(2, 8, *shape)
    assert model.eval()(x).shape == x.shape


def test_small_grids_and_wrong_heads_are_refused():
    with pytest.raises(OpkitInputError, match=r"\[8, 40\] is smaller .*n_scales=4"):
        build_operator("lsm", grid(8, 40), {"hidden_channels": 8})
    build_operator("lsm", grid(8, 40), {"hidden_channels": 8, "n_scales": 4})
    model = LSM(grid(16, 16), LSM.Options(hidden_channels=8))
    with pytest.raises(OpkitInputError, match="smaller than the 16 patches"):
        model(torch.zeros(1, 1, 16, 7))
    with pytest.raises(OpkitInputError, match="multiple of n_heads"):
        build_operator("lsm", grid(16, 16), {"hidden_channels": 12})


def test_a_batch_of_one_trains_on_a_coarsest_grid_of_one_point():
    model = LSM(grid(16, 16), LSM.Options(hidden_channels=8))
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.train()(torch.randn(1, 1, 16, 16)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    # the finest grid has statistics, one point has none
    moved = {n for n, v in model.named_buffers() if not torch.equal(v, before[n])}
    assert "unet.trunk.encoder.0.1.running_var" in moved
    assert "unet.trunk.encoder.4.1.running_var" not in moved
    # two samples have statistics on every grid
    model(torch.randn(2, 1, 16, 16))
    assert not torch.equal(
        model.unet.trunk.encoder[4][1].running_var,
        before["unet.trunk.encoder.4.1.running_var"],
    )


@pytest.mark.parametrize(
    ("shape", "patch"), [((12,), (3,)), ((6, 8), (3, 2)), ((4, 6, 10), (2, 3, 5))]
)
def test_patches_are_contiguous_and_come_back(shape, patch):
    x = torch.randn(2, 3, *shape)
    patches = to_patches(x, patch)
    assert torch.equal(from_patches(patches, patch, shape), x)
    corner = x[(0, slice(None), *(slice(p) for p in patch))]
    assert torch.equal(patches[0], corner.flatten(1))


def test_block_against_the_formula():
    """One patch, written out with loops over heads, tokens and points."""
    torch.manual_seed(0)
    c, heads, tokens, n_basis, n = 6, 2, 3, 4, 5
    block = NeuralSpectralBlock(c, tokens, n_basis, heads).double()
    x = torch.randn(1, c, n, dtype=torch.float64)
    with torch.no_grad():
        actual = block(x, (n,))[0].numpy()
    state = {k: v.numpy() for k, v in block.state_dict().items()}
    points, d = x[0].numpy(), c // heads

    def affine(name: str) -> np.ndarray:
        weight, bias = state[f"{name}.weight"][..., 0], state[f"{name}.bias"]
        return weight @ points + bias[:, None]

    def softmax(logits: np.ndarray) -> np.ndarray:
        return np.exp(logits) / np.exp(logits).sum()

    pairs, query, expected = affine("key_value"), affine("query"), points.copy()
    for h in range(heads):
        own = slice(h * d, (h + 1) * d)
        key, value = pairs[2 * h * d : 2 * (h + 1) * d : 2], pairs[2 * h * d + 1 :: 2]
        value = value[:d]
        latent = np.empty((tokens, d))
        for t in range(tokens):
            start = state["tokens"][h, t]
            latent[t] = start + value @ softmax(start @ key)
            for i in range(d):
                w, s = state["weights"][h * d + i], latent[t, i]
                angle = np.pi * np.arange(n_basis) * s / n_basis
                latent[t, i] += w @ np.concatenate([np.sin(angle), np.cos(angle)])
        for j in range(n):
            expected[own, j] += softmax(latent @ query[own, j]) @ latent
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


def test_block_does_not_depend_on_the_density_of_points():
    """Softmax over points is a quadrature: the tokens converge like h².

    (Midpoint rule for a smooth field on one patch.)
    """
    torch.manual_seed(0)
    block = NeuralSpectralBlock(8, n_heads=2).double()

    def tokens(n: int) -> torch.Tensor:
        s = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        field = torch.stack([torch.sin((k + 1) * s + k) for k in range(8)])
        return block.encode(field[None])

    exact = tokens(4096)
    errors = [(tokens(n) - exact).norm().item() for n in (8, 16, 32)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(rates, 2, atol=0.1)


def test_transforms_between_points_and_grids_agree():
    """On points of a uniform grid with equal weights both are the same transform."""
    m, shape = (3, 4), (10, 12)
    u = torch.randn(2, 3, *shape, dtype=torch.float64)
    axes = [torch.arange(n, dtype=torch.float64) / n for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, 2)
    points = points.expand(2, -1, -1)
    weights = torch.full((2, 120), 1 / 120, dtype=torch.float64)
    by_points = analyse_points(u.flatten(2), points, weights, m)
    by_grid = analyse_grid(u, m)
    torch.testing.assert_close(by_points, by_grid)
    by_grid[..., m[0], 0] = 0  # k = (-m_1, 0): its partner (m_1, 0) is not in the box
    back = synthesise_grid(by_grid, shape)
    torch.testing.assert_close(
        synthesise_points(analyse_grid(back, m), points).reshape(u.shape), back
    )


def test_geo_fno_symmetry_differs_by_one_wavenumber():
    """Its code puts the conjugate of c(k) at (-k_1 - 1, -k_2)."""
    c = torch.zeros(1, 1, 6, 3, dtype=torch.complex128)
    c[0, 0, 1, 2] = 0.5 - 0.25j  # k = (1, 2)
    points = torch.rand(1, 7, 2, dtype=torch.float64)
    x, y = 2 * np.pi * points[0].numpy().T
    expected = ((0.5 - 0.25j) * np.exp(1j * (x + 2 * y))).real
    mirrored = ((0.5 + 0.25j) * np.exp(1j * (-2 * x - 2 * y))).real
    for hermitian, other in ((True, expected), (False, mirrored)):
        u = synthesise_points(c, points, hermitian)[0, 0].numpy()
        np.testing.assert_allclose(u, expected + other, atol=1e-14)


@pytest.fixture(scope="module")
def point_model() -> PointLSM:
    torch.manual_seed(0)
    options = PointLSM.Options(
        hidden_channels=8, n_scales=3, n_modes=(4, 4), latent_shape=(12, 12)
    )
    model = PointLSM(grid(256, channels=(3, 1)), options).double().eval()
    with torch.no_grad():  # the published first weights hardly pass the input on
        model.spectral_in.weight *= 30
    return model


def cloud(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n x n midpoints of the unit square with a smooth field: (1, 3, n²), areas."""
    s = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x, y = torch.meshgrid(s, s, indexing="ij")
    field = torch.sin(3 * x) * torch.cos(2 * y) + x * y
    u = torch.stack([x, y, field]).flatten(1)[None]
    return u, torch.full((1, n * n), 1 / n**2, dtype=torch.float64)


def test_points_may_come_in_any_order(point_model):
    u, weights = cloud(8)
    order = torch.randperm(64)
    with torch.no_grad():
        expected = point_model(u, weights=weights)[..., order]
        moved = point_model(u[..., order], weights=weights[:, order])
    torch.testing.assert_close(moved, expected)


def test_uneven_density_is_cured_by_quadrature_weights(point_model):
    """A region sampled twice must not count twice."""
    u, weights = cloud(16)
    doubled = torch.cat([u, u[..., :100]], dim=-1)
    shares = torch.cat([weights, weights[:, :100]], dim=1)
    shares[:, :100] /= 2
    shares[:, 256:] /= 2
    with torch.no_grad():
        expected = point_model(u, weights=weights)
        with_weights = point_model(doubled, weights=shares)[..., :256]
        without = point_model(doubled)[..., :256]
    torch.testing.assert_close(with_weights, expected)
    assert (without - expected).abs().max() > 1e-5 * expected.abs().max()


def test_answer_on_points_converges_with_their_number(point_model):
    """Midpoint quadrature: second order, where the points resolve the learned map."""
    with torch.no_grad():  # without its octaves, up to 128π, the map is smooth
        point_model.map.no_code.weight[:, 32:] = 0
    sample = torch.tensor([[[0.3, 0.6], [0.2, 0.9], [0.0, 0.0]]]).double()
    answers = []
    for n in (16, 32, 64, 256):
        u, weights = cloud(n)
        # two more points of weight zero, to be asked at the same places
        u = torch.cat([u, sample], dim=-1)
        weights = torch.cat([weights, torch.zeros(1, 2).double()], dim=1)
        with torch.no_grad():
            answers.append(point_model(u, weights=weights)[..., -2:])
    errors = [(a - answers[-1]).norm().item() for a in answers[:-1]]
    assert (np.log2(np.array(errors[:-1]) / errors[1:]) > 1.7).all(), errors


def test_a_code_is_asked_for_and_refused():
    data = grid(10, channels=(2, 1))
    options = dict(hidden_channels=8, n_scales=2, n_modes=(2, 2), latent_shape=(8, 8))
    coded = build_operator("lsm-points", data, {**options, "n_code": 5})
    plain = build_operator("lsm-points", data, options)
    x, code = torch.rand(2, 2, 10), torch.rand(2, 5)
    assert coded(x, code=code).shape == plain(x).shape == (2, 1, 10)
    with pytest.raises(OpkitInputError, match="pass code"):
        coded(x)
    with pytest.raises(OpkitInputError, match="pass none"):
        plain(x, code=code)
    with pytest.raises(OpkitInputError, match="cannot hold n_modes"):
        build_operator("lsm-points", data, {**options, "n_modes": (5, 2)})
    with pytest.raises(OpkitInputError, match="needs points"):
        plain(x[:, :1])
