"""The spectral convolution under torch: registration, compile, export, autocast."""

import pytest
import torch
from torch.library import opcheck

from opkit.kernels.spectral_conv import ops
from opkit.operators.layers.spectral_conv import SpectralConv

OPS = {
    "analysis": lambda x, z, w: (x, [4, 3], 0.5, True, "fp32", "cpu"),
    "synthesis": lambda x, z, w: (z, [4, 3], [6, 7], 0.5, True, False, "fp32", "cpu"),
    "analysis_mix": lambda x, z, w: (x, w, [4, 3], 0.5, "fp32", "cpu"),
    "mix": lambda x, z, w: (z, w, "fp32", "cpu"),
    "mix_input": lambda x, z, w: (z, w.transpose(1, 3).contiguous(), "fp32", "cpu"),
    "mix_weight": lambda x, z, w: (z, z.flip(0), "fp32", "cpu"),
}


@pytest.mark.parametrize("name", OPS)
def test_registration(name):
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    z = torch.randn(12, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(12, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    primitive = getattr(ops, name)
    arguments = OPS[name](x, z, w)
    opcheck(primitive.op._opoverload, arguments)
    # the eager route and the registered operator are the same function
    assert torch.equal(primitive(*arguments), primitive.op(*arguments))


def test_channels_last_registration():
    z = torch.randn(12, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    opcheck(
        ops.synthesis.op._opoverload,
        (z, [4, 3], [6, 7], 0.5, True, True, "fp32", "cpu"),
    )


def layer_and_field():
    torch.manual_seed(0)
    layer = SpectralConv(3, 2, (6, 6))
    return layer, torch.randn(2, 3, 12, 11)


def test_compile():
    layer, x = layer_and_field()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y, z = layer(x), compiled(x)
    assert torch.equal(y, z)
    grads = [
        torch.autograd.grad(out.square().sum(), layer.parameters()) for out in (y, z)
    ]
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-6)


@pytest.mark.slow
def test_compile_with_inductor():
    layer, x = layer_and_field()
    y = torch.compile(layer, fullgraph=True)(x)
    assert (y - layer(x)).norm() < 1e-6 * y.norm()


def test_export():
    layer, x = layer_and_field()
    program = torch.export.export(
        layer, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}}
    )
    more = torch.randn(5, 3, 12, 11)
    assert torch.equal(program.module()(more), layer(more))


def test_autocast_keeps_float32_accuracy():
    layer, x = layer_and_field()
    y = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(x)
        assert inside.dtype == torch.float32
        assert torch.equal(inside, y)
        assert layer(x.bfloat16()).dtype == torch.float32
        x.requires_grad_()
        inside = layer(x)
        grad = torch.autograd.grad(inside.square().sum(), layer.weight)[0]
    outside = torch.autograd.grad(layer(x).square().sum(), layer.weight)[0]
    assert torch.equal(grad, outside)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_field_keeps_its_type_without_autocast(dtype):
    layer, x = layer_and_field()
    assert layer(x.to(dtype)).dtype == dtype
