"""Equations in 10 to 100 dimensions by a network, its Laplacian estimated or exact.

    python -m benchmarks.high_dimensions [--dimensions 10 30 100] [--steps 1000]

    Poisson       Δu = g in the unit ball, u = 0 on its surface
    Allen-Cahn    Δu + u - u³ = g, the same

with g of the solution (1 - |x|²) Σ_k c_k sin(a_k·x + b_k), five waves. The network is
(1 - |x|²) times a perceptron of three hidden layers of 64; Adam, 100 new points of the
ball per step, residuals by `opkit.pde.taylor.residual_loss`. First what one step costs:
its processor time, and the memory of the tensors that the backward pass keeps, each as
often as it is kept; for estimates from 2 x 4 coordinates, for all coordinates in
forward mode, and for the Laplacian as PyTorch's autograd has it (a second derivative
per dimension). Then the relative L2 error after training, and its processor seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from opkit.pde.taylor import residual_loss

DRAWS = 4
POINTS = 100
WAVES = 5
Rest = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Waves:
    """The exact solution (1 - |x|²) s(x), s a sum of plane waves."""

    direction: Tensor
    phase: Tensor
    size: Tensor

    @staticmethod
    def drawn(d: int, seed: int) -> Waves:
        """Waves with |a| about 2, so that a·x varies by order one in the ball."""
        generator = torch.Generator().manual_seed(seed)
        draw = torch.randn(WAVES, d + 2, generator=generator)
        scale = 2.0 if d <= 4 else 2.0 * (d / 4) ** 0.5
        return Waves(scale * draw[:, 2:] / d**0.5, 3 * draw[:, 0], draw[:, 1])

    def value(self, x: Tensor) -> Tensor:
        """The solution (point,)."""
        wave = torch.sin(x @ self.direction.T + self.phase) @ self.size
        return (1 - x.square().sum(1)) * wave

    def laplacian(self, x: Tensor) -> Tensor:
        """-2 d s - 4 x·∇s + (1 - |x|²) Δs."""
        angle = x @ self.direction.T + self.phase
        s = angle.sin() @ self.size
        inner = (angle.cos() * (x @ self.direction.T)) @ self.size
        lower = -(angle.sin() * self.direction.square().sum(1)) @ self.size
        return -2 * x.shape[1] * s - 4 * inner + (1 - x.square().sum(1)) * lower


class Network(nn.Module):
    """A perceptron times (1 - |x|²)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        sizes = (d, 64, 64, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (point, d) to (point,)."""
        inside: Tensor = (1 - x.square().sum(1)) * self.layers(x)[:, 0]
        return inside


def ball(d: int, points: int, generator: torch.Generator) -> Tensor:
    """Points of the unit ball, their distance from the centre uniform."""
    x = torch.randn(points, d, generator=generator)
    return x / x.norm(dim=1, keepdim=True) * torch.rand(points, 1, generator=generator)


def rest(exact: Waves, cubic: bool) -> Rest:
    """What stands beside Δu, less g."""

    def reaction(u: Tensor) -> Tensor:
        return u - u**3 if cubic else 0 * u

    return lambda x, u: reaction(u) - exact.laplacian(x) - reaction(exact.value(x))


def by_autograd(u: Network, x: Tensor, others: Rest) -> Tensor:
    """The loss with one backward pass per dimension."""
    x = x.requires_grad_()
    value = u(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    laplacian = sum(
        torch.autograd.grad(slope[:, k].sum(), x, create_graph=True)[0][:, k]
        for k in range(x.shape[1])
    )
    return (laplacian + others(x.detach(), value)).square().mean()


def cost(step: Callable[[], Tensor]) -> tuple[float, float]:
    """Processor milliseconds of a loss with its gradient; MB for the backward pass."""
    held = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    begin = time.process_time()
    step().backward()
    return 1e3 * (time.process_time() - begin), sum(held) / 1e6


def trained(
    d: int, cubic: bool, draws: int, steps: int, seed: int
) -> tuple[float, float]:
    """Relative L2 error at 2,000 points, and processor seconds."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    exact, u = Waves.drawn(d, 0), Network(d)
    others = rest(exact, cubic)
    optimiser = torch.optim.Adam(u.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    begin = time.process_time()
    for _ in range(steps):
        optimiser.zero_grad()
        x = ball(d, POINTS, generator)
        residual_loss(u, x, others, draws, generator).backward()
        optimiser.step()
        schedule.step()
    spent = time.process_time() - begin
    x = ball(d, 2000, torch.Generator().manual_seed(99))
    with torch.no_grad():
        true = exact.value(x)
        return float((u(x) - true).norm() / true.norm()), spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", nargs="*", type=int, default=[10, 30, 100])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| d | estimate | forward mode, all | autograd |\n|---|---|---|---|")
    for d in options.dimensions:
        u, others = Network(d), rest(Waves.drawn(d, 0), True)
        x = ball(d, POINTS, torch.Generator().manual_seed(0))
        ways = (
            lambda: residual_loss(u, x, others, DRAWS),  # noqa: B023
            lambda: residual_loss(u, x, others, d),  # noqa: B023
            lambda: by_autograd(u, x.clone(), others),  # noqa: B023
        )
        cells = ["{:.0f} ms, {:.1f} MB".format(*cost(way)) for way in ways]
        print(f"| {d} | {' | '.join(cells)} |", flush=True)
    print("| equation | d | error | seconds |\n|---|---|---|---|")
    for name, cubic in (("Poisson", False), ("Allen-Cahn", True)):
        for d in options.dimensions:
            error, spent = trained(d, cubic, min(DRAWS, d), options.steps, options.seed)
            print(f"| {name} | {d} | {error:.3f} | {spent:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
