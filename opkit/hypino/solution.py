"""Type a PDE, get a function: HyPINO for users.

    import opkit.hypino

    u = opkit.hypino.solve(
        "u_xx + u_yy = f",
        source="sin(pi*x) * sin(pi*y)",
        boundary="u = 0 on all",
    )
    u(0.5, 0.5), u.derivatives(0.5, 0.5)["u_x"], u.residual

A hypernetwork writes a first solution, corrections refine it, and Adam and L-BFGS fit
it to the PDE's own residual. The domain is [-1, 1]² less holes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from opkit.base.explain import explain
from opkit.errors import NonFiniteError, OpkitInputError, require
from opkit.hypino.ensemble import Ensemble
from opkit.hypino.fine_tune import fine_tune
from opkit.hypino.refine import magnitude, refine, write
from opkit.hypino.residuals import (
    Stated,
    defect,
    nothing,
    state,
)
from opkit.hypino.weights import SHIPPED, load
from opkit.operators.hypino.network import HyPINO
from opkit.operators.hypino.target import TargetShape, random_target
from opkit.pde import jets
from opkit.pde.problem import (
    Disk,
    LinearProblem,
    Polygon,
    Rectangle,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """U(x, y) with exact derivatives, made of small networks.

    Args:
        problem: what was asked.
        stated: the same as tensors.
        networks: what was found.
        residual: norm of what the equation and the conditions lack, weighted as in
            `opkit.hypino.residuals.defect`, over that of u = 0.
        history: relative residuals: as written and refined, then as fine-tuned.
    """

    problem: LinearProblem
    stated: Stated
    networks: Ensemble
    residual: float
    history: tuple[float, ...]

    def __call__(self, x: Any, y: Any) -> Array:
        """Values at points; NaN outside the domain."""
        return self.derivatives(x, y)["u"]

    def derivatives(self, x: Any, y: Any) -> dict[str, Array]:
        """U, u_x, u_y, u_xx, u_yy at points; NaN outside the domain."""
        shape, points, outside = self._points(x, y)
        with torch.no_grad():
            jet = self.networks.jet(points)[:, 0].double().numpy()
        jet[:, outside] = np.nan
        return {name: jet[k].reshape(shape) for k, name in enumerate(jets.NAMES)}

    def residual_at(self, x: Any, y: Any) -> Array:
        """F - L u at points, in the units of the equation; NaN outside the domain."""
        shape, points, outside = self._points(x, y)
        linear = self.problem.linear
        with torch.no_grad():
            jet = self.networks.jet(points)[:, 0].double()
        applied = torch.tensor(linear.coefficients, dtype=torch.float64) @ jet
        px, py = points[0].double().unbind(-1)
        left = (linear.source(px, py, torch) - applied).numpy()
        left[outside] = np.nan
        return np.asarray(left.reshape(shape))

    def plot(self, path: str | Path | None = None, resolution: int = 129) -> Figure:
        """Draw u and f - L u side by side; save the figure where a path is given."""
        figure_class = require("matplotlib.figure", "plots").Figure
        axis = np.linspace(-1, 1, resolution)
        x, y = np.meshgrid(axis, axis)
        figure: Figure = figure_class(figsize=(9, 3.8), layout="constrained")
        panels = (
            ("u", self(x, y), "viridis"),
            ("f - Lu", self.residual_at(x, y), "RdBu"),
        )
        for k, (title, field, colours) in enumerate(panels):
            axes = figure.add_subplot(1, 2, k + 1)
            top = float(np.nanmax(np.abs(field))) or 1.0
            low, high = (-top, top) if k else (None, None)
            image = axes.pcolormesh(x, y, field, cmap=colours, vmin=low, vmax=high)
            axes.set(title=title, xlabel="x", ylabel="y", aspect="equal")
            figure.colorbar(image, ax=axes)
        figure.suptitle(f"{self.problem.equation}   residual {self.residual:.1e}")
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _points(
        self, x: Any, y: Any
    ) -> tuple[tuple[int, ...], torch.Tensor, NDArray[np.bool_]]:
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        points = torch.from_numpy(np.stack([x.ravel(), y.ravel()], -1)[None])
        points = points.to(self.stated.coefficients.dtype)
        within = (points.abs().amax(-1) <= 1) & self.stated.geometry.inside(points)
        return x.shape, points, ~within[0].numpy()


def PDE(
    equation: str,
    boundary: str,
    source: str | None = None,
    holes: Sequence[Disk | Polygon | Rectangle] = (),
) -> LinearProblem:
    """State a PDE; see `opkit.pde.problem` for the language.

    Raises:
        OpkitInputError: it cannot be read, is not linear with constant coefficients,
            is ill-posed, or has holes that miss the domain.
    """
    try:
        return LinearProblem(
            equation=equation, boundary=boundary, source=source, holes=tuple(holes)
        )
    except ValidationError as error:
        raise OpkitInputError(explain(error, LinearProblem)) from None


def solve(
    pde: LinearProblem | str,
    boundary: str | None = None,
    source: str | None = None,
    holes: Sequence[Disk | Polygon | Rectangle] = (),
    model: HyPINO | None = None,
    refinements: int = 0,
    steps: int = 500,
    lbfgs_steps: int = 300,
    seed: int = 0,
) -> Solution:
    """Solve a linear second-order PDE on [-1, 1]² less holes.

    Args:
        pde: an equation as text, or a `PDE`.
        boundary: conditions, with an equation as text.
        source: formula for f, likewise.
        holes: what is cut out, likewise.
        model: a trained HyPINO; None takes the weights shipped with opkit.
        refinements: largest number of corrections. Without fine-tuning the network is
            asked in every orientation of the square and the mean is taken; with it, one
            network is kept of each round, and fitting costs in proportion.
        steps: of fine-tuning with Adam; 0 for none.
        lbfgs_steps: of fine-tuning with L-BFGS; 0 for none.
        seed: of random weights and points.

    Raises:
        OpkitInputError: the PDE cannot be read or is ill-posed.
        NonFiniteError: the source or the boundary data are not finite somewhere.
    """
    if isinstance(pde, str):
        if boundary is None:
            raise OpkitInputError(
                "no boundary condition at all: give boundary='u = 0 on all' or others"
            )
        pde = PDE(pde, boundary, source, holes)
    elif boundary is not None or source is not None or holes:
        raise OpkitInputError(
            "pde carries its own boundary, source and holes: drop these"
        )
    if model is None and SHIPPED.exists():
        model = load(SHIPPED)
    stated = state_problem(pde)
    size = float(defect(stated, nothing).norm())
    if not math.isfinite(size):
        raise NonFiniteError(
            "source or boundary data are not finite somewhere in the domain: check for "
            "divisions by zero, logarithms and roots"
        )
    if model is not None:
        model.eval()
        average = not (steps or lbfgs_steps)
        networks = write(model, stated, average=average)
        networks, _ = refine(model, stated, networks, refinements, average)
    else:
        generator = torch.Generator().manual_seed(seed)
        shape = TargetShape()
        first = random_target(shape, 1, generator, stated.coefficients)
        networks = Ensemble((first,), (magnitude(stated, nothing),))
    history = [float(defect(stated, networks.jet).norm())]
    if steps or lbfgs_steps:
        networks = fine_tune(stated, networks, steps, lbfgs_steps, seed=seed)
        history = [*history, float(defect(stated, networks.jet).norm())]
    relative = tuple(value / (size or 1.0) for value in history)
    return Solution(pde, stated, networks, relative[-1], relative)


def state_problem(pde: LinearProblem, dtype: torch.dtype = torch.float32) -> Stated:
    """Turn a `PDE` into tensors."""
    like = torch.zeros((), dtype=dtype)
    geometry = pde.geometry(like)
    coefficients = torch.tensor([pde.linear.coefficients], dtype=dtype)
    return state(coefficients, geometry, pde.functions(geometry))
