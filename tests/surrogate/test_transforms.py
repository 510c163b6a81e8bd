"""Surrogates inside optimisations: gradients, torch.func, and double precision."""

import pytest
import torch
from torch.func import grad, jacfwd, jvp, vjp, vmap


@pytest.fixture(scope="module")
def fields(darcy):
    return torch.from_numpy(darcy.permeability[:3])


def test_gradients_flow_to_inputs_and_never_to_weights(darcy, fields):
    s = darcy.load()
    x = fields.clone().requires_grad_()
    s(x).square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
    assert all(p.grad is None for p in s.model.parameters())
    assert not s(fields).requires_grad


def test_vjp_and_jvp_are_transposes_and_agree_with_differences(darcy, fields):
    s = darcy.load()
    s.model.double()
    x = fields.double()
    generator = torch.Generator().manual_seed(0)
    v, w = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(2))
    _, tangent = jvp(s, (x,), (v,))
    _, pull = vjp(s, x)
    # <J v, w> = <v, J' w>, to rounding
    left, right = (tangent * w).sum(), (v * pull(w)[0]).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-10)
    step = 1e-4  # central differences: error of order step²
    difference = (s(x + step * v) - s(x - step * v)) / (2 * step)
    assert (difference - tangent).norm() < 1e-6 * tangent.norm()


def test_vmap_is_the_batch_and_composes_with_grad_and_jvp(darcy, fields):
    s = darcy.load()
    torch.testing.assert_close(vmap(s)(fields), s(fields), rtol=1e-4, atol=1e-6)

    def energy(x):
        return s(x).square().sum()

    together = vmap(grad(energy))(fields)
    x = fields.clone().requires_grad_()
    energy(x).backward()
    scale = float(x.grad.abs().max())  # float32: another order of sums
    torch.testing.assert_close(together, x.grad, rtol=1e-3, atol=1e-4 * scale)
    direction = torch.ones_like(fields[0])
    forward = vmap(lambda a: jvp(energy, (a,), (direction,))[1])(fields)
    expected = (together * direction).sum((1, 2))
    torch.testing.assert_close(forward, expected, rtol=1e-3, atol=1e-3 * scale)


def test_a_jacobian_of_a_few_numbers(darcy, fields):
    s = darcy.load()

    def probes(c):
        return s(fields[0] * (1 + c[0]) + c[1])[8, 4:8]

    assert jacfwd(probes)(torch.zeros(2)).shape == (4, 2)


def test_rollouts_are_differentiable(flow):
    s = flow.load()
    x = torch.from_numpy(flow.permeability).requires_grad_()
    s.rollout(x, 3)[:, -1].square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
