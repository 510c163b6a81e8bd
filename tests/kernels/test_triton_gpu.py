"""The Triton kernels on a GPU: accuracy of every precision, all routes, graphs."""

import pytest
import torch

from opkit.kernels.spectral_conv import choose_backend, spectral_conv

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SHAPES = [
    ((1000,), (17,)),
    ((1023,), (65,)),
    ((64, 64), (24, 13)),
    ((85, 85), (24, 13)),
    ((128, 128), (32, 17)),
    ((37, 256), (36, 33)),
    ((32, 33, 34), (16, 17, 9)),
    ((8, 40, 70), (8, 34, 17)),
]
# fp32: as fp32 sums. tf32: 10-bit mantissa of both operands, four products in a row.
# bf16: 8-bit mantissa of field, table and result.
LIMITS = {"fp32": 5e-6, "tf32": 3e-3, "bf16": 2e-2}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.double() - b).norm() / b.norm()).item()


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize(("grid", "modes"), SHAPES)
def test_accuracy_against_float64(grid, modes, precision):
    torch.manual_seed(0)
    x = torch.randn(3, 20, *grid, dtype=torch.float64, device="cuda")
    weight = torch.randn(*modes, 20, 2, 24, dtype=torch.float64, device="cuda")
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    y = spectral_conv(*leaves, backend="reference")
    grad = torch.randn_like(y)
    truth = [y, *torch.autograd.grad(y, leaves, grad)]
    singles = [leaf.detach().float().requires_grad_() for leaf in leaves]
    y = spectral_conv(*singles, backend="triton", precision=precision)
    values = [y, *torch.autograd.grad(y, singles, grad.to(y.dtype))]
    for one, other in zip(values, truth, strict=True):
        assert relative(one, other) < LIMITS[precision]


def test_is_the_default_and_repeats_itself():
    device = torch.device("cuda", torch.cuda.current_device())
    choice = choose_backend(device, torch.float32, [24, 13], [421, 421], [421, 421])
    assert choice.name == "triton"
    x = torch.randn(4, 8, 421, 421, device=device)
    weight = torch.randn(24, 13, 8, 2, 8, device=device)
    assert torch.equal(spectral_conv(x, weight), spectral_conv(x, weight))


def test_under_a_cuda_graph_and_compile():
    x = torch.randn(4, 8, 64, 64, device="cuda")
    weight = torch.randn(24, 13, 8, 2, 8, device="cuda")
    truth = spectral_conv(x, weight)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = spectral_conv(x, weight)
    graph.replay()
    assert torch.equal(y, truth)
    assert torch.equal(torch.compile(spectral_conv, fullgraph=True)(x, weight), truth)
