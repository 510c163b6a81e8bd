"""Type a PDE, get a function and how far it may be off.

    import opkit

    u = opkit.solve_pde(
        "u_xx + u_yy = f",
        source="sin(pi*x) * sin(pi*y)",
        boundary="u = 0 on all",
    )
    u(0.5, 0.5), u.error_estimate, u.distance, u.network.jet(...)

Finite elements (`opkit.solvers.linear_pde`) are the reference and the judge. The
hypernetwork writes a solution of its own, corrections refine it, and Adam and L-BFGS
fit it where asked; its distance from the reference is measured. The domain is
[-1, 1]² less holes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pydantic import ValidationError

from opkit.base.arrays import Array
from opkit.base.children import require_aside
from opkit.base.explain import explain
from opkit.base.files import appearing
from opkit.errors import OpkitInputError
from opkit.hypino.bound import error_bound
from opkit.hypino.ensemble import Ensemble
from opkit.hypino.residuals import TensorProblem
from opkit.hypino.weights import SHIPPED, load
from opkit.hypino.written import Written, answer
from opkit.operators.hypino.network import HyPINO
from opkit.pde import jets
from opkit.pde.problem import Disk, LinearProblem, Polygon, Rectangle
from opkit.solvers.fem.simplex_mesh import MeshError
from opkit.solvers.linear_pde.reference import (
    Reference,
    grid,
    inside_of,
    most_cells,
    refer,
)
from opkit.solvers.linear_pde.spectrum import NEAR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Literal["both", "elements", "network"]
CELLS = 81
"""Along the square, that the reference does not exceed unless asked to."""
JUDGE_CELLS = 36
"""The same where it only judges a network."""
REFINEMENTS = 2
"""Corrections of a network that is not fitted, unless asked otherwise."""


@dataclass(frozen=True)
class Solution:
    """U(x, y): the answer of the elements, or of the network where that was asked for.

    Args:
        problem: what was asked.
        method: ``both``, ``elements`` or ``network``.
        elements: the reference, with the network's method a coarse one; None where the
            domain could not be meshed.
        network: the network's answer; None with the elements' method.
        error_estimate: estimate of the largest |error| of what this returns, in the
            units of u; NaN without a reference.
        error_rms: the same, root mean square.
        distance: of the network from the elements, relative L2; None without either.
        error_bound: of the network's error, root mean square in the units of u, by the
            residual and the least singular value (`opkit.hypino.bound`); elliptic
            problems only.
        notes: what a user must know: an eigenvalue nearby, a tolerance not reached.
    """

    problem: LinearProblem
    method: Method
    elements: Reference | None
    network: Written | None
    error_estimate: float
    error_rms: float
    distance: float | None
    error_bound: float | None
    notes: tuple[str, ...]

    @property
    def eigenvalue_distance(self) -> float | None:
        """|λ| / max(|c_0|, |λ - c_0|) of the eigenvalue λ of L of least size.

        1 for the Laplace operator, 0 for one without inverse; None where y is time.
        """
        return None if self.elements is None else self.elements.eigenvalue_distance

    @property
    def residual(self) -> float | None:
        """What equation and conditions lack in the network's answer; 1 is u = 0's.

        It says little about the error, and nothing next to an eigenvalue.
        """
        return None if self.network is None else self.network.history[-1]

    @property
    def history(self) -> tuple[float, ...]:
        """The network's residuals: as written and refined, then as fine-tuned."""
        return () if self.network is None else self.network.history

    @property
    def networks(self) -> Ensemble:
        """The networks of its answer.

        Raises:
            OpkitInputError: the method was ``elements``.
        """
        return self._written.networks

    @property
    def stated(self) -> TensorProblem:
        """The problem as the network's tensors."""
        return self._written.problem

    @property
    def _written(self) -> Written:
        if self.network is None:
            raise OpkitInputError(
                "method 'elements' wrote no network: solve with method='both'"
            )
        return self.network

    def __call__(self, x: Any, y: Any) -> Array:
        """Values at points; NaN outside the domain."""
        shape, flat_x, flat_y = _flat(x, y)
        if self.method == "network":
            return np.asarray(self._jet(x, y)[0])
        assert self.elements is not None
        return self.elements.values(flat_x, flat_y).reshape(shape)

    def derivatives(self, x: Any, y: Any) -> dict[str, Array]:
        """U, u_x, u_y, u_xx, u_yy at points; NaN outside the domain.

        Exact ones of the network's function; of elements, recovered ones, of second
        order (u_x, u_y) and first (u_xx, u_yy).
        """
        return dict(zip(jets.NAMES, self._jet(x, y), strict=True))

    def network_values(self, x: Any, y: Any) -> Array:
        """Values of the network's answer at points; NaN outside the domain."""
        shape, flat_x, flat_y = _flat(x, y)
        values = self._written.jet(flat_x, flat_y)[0]
        values[~inside_of(self.problem, flat_x, flat_y)] = np.nan
        return np.asarray(values.reshape(shape))

    def error_at(self, x: Any, y: Any) -> Array:
        """Estimate of |error| at points: the largest within 0.1; NaN where unknown."""
        shape, flat_x, flat_y = _flat(x, y)
        if self.elements is None:
            return np.full(shape, np.nan)
        errors = self.elements.error_at(flat_x, flat_y)
        if self.method == "network":
            reference = self.elements.values(flat_x, flat_y)
            errors = errors + np.abs(self._written.jet(flat_x, flat_y)[0] - reference)
        return errors.reshape(shape)

    def residual_at(self, x: Any, y: Any) -> Array:
        """F - L u at points, in the units of the equation; NaN outside the domain."""
        jet = self._jet(x, y)
        linear = self.problem.linear
        shape, flat_x, flat_y = _flat(x, y)
        source = np.asarray(linear.source(flat_x, flat_y, np)).reshape(shape)
        return np.asarray(source - np.tensordot(linear.coefficients, jet, 1))

    def plot(
        self,
        path: str | Path | None = None,
        resolution: int = 129,
        force: bool = True,
    ) -> Figure:
        """Draw u, its estimated error, and how far the network is from it.

        Args:
            path: of a picture, whose suffix says its kind.
            resolution: points of each axis.
            force: replace a file of that name.

        Raises:
            DataError: the file exists, or cannot be written.
            OpkitInputError: a suffix of no picture.
        """
        figure_class = require_aside("matplotlib.figure", "plots").Figure
        axis = np.linspace(-1, 1, resolution)
        x, y = np.meshgrid(axis, axis)
        u = self(x, y)
        panels = [("u", u, "viridis")]
        if self.elements is not None:
            panels.append(("estimated |error|", self.error_at(x, y), "magma"))
        if self.method == "both":
            panels.append(("network - u", self.network_values(x, y) - u, "RdBu"))
        elif self.method == "network":
            panels.append(("f - Lu", self.residual_at(x, y), "RdBu"))
        figure: Figure = figure_class(
            figsize=(4.5 * len(panels), 3.8), layout="constrained"
        )
        for k, (title, field, colours) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), k + 1)
            top = float(np.nanmax(np.abs(field))) or 1.0
            low, high = (-top, top) if colours == "RdBu" else (None, None)
            image = axes.pcolormesh(x, y, field, cmap=colours, vmin=low, vmax=high)
            axes.set(title=title, xlabel="x", ylabel="y", aspect="equal")
            figure.colorbar(image, ax=axes)
        label = f"estimated error {self.error_estimate:.1e}"
        figure.suptitle(f"{self.problem.equation}   {label}")
        if path is not None:
            kind = Path(path).suffix.removeprefix(".") or "png"
            if kind not in figure.canvas.get_supported_filetypes():
                raise OpkitInputError(f"{path}: draw into .png, .pdf or .svg")
            with appearing(Path(path), replace=force) as temporary:
                figure.savefig(temporary, dpi=150, format=kind)
        return figure

    def _jet(self, x: Any, y: Any) -> Array:
        """(5, ...) at points of any shape, NaN outside."""
        shape, flat_x, flat_y = _flat(x, y)
        if self.method == "network":
            jet = self._written.jet(flat_x, flat_y)
            jet[:, ~inside_of(self.problem, flat_x, flat_y)] = np.nan
        else:
            assert self.elements is not None
            jet = self.elements.jet(flat_x, flat_y)
        return jet.reshape(5, *shape)


