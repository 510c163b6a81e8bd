"""How long float64 can follow a chaotic flow.

Differences between two runs grow like exp(c ∫ rms(ζ) dt), ζ the (relative) vorticity.
Measured c: up to 0.10 in two-dimensional turbulence and in the two-layer eddy
configuration, 0.08 in the jet configuration (docs/solvers-navier-stokes.md,
docs/solvers-quasi-geostrophic.md).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

GROWTH = 0.12
PREDICTABLE = -np.log(np.finfo(np.float64).eps)  # then round-off is of order one


def warn_where_unpredictable(turnover: NDArray[np.float64], time: float) -> None:
    """Warn if round-off has grown to the size of the flow.

    Args:
        turnover: ∫ rms(ζ) dt of each sample.
        time: of the last record.
    """
    growth = GROWTH * turnover
    if (growth > PREDICTABLE).any():
        warnings.warn(
            "late records are beyond the predictable range of float64: round-off "
            f"has grown by about exp({growth.max():.0f}) at time {time:g}; trust their "
            "statistics, not their values",
            RuntimeWarning,
            stacklevel=3,
        )
