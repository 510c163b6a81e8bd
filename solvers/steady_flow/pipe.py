"""Steady flow through a curved pipe, the benchmark of Geo-FNO.

    (u·∇)u = -∇p + ν ∆u,   ∇·u = 0 in 0 < x < 10, s(x) < y < s(x) + 1,
    u = (4 U η (1 - η), 0) at x = 0,   u = 0 on the walls,   ν ∂u/∂n = p n at x = 10,

η = y - s(x); s: `shapes.pipe_shift`; ν = 0.005; U: largest inlet velocity, 1 in the
paper and 0.25 in the published data, whose Reynolds number (mean velocity times height
over ν) is 33; p: kinematic pressure. Method: `steady_flow`. Source: Li et al., JMLR 24
(2023), and the authors' code ``pipe_design.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.fem.quads.grids import channel_grid
from opkit.solvers.fem.quads.solution import Values
from opkit.solvers.fem.quads.solver import Across
from opkit.solvers.interface import solver_dataclass
from opkit.solvers.laws import shapes
from opkit.solvers.steady_flow.channels import ChannelSolver, Conditions

_START = 40.0  # Reynolds number at which the path starts
_FASTEST = 2.0


@solver_dataclass
class Pipe(ChannelSolver):
    """Solver of steady flow through a curved pipe.

    Numbers of a sample: ``positions`` (4,) of the second to the fifth station, the
    first is 0; ``slopes`` (5,) at the stations; ``inlet`` (), U. Outputs on (y, x):
    ``velocity_x``, ``velocity_y``, ``pressure``. Detail: ``pressure_drop``.

    Args:
        resolution: see `ChannelSolver`; the published data have (129, 129).
        load_steps: see `ChannelSolver`.
        rtol: see `GridSolver`.
        path_tolerance: see `GridSolver`.
        inlet: U where a sample has none.
        viscosity: ν.
    """

    coarser = ((48, 48), (48, 16), (32, 12), (24, 8), (16, 6), (12, 4), (8, 4), (6, 3))

    resolution: tuple[Across, Across] = (129, 129)
    load_steps: Annotated[int, Field(ge=1, le=1000)] = 2
    inlet: Annotated[float, Field(gt=0, le=_FASTEST)] = 0.25
    viscosity: Annotated[float, Field(ge=1e-3, le=100)] = 0.005

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The axis and the inlet's speed."""
        stations = shapes.STATIONS
        return {"positions": (stations - 1,), "slopes": (stations,), "inlet": ()}

    def own(self) -> Mapping[str, float]:
        """The inlet's speed."""
        return {"inlet": self.inlet}

    def nodes(self, sample: Values) -> Array:
        """Nodes (node, 2) of one sample.

        Raises:
            OpkitInputError: an axis so steep that the pipe pinches off.
        """
        positions = np.append(0.0, sample["positions"])
        axis = np.stack([positions, sample["slopes"]], axis=1)
        x = np.linspace(0, shapes.PIPE_LENGTH, self.grid.shape[0])
        low = shapes.pipe_shift(axis, x)
        return channel_grid(self.grid, x, low, low + 1)

    def conditions(self, sample: Values) -> Conditions:
        """The inlet's parabola, in units of its largest velocity."""
        inlet = float(sample["inlet"])
        if not 0 < inlet <= _FASTEST:
            raise OpkitInputError(
                f"inlet {inlet:.4g} must be above 0 and at most {_FASTEST:g}: beyond "
                "it, flow through the pipe is not steady"
            )
        return Conditions(4.0, self.viscosity / inlet, 2 / 3 / _START, inlet)