def _flat(x: Any, y: Any) -> tuple[tuple[int, ...], Array, Array]:
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    if not (finite := np.isfinite(x) & np.isfinite(y)).all():
        k = int(np.flatnonzero(~finite.ravel())[0])
        raise OpkitInputError(
            f"point {k} is at {x.ravel()[k]:g} {y.ravel()[k]:g}: write finite numbers"
        )
    return x.shape, x.ravel(), y.ravel()


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
    method: Method = "both",
    refinements: int | None = None,
    steps: int = 0,
    lbfgs_steps: int = 0,
    tolerance: float = 1e-4,
    cells: int | None = None,
    seed: int = 0,
) -> Solution:
    """Solve a linear second-order PDE on [-1, 1]² less holes.

    Args:
        pde: an equation as text, or a `PDE`.
        boundary: conditions, with an equation as text.
        source: formula for f, likewise.
        holes: what is cut out, likewise.
        model: a trained HyPINO; None takes the weights shipped with opkit.
        method: ``elements`` for finite elements alone; ``both`` to measure the
            network's distance from them; ``network`` to return its function, which
            coarse elements judge.
        refinements: largest number of corrections of the network. Without fine-tuning
            it is asked in every orientation of the square and the mean is taken; with
            it, one network is kept of each round, and fitting costs in proportion.
            None is 2 without fine-tuning, and 0 with it.
        steps: of fine-tuning the network with Adam; 0 for none.
        lbfgs_steps: of fine-tuning it with L-BFGS; 0 for none.
        tolerance: of the elements' estimated error, relative to max |u|.
        cells: along the square, that the elements do not exceed; None is 81, and 36
            where they only judge. Problems in time allow 411.
        seed: of random weights and points.

    Raises:
        OpkitInputError: the PDE cannot be read or is ill-posed, or its domain cannot be
            meshed and the network was not asked for alone.
        EigenvalueError: the operator has an eigenvalue at 0: there is no unique
            solution.
        NonFiniteError: the source or the boundary data are not finite somewhere.
    """
    if method not in get_args(Method):
        known = ", ".join(get_args(Method))
        raise OpkitInputError(f"no method {method!r}: there are {known}")
    if not 0 < tolerance < 1:
        raise OpkitInputError(f"tolerance {tolerance}: give a number between 0 and 1")
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
    elements = _reference(pde, method, tolerance, cells)
    network = None
    if method != "elements":
        if model is None and SHIPPED.exists():
            model = load(SHIPPED)
        if refinements is None:
            refinements = 0 if steps or lbfgs_steps else REFINEMENTS
        network = answer(pde, model, refinements, steps, lbfgs_steps, seed)
    solution = _judge(pde, method, elements, network, tolerance)
    for note in solution.notes:
        warnings.warn(note, stacklevel=2)
    return solution


