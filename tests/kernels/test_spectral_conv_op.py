"""The spectral convolution as a function: truths, symmetries, gradients, precision."""

import math

import pytest
import torch

from opkit.kernels.spectral_conv import spectral_conv
from opkit.kernels.spectral_conv.modes import wavenumbers

# (grid, modes): odd, prime, even with Nyquist, one point, elongated
SHAPES = [
    ((16,), (5,)),
    ((13,), (7,)),
    ((1,), (1,)),
    ((8,), (5,)),
    ((12, 12), (6, 4)),
    ((11, 13), (5, 7)),
    ((8, 8), (8, 5)),
    ((7, 1), (3, 1)),
    ((1, 9), (1, 3)),
    ((3, 40), (2, 9)),
    ((6, 7, 8), (4, 3, 5)),
    ((5, 5, 5), (5, 4, 3)),
]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def problem(grid, modes, batch=3, channels=(2, 4), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels[0], *grid, dtype=dtype, generator=generator)
    weight = torch.randn(
        *modes, channels[0], 2, channels[1], dtype=dtype, generator=generator
    )
    return x, weight


@pytest.mark.parametrize(("grid", "modes"), SHAPES)
@pytest.mark.parametrize("norm", ["forward", "ortho", "backward"])
def test_cpu_equals_reference_in_float64(grid, modes, norm):
    x, weight = problem(grid, modes)
    y = spectral_conv(x, weight, norm=norm, backend="cpu")
    truth = spectral_conv(x, weight, norm=norm, backend="reference")
    assert relative(y, truth) < 1e-12


@pytest.mark.parametrize(("grid", "modes"), SHAPES)
def test_cpu_equals_reference_in_float32(grid, modes):
    x, weight = problem(grid, modes)
    y = spectral_conv(x.float(), weight.float(), backend="cpu")
    assert relative(y.double(), spectral_conv(x, weight, backend="reference")) < 1e-5


@pytest.mark.parametrize("out", [(9, 14), (24, 30), (6, 8), (13, 13)])
def test_other_resolution(out):
    x, weight = problem((12, 15), (6, 5))
    y = spectral_conv(x, weight, out_shape=out, backend="cpu")
    truth = spectral_conv(x, weight, out_shape=out, backend="reference")
    assert relative(y, truth) < 1e-12


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_band_limited_field_is_resolution_independent(backend):
    """A field of low modes gives the same function on every grid that holds them."""
    _, weight = problem((1, 1), (4, 3), channels=(1, 2))

    def field(ny, nx):
        y = torch.arange(ny, dtype=torch.float64)[:, None] / ny
        x = torch.arange(nx, dtype=torch.float64)[None, :] / nx
        wave = torch.cos(2 * math.pi * (y + 2 * x)) + torch.sin(2 * math.pi * (y - x))
        return (0.3 + wave)[None, None]

    fine = spectral_conv(field(30, 42), weight, backend=backend)
    coarse = spectral_conv(field(15, 14), weight, backend=backend)
    assert torch.allclose(fine[..., ::2, ::3], coarse, atol=1e-13)
    zoomed = spectral_conv(field(15, 14), weight, out_shape=(30, 42), backend=backend)
    assert torch.allclose(zoomed, fine, atol=1e-13)


@pytest.mark.parametrize(("grid", "modes"), SHAPES)
def test_single_mode_is_multiplied_by_its_weight(grid, modes):
    """exp(i k x) + c.c. on the last kept mode comes back with amplitude and phase."""
    index = tuple(count - 1 for count in modes)
    wave = [wavenumbers(n)[i] for n, i in zip(modes[:-1], index[:-1], strict=True)]
    wave.append(index[-1])
    points = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) / n for n in grid), indexing="ij"
    )
    phase = 2 * math.pi * sum(k * p for k, p in zip(wave, points, strict=True))
    weight = torch.zeros(*modes, 1, 2, 1, dtype=torch.float64)
    weight[(*index, 0, 0, 0)], weight[(*index, 0, 1, 0)] = 0.6, -0.8
    y = spectral_conv(torch.cos(phase)[None, None], weight, backend="cpu")[0, 0]
    expected = 0.6 * torch.cos(phase) + 0.8 * torch.sin(phase)
    mirrored = all((2 * k) % n == 0 for k, n in zip(wave, grid, strict=True))
    if mirrored:  # its own mirror image: real, so only the real part of W acts
        expected = 0.6 * torch.cos(phase)
    elif wave[-1] == 0 or (2 * wave[-1]) % grid[-1] == 0:
        expected = expected / 2  # the mirror image -k is another stored mode, here zero
    assert torch.allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("grid", "modes"), [((16,), (9,)), ((12, 12), (12, 7))])
def test_shift_equivariance(grid, modes, backend):
    x, weight = problem(grid, modes)
    shift = tuple(range(3, 3 + len(grid)))
    dims = tuple(range(2, 2 + len(grid)))
    moved = spectral_conv(x.roll(shift, dims), weight, backend=backend)
    still = spectral_conv(x, weight, backend=backend).roll(shift, dims)
    assert relative(moved, still) < 1e-12


