"""The vortex street behind a cylinder in a channel.

    ∂u/∂t + (u·∇)u = -∇p + ν ∆u,   ∇·u = 0 in (0, L) x (0, H) outside |x - c| = r,
    u = (6 U y (H - y) / H², 0) at x = 0,   u = 0 on the walls and the cylinder,
    ν ∂u/∂n = p n at x = L,   ν = 2 r U / Re,   U = 1,

Re: Reynolds number of the cylinder's diameter and the mean velocity U. Length and
velocity have the benchmark's units (m, m/s): with c = (0.2, 0.2), r = 0.05 and Re = 100
this is case 2D-2 of Schäfer and Turek, "Benchmark computations of laminar flow around a
cylinder" (1996). Q2-Q1 elements on `WakeGrid`; time steps: `stepper`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from opkit.base.arrays import Array, Indices
from opkit.base.mesh_groups import MeshGroups
from opkit.errors import NotConvergedError, OpkitInputError, SolverError
from opkit.solvers.cylinder_wake.cylinder import Cylinder
from opkit.solvers.cylinder_wake.grid import Channel, WakeGrid
from opkit.solvers.cylinder_wake.path import Path
from opkit.solvers.fem.simplex_mesh import boundary_facets
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
    with_parameters,
)

if TYPE_CHECKING:
    from opkit.solvers.cylinder_wake.flow import WakeFlow
    from opkit.solvers.cylinder_wake.stepper import State

FIELDS = ("velocity_x", "velocity_y", "pressure")
NUMBERS = ("drag_mean", "lift_amplitude", "strouhal")
MEASURE = "relative change of the velocity over the recorded periods (L2)"
_COARSE = 4  # times the tolerance: for the flow on fewer cells
_SHEDS = 6  # cells across a channel that let vortices grow
_FASTEST = 20.0  # a guess with larger values, in units of U, is not looked at
_SLOWEST = 0.2  # Strouhal number below those of a channel
LEAST, MOST = 45.0, 250.0
"""Reynolds numbers: below no shedding in any channel, above not two-dimensional."""

Count = Annotated[int, Field(ge=4, le=256)]
Resolution = tuple[Count, Count]


@solver_dataclass
class CylinderWake:
    """Solver of periodic flow past a cylinder, for fields on (time, node).

    Numbers of a sample: ``reynolds`` (), ``centre`` (2,), x and y, ``radius`` (); one
    that is missing has the value of the field of that name. Outputs: ``velocity_x``,
    ``velocity_y``, ``pressure`` (batch, time, node), ``drag_mean``, ``lift_amplitude``
    and ``strouhal`` (batch,). Drag and lift are 2 F / (U² 2r), the amplitude half the
    range of the lift, the Strouhal number 2 r / (U T), T: the period. ``time`` counts
    periods; it begins where the lift rises through its mean.

    Args:
        resolution: cells from the cylinder to the walls, and across the channel.
        frames: records of the periods.
        periods: recorded.
        reynolds: Re in [45, 250].
        centre: c.
        radius: r.
        length: L.
        height: H.
        courant: largest speed in cells per time step.
        tolerance: largest change of the velocity over the recorded periods, relative,
            L2; and largest estimated distance from the periodic flow.
        cycles: most shedding cycles to get there.
        computed: cells of the computation where they are not those of the output.
    """

    resolution: Resolution = (12, 12)
    frames: Annotated[int, Field(ge=2, le=64)] = 16
    periods: Annotated[int, Field(ge=1, le=2)] = 1
    reynolds: Annotated[float, Field(ge=LEAST, le=MOST)] = 100.0
    centre: tuple[float, float] = (0.2, 0.2)
    radius: Annotated[float, Field(gt=0)] = 0.05
    length: Annotated[float, Field(gt=0, le=100)] = 2.2
    height: Annotated[float, Field(gt=0, le=100)] = 0.41
    courant: Annotated[float, Field(gt=0, le=0.5)] = 0.4
    tolerance: Annotated[float, Field(ge=1e-6, le=0.1)] = 1e-2
    cycles: Annotated[int, Field(ge=4, le=1000)] = 60
    computed: Resolution | None = None

    @property
    def grid(self) -> WakeGrid:
        """Topology of the nodes of the outputs."""
        return _grid(self.resolution)

    @property
    def channel(self) -> Channel:
        """The rectangle; its O-grid is as long as it is high, and a tenth more."""
        return Channel(self.length, self.height, 1.1 * self.height)

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the numbers of a sample."""
        return {"reynolds": (), "centre": (2,), "radius": ()}

    def sides(self) -> Sides:
        """Velocity given at the inlet and 0 on the walls, no traction at the outlet."""
        return {**all_sides("dirichlet"), "right": {"kind": "neumann", "value": 0.0}}

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Times of the records, in periods."""
        time = self.periods * np.arange(self.frames) / self.frames
        return {"time": Coordinate(time, long_name="time over the shedding period")}

    def mesh(self) -> tuple[Array, Indices]:
        """Nodes (node, 2) for the solver's own cylinder, and linear triangles."""
        centre = np.array(self.centre)
        points = self.grid.points(self.channel, centre, self.radius)
        return points, self.grid.triangles

    def boundary_groups(self) -> MeshGroups:
        """The ``cylinder``, the ``inlet``, the ``outlet`` and the ``walls``."""
        grid = self.grid
        facets = boundary_facets(grid.triangles)
        parts = np.full(len(facets), 3)
        for number, nodes in enumerate((grid.cylinder, grid.inlet, grid.outlet)):
            parts[np.isin(facets, nodes).all(axis=1)] = number
        names = ("cylinder", "inlet", "outlet", "walls")
        none = np.zeros(len(grid.triangles), np.int64)
        return MeshGroups(none, facets, parts, names)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw nothing: all inputs are numbers."""
        return {}

    def points(self, inputs: Fields) -> Array:
        """Nodes (batch, node, 2).

        Raises:
            OpkitInputError: a cylinder that is not inside the channel.
        """
        return np.stack(
            [
                self.grid.points(self.channel, np.array(c.centre), c.radius)
                for c in self._cylinders(inputs)
            ]
        )

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other.

        Raises:
            OpkitInputError: a cylinder that is not inside the channel, a Reynolds
                number outside [45, 250].
            NotConvergedError: no vortices, or not periodic after ``cycles`` cycles.
            NonFiniteError: the time step is too long for the flow.
            MissingExtraError: FEniCSx is not installed.
        """
        return self._solution(self._cylinders(inputs), None)

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        """Solve from the first record of a guess, in place of a flow at rest."""
        cylinders = self._cylinders(inputs)
        fields = self._fields(guess)
        check_counts(cylinders=np.empty(len(cylinders)), **fields)
        return self._solution(cylinders, fields)

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Largest distance of a record from the flow through the one before.

        Four records, evenly spaced, are advanced; the distance from the next record is
        the least over the time that can lie between two, relative, in L2. So the
        period, which is no field, need not be known.
        """
        cylinders, fields = self._cylinders(inputs), self._fields(outputs)
        check_counts(cylinders=np.empty(len(cylinders)), **fields)
        flow = _flow(self.resolution, self.channel)
        distances = []
        for i, cylinder in enumerate(cylinders):
            u = np.stack([fields[name][i] for name in FIELDS[:2]], axis=-1)
            longest = cylinder.diameter / _SLOWEST * self.periods / self.frames
            path = Path(flow, cylinder, self.courant, longest)
            distances.append(path.largest_distance(u, fields["pressure"][i]))
        return np.array(distances)

    def cheaper(self) -> Sequence[tuple[str, CylinderWake]]:
        """The same outputs from coarser meshes, with looser tolerances."""
        ladder = []
        for parts, tolerance in ((5, 1), (4, 2), (3, 4)):
            radial, side = (max(4, n * parts // 6) for n in self.resolution)
            loose = min(0.1, tolerance * self.tolerance)
            cells = (radial, side)
            solver = with_parameters(self, computed=cells, tolerance=loose)
            ladder.append((f"{radial} x {side} cells, tolerance {loose:.0e}", solver))
        return ladder

    def _solution(
        self, cylinders: Sequence[Cylinder], guess: Mapping[str, Array] | None
    ) -> Solution:
        results = []
        for i, cylinder in enumerate(cylinders):
            own = None if guess is None else {k: v[i, 0] for k, v in guess.items()}
            results.append(self._solve_one(cylinder, own))
        fields = [result.fields for result in results]
        numbers = [result.numbers for result in results]
        shape = (len(fields), self.frames, self.grid.nodes)
        outputs = {
            name: np.reshape([f[name] for f in fields], shape) for name in FIELDS
        }
        outputs |= {name: np.array([n[name] for n in numbers]) for name in NUMBERS}
        kinds = numbers[0] if numbers else {"change": 0.0}
        details = {name: np.array([n[name] for n in numbers]) for name in kinds}
        return Solution(outputs, details.pop("change"), MEASURE, details)

    def _solve_one(
        self, cylinder: Cylinder, guess: Mapping[str, Array] | None
    ) -> _Result:
        fastest = 0.0 if guess is None else max(np.abs(guess[k]).max() for k in FIELDS)
        if guess is not None and fastest < _FASTEST:
            with suppress(SolverError):  # a guess of no use: as if there were none
                return self._records(cylinder, self._guessed(cylinder, guess), 0)
        return self._records(cylinder, *self._start(cylinder))

    def _records(self, cylinder: Cylinder, begin: State, early: int) -> _Result:
        """The periodic flow that a state turns into; ``early``: steps before it."""
        flow = _flow(self.computed or self.resolution, self.channel)
        run = flow.run(cylinder, self.courant)
        run.start(begin, cylinder.rests)
        cycle = run.until_periodic(self.tolerance, self.cycles)
        records = run.record(cycle, self.periods, self.frames)
        if not records.change <= self.tolerance:
            raise NotConvergedError(
                f"{cylinder}: the velocity changed by {records.change:.1e} over the "
                f"recorded periods (tolerance {self.tolerance:.1e})"
            )
        final = records.cycle
        numbers = {
            "drag_mean": final.drag,
            "lift_amplitude": final.amplitude,
            "strouhal": cylinder.diameter * self.periods / final.duration,
            "lift_mean": final.lift,
            "drag_max": final.largest_drag,
            "lift_max": final.largest_lift,
            "change": records.change,
            "steps": float(run.steps),
            "coarse_steps": float(early),
            "cycles": float(run.cycles),
        }
        whole = _flow(self.resolution, self.channel)
        velocity = whole.grid_values(flow, np.moveaxis(records.velocity, 2, 0))
        p = np.stack([flow.grid.at_nodes(p) for p in records.pressure])
        pressure = whole.grid_values(flow, p)
        fields = dict(zip(FIELDS, [*velocity, pressure], strict=True))
        return _Result(fields, numbers)

    def _start(self, cylinder: Cylinder) -> tuple[State, int]:
        """The periodic flow on two thirds of the cells, and the steps that it took.

        A flow at rest where there are no such cells or no such flow.
        """
        flow = _flow(self.computed or self.resolution, self.channel)
        cells = 2 * flow.grid.radial // 3, 2 * flow.grid.side // 3
        if min(cells) < _SHEDS:
            return flow.rest(cylinder), 0
        coarse = _flow(cells, self.channel)
        run = coarse.run(cylinder, self.courant)
        run.start(coarse.rest(cylinder), cylinder.rests)
        try:
            run.until_periodic(_COARSE * self.tolerance, self.cycles)
        except SolverError:
            return flow.rest(cylinder), run.steps
        return coarse.carry(run.state, flow), run.steps

    def _guessed(self, cylinder: Cylinder, guess: Mapping[str, Array]) -> State:
        """The state of a guess (node,) of each field."""
        whole = _flow(self.resolution, self.channel)
        velocity = np.stack([guess[name] for name in FIELDS[:2]], axis=1)
        state = whole.state(cylinder, velocity, guess["pressure"])
        return whole.carry(state, _flow(self.computed or self.resolution, self.channel))

    def _fields(self, fields: Fields) -> dict[str, Array]:
        shape = (self.frames, self.grid.nodes)
        return {name: checked_field(fields, name, shape) for name in FIELDS}

    def _cylinders(self, inputs: Fields) -> list[Cylinder]:
        """The checked numbers of each sample.

        Raises:
            OpkitInputError: which sample, what is wrong with it, and the limit.
        """
        shapes = self.parameters()
        values = {
            name: checked_field(inputs, name, shapes[name])
            for name in shapes
            if name in inputs
        }
        if not values:
            raise OpkitInputError(
                f"no {', '.join(shapes)} in the inputs: give one of them"
            )
        check_counts(**values)
        count = len(next(iter(values.values())))
        own = {"reynolds": self.reynolds, "centre": self.centre, "radius": self.radius}
        rows = [values[k] if k in values else [own[k]] * count for k in shapes]
        cylinders = [
            Cylinder(float(re), (float(c[0]), float(c[1])), float(r))
            for re, c, r in zip(*rows, strict=True)
        ]
        for i, cylinder in enumerate(cylinders):
            self._check(cylinder, i)
        return cylinders

    def _check(self, cylinder: Cylinder, sample: int) -> None:
        (x, y), r = cylinder.centre, cylinder.radius
        H, box = self.height, self.channel.box
        where = f"sample {sample}: cylinder at ({x:.4g}, {y:.4g}), radius {r:.4g},"
        if not LEAST <= cylinder.reynolds <= MOST:
            raise OpkitInputError(
                f"sample {sample}: reynolds {cylinder.reynolds:.4g} is outside "
                f"[{LEAST:g}, {MOST:g}]: below no vortices are shed, above they are "
                "not two-dimensional"
            )
        if not H / 16 <= r <= H / 5:
            raise OpkitInputError(
                f"sample {sample}: radius {r:.4g} is outside [{H / 16:.4g}, "
                f"{H / 5:.4g}], a sixteenth to a fifth of the channel's height"
            )
        room = r + max(r, H / 8)  # with less, cells of the O-grid turn over
        if not room <= y <= H - room:
            raise OpkitInputError(
                f"{where} {_fault(min(y, H - y) - r)} a wall: give a centre y in "
                f"[{room:.4g}, {H - room:.4g}]"
            )
        if not room <= x <= box - room:
            raise OpkitInputError(
                f"{where} {_fault(x - r)} the inlet or is too far from it: give a "
                f"centre x in [{room:.4g}, {box - room:.4g}]"
            )


@dataclass(frozen=True)
class _Result:
    fields: Fields
    numbers: Mapping[str, float]


def _fault(gap: float) -> str:
    return "touches or crosses" if gap <= 0 else "is too near to"


@lru_cache(maxsize=16)
def _grid(cells: Resolution) -> WakeGrid:
    return WakeGrid(*cells, 2 * cells[1])


@lru_cache(maxsize=8)
def _flow(cells: Resolution, channel: Channel) -> WakeFlow:
    from opkit.solvers.cylinder_wake.flow import WakeFlow

    return WakeFlow(_grid(cells), channel)