def _reference(
    pde: LinearProblem, method: Method, tolerance: float, cells: int | None
) -> Reference | None:
    timed = pde.linear.coefficients[3] * pde.linear.coefficients[4] <= 0
    if cells is None and not timed:
        cells = JUDGE_CELLS if method == "network" else CELLS
    try:
        return refer(pde, tolerance, cells)
    except MeshError as error:
        if method == "network":
            return None
        raise OpkitInputError(
            f"{error} (method 'network' answers without a reference)"
        ) from None


def _judge(
    pde: LinearProblem,
    method: Method,
    elements: Reference | None,
    network: Written | None,
    tolerance: float,
) -> Solution:
    """Measure the network against the reference, and write down what to know."""
    x, y, inside = grid(pde)
    x, y = x[inside], y[inside]
    largest, mean, distance, bound = np.nan, np.nan, None, None
    notes = []
    if elements is not None:
        largest, mean = elements.error_estimate, elements.error_rms
        far = elements.eigenvalue_distance
        if far is not None and far < NEAR and elements.spectrum is not None:
            notes.append(
                f"the operator is {100 * far:.2g} % from one without inverse (its "
                f"eigenvalue {elements.spectrum.eigenvalue.real:.3g}): small changes "
                "of the coefficients change u a lot; do not trust the network"
            )
        if method != "network" and largest > tolerance * elements.largest:
            remedy = f"allow more than {elements.cells} cells"
            if elements.cells >= most_cells(elements.problem):
                remedy = f"{elements.cells} cells are the most there are"
            notes.append(
                f"the estimated error {largest:.1e} is above the tolerance "
                f"{tolerance * elements.largest:.1e}: {remedy}"
            )
        if network is not None:
            reference = elements.field.values(x, y)
            jet = network.jet(x, y)
            off = jet[0] - reference
            size = float(np.sqrt(np.mean(reference**2))) or 1.0
            distance = float(np.sqrt(np.mean(off**2))) / size
            if elements.spectrum is not None:
                singular = elements.spectrum.singular
                linear = pde.linear
                residual = linear.source(x, y, np) - np.array(linear.coefficients) @ jet
                bound = error_bound(pde, network, singular, residual)
            if method == "network":
                largest += float(np.abs(off).max())
                mean += distance * size
    else:
        notes.append("the domain cannot be meshed: nothing vouches for this answer")
    return Solution(
        pde,
        method,
        elements,
        network,
        float(largest),
        float(mean),
        distance,
        bound,
        tuple(notes),
    )
