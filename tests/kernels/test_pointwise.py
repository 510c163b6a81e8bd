"""Pointwise layers block by block: values and gradients of the plain composition."""

import pytest
import torch
from torch.nn import functional as F

from opkit.kernels import buffers
from opkit.kernels.pointwise import blocks as pointwise_blocks
from opkit.kernels.pointwise import functional as pointwise
from opkit.kernels.pointwise.functional import Act, Mlp
from opkit.operators.fno.network import ChannelsLastFNO
from opkit.train.loop.plan import saved_bytes

ACTS = [Act(True, True), Act(False, False), Act(True, False)]


def problem(points=11, width=3, hidden=5, out=None):
    torch.manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    out = width if out is None else out
    p = Mlp(random(hidden, width), random(hidden), random(out, hidden), random(out))
    fields = random(points, width), random(points, width)
    return fields, random(width, width), random(width), p


def plain(y, v, skip, gate, act, p):
    """The layer as its formula is written."""
    u = y + v @ skip.T
    hidden = F.gelu((F.gelu(u) if act.u else u) @ p.first.T + p.first_bias)
    z = hidden @ p.second.T + p.second_bias + gate * v
    return F.gelu(z) if act.z else z


@pytest.fixture(params=[1, 4, 100], ids="blocks of {} points".format)
def block(request, monkeypatch):
    """Blocks of one point, with a remainder, and larger than the field."""
    monkeypatch.setattr(pointwise_blocks, "_BLOCK_BYTES", 8 * 5 * request.param)


@pytest.mark.parametrize("act", ACTS)
def test_layer_and_its_gradients(act, block):
    (y, v), skip, gate, p = problem()
    inputs = (y, v, skip, gate, *p)
    ours, truth = (
        pointwise.layer(y, v, skip, gate, act, p),
        plain(y, v, skip, gate, act, p),
    )
    assert torch.allclose(ours, truth, rtol=1e-13, atol=1e-13)
    seed = torch.randn_like(truth)
    pairs = zip(
        torch.autograd.grad(ours, inputs, seed),
        torch.autograd.grad(truth, inputs, seed),
        strict=True,
    )
    for value, expected in pairs:
        assert torch.allclose(value, expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(pointwise.layer(y, v, skip, gate, act, p), ours)


@pytest.mark.parametrize(("width", "hidden", "out"), [(3, 5, 2), (4, 2, 5), (1, 5, 1)])
def test_mlp_and_its_gradients(width, hidden, out, block):
    (x, _), _, _, p = problem(width=width, hidden=hidden, out=out)
    ours = pointwise.mlp(x, p)
    truth = F.gelu(x @ p.first.T + p.first_bias) @ p.second.T + p.second_bias
    assert torch.allclose(ours, truth, rtol=1e-13, atol=1e-13)
    seed = torch.randn_like(truth)
    pairs = zip(
        torch.autograd.grad(ours, (x, *p), seed),
        torch.autograd.grad(truth, (x, *p), seed),
        strict=True,
    )
    for value, expected in pairs:
        assert torch.allclose(value, expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(pointwise.mlp(x, p), ours)


@pytest.mark.parametrize("act", ACTS)
def test_second_derivatives(act):
    (y, v), skip, gate, p = problem(points=4, width=2, hidden=3)

    def of_layer(y, v, skip, gate, *p):
        return pointwise.layer(y, v, skip, gate, act, Mlp(*p))

    inputs = (y, v, skip, gate, *p)
    assert torch.autograd.gradgradcheck(of_layer, inputs, fast_mode=True)
    inputs = (v, *p)
    assert torch.autograd.gradgradcheck(
        lambda x, *p: pointwise.mlp(x, Mlp(*p)), inputs, fast_mode=True
    )


def test_gradients_of_some_inputs_only():
    (y, v), skip, gate, p = problem()
    frozen = Mlp(*(t.detach() for t in p))
    out = pointwise.layer(y.detach(), v, skip.detach(), gate, Act(True, True), frozen)
    truth = plain(y.detach(), v, skip.detach(), gate, Act(True, True), frozen)
    pairs = zip(
        torch.autograd.grad(out.sum(), (v, gate), create_graph=True),
        torch.autograd.grad(truth.sum(), (v, gate), create_graph=True),
        strict=True,
    )
    for value, expected in pairs:
        assert torch.allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_no_points():
    (y, v), skip, gate, p = problem(points=0)
    out = pointwise.layer(y, v, skip, gate, Act(True, True), p)
    assert out.shape == v.shape
    out.sum().backward()
    assert torch.count_nonzero(skip.grad) == 0


def test_second_derivatives_of_an_fno():
    """d/dx of |d loss/dx|^2, as losses on derivatives of a model need it."""
    torch.manual_seed(0)
    model = ChannelsLastFNO((2, 2), 1, 1, 2, n_layers=2).double()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(model, (x,), fast_mode=True)


def test_saved_memory_of_a_layer():
    """Two fields a layer: its input and u; the blocks are recomputed."""
    model = ChannelsLastFNO((4, 4), 1, 1, 8, n_layers=1)
    x = torch.randn(2, 1, 16, 16)
    field = 8 * 2 * 16 * 16 * 4
    nbytes = saved_bytes(lambda: model(x), model.parameters())
    # input of the model, v, u, input of the projection, and the kept modes
    spectrum = 4 * 3 * 2 * 2 * 8 * 4
    assert nbytes <= 3 * field + x.nbytes + spectrum


def test_large_buffers_are_plain_tensors():
    like = torch.zeros(3, dtype=torch.float64)
    for shape in ((2, 3), (2**10, 2**10), (0, 4)):
        out = buffers.empty(shape, like).fill_(1.5)
        assert out.shape == shape
        assert out.dtype == torch.float64
        assert out.is_contiguous()
        assert out.sum() == 1.5 * out.numel()


def test_buffers_where_the_system_takes_no_advice(monkeypatch):
    monkeypatch.delattr(buffers.mmap, "MADV_HUGEPAGE", raising=False)
    buffers._advise.cache_clear()
    try:
        assert buffers.empty((2**20,), torch.zeros(1)).shape == (2**20,)
    finally:
        buffers._advise.cache_clear()
