"""Errors of fields against closed forms and invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opkit.errors import OpkitInputError
from opkit.metrics import functional
from opkit.metrics.domains import Grid, Packed, Points

TORUS = Grid(extent=(2 * math.pi,), periodic=(True,))
SQUARE = Grid(extent=(1.0, 1.0), periodic=(False, False))


def wave(k: int, n: int = 64) -> torch.Tensor:
    x = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    return torch.sin(k * x)[None, None]


def test_relative_l2_is_the_ratio_of_norms_of_each_sample_then_the_mean():
    rng = np.random.default_rng(0)
    p, t = rng.normal(size=(2, 5, 3, 7, 6))
    expected = [
        np.mean(
            [
                np.linalg.norm(p[b, c] - t[b, c]) / np.linalg.norm(t[b, c])
                for c in range(3)
            ]
        )
        for b in range(5)
    ]
    error = functional.relative_l2(torch.tensor(p), torch.tensor(t))
    np.testing.assert_allclose(error, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["relative_l2", "nrmse", "relative_h1"])
@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_relative_errors_do_not_depend_on_units(name, scale, seed):
    p, t = torch.randn(
        2,
        4,
        2,
        8,
        8,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    error = functional.error(name)
    torch.testing.assert_close(
        error(scale * p, scale * t, SQUARE), error(p, t, SQUARE), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("name", [n for n in functional.ERRORS if n != "mse"])
@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-15, 1e20, 1e30, 1e37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fields_of_any_size_have_the_same_errors(name, scale, dtype):
    """Permeabilities of 1e-15 and densities of 1e20 are ordinary, also as gradients."""
    draw = torch.Generator().manual_seed(0)
    p, t = torch.randn(2, 4, 2, 8, 8, generator=draw, dtype=torch.float64)
    error = functional.error(name)
    expected = error(p, t, SQUARE)
    scaled = (scale * p).to(dtype).requires_grad_()
    result = error(scaled, (scale * t).to(dtype), SQUARE)
    # rounding of float32 in fields and sums
    torch.testing.assert_close(result.double(), expected, rtol=2e-5, atol=0)
    if name != "spectral_error":
        result.sum().backward()
        slope = torch.autograd.functional.jacobian(
            lambda x: error(x, t, SQUARE).sum(), p
        )
        largest = slope.abs().max().item()
        torch.testing.assert_close(
            scaled.grad.double() * scale, slope, rtol=1e-3, atol=1e-4 * largest
        )


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e18])
def test_mean_squares_beyond_float32(scale):
    p, t = torch.full((2, 3, 4), 3 * scale), torch.full((2, 3, 4), scale)
    t[1, 1] = 0  # (3² + 2 times 2²) / 3
    expected = torch.tensor([4.0, 17 / 3], dtype=torch.float64) * scale**2
    torch.testing.assert_close(functional.mse(p, t), expected, rtol=1e-6, atol=0)


def test_vrmse_of_the_own_mean_is_one_and_of_a_constant_target_is_set_by_eps():
    t = torch.randn(3, 1, 16, dtype=torch.float64)
    mean = t.mean(-1, keepdim=True).expand_as(t)
    # 1 up to eps² / var
    torch.testing.assert_close(
        functional.vrmse(mean, t), torch.ones(3).double(), rtol=1e-6, atol=0
    )
    constant = torch.full((1, 1, 16), 2.0, dtype=torch.float64)
    error = functional.vrmse(constant + 1, constant, eps=1.0)  # 1 / (eps |t|)
    torch.testing.assert_close(error, torch.tensor([0.5], dtype=torch.float64))


def test_zero_target_counts_as_eps():
    zero, one = torch.zeros(1, 1, 4), torch.ones(1, 1, 4)
    assert functional.relative_l2(one, zero, eps=0.5).item() == pytest.approx(4.0)


def test_h1_of_a_sine_sees_the_derivative():
    # e = sin 4x / 10, t = sin x: sqrt((1 + 16) / (1 + 1)) / 10 up to O(h²) differences
    n = 512
    p = wave(1, n) + 0.1 * wave(4, n)
    error = functional.relative_h1(p, wave(1, n), TORUS).item()
    assert error == pytest.approx(math.sqrt(17 / 2) / 10, rel=2e-3)


def test_h1_differences_are_second_order_on_both_kinds_of_axes():
    for closed in (True, False):
        errors = []
        for n in (32, 64):
            x = torch.arange(n, dtype=torch.float64) / (n if closed else n - 1)
            grid = Grid((1.0,), (closed,))
            u = torch.sin(2 * math.pi * x)[None, None]
            exact = 0.5 + 0.5 * (2 * math.pi) ** 2
            weight = 1.0 if closed else (u.square().mean().item() / 0.5)
            errors.append(abs(functional._h1_squared(u, grid).item() / weight - exact))
        order = math.log2(errors[0] / errors[1])
        # the mean over points with both ends is itself first order: 1 at least
        assert order > (1.9 if closed else 0.9)


def test_spectrum_holds_all_energy_and_knows_its_wavenumber():
    u = wave(5)
    energy = functional.energy_spectrum(u)[0, 0]
    assert energy.argmax().item() == 4  # k = 5
    assert energy.sum().item() == pytest.approx(u.square().mean().item(), rel=1e-12)


def test_spectral_error_sees_smoothing_that_l2_hides():
    t = wave(1) + 0.01 * wave(20)
    smoothed = wave(1) + 0.001 * wave(20)
    assert functional.relative_l2(smoothed, t).item() < 0.01
    # shell 20 of 2 lost a factor of 100 in energy: 2 decades over 2 shells
    assert functional.spectral_error(smoothed, t).item() == pytest.approx(1.0, rel=1e-6)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(OpkitInputError, match="relative_l2"):
        functional.error("relativ_l2")


@pytest.mark.parametrize("name", ["relative_l2", "mse", "vrmse"])
def test_samples_one_after_another_have_the_errors_they_have_alone(name):
    """With their own weights, of any sum; in float64 the order of sums is all."""
    g = torch.Generator().manual_seed(0)
    counts = [4, 9, 1]
    p, t = torch.randn(2, 1, 2, 14, generator=g, dtype=torch.float64)
    w = torch.rand(1, 14, generator=g, dtype=torch.float64)
    sample = torch.arange(3).repeat_interleave(torch.tensor(counts))
    error = functional.error(name)
    got = error(p, t, Points(w, sample))
    alone = [
        error(a, b, Points(c))
        for a, b, c in zip(*(x.split(counts, -1) for x in (p, t, w)), strict=True)
    ]
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-10, atol=0)


def test_points_with_weights_are_the_norm_they_approximate():
    """|x - x²| against |x| on graded points: √(1/30) over √(1/3), to O(h²)."""
    x = torch.linspace(0, 1, 401, dtype=torch.float64) ** 2
    w = torch.zeros_like(x)
    w[1:] += x.diff() / 2
    w[:-1] += x.diff() / 2
    u = x[None, None]
    error = functional.relative_l2(u * u, u, Points(w[None]))
    assert float(error) == pytest.approx(math.sqrt(0.1), rel=1e-4)
    even = functional.relative_l2(u * u, u, Points(torch.ones(1, 401)))
    torch.testing.assert_close(even, functional.relative_l2(u * u, u))
    for slopes in (functional.relative_h1, functional.spectral_error):
        with pytest.raises(OpkitInputError, match="use relative_l2"):
            slopes(u, u, Points(w[None]))


def test_outputs_of_several_kinds_have_errors_of_their_own() -> None:
    """A field and a series are related to themselves, a number to its usual size."""
    domain = Packed([4, 3, 1, 1], 1, torch.tensor([9.0, 2.0, 4.0, 5.0]))
    target = torch.tensor([[[3.0, 0, 0, 4, 0, 6, 8, 0.0, 1e9]]])
    change = torch.tensor([[[0.0, 1, 0, 0, 0, 0, 5, 0.2, 1.0]]])
    found = functional.relative_entries(target + change, target, domain)
    # the last number is large: 1 is lost in float32
    torch.testing.assert_close(found[0, :3], torch.tensor([0.2, 0.5, 0.05]))
    mean = functional.relative_l2(target + change, target, domain)
    torch.testing.assert_close(mean, found.mean(1))
    quiet = torch.zeros_like(target)
    error = functional.relative_entries(quiet + 0.1, quiet, domain)
    # a series that is 0 counts as 1 % of 2, a number as its usual size
    torch.testing.assert_close(error[0, 1:], torch.tensor([5.0, 0.025, 0.02]))
    with pytest.raises(OpkitInputError, match="relative_h1 is for fields"):
        functional.relative_h1(target, target, domain)
