"""The published data generator's scheme, in float64.

    (1 + c) ω̂ⁿ⁺¹ = (1 − c) ω̂ⁿ + dt (f̂ − m F(u·∇ω)),   c = dt ν |2πk/L|² / 2

Explicit Euler for advection, Crank-Nicolson for viscosity: first order. The mask m
keeps |kx|, |ky| <= N/3 of the advection term alone; the state is not truncated. The
published arrays are indexed [x, y], so ours are transposed on the way in and out.
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array, Complex
from opkit.solvers.fourier.transforms import RealFFT
from opkit.solvers.navier_stokes.model import Problem, Status, Trajectories
from opkit.solvers.steppers import EULER_CN


def solve(
    problem: Problem, vorticity: Array, begin: float, times: Array
) -> Trajectories:
    """Solve from fields (sample, N, N) at time ``begin`` to records at ``times``.

    The error is the change of the last record when the step is doubled.
    """
    result = Trajectories(np.empty((len(vorticity), len(times), *vorticity.shape[1:])))
    for sample, field in enumerate(vorticity):
        status = _march(problem, field, begin, times, 1, result, sample)
        result.status[sample] = status
        if status:
            break
        fine = result.vorticity[sample, -1].copy()
        coarse = Trajectories(np.empty((1, 1, *field.shape)))
        _march(problem, field, begin, times[-1:], 2, coarse, 0)
        change = np.linalg.norm(coarse.vorticity[0, 0] - fine)
        result.error[sample] = change / max(np.linalg.norm(fine), 1e-300)
    return result


def _march(
    problem: Problem,
    vorticity: Array,
    begin: float,
    times: Array,
    stride: int,
    into: Trajectories,
    sample: int,
) -> Status:
    n = problem.points
    one, four = RealFFT((n, n)), RealFFT((n, n), (4,))
    unit = 2 * np.pi / problem.length
    k = np.fft.fftfreq(n, 1 / n)
    kx, ky = k[:, None], k[None, : n // 2 + 1]  # the last axis, y, has -n/2 last
    squared = unit**2 * (kx**2 + ky**2)
    inverse = 1 / np.where(squared > 0, squared, 1)
    velocity = np.stack([1j * unit * ky * inverse, -1j * unit * kx * inverse])
    gradient = np.stack([1j * unit * kx + 0 * ky, 1j * unit * ky + 0 * kx])
    factors = np.concatenate([velocity, gradient])
    mask = (np.abs(kx) <= n / 3) & (np.abs(ky) <= n / 3)
    forcing = one.forward(np.ascontiguousarray(problem.forcing.T))
    fastest = 0.0

    def nonlinear(state: Complex) -> Complex:
        nonlocal fastest
        u, v, wx, wy = four.inverse(factors * state)
        fastest = float((np.abs(u) + np.abs(v)).max())
        slope: Complex = forcing - mask * one.forward(u * wx + v * wy)
        return slope

    dt = problem.dt * stride
    spacing = problem.length / n
    step = EULER_CN.prepare(-problem.viscosity * squared - problem.drag, dt, nonlinear)
    state = one.forward(np.ascontiguousarray(vorticity.T))
    time = begin
    for record, until in enumerate(times):
        for _ in range(round((until - time) / dt)):
            state = step(state)
            if dt * fastest > spacing:
                return Status.CFL_VIOLATED
            into.cfl[sample] = max(into.cfl[sample], dt * fastest / spacing)
            into.steps[sample] += 1
        field = one.inverse(state.copy()).T
        if not np.isfinite(field).all():
            return Status.NOT_FINITE
        into.vorticity[sample, record] = field
        into.turnover[sample] += float(np.sqrt((field**2).mean())) * (until - time)
        time = until
    return Status.DONE
