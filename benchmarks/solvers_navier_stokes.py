"""Navier-Stokes against the published data generator, exponax, and bare transforms.

    python benchmarks/solvers_navier_stokes.py generator --peer .../ns_2d.py
    python benchmarks/solvers_navier_stokes.py exponax
    python benchmarks/solvers_navier_stokes.py transforms
    python benchmarks/solvers_navier_stokes.py growth

``--peer`` is the published script (data_generation/navier_stokes/ns_2d.py in the
repository neuraloperator/neuraloperator at commit 892e187c); only its function is read.
Its cost does not depend on the flow, so it is timed over few steps, while its error is
that of a whole run. exponax is in the extra ``bench``. Errors are relative L2
distances, worst of the batch, to our own run at rtol 1e-7.
"""

from __future__ import annotations

import argparse
import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyfftw

from opkit.solvers.navier_stokes.solver import NavierStokes
from solvers import Contender, compare

BATCH = 20


def solver(points: int, viscosity: float, time: float, **changes: Any) -> NavierStokes:
    options: dict[str, Any] = {
        "viscosity": viscosity,
        "records": 1,
        "record_interval": time,
        "resolution": (points, points),
        "forcing": {"kind": "published"},
    }
    return NavierStokes(**{**options, **changes})


def initial(points: int, viscosity: float, age: float) -> np.ndarray:
    """Draw a batch, and let it flow for a while."""
    flow = solver(points, viscosity, 1.0, spin_up=age, rtol=1e-5)
    draws = (flow.sample(np.random.default_rng([0, i])) for i in range(BATCH))
    return np.stack([draw["initial_vorticity"] for draw in draws])


def run(flow: NavierStokes, fields: np.ndarray) -> np.ndarray:
    return flow.solve({"initial_vorticity": fields}).outputs["vorticity"][:, -1]


def worst(fields: np.ndarray, exact: np.ndarray) -> str:
    distance = np.linalg.norm(fields - exact, axis=(1, 2))
    return f"{(distance / np.linalg.norm(exact, axis=(1, 2))).max():.1e}"


def published_function(script: Path) -> Callable[..., Any]:
    """Take the solver's function, and nothing else, out of the published script."""
    import torch

    tree = ast.parse(script.read_text())
    (function,) = (
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "navier_stokes_2d"
    )
    names: dict[str, Any] = {"torch": torch, "math": math}
    module = ast.Module(body=[function], type_ignores=[])
    exec(compile(module, str(script), "exec"), names)
    published: Callable[..., Any] = names["navier_stokes_2d"]
    return published


