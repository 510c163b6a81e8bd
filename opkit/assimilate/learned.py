"""A learned correction in place of a filter: one model run per cycle, no ensemble.

    u_f = M(u_a),    d = y − H u_f,    (g, κ) = K(u_f, Hᵀd, Hᵀ1)
    u_a ← u_f + σ(g) ⊙ (κ + Hᵀd)

M: a surrogate, which stays as it is; H: a linear observation operator, Hᵀ its adjoint
on the grid, divided by Hᵀ1; K: a network of convolutions with two outputs, gate and
correction. K is trained on trajectories, observed with noise, over windows of cycles:
gradients go through the surrogate.

Source: Singh, Borsoi, Erdogmus, Imbiriba, ICLR 2024 (NODA), where M is trained together
with K, H is learned as well and the observations are the whole state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from opkit.assimilate.observations import ErrorCovariance, Observation
from opkit.base.arrays import Array
from opkit.errors import NonFiniteError, OpkitInputError
from opkit.operators.layers.convolutions import convolution
from opkit.operators.layers.grids import boundaries

if TYPE_CHECKING:
    from opkit.surrogate import Surrogate

MOST = 2**13
"""Most numbers of a state, whose observation operator is a matrix."""


class Correction(nn.Module):
    """K: forecast, innovations on the grid and where they are, to gate and correction.

    Args:
        periodic: of each axis.
        width: channels.
        depth: layers.
    """

    def __init__(
        self, periodic: tuple[bool, ...], width: int = 32, depth: int = 4
    ) -> None:
        super().__init__()
        modes = boundaries(periodic)
        sizes = [3, *[width] * (depth - 1), 2]
        self.layers = nn.ModuleList(
            convolution(one, two, 5, modes) for one, two in pairwise(sizes)
        )

    def forward(self, forecast: Tensor, innovation: Tensor, seen: Tensor) -> Tensor:
        """Return the correction, in the scale of its inputs (batch, *space)."""
        x = torch.stack([forecast, innovation, seen], 1)
        for layer in self.layers[:-1]:
            x = nn.functional.gelu(layer(x))
        gate, change = self.layers[-1](x).unbind(1)
        result: Tensor = torch.sigmoid(gate) * (change + innovation)
        return result


@dataclass(frozen=True)
class LearnedCorrection:
    """A filter of one member or more, each corrected on its own.

    Args:
        network: K.
        scale: standard deviation of the states.
        adjoint: Hᵀ (number, observation) of the observations it was trained for.
        losses: mean squared errors of analyses over ``scale``², one per pass.
    """

    network: Correction
    scale: float
    adjoint: Array
    losses: tuple[float, ...] = ()

    least = 1

    def analyse(
        self,
        ensemble: Array,
        values: Array,
        observation: Observation,
        errors: ErrorCovariance,
        rng: np.random.Generator,
    ) -> Array:
        """Return the corrected members; see `Filter.analyse`.

        Raises:
            OpkitInputError: other observations than it was trained for.
        """
        shape = ensemble.shape
        numbers = self.adjoint.shape
        if (ensemble[0].size, len(values)) != numbers:
            raise OpkitInputError(
                f"a correction trained for {numbers[1]} observations of {numbers[0]} "
                f"numbers, not {len(values)} of {ensemble[0].size}: train another"
            )
        with torch.no_grad():
            changed = corrected(
                self.network,
                torch.as_tensor(ensemble, dtype=torch.float32),
                torch.as_tensor(values, dtype=torch.float32).expand(shape[0], -1),
                torch.as_tensor(self.adjoint, dtype=torch.float32),
                self.scale,
            )
        return changed.double().numpy()


def corrected(
    network: Correction, forecast: Tensor, values: Tensor, adjoint: Tensor, scale: float
) -> Tensor:
    """Correct forecasts (batch, *space) by observations (batch, observation)."""
    flat = forecast.flatten(1)
    seen = torch.isfinite(values)
    away = torch.where(seen, torch.nan_to_num(values) - flat @ adjoint, 0)
    weight = seen.to(flat) @ adjoint.T
    spread = (away @ adjoint.T) / weight.clamp_min(1e-6)
    on_grid = [part.view_as(forecast) for part in (flat, spread, weight.clamp_max(1))]
    change = network(on_grid[0] / scale, on_grid[1] / scale, on_grid[2])
    result: Tensor = forecast + scale * change
    return result


def learn_correction(
    surrogate: Surrogate,
    trajectories: ArrayLike,
    observation: Observation,
    noise: float,
    *,
    passes: int = 20,
    window: int = 4,
    batch: int = 64,
    width: int = 32,
    initial_error: float = 0.5,
    learning_rate: float = 2e-3,
    seed: int = 0,
    report: Callable[[int, int, float], None] | None = None,
) -> LearnedCorrection:
    """Train a correction of a surrogate's forecasts.

    Args:
        surrogate: M, autoregressive, of one field from one frame; its weights stay.
        trajectories: states (trajectory, time, *space), a step of M apart.
        observation: H, linear.
        noise: standard deviation of the observations' errors.
        passes: over all trajectories.
        window: cycles that gradients go back through.
        batch: trajectories at once.
        width: channels of K.
        initial_error: of the first states, in standard deviations: what is learned
            holds for the warm-up as well as after it.
        learning_rate: its largest value.
        seed: of weights, order and noise.
        report: called with the passes done, of all, and the loss.

    Raises:
        OpkitInputError: shapes that do not fit, noise that is not positive, an
            observation that is not linear, a surrogate that needs more than a frame.
        NonFiniteError: the training diverged.
    """
    truth = np.asarray(trajectories, np.float32)
    _check(surrogate, truth, observation, noise, window)
    space = truth.shape[2:]
    adjoint_rows = _adjoint(observation, space)
    adjoint = torch.as_tensor(adjoint_rows, dtype=torch.float32)
    states = torch.as_tensor(truth)
    scale = float(truth.std())
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        closed = tuple(period is not None for period in observation.grid.periods)
        network = Correction(closed, width)
    windows = (truth.shape[1] - 1) // window
    total = passes * windows * -(-len(states) // batch)
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total)
    frozen = [p for p in surrogate.model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    losses = []
    try:
        for done in range(1, passes + 1):
            sizes = []
            order = torch.randperm(len(states), generator=generator)
            for rows in torch.split(order, batch):
                lines = states[rows]
                pool = lines.flatten(0, 1)
                one, two = torch.randint(len(pool), (2, len(rows)), generator=generator)
                u = lines[:, 0] + initial_error / 2**0.5 * (pool[one] - pool[two])
                for first in range(1, windows * window + 1, window):
                    loss = torch.zeros(())
                    for k in range(first, first + window):
                        u = surrogate.predict(u[:, None, None], 1)[:, 0, 0]
                        clean = lines[:, k].flatten(1) @ adjoint
                        error = torch.randn(clean.shape, generator=generator)
                        u = corrected(network, u, clean + noise * error, adjoint, scale)
                        loss = loss + (u - lines[:, k]).square().mean() / scale**2
                    optimiser.zero_grad()
                    torch.autograd.backward(loss / window)
                    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                    optimiser.step()
                    schedule.step()
                    u = u.detach()
                    sizes.append(float(loss.detach()) / window)
            losses.append(float(np.mean(sizes)))
            if not np.isfinite(losses[-1]):
                raise NonFiniteError(
                    f"the correction diverged in pass {done}: take a smaller "
                    "learning_rate or a shorter window"
                )
            if report is not None:
                report(done, passes, losses[-1])
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return LearnedCorrection(network.eval(), scale, adjoint_rows, tuple(losses))


def _check(
    surrogate: Surrogate,
    truth: np.ndarray,
    observation: Observation,
    noise: float,
    window: int,
) -> None:
    recipe, config = surrogate.config.recipe, surrogate.config
    outputs = sum(v.channels for v in config.outputs)
    if recipe.mode != "autoregressive" or recipe.history != 1 or outputs != 1:
        raise OpkitInputError(
            "a correction needs a surrogate of one field that steps from the last "
            "frame: train with --set mode=autoregressive --set history=1"
        )
    if config.parameters or config.by_role["static"] or config.series:
        raise OpkitInputError(
            "a correction takes a surrogate of states alone, without parameters, "
            "static fields or functions of time: train one on data without them"
        )
    grid = observation.grid.shape
    if truth.ndim != 2 + len(grid) or truth.shape[2:] != grid:
        raise OpkitInputError(
            f"trajectories of shape {truth.shape}: give (trajectory, time, "
            f"{', '.join(map(str, grid))})"
        )
    if not np.isfinite(truth).all():
        raise OpkitInputError("the trajectories are not finite: replace those")
    if not 0 < noise < np.inf:
        raise OpkitInputError(f"noise {noise:g}: give a standard deviation above 0")
    if not 1 <= window < truth.shape[1]:
        raise OpkitInputError(
            f"window {window} of {truth.shape[1]} times: give 1 to {truth.shape[1] - 1}"
        )


def _adjoint(observation: Observation, space: tuple[int, ...]) -> Array:
    """Return Hᵀ (number, observation).

    Raises:
        OpkitInputError: H is not linear, or has too many numbers.
    """
    numbers = int(np.prod(space))
    if numbers > MOST:
        raise OpkitInputError(
            f"states of {numbers} numbers: a correction takes {MOST} at most"
        )
    columns = observation(np.eye(numbers).reshape(numbers, *space))
    probe = np.random.default_rng(0).standard_normal((1, *space))
    expected = probe.reshape(1, -1) @ columns
    if not np.allclose(observation(probe), expected, rtol=1e-9, atol=1e-9):
        raise OpkitInputError(
            f"observation operator {observation.name} is not linear: a correction "
            "needs one that is"
        )
    return columns
