"""Encodings of values at scattered points, as the input of one small network.

    python -m benchmarks.scattered_sensors [--functions 800] [--seeds 3]

Functions on (0, 1) with zero ends are seen at 40 points that lie denser to the right,
each function at other points. A network (two layers of 128) maps an encoding of what
is seen to a target on 64 points; in the test the points lie as in training, or denser
to the left. Targets: the solution of -u'' = f, which is linear in f, and the velocity
at time 1 of Burgers' equation on (0, 1) with zero ends (ν = 0.02), which is not.
Encodings:

- interpolated: linearly to 128 even points;
- Fourier, weighted: Σ w_i f(x_i) sin kπx_i, k up to 32, w the length of a point;
- Fourier, mean: the same with w = 1 / n, as in plain means over points;
- HDFE: Σ_i w_i exp(i (Θ x_i + Φ f(x_i))) with random Θ and Φ, 512 complex numbers, w by
  the iteration that makes all points equally similar to the sum (Yuan et al., ICLR
  2024, arXiv:2311.00187): nothing of the density of the points should be left in it;
- HDFE, one pass: w = 1 / n.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import nn

SENSORS, WAVES, GRID = 40, 16, 64
TURNS, KERNEL_X, KERNEL_Y = 60, 12.0, 2.5
"""Steps of HDFE's iteration; inverse lengths of its kernels in x and in values."""