def generator(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(arguments.threads)
    function = published_function(arguments.peer)
    n, viscosity, time = arguments.points, arguments.viscosity, arguments.time
    fields = initial(n, viscosity, arguments.age)
    exact = run(solver(n, viscosity, time, rtol=1e-7, threads=2), fields)
    force = solver(n, viscosity, time).forcing.field(n, 1.0)

    def peer(dtype: Any, duration: float, step: float = 1e-4) -> np.ndarray:
        torch.set_default_dtype(dtype)  # its Laplacian takes the default type
        # its arrays are [x, y]
        w = torch.as_tensor(fields.swapaxes(1, 2).copy(), dtype=dtype)
        f = torch.as_tensor(force.T.copy(), dtype=dtype)
        result = function(w, f, viscosity, duration, step)[0][..., 0]
        return result.numpy().swapaxes(1, 2)

    twin = solver(n, viscosity, 0.002, scheme="fno-2020")
    again = worst(run(twin, fields[:1]), peer(torch.float64, 0.002)[:1])
    print("scheme fno-2020 and the published function in float64 differ by", again)
    short = arguments.steps * 1e-4
    contenders = []
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        error = worst(peer(dtype, time), exact) if arguments.errors else "not run"
        contenders.append(
            Contender(
                f"published, {name}, dt 1e-4",
                lambda dtype=dtype: peer(dtype, short),
                BATCH * short,
                error,
            )
        )
    for rtol in arguments.rtols:
        flow = solver(n, viscosity, time, rtol=rtol, threads=arguments.threads)
        solution = flow.solve({"initial_vorticity": fields})
        steps = solution.details["steps"].mean()
        error = worst(solution.outputs["vorticity"][:, -1], exact)
        contenders.append(
            Contender(
                f"opkit, rtol {rtol:g} ({steps:.0f} steps)",
                lambda flow=flow: run(flow, fields),
                BATCH * time,
                error,
            )
        )
    title = (
        f"{n} x {n}, viscosity {viscosity:g}, batch {BATCH}, {arguments.threads} "
        f"threads, time {time:g} from age {arguments.age:g}"
    )
    compare(title, "trajectory-time", contenders, arguments.repeats)


def exponax(arguments: argparse.Namespace) -> None:
    import exponax as ex
    import jax

    jax.config.update("jax_enable_x64", True)
    n, viscosity = arguments.points, arguments.viscosity
    steps, dt = arguments.steps, 1e-3
    fields = initial(n, viscosity, 0.0)
    stepper = ex.stepper.NavierStokesVorticity(
        2, 1.0, n, dt, diffusivity=viscosity, order=4
    )
    repeated = jax.jit(jax.vmap(ex.repeat(stepper, steps)))
    # its arrays are [x, y], and its vorticity turns the other way: the two cancel
    stacked = jax.numpy.asarray(fields[:, None])
    flow = solver(
        n,
        viscosity,
        steps * dt,
        dt=dt,
        forcing=None,
        threads=arguments.threads,
    )
    ours = run(flow, fields)
    theirs = np.asarray(repeated(stacked))[:, 0]
    print("opkit and exponax differ by", worst(theirs, ours))
    contenders = [
        Contender(
            "exponax ETDRK4, vmap",
            lambda: repeated(stacked).block_until_ready(),
            BATCH * steps,
        ),
        Contender("opkit IFRK4", lambda: run(flow, fields), BATCH * steps),
    ]
    title = f"{n} x {n}, float64, batch {BATCH}, {arguments.threads} threads"
    compare(title, "trajectory-step", contenders, arguments.repeats)


def transforms(arguments: argparse.Namespace) -> None:
    """Eight pairs of planned real transforms a step are the usual floor."""
    n, steps = arguments.points, arguments.steps
    field = pyfftw.zeros_aligned((n, n))
    spectrum = pyfftw.zeros_aligned((n, n // 2 + 1), dtype="complex128")
    forward = pyfftw.FFTW(field, spectrum, axes=(0, 1))  # measured plans
    inverse = pyfftw.FFTW(spectrum, field, axes=(0, 1), direction="FFTW_BACKWARD")
    fields = initial(n, arguments.viscosity, 0.0)[:1]
    field[...] = fields[0]  # pairs are not normalised: few, or they overflow

    def floor() -> None:
        for _ in range(steps):
            for _ in range(8):
                forward.execute()
                inverse.execute()
            field[...] = fields[0]

    flow = solver(n, arguments.viscosity, steps * 1e-3, dt=1e-3)
    contenders = [
        Contender("8 pairs of pyfftw (measured plans)", floor, steps),
        Contender("opkit IFRK4, whole step", lambda: run(flow, fields), steps),
    ]
    compare(f"{n} x {n}, one field, one thread", "step", contenders, arguments.repeats)


def growth(arguments: argparse.Namespace) -> None:
    """Print d ln|perturbation| / d∫rms(ω)dt of twin runs, over the later half."""
    settings: dict[str, dict[str, Any]] = {
        "published, 1e-3": {"viscosity": 1e-3, "records": 50},
        "published, 1e-4": {"viscosity": 1e-4, "records": 30},
        "Kolmogorov, 1e-2": {
            "viscosity": 1e-2,
            "records": 40,
            "drag": 0.1,
            "length": 2 * np.pi,
            "forcing": {"kind": "kolmogorov"},
            "distribution": {"kind": "gaussian", "alpha": 2.5, "tau": 3, "sigma": 20},
        },
    }
    for name, options in settings.items():
        flow = solver(64, options.pop("viscosity"), 1.0, rtol=1e-6, **options)
        law = flow.distribution.law(flow.length)
        rng = np.random.default_rng(0)
        fields = np.stack([law.sample(rng, (64, 64), 21)] * 2)
        fields[1] += 1e-9 * law.sample(rng, (64, 64), 21)
        twins = flow.solve({"initial_vorticity": fields}).outputs["vorticity"]
        rms = np.sqrt((twins[0] ** 2).mean((1, 2)))
        distance = np.sqrt(((twins[1] - twins[0]) ** 2).mean((1, 2))) / rms
        half = len(rms) // 2
        rate = np.log(distance[-1] / distance[half]) / rms[half:-1].sum()
        print(f"{name:18s} growth rate {rate:.3f} rms(vorticity)")


def main() -> None:
    table = {f.__name__: f for f in (generator, exponax, transforms, growth)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(table))
    parser.add_argument("--peer", type=Path, help="the published script")
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--viscosity", type=float, default=1e-3)
    parser.add_argument("--time", type=float, default=1.0)
    parser.add_argument("--age", type=float, default=0.0, help="of the initial fields")
    parser.add_argument("--steps", type=int, default=100, help="timed at a fixed step")
    parser.add_argument("--rtols", type=float, nargs="+", default=[1e-4, 1e-6])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-errors", dest="errors", action="store_false")
    arguments = parser.parse_args()
    if arguments.what == "generator" and arguments.peer is None:
        parser.error("generator needs --peer: the published script's path")
    table[arguments.what](arguments)


if __name__ == "__main__":
    main()