@pytest.mark.parametrize(("grid", "modes"), [((8,), (5,)), ((9, 8), (1, 5))])
def test_imaginary_parts_at_zero_and_nyquist_do_not_leak(grid, modes):
    x, weight = problem(grid, modes)
    other = weight.clone()
    axis = len(grid) - 1
    for mode in (0, grid[-1] // 2):
        other.select(axis, mode).select(-2, 1).add_(7.0)
    y, z = (spectral_conv(x, w, backend="cpu") for w in (weight, other))
    assert torch.allclose(y, z, atol=1e-13)


@pytest.mark.parametrize(("grid", "modes"), SHAPES)
def test_gradients(grid, modes):
    x, weight = problem(grid, modes, batch=2, channels=(2, 3))
    inputs = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda x, w: spectral_conv(x, w, backend="cpu"), inputs, fast_mode=True
    )


def test_second_derivatives():
    x, weight = problem((6, 5), (4, 3), batch=2, channels=(2, 2))
    inputs = (x.requires_grad_(), weight.requires_grad_())

    def squared(x, w):
        return spectral_conv(x, w, out_shape=(7, 8), backend="cpu") ** 2

    assert torch.autograd.gradgradcheck(squared, inputs, fast_mode=True)


@pytest.mark.parametrize("last", [False, True])
def test_recomputing_changes_no_bit(last):
    x, weight = problem((6, 5), (4, 3), batch=2, channels=(2, 3))
    x = x.to(memory_format=torch.channels_last) if last else x
    bias = torch.randn(3, dtype=x.dtype)
    results = []
    for recompute in (False, True):
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y = spectral_conv(*inputs, recompute=recompute, backend="cpu")
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for first, again in zip(*results, strict=True):
        assert torch.equal(first, again)

    def squared(x, w):
        return spectral_conv(x, w, recompute=True, backend="cpu") ** 2

    inputs = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradgradcheck(squared, inputs, fast_mode=True)


def test_separable_gradients_and_values():
    x, _ = problem((6, 7), (3, 3), channels=(2, 2))
    weight = torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    full = torch.zeros(3, 3, 2, 2, 2, dtype=torch.float64)
    for channel in range(2):
        full[:, :, channel, :, channel] = weight.detach()[:, :, channel]
    separable = spectral_conv(x, weight, backend="cpu")
    assert relative(separable, spectral_conv(x, full, backend="cpu")) < 1e-13
    assert torch.autograd.gradcheck(
        lambda x, w: spectral_conv(x, w, backend="cpu"),
        (x.requires_grad_(), weight),
        fast_mode=True,
    )


@pytest.mark.parametrize(
    ("grid", "modes"), [((9,), (4,)), ((8, 9), (5, 3)), ((4, 6, 5), (3, 4, 2))]
)
def test_channels_last_and_strided_fields(grid, modes):
    x, weight = problem(grid, modes)
    truth = spectral_conv(x, weight, backend="cpu")
    last = x.movedim(1, -1).contiguous().movedim(-1, 1)
    y = spectral_conv(last, weight, backend="cpu")
    assert relative(y, truth) < 1e-13
    assert y.movedim(1, -1).is_contiguous()
    strided = torch.stack([x, x], -1)[..., 0]
    assert relative(spectral_conv(strided, weight, backend="cpu"), truth) < 1e-13
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert relative(spectral_conv(turned, weight, backend="cpu"), truth) < 1e-13
    leaf = last.detach().requires_grad_()
    spectral_conv(leaf, weight, backend="cpu").square().sum().backward()
    plain = x.detach().requires_grad_()
    spectral_conv(plain, weight, backend="cpu").square().sum().backward()
    assert relative(leaf.grad, plain.grad) < 1e-13


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("grid", [(8,), (8, 9), (4, 6, 5)])
def test_empty_batch(grid, backend):
    x, weight = problem(grid, (2,) * len(grid), batch=0)
    for field in (x, x.movedim(1, -1).contiguous().movedim(-1, 1)):
        y = spectral_conv(field, weight, backend=backend)
        assert y.shape == (0, 4, *grid)


def test_half_precision_field():
    x, weight = problem((12, 11), (6, 6), dtype=torch.float32)
    truth = spectral_conv(x, weight)
    for dtype, tolerance in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
        y = spectral_conv(x.to(dtype), weight)
        assert y.dtype == dtype
        # rounding of the input and of the output: two units of the type
        assert relative(y.float(), truth) < 2 * tolerance


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_bf16_input_and_output(backend):
    x, weight = problem((16, 16), (8, 5), dtype=torch.float32)
    x.requires_grad_()
    y = spectral_conv(x, weight, precision="bf16", backend=backend)
    assert y.dtype == torch.bfloat16
    truth = spectral_conv(x, weight, backend=backend)
    assert relative(y.float(), truth) < 2 * 2**-8
    y.float().square().sum().backward()
    assert x.grad.dtype == torch.float32
