"""`SpectralConv` against neuraloperator 2.0.0's, module against module."""

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.layers.spectral_conv import (
    SpectralConv,
    from_complex,
    neuralop_state_dict,
    to_complex,
)
from opkit.train.loop.plan import saved_bytes

neuralop = pytest.importorskip("neuralop.layers.spectral_convolution")


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


CASES = [
    # grid, n_modes, options
    ((64,), (12,), {}),
    ((33,), (12,), {"bias": False}),
    ((32,), (64,), {}),  # more modes than the grid holds: all of them are used
    ((16, 16), (8, 8), {}),
    ((16, 20), (7, 9), {"bias": False}),
    ((16, 16), (16, 16), {}),  # Nyquist along both axes
    ((16, 15), (8, 15), {}),
    ((12, 12), (20, 20), {}),
    ((16, 16), (6, 6), {"max_n_modes": (10, 7)}),
    ((16, 16), (5, 6), {"max_n_modes": (9, 7)}),
    ((16, 16), (8, 8), {"separable": True}),
    ((16, 16), (8, 8), {"fft_norm": "ortho"}),
    ((16, 16), (8, 8), {"fft_norm": "backward"}),
    ((8, 10, 12), (4, 5, 6), {}),
    ((8, 8, 8), (8, 8, 8), {"separable": True}),
]


@pytest.mark.parametrize(("grid", "n_modes", "options"), CASES)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equals_neuraloperator(grid, n_modes, options, backend, monkeypatch):
    monkeypatch.setenv("OPKIT_SPECTRAL_BACKEND", backend)
    torch.manual_seed(0)
    theirs = neuralop.SpectralConv(4, 4, n_modes, **options)
    ours = SpectralConv(4, 4, n_modes, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, *grid, requires_grad=True)
    x2 = x.detach().clone().requires_grad_()
    y, y2 = theirs(x), ours(x2)
    # fp32 arithmetic: both within 1e-6 of float64, hence 1e-5 between them
    assert relative(y2, y) < 1e-5
    target = torch.randn_like(y)
    (y * target).sum().backward()
    (y2 * target).sum().backward()
    assert relative(x2.grad, x.grad) < 1e-5
    grad = theirs.weight.tensor.grad
    grad = from_complex(grad, len(grid))
    assert relative(ours.weight.grad, grad) < 1e-5


@pytest.mark.parametrize("grid", [(15, 15), (15, 16), (9, 11, 8), (13, 21)])
def test_odd_sizes_under_compat(grid):
    torch.manual_seed(0)
    modes = (6,) * len(grid)
    theirs = neuralop.SpectralConv(3, 2, modes)
    ours = SpectralConv(3, 2, modes, compat="neuralop-2.0")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, *grid)
    assert relative(ours(x), theirs(x)) < 1e-5
    right = SpectralConv(3, 2, modes)
    right.load_state_dict(theirs.state_dict())
    # the displaced modes are orthogonal to the right ones
    assert relative(right(x), theirs(x)) > 0.5


@pytest.mark.parametrize(
    ("grid", "n_modes", "most"), [((12, 12), (5, 6), (8, 6)), ((7, 12), (8, 6), (8, 4))]
)
def test_dropped_modes_under_compat(grid, n_modes, most):
    """neuraloperator takes weights one wavenumber too low for odd in even counts."""
    torch.manual_seed(0)
    theirs = neuralop.SpectralConv(3, 2, n_modes, max_n_modes=most)
    ours = SpectralConv(3, 2, n_modes, max_n_modes=most, compat="neuralop-2.0")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, *grid)
    assert relative(ours(x), theirs(x)) < 1e-5


@pytest.mark.parametrize("grid", [(16,), (15,), (16, 16), (12, 9), (8, 8, 8)])
@pytest.mark.parametrize("factor", [2, 0.5, 1.5])
def test_change_of_size_under_compat(grid, factor):
    torch.manual_seed(0)
    modes = (4,) * len(grid)
    theirs = neuralop.SpectralConv(3, 2, modes, resolution_scaling_factor=factor)
    ours = SpectralConv(
        3, 2, modes, resolution_scaling_factor=factor, compat="neuralop-2.0"
    )
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, *grid)
    y = theirs(x)
    assert ours(x).shape == y.shape
    assert relative(ours(x), y) < 1e-5
    if len(grid) < 3:
        skip = theirs.transform(x)
        assert relative(ours.transform(x), skip) < 1e-6


def test_neuraloperator_fno_with_our_convolution():
    from neuralop.models import FNO

    torch.manual_seed(0)
    arguments = {
        "n_modes": (8, 8),
        "in_channels": 1,
        "out_channels": 1,
        "hidden_channels": 8,
    }
    theirs = FNO(**arguments)
    ours = FNO(**arguments, conv_module=SpectralConv)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 1, 16, 16)
    assert relative(ours(x), theirs(x)) < 1e-5
    fresh = FNO(**arguments)
    fresh.load_state_dict(neuralop_state_dict(ours))
    assert torch.equal(fresh(x), theirs(x))
    ours.n_modes = (6, 6)
    theirs.n_modes = (6, 6)
    assert relative(ours(x), theirs(x)) < 1e-5


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 6, 5), (3, 4, 5, 6, 4)])
def test_weight_conversion_is_inverse(shape):
    weight = torch.randn(*shape, dtype=torch.complex64)
    dims = len(shape) - 2
    assert torch.equal(to_complex(from_complex(weight, dims), dims), weight)
    separable = weight[:, 0]
    assert torch.equal(to_complex(from_complex(separable, dims), dims), separable)
    pairs = torch.view_as_real(weight)
    assert torch.equal(from_complex(pairs, dims), from_complex(weight, dims))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"complex_data": True}, "complex_data"),
        ({"factorization": "tucker"}, "factorization"),
        ({"fno_block_precision": "mixed"}, "autocast"),
        ({"separable": True, "out_channels": 3}, "separable"),
        ({"max_n_modes": (4, 4)}, "max_n_modes"),
        ({"n_modes": (0, 4)}, "positive"),
        ({"n_modes": (4, 4, 4, 4)}, "1 to 3"),
        ({"resolution_scaling_factor": [2.0]}, "resolution_scaling_factor"),
    ],
)
def test_refused_options(options, word):
    arguments = {"in_channels": 2, "out_channels": 2, "n_modes": (8, 8)} | options
    with pytest.raises(OpkitInputError, match=word):
        SpectralConv(**arguments)


@pytest.mark.parametrize(
    ("grid", "n_modes", "fraction"),
    # neuraloperator keeps the whole spectrum in 1-D, and the kept modes in 2-D and 3-D
    [((512,), (12,), 1 / 5), ((24, 24), (8, 8), 1.1), ((12, 12, 12), (4, 4, 4), 1.1)],
)
def test_saved_activations(grid, n_modes, fraction):
    """The kept modes are all that is kept for the backward pass."""
    x = torch.randn(3, 4, *grid, requires_grad=True)

    def saved(layer):
        return saved_bytes(lambda: layer(x), (x, *layer.parameters()))

    ours = SpectralConv(4, 4, n_modes)
    modes = ours.weight.shape[: len(grid)].numel()
    nbytes = saved(ours)
    assert nbytes == modes * 2 * 3 * 4 * 4
    assert saved(SpectralConv(4, 4, n_modes, recompute=True)) == 0  # x apart
    assert nbytes <= fraction * saved(neuralop.SpectralConv(4, 4, n_modes))