def functions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Coefficients (function, wave) of sin kπx, of about one in size."""
    k = np.arange(1, WAVES + 1)
    return rng.standard_normal((count, WAVES)) * 4 / (k**2 + 9)


def places(count: int, right: bool, rng: np.random.Generator) -> np.ndarray:
    """Sensors (function, sensor), sorted, three times as dense at one end."""
    x = rng.random((count, SENSORS))
    x = (np.sqrt(1 + 8 * x) - 1) / 2  # density (1 + 2 x) / 2 on (0, 1)
    return np.sort(x if right else 1 - x, axis=1)


def at(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    k = np.arange(1, WAVES + 1)
    waves: np.ndarray = np.sin(np.pi * k * x[..., None])
    values: np.ndarray = np.einsum("f...k,fk->f...", waves, coefficients)
    return values


def poisson(coefficients: np.ndarray) -> np.ndarray:
    """The solution of -u'' = f at even points, (function, point)."""
    k = np.arange(1, WAVES + 1)
    inside = np.linspace(0, 1, GRID + 2)[1:-1]
    scaled = coefficients / (np.pi * k) ** 2
    return np.asarray(at(scaled, np.repeat(inside[None], len(scaled), 0)))


def burgers(coefficients: np.ndarray) -> np.ndarray:
    """U at time 1 of u_t + u u_x = 0.02 u_xx, 0 at both ends (function, point)."""
    h, inside = 1 / 129, np.linspace(0, 1, 130)[1:-1]
    start = at(coefficients, np.repeat(inside[None], len(coefficients), 0))

    def rate(_: float, flat: np.ndarray) -> np.ndarray:
        u = np.pad(flat.reshape(start.shape), ((0, 0), (1, 1)))
        flux = (u[:, 2:] ** 2 - u[:, :-2] ** 2) / (4 * h)
        spread = (u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2]) / h**2
        return np.asarray((0.02 * spread - flux).ravel())

    found = solve_ivp(rate, (0, 1), start.ravel(), "RK45", rtol=1e-4, atol=1e-6)
    return np.asarray(found.y[:, -1].reshape(start.shape)[:, ::2])


def lengths(x: np.ndarray) -> np.ndarray:
    """Half of the gaps to both neighbours, and all of what lies before the ends."""
    ends = np.pad((x[:, 1:] + x[:, :-1]) / 2, ((0, 0), (1, 1)))
    ends[:, -1] = 1.0
    return np.asarray(np.diff(ends, axis=1))


def interpolated(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    even = np.linspace(0, 1, 130)[1:-1]
    rows = [
        np.interp(even, np.r_[0, a, 1], np.r_[0, b, 0])
        for a, b in zip(x, f, strict=True)
    ]
    return np.stack(rows)


def fourier(x: np.ndarray, f: np.ndarray, weighted: bool) -> np.ndarray:
    w = lengths(x) if weighted else np.full_like(x, 1 / x.shape[1])
    k = np.arange(1, 33)
    parts = np.sin(np.pi * k * x[..., None])
    return np.asarray(2 * np.einsum("fs,fsk->fk", w * f, parts))


def hdfe(x: np.ndarray, f: np.ndarray, turns: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    theta = KERNEL_X * rng.standard_normal(512)
    phi = KERNEL_Y * rng.standard_normal(512)
    rows = []
    for a, b in zip(x, f, strict=True):
        points = np.exp(1j * (np.outer(a, theta) + np.outer(b, phi)))
        whole = points.mean(0)
        for turn in range(turns):
            similar = (points.conj() @ whole).real / np.linalg.norm(whole)
            whole = whole + points[similar.argmin()] / (turn + 1) / 2
        whole /= np.linalg.norm(whole) / np.sqrt(512)
        rows.append(np.r_[whole.real, whole.imag])
    return np.stack(rows)


Encoding = Callable[[np.ndarray, np.ndarray], np.ndarray]
ENCODINGS: dict[str, Encoding] = {
    "interpolated": interpolated,
    "Fourier, weighted": lambda x, f: fourier(x, f, True),
    "Fourier, mean": lambda x, f: fourier(x, f, False),
    "HDFE": lambda x, f: hdfe(x, f, TURNS),
    "HDFE, one pass": lambda x, f: hdfe(x, f, 0),
}


def learnt(
    given: np.ndarray, target: np.ndarray, tests: list[np.ndarray], seed: int
) -> list[np.ndarray]:
    """Train, and return the answers to other encodings."""
    torch.manual_seed(seed)
    centre, size = given.mean(0), given.std() + 1e-12
    scale = target.std()
    x, y = (
        torch.as_tensor(values, dtype=torch.float32)
        for values in ((given - centre) / size, target / scale)
    )
    net = nn.Sequential(
        nn.Linear(x.shape[1], 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(),
        nn.Linear(128, y.shape[1]),
    )  # fmt: skip
    steps = 3000
    search = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(search, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        search.zero_grad()
        (net(x[rows]) - y[rows]).square().mean().backward()
        search.step()
        plan.step()
    with torch.no_grad():
        return [
            net(torch.as_tensor((t - centre) / size, dtype=torch.float32)).numpy()
            * scale
            for t in tests
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--functions", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| target | encoding | points as trained | denser to the left |")
    print("|---|---|---|---|")
    for name, solve in {"Poisson": poisson, "Burgers": burgers}.items():
        rng = np.random.default_rng(1)
        trained, fresh = functions(options.functions, rng), functions(200, rng)
        target, true = solve(trained), solve(fresh)
        seen = places(len(trained), True, rng)
        asked = [places(200, right, rng) for right in (True, False)]
        for label, encode in ENCODINGS.items():
            given = encode(seen, at(trained, seen))
            tests = [encode(x, at(fresh, x)) for x in asked]
            errors = []
            for seed in range(options.seeds):
                answers = learnt(given, target, tests, seed)
                off = [np.linalg.norm(u - true, axis=1) for u in answers]
                errors.append([(o / np.linalg.norm(true, axis=1)).mean() for o in off])
            mean, spread = 100 * np.mean(errors, 0), 100 * np.ptp(errors, 0)
            cells = [
                f"{m:.1f} ± {s / 2:.1f} %" for m, s in zip(mean, spread, strict=True)
            ]
            print(f"| {name} | {label} | {' | '.join(cells)} |", flush=True)
    print(f"{options.seeds} seeds, one thread, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
