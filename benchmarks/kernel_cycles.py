"""Kernel integrals within one radius against V-cycles of them (MGNO).

    python -m benchmarks.kernel_cycles [--seconds 30] [--points 65]

trains GNO, its V-cycle (levels of every fourth point, kernels from each level to
itself, to the next coarser, and back; Kovachki et al., JMLR 24, 2023, section 4.3) and
LNO for the same processor time on -(a u')' = 1 on (0, 1), u = 0 at both ends, log a a
random function of waves up to the third, and prints relative L2 errors of new ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opkit.operators.gno.kernel import KernelIntegral
from opkit.operators.gno.neighbours import Pairs, Search, described
from opkit.operators.interface import build_operator
from opkit.operators.shapes import DataShape

STRIDE = 4
"""Points of a level over those of the next."""
WIDTH, HIDDEN = 16, 16
RADIUS = 0.1
TRAIN, TEST, BATCH = 256, 64, 16


class Cycles(nn.Module):
    """V-cycles of kernel integrals over three levels of points of the unit interval.

    Args:
        points: of the finest level, 1 more than a multiple of `STRIDE`².
        layers: V-cycles.
    """

    def __init__(self, points: int, layers: int) -> None:
        super().__init__()
        line = torch.linspace(0, 1, points)[:, None]
        levels = [line[:: STRIDE**k] for k in range(3)]
        self.pairs: dict[tuple[int, int], Pairs] = {}
        for one, other in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (1, 0), (2, 1)):
            self.pairs[one, other] = near(
                levels[other], levels[one], RADIUS * STRIDE ** max(one, other)
            )
        self.lifting = nn.Sequential(
            nn.Linear(2, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.kernels = nn.ModuleList(
            nn.ModuleDict({
                f"{one}{other}": KernelIntegral(1, WIDTH, HIDDEN)
                for one, other in self.pairs
            })
            for _ in range(layers)
        )  # fmt: skip
        self.mixing = nn.ModuleList(
            nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(5))
            for _ in range(layers)
        )
        self.projection = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, 1)
        )
        self.line = line

    def forward(self, a: Tensor) -> Tensor:
        """Map (batch, 1, point) to the same."""
        places = self.line[:, None].expand(-1, len(a), 1)
        v = self.lifting(torch.cat([a.permute(2, 0, 1), places], 2))
        for kernels, mixing in zip(self.kernels, self.mixing, strict=True):
            assert isinstance(kernels, nn.ModuleDict)
            assert isinstance(mixing, nn.ModuleList)

            def carried(
                v: Tensor, one: int, other: int, by: nn.ModuleDict = kernels
            ) -> Tensor:
                result: Tensor = by[f"{one}{other}"](v, self.pairs[one, other])
                return result

            levels = [v]
            for k in (0, 1):
                levels.append(F.gelu(carried(levels[-1], k, k + 1)))
            for k in (2, 1, 0):
                own = carried(levels[k], k, k)
                levels[k] = levels[k] + F.gelu(
                    mixing[k](torch.cat([levels[k], own], 2))
                )
                if k:
                    up = carried(levels[k], k, k - 1)
                    joined = torch.cat([levels[k - 1], up], 2)
                    levels[k - 1] = levels[k - 1] + F.gelu(mixing[2 + k](joined))
            v = levels[0]
        u: Tensor = self.projection(v)
        return u.permute(1, 2, 0)


def near(targets: Tensor, sources: Tensor, radius: float) -> Pairs:
    """Pairs between two levels."""
    search = Search("cycles", radius, 4.0, (1, 1))
    found = search(
        [targets.double().numpy()], [sources.double().numpy()], 1, alone=False
    )
    even = torch.ones(len(sources))
    even[[0, -1]] = 0.5
    return described(found, targets, sources, even, radius)


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
        "V-cycles": lambda: Cycles(options.points, 2),
        "LNO": lambda: build_operator("lno", data, sizes),
    }
    print("| | parameters | steps | error | mean of training |\n|---|---|---|---|---|")
    for name, build in models.items():
        torch.manual_seed(0)
        row = trained(build(), options.seconds, options.points)
        print(f"| {name} | {row}", flush=True)


if __name__ == "__main__":
    main()
