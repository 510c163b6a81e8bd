"""A multigrid V-cycle of learned convolutions: one linear operator of MgNO."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from opkit.operators.blocks_conv import Prolongation, convolution, normalisation
from opkit.operators.blocks_grid import Boundary


class Step(nn.Module):
    """One step u ← u + S(f - A u); the first of a cycle, from u = 0, is u = S f."""

    def __init__(
        self, f: int, u: int, modes: Sequence[Boundary], bias: bool, first: bool
    ) -> None:
        super().__init__()
        self.S = convolution(f, u, 3, modes, bias=bias)
        self.A = None if first else convolution(u, f, 3, modes, bias=bias)

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return the smoothed u."""
        if u is None or self.A is None:
            start: Tensor = self.S(f)
            return start
        step: Tensor = u + self.S(f - self.A(u))
        return step


class Smoother(nn.Module):
    """Some smoothing steps on one grid; ``fresh`` if they start from u = 0."""

    def __init__(
        self,
        n_steps: int,
        f: int,
        u: int,
        modes: Sequence[Boundary],
        bias: bool,
        fresh: bool = False,
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            Step(f, u, modes, bias, first=fresh and step == 0)
            for step in range(n_steps)
        )

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor | None:
        """Return u after all steps."""
        for step in self.steps:
            u = step(u, f)
        return u


class Restriction(nn.Module):
    """To the grid of half the points: u ← Π u, and f ← R f or R(f - A u)."""

    def __init__(
        self, f: int, u: int, modes: Sequence[Boundary], bias: bool, residual: bool
    ) -> None:
        super().__init__()
        self.Pi = convolution(u, u, 3, modes, stride=2, bias=False)
        self.R = convolution(f, f, 3, modes, stride=2, bias=False)
        self.A = convolution(u, f, 3, modes, bias=bias) if residual else None

    def forward(self, u: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and f on the coarser grid."""
        return self.Pi(u), self.R(f if self.A is None else f - self.A(u))


class VCycle(nn.Module):
    """From f (in channels) to u (out channels) by one V-cycle from u = 0.

    Without bias and normalisation it is linear.

    Args:
        in_channels: channels of f.
        out_channels: channels of u.
        iterations: smoothing steps (before, after) on each grid, the finest first.
        modes: how each axis continues beyond the boundary.
        norm: ``"group"`` or ``"none"``, after each correction from a coarser grid.
        bias: whether the smoothing steps add a constant.
        residual: restrict the residual f - A u, as multigrid does, or f.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        iterations: Sequence[tuple[int, int]],
        modes: Sequence[Boundary],
        *,
        norm: str = "none",
        bias: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        f, u, levels = in_channels, out_channels, len(iterations)
        self.before = nn.ModuleList(
            Smoother(steps[0], f, u, modes, bias, fresh=level == 0)
            for level, steps in enumerate(iterations)
        )
        self.after = nn.ModuleList(
            Smoother(steps[1], f, u, modes, bias) for steps in iterations
        )
        self.restrictions = nn.ModuleList(
            Restriction(f, u, modes, bias, residual) for _ in range(levels - 1)
        )
        self.prolongations = nn.ModuleList(
            Prolongation(u, modes) for _ in range(levels - 1)
        )
        self.norms = nn.ModuleList(normalisation(norm, u) for _ in range(levels - 1))

    def forward(self, f: Tensor) -> Tensor:
        """(batch, in channel, *space) to (batch, out channel, *space)."""
        u: Tensor = self.before[0](None, f)
        passed = []
        for smooth, restrict in zip(self.before[1:], self.restrictions, strict=True):
            passed.append((u, f))
            u, f = restrict(u, f)
            u = smooth(u, f)
        u = self.after[-1](u, f)
        for level in reversed(range(len(passed))):
            fine, f = passed[level]
            correction = self.prolongations[level](u, fine.shape[2:])
            u = self.norms[level](fine + correction)
            u = self.after[level](u, f)
        return u
