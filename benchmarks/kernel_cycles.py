"""Kernel integrals within one radius against V-cycles of them (MGNO).

    python -m benchmarks.kernel_cycles [--seconds 30] [--points 65]

trains GNO, its V-cycles (`multipole-gno`) and LNO for the same processor time on
-(a u')' = 1 on (0, 1), u = 0 at both ends, log a a random function of waves up to the
third, and prints relative L2 errors of new ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from opkit.operators.interface import build_operator
from opkit.operators.shapes import DataShape

WIDTH, HIDDEN = 16, 16
TRAIN, TEST, BATCH = 256, 64, 16


def draw(count: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Coefficients and solutions (count, 1, point), by sums over 2049 points."""
    g = torch.Generator().manual_seed(seed)
    x = torch.linspace(0, 1, 2049, dtype=torch.float64)
    k = torch.arange(1, 4, dtype=torch.float64)[:, None]
    b = torch.randn(2, count, 3, generator=g, dtype=torch.float64)
    waves = 2 * torch.pi * k * x
    log = b[0] @ waves.cos() + b[1] @ waves.sin()
    inverse = (-log).exp()

    def summed(f: Tensor) -> Tensor:
        middle = (f[:, 1:] + f[:, :-1]) / 2 / 2048
        return torch.cat([torch.zeros(count, 1).double(), middle.cumsum(1)], 1)

    first, second = summed(inverse), summed(x * inverse)
    u = first * (second[:, -1:] / first[:, -1:]) - second  # a u' = c - x
    step = 2048 // (points - 1)
    return log[:, None, ::step].float(), u[:, None, ::step].float()


def error(u: Tensor, true: Tensor) -> float:
    """Mean relative L2 error."""
    return float(((u - true).norm(dim=2) / true.norm(dim=2)).mean())


def trained(model: Callable[..., Tensor], seconds: float, points: int) -> str:
    """Train for so long, and say what came of it."""
    assert isinstance(model, nn.Module)
    a, u = draw(TRAIN, points, 0)
    a_new, u_new = draw(TEST, points, 1)
    size = u.std()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    g = torch.Generator().manual_seed(0)
    started, steps = time.process_time(), 0
    while (used := time.process_time() - started) < seconds:
        for group in optimiser.param_groups:  # down to 0 at the end
            group["lr"] = 3e-3 * (1 - used / seconds)
        rows = torch.randperm(TRAIN, generator=g)[:BATCH]
        optimiser.zero_grad()
        loss = (model(a[rows]) * size - u[rows]).norm(dim=2) / u[rows].norm(dim=2)
        loss.mean().backward()
        optimiser.step()
        steps += 1
    with torch.no_grad():
        reached = error(model(a_new) * size, u_new)
    mean = error(u.mean(0, keepdim=True).expand_as(u_new), u_new)
    count = sum(p.numel() for p in model.parameters())
    return f"{count} | {steps} | {reached:.4f} | {mean:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--points", type=int, default=65)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = DataShape(1, 1, (options.points,), (False,), (1.0,))
    sizes = dict(hidden_channels=WIDTH, kernel_width=HIDDEN)
    models: dict[str, Callable[[], nn.Module]] = {
        "GNO, radius 0.1": lambda: build_operator("gno", data, sizes),
        "GNO, radius 0.4": lambda: build_operator("gno", data, sizes | {"radius": 0.4}),
        "V-cycles, reach 6.4": lambda: build_operator(
            "multipole-gno", data, sizes | {"reach": 6.4}
        ),
        "V-cycles": lambda: build_operator("multipole-gno", data, sizes),
        "LNO": lambda: build_operator("lno", data, sizes),
    }
    print("| | parameters | steps | error | mean of training |\n|---|---|---|---|---|")
    for name, build in models.items():
        torch.manual_seed(0)
        row = trained(build(), options.seconds, options.points)
        print(f"| {name} | {row}", flush=True)


if __name__ == "__main__":
    main()
