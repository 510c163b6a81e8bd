"""`SpectralProducts` is `SpectralConv` on one grid, without FFT or complex numbers."""

import operator

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.layers.spectral_conv import SpectralConv
from opkit.operators.layers.spectral_products import SpectralProducts

CASES = [  # grid, target, modes: odd, even, Nyquist included, more modes than held
    ((24,), (24,), 7),
    ((9,), (16,), 9),
    ((17, 12), (17, 12), (5, 6)),
    ((8, 8), (12, 15), (8, 8)),
    ((16, 16), (8, 7), (16, 16)),
    ((9, 8, 12), (9, 8, 12), (4, 5, 6)),
    ((7, 6, 5), (5, 7, 9), (20, 20, 20)),
]


def layer(modes, **options) -> SpectralConv:
    torch.manual_seed(0)
    return SpectralConv(3, 3, modes, **options).double()


@pytest.mark.parametrize(("grid", "target", "modes"), CASES)
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("norm", ["forward", "ortho", "backward"])
def test_same_function(grid, target, modes, separable, norm):
    conv = layer(modes, separable=separable, fft_norm=norm)
    x = torch.randn(2, 3, *grid, dtype=torch.float64)
    expected = conv(x, output_shape=target)
    outputs = SpectralProducts(conv, grid, target)(x)
    # float64 has 1e-16; sums of up to 864 terms
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


def test_channels_last_memory_and_no_bias():
    conv = layer((5, 6), bias=False)
    x = torch.randn(2, 17, 12, 3, dtype=torch.float64).movedim(-1, 1)
    outputs = SpectralProducts(conv, (17, 12), (17, 12))(x)
    torch.testing.assert_close(outputs, conv(x), rtol=1e-12, atol=1e-12)


def test_traces_into_real_products_of_torch_itself():
    products = SpectralProducts(layer((4, 4)).float(), (8, 9), (8, 9))
    program = torch.export.export(products, (torch.randn(2, 3, 8, 9),))
    targets = [n.target for n in program.graph.nodes if n.op == "call_function"]
    ops = [op for op in targets if op is not operator.getitem]
    assert all(op.namespace == "aten" for op in ops)
    assert not [op for op in ops if "fft" in str(op) or "complex" in str(op)]
    # analysis and synthesis of two axes, and the mixing
    assert sum("matmul" in str(op) or "bmm" in str(op) for op in ops) == 5
    values = [n.meta["val"] for n in program.graph.nodes if "val" in n.meta]
    assert not any(v.is_complex() for v in values if isinstance(v, torch.Tensor))


def test_displaced_modes_are_refused():
    conv = layer((4, 4), compat="neuralop-2.0")
    with pytest.raises(OpkitInputError, match="compat=None"):
        SpectralProducts(conv, (9, 9), (9, 9))
