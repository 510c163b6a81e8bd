"""Learned proximal network: the exact proximal operator of a prior learnt from samples.

    f(y) = ∇ψ(y) = argmin_x ½|x - y|² + R(x),     ψ convex
    R(f(y)) = ⟨y, f(y)⟩ - ½|f(y)|² - ψ(y)

ψ is a network that is convex in its input, so its gradient f is the proximal operator
of a function R, which need not be convex (Gribonval, Nikolova, 2020): however badly it
was trained, f decreases a definite objective, which can be computed. With noisy copies
y = x + σ ε of samples x the proximal matching loss

    E [ 1 - exp(-|x - f(y)|² / (n γ²)) ],     n numbers per sample, γ decreasing

makes f the most probable x for y as γ → 0, so that R → -σ² log p + const.

Source: Fang, Buchanan, Sulam, What's in a Prior? Learned Proximal Networks for Inverse
Problems, ICLR 2024, arXiv:2310.14344.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.priors.samples import refuse_not_finite


@dataclass(frozen=True)
class Matching:
    """How a proximal network is trained.

    Args:
        sigma: standard deviation of the noise, in the unit of the samples. It is the
            strength of the prior: R → -σ² log p.
        gammas: γ of the stages of proximal matching, in the same unit; halved, by
            default, from twice ``sigma`` to a quarter of it.
        steps: of Adam in each stage.
        warm_steps: of Adam with the L1 loss before the first stage.
        rate: largest step size; it falls to a hundredth over all steps.
        batch: samples per step.
        seed: of weights, batches and noise.
    """

    sigma: float
    gammas: Sequence[float] | None = None
    steps: int = 500
    warm_steps: int = 1000
    rate: float = 3e-3
    batch: int = 32
    seed: int = 0

    def stages(self) -> list[float]:
        """Return γ of each stage."""
        if self.gammas is None:
            return [2.0**-k * self.sigma for k in (-1, 0, 1, 2)]
        return list(self.gammas)


class ProximalNetwork(nn.Module):
    """ψ, an input-convex network, and its gradient.

        z_1 = s(B_1 y + b_1),   z_{l+1} = s(|W_l| z_l + B_{l+1} y + b_{l+1}),
        ψ(y) = Σ_l |w_l|ᵀ z_l + cᵀ y + ½ α |y|²

    s: softplus, convex and not decreasing. Samples (n,) have dense layers. Fields
    (y, x) have convolutions, |W| of 3 x 3 and B of 5 x 5 nodes, on a grid half as fine
    after each layer but the first, to which means over squares of nodes take y; w is
    the same all over a grid. The z of all layers are part of ψ.

    Args:
        shape: of one sample, (n,) or (y, x).
        width: numbers, or channels, of a layer.
        layers: L.
        beta: sharpness of the softplus, log(1 + exp(β t)) / β.
        alpha: α > 0; f is invertible, and R finite everywhere.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 32,
        layers: int = 4,
        beta: float = 10.0,
        alpha: float = 1e-3,
    ) -> None:
        super().__init__()
        self.shape, self.beta, self.alpha = tuple(shape), beta, alpha
        if len(self.shape) not in (1, 2) or min(*self.shape, 2) < 1:
            raise OpkitInputError(f"samples of shape {self.shape}: give (n,) or (y, x)")
        if not alpha > 0 or not beta > 0:
            raise OpkitInputError(
                f"alpha {alpha}, beta {beta}: both have to be above zero"
            )
        self.flat = len(self.shape) == 1
        self.from_input = nn.ModuleList()
        self.from_layer = nn.ParameterList()
        self.weights = nn.ParameterList()
        for layer in range(layers):
            if self.flat:
                self.from_input.append(nn.Linear(self.shape[0], width))
                size: tuple[int, ...] = (width, width)
            else:
                self.from_input.append(nn.Conv2d(1, width, 5, padding=2))
                size = (width, width, 3, 3)
            if layer:
                inputs = math.prod(size[1:])
                self.from_layer.append(torch.rand(size) * 2 / inputs)
            self.weights.append(torch.rand(width) * 2 / width)
        self.slope = nn.Parameter(torch.zeros(self.shape))

    @classmethod
    def fit(
        cls,
        values: Tensor,
        matching: Matching,
        width: int = 32,
        layers: int = 4,
        beta: float = 10.0,
        alpha: float = 1e-3,
    ) -> Self:
        """Train on samples.

        Args:
            values: (sample, n) or (sample, y, x), of order 1.
            matching: how.
            width: see the class, as for the others.
            layers: L.
            beta: sharpness of the softplus.
            alpha: α.

        Returns:
            A network in evaluation mode.

        Raises:
            OpkitInputError: shapes that do not fit, values that are not finite, or
                numbers of ``matching`` that are not above zero.
        """
        values = _samples(values, tuple(values.shape[1:])).float()
        if len(values) < 2:
            raise OpkitInputError("values of one sample: give two or more")
        stages = matching.stages()
        if not min(matching.sigma, *stages) > 0:
            raise OpkitInputError(
                f"sigma {matching.sigma}, gammas {stages}: all have to be above zero"
            )
        generator = torch.Generator().manual_seed(matching.seed)
        with torch.random.fork_rng():
            torch.manual_seed(matching.seed)
            model = cls(values.shape[1:], width, layers, beta, alpha)
        search = torch.optim.Adam(model.parameters(), matching.rate)
        whole = matching.warm_steps + matching.steps * len(stages)
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(
            search, max(whole, 1), eta_min=matching.rate / 100
        )
        for gamma in (None, *stages):
            for _ in range(matching.steps if gamma else matching.warm_steps):
                rows = torch.randint(
                    len(values), (matching.batch,), generator=generator
                )
                x = values[rows]
                noise = torch.randn(x.shape, generator=generator)
                off = (model(x + matching.sigma * noise) - x).flatten(1)
                if gamma:
                    loss = -(-off.square().mean(1) / gamma**2).expm1().mean()
                else:
                    loss = off.abs().mean()
                search.zero_grad()
                loss.backward()
                search.step()
                plan.step()
        return model.eval()

    def potential(self, y: Tensor) -> Tensor:
        """Return ψ (batch,) of y (batch, *shape)."""
        total = (self.slope * y).flatten(1).sum(1)
        total = total + self.alpha / 2 * y.square().flatten(1).sum(1)
        z, coarse = y, y if self.flat else y[:, None]
        for layer, affine_of in enumerate(self.from_input):
            if not self.flat and layer:
                coarse = F.avg_pool2d(coarse, 2, ceil_mode=True)
            affine = affine_of(coarse)
            if layer:
                weight = self.from_layer[layer - 1].abs()
                if self.flat:
                    affine = affine + F.linear(z, weight)
                else:
                    affine = affine + F.conv2d(z, weight, stride=2, padding=1)
            z = F.softplus(affine, self.beta, threshold=50.0)
            share = 1.0 if self.flat else 4.0**layer
            summed = z.flatten(2).sum(2) if z.ndim > 2 else z
            total = total + share * (summed @ self.weights[layer].abs())
        return total

    def forward(self, y: Tensor) -> Tensor:
        """Return f(y) (batch, *shape), the proximal point of y (batch, *shape).

        It can be differentiated where the network is in training mode.

        Raises:
            OpkitInputError: y of another shape, or not finite.
        """
        return self._slope(self._checked(y))[0]

    def proximal(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(v) (batch, *shape), and R (batch,) there.

        Args:
            v: (batch, *shape). In float32 the rounding of R is that of |v|²; a network
                in float64 (``network.double()``) has it exact for all purposes.

        Raises:
            OpkitInputError: v of another shape, or not finite.
        """
        v = self._checked(v)
        point, potential = (part.detach() for part in self._slope(v))
        inner = (v * point - point.square() / 2).flatten(1).sum(1)
        return point, inner - potential

    def penalty(self, x: Tensor, tolerance: float = 1e-6, steps: int = 500) -> Tensor:
        """Return R(x) (batch,) of any x (batch, *shape): f is inverted first.

            R(x) = max_y ⟨x, y⟩ - ψ(y) - ½ |x|²

        Args:
            x: (batch, *shape).
            tolerance: of f(y) - x, root mean square.
            steps: of L-BFGS, at most.

        Raises:
            OpkitInputError: x of another shape, or not finite.
            NotConvergedError: f was not inverted; only values near f(y) of a y that
                the network was trained on are sure to be reached in few steps.
        """
        x = self._checked(x)
        twin = copy.deepcopy(self).double().eval()
        return torch.stack([twin._invert(one, tolerance, steps) for one in x.double()])

    def _invert(self, x: Tensor, tolerance: float, steps: int) -> Tensor:
        def gap(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            y = torch.from_numpy(flat).view(1, *self.shape)
            point, potential = self._slope(y)
            value = potential - (x * y).sum()
            return value.item(), (point[0] - x).detach().flatten().numpy()

        start = x.flatten().numpy()
        limit = tolerance * x.numel() ** 0.5
        options: dict[str, float] = {
            "maxiter": steps,
            "maxfun": 4 * steps,
            "maxcor": 30,
        }
        options |= {"ftol": 0.0, "gtol": tolerance / 2}
        minimum = minimize(gap, start, jac=True, method="L-BFGS-B", options=options)
        value, off = gap(minimum.x)
        if not np.linalg.norm(off) <= limit:
            raise NotConvergedError(
                f"f(y) = x holds to {np.linalg.norm(off):.1e}, not to {limit:.1e}, "
                f"after {minimum.nit} steps: give more steps or a larger tolerance"
            )
        return -value - x.square().sum() / 2

    def _slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return ∇ψ(y) and ψ(y)."""
        with torch.enable_grad():
            at = y if y.requires_grad else y.detach().requires_grad_()
            potential = self.potential(at)
            (slope,) = torch.autograd.grad(
                potential.sum(), at, create_graph=self.training
            )
        return slope, potential

    def _checked(self, y: Tensor) -> Tensor:
        return _samples(y, self.shape).to(self.slope)


def _samples(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return values (sample, *shape) as they are.

    Raises:
        OpkitInputError: values of another shape, or not finite.
    """
    if values.ndim != 1 + len(shape) or tuple(values.shape[1:]) != shape:
        raise OpkitInputError(
            f"values of shape {tuple(values.shape)}: give (sample, "
            f"{', '.join(map(str, shape))})"
        )
    refuse_not_finite(values)
    return values
