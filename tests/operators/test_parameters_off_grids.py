"""Numbers per sample inside SPON and BENO: answers, and their derivatives."""

import numpy as np
import pytest
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.beno.beno import superposition_error
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator
from opkit.operators.layers.boundary_curve import CURVE
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.elliptic_boundary.laws import CornerCuts
from opkit.solvers.elliptic_boundary.solver import EllipticBoundary
from opkit.solvers.fem.domains import Square

CELLS = 12
ROLES = {"inputs": ("source", "inside"), "boundary": CURVE, "outputs": ("potential",)}
BENO = {
    "hidden_channels": 8, "n_layers": 1, "transformer_layers": 1, "n_heads": 2,
    "levels": 2,
}  # fmt: skip


def square(numbers: int = 1, cells: int = 8) -> MeshShape:
    """The unit square, p = 0 around, fields on nodes, and a coarser mesh."""
    fine, coarse = Square().mesh(cells), Square().mesh(cells // 2)
    on = ((fine.points == 0) | (fine.points == 1)).any(1)
    return MeshShape(
        1, 1, "node", fine.points, fine.cells, on, np.zeros((1, len(on))),
        ((coarse.points, coarse.cells),), parameters=numbers,
    )  # fmt: skip


def fit(model: torch.nn.Module, inputs: Inputs, target: Tensor, steps: int) -> None:
    torch.manual_seed(0)
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        adam.zero_grad()
        gap = (model(inputs) - target).flatten(1).norm(dim=1)
        (gap / target.flatten(1).norm(dim=1)).mean().backward()
        adam.step()


def slope(model: torch.nn.Module, inputs: Inputs, by: Tensor) -> tuple[Tensor, Tensor]:
    """d/dθ of Σ by u for each sample, by autograd and by central differences."""
    model = model.double()
    one = inputs.each(lambda part: part.double())

    def functional(theta: Tensor) -> Tensor:
        return (model(one._replace(parameters=theta)) * by).flatten(1).sum(1)

    theta = one.parameters.clone().requires_grad_()
    (exact,) = torch.autograd.grad(functional(theta).sum(), theta)
    step = 1e-4
    with torch.no_grad():
        change = functional(theta + step) - functional(theta - step)
    return exact[:, 0], change / (2 * step)


@pytest.mark.parametrize("entry", ["film", "channels"])
def test_spon_learns_how_an_answer_depends_on_a_number(entry: str) -> None:
    """u = (1 + θ / 2) f b, b a bump: two numbers give two answers, as the law says.

    The derivative of ∫ b u is that of f b² / 2; the operator, which has never seen it,
    is within a quarter after 150 steps, and autograd agrees with differences to 1e-5.
    """
    data = square()
    x, y = torch.from_numpy(data.points).float().T
    bump = torch.sin(np.pi * x) * torch.sin(np.pi * y)
    torch.manual_seed(1)
    f = 1 + 0.2 * torch.randn(16, 1, 1).expand(-1, 1, len(x))
    theta = torch.linspace(-1.5, 1.5, 16)[torch.randperm(16), None]
    target = (1 + theta[:, :, None] / 2) * f * bump
    torch.manual_seed(0)
    options = {"hidden_channels": 8, "n_layers": 1, "n_levels": 2, "parameters": entry}
    model = build_operator("spon", data, options)
    model.prepare({"inputs": f, "outputs": target})
    inputs = Inputs(f, parameters=theta)
    if entry == "film":  # begins as the identity
        assert torch.equal(model(inputs), model(inputs._replace(parameters=theta + 1)))
    fit(model, inputs, target, 150)
    few = Inputs(f[:2] * 0 + 1, parameters=torch.tensor([[-1.0], [1.0]]))
    with torch.no_grad():
        low, high = model(few)[:, 0]
    ratio = float((high @ bump) / (low @ bump))
    assert ratio == pytest.approx(1.5 / 0.5, rel=0.15)
    # on another mesh, too, which it was not trained for, they are two answers
    finer = square(0, 16)
    there = model.on(finer)(few._replace(fields=torch.ones(2, 1, len(finer.points))))
    spots = [float(u.detach().abs().max()) for u in there]
    assert spots[1] > 1.3 * spots[0] > 0
    exact, by_steps = slope(model, few, bump)
    torch.testing.assert_close(exact, by_steps, rtol=1e-5, atol=0)
    right = (bump * bump / 2).sum().double().expand(2)
    torch.testing.assert_close(exact, right, rtol=0.25, atol=0)
    # Dirichlet values stay exact, whatever the number
    edge = torch.from_numpy(data.fixed).double()
    assert slope(model, few, edge)[0].abs().max() == 0.0


def test_beno_learns_how_an_answer_depends_on_a_number() -> None:
    """k ∆u = f with k = exp(-θ), and u = 0 around: u = exp(θ) u₀, linear in f.

    One domain; the derivative along θ is u itself.
    """
    case = EllipticBoundary(
        resolution=(CELLS, CELLS), distribution=CornerCuts(corners=(0,))
    )
    drawn = [case.sample(np.random.default_rng([3, i])) for i in range(6)]
    fields = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}
    fields["boundary_value"] = 0 * fields["boundary_value"]
    fields |= case.solve(fields).outputs
    stacked = {
        role: torch.from_numpy(np.stack([fields[n] for n in names], 1)).float()
        for role, names in ROLES.items()
    }
    theta = torch.tensor([-0.6, -0.3, 0.0, 0.2, 0.4, 0.6])[:, None]
    target = stacked["outputs"] * theta.exp()[:, :, None, None]
    shape = DataShape(2, 1, (CELLS,) * 2, (False,) * 2, (1.0,) * 2, CURVE, parameters=1)
    torch.manual_seed(0)
    model = build_operator("beno", shape, BENO)
    model.prepare({**stacked, "outputs": target})
    inputs = Inputs(stacked["inputs"], parameters=theta, boundary=stacked["boundary"])
    fit(model, inputs, target, 100)
    same = Inputs(
        stacked["inputs"][[2, 2]],
        parameters=torch.tensor([[-0.5], [0.5]]),
        boundary=stacked["boundary"][[2, 2]],
    )
    with torch.no_grad():
        low, high = model(same)
    ratio = float(high.norm() / low.norm())
    assert ratio == pytest.approx(np.e, rel=0.15)
    u = model.double()(same.each(lambda part: part.double())).detach()
    exact, by_steps = slope(model, same, u)
    torch.testing.assert_close(exact, by_steps, rtol=1e-5, atol=0)
    right = u.square().flatten(1).sum(1)
    torch.testing.assert_close(exact, right, rtol=0.3, atol=0)

    class Asked(torch.nn.Module):
        """The operator at one number, as a function of the data."""

        def forward(self, one: Inputs) -> Tensor:
            numbers = one.fields.new_full((len(one.fields), 1), 0.3)
            return model(one._replace(parameters=numbers))

    x, boundary = (t.double() for t in (stacked["inputs"], stacked["boundary"]))
    boundary[:, CURVE.index("boundary_value")] = 0.5
    # sums of some hundred numbers in double precision
    assert superposition_error(Asked(), x, boundary).max() < 1e-12


def test_the_published_network_takes_no_numbers() -> None:
    """One line that names the setting."""
    shape = DataShape(2, 1, (CELLS,) * 2, (False,) * 2, (1.0,) * 2, CURVE, parameters=1)
    with pytest.raises(OpkitInputError, match=r"leave model\.parity at false"):
        build_operator("beno", shape, {**BENO, "levels": 1, "parity": True})
