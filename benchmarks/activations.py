"""Activations of coordinate networks: a wave by DeepONet, seven PDEs by one network.

    python -m benchmarks.activations wave [--steps 1000]
    python -m benchmarks.activations pdes [--steps 200]

``wave``: u_tt = u_xx on a ring, at rest in the beginning, from u(., 0), sums of four to
eight waves, to u on 32 x 64 points of time and space; relative L2 error over 100 new
samples, for each activation of the trunk. ``pdes``: HyPINO's target network, from
random weights, trained on the residual of each of the seven benchmarks alone
(`opkit.hypino.fine_tune`, Adam); relative L2 error against the reference solution.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

import opkit.hypino
from benchmarks.hypino import BENCHMARKS, evaluate, reference, scores
from opkit.hypino.ensemble import Ensemble
from opkit.hypino.fine_tune import fine_tune
from opkit.hypino.refine import magnitude
from opkit.hypino.residuals import nothing
from opkit.operators.hypino.target import JETS, TargetShape, random_target
from opkit.operators.interface import build_operator
from opkit.operators.layers.activations import KINDS
from opkit.operators.shapes import DataShape

TIMES, POINTS = 32, 64


def waves(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Initial states, constant in time, and u, (sample, 1, time, x) each."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.arange(4.0, 9.0)
    amplitude = torch.randn(count, 2, len(k), generator=generator) / len(k) ** 0.5
    x = 2 * torch.pi * torch.arange(POINTS) / POINTS
    t = torch.pi * torch.arange(TIMES) / TIMES
    angle = k[:, None] * x
    shape = torch.stack([angle.cos(), angle.sin()])
    motion = torch.cos(k[:, None] * t)
    u = torch.einsum("bsk,skx,kt->btx", amplitude, shape, motion)
    return u[:, None, :1].expand(-1, -1, TIMES, -1).contiguous(), u[:, None]


def wave(steps: int) -> None:
    """Train a DeepONet with each activation of its trunk."""
    data = DataShape(1, 1, (TIMES, POINTS), (False, True), (1.0, 1.0))
    x, u = waves(500, 0)
    new, true = waves(100, 1)
    for activation in KINDS:
        torch.manual_seed(0)
        options = {
            "n_basis": 32,
            "branch_widths": [64],
            "trunk_widths": [64, 64],
            "sensors": [1, POINTS],
            "trunk_activation": activation,
        }
        model = build_operator("deeponet", data, options)
        optimiser = torch.optim.Adam(model.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
        begin = time.process_time()
        for _ in range(steps):
            pick = torch.randint(len(x), (20,))
            loss = (model(x[pick]) - u[pick]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            error = float((model(new) - true).norm() / true.norm())
        spent = time.process_time() - begin
        print(f"| {activation} | {error:.3f} | {spent:.0f} s |", flush=True)


def pdes(steps: int) -> None:
    """Train one target network for each PDE and activation."""
    print(f"| PDE | {' | '.join(JETS)} |")
    print("|---" * (1 + len(JETS)) + "|")
    for name in BENCHMARKS:
        solver, u, _, inside = reference(name)
        problem = opkit.hypino.state_problem(solver.problem)
        size = magnitude(problem, nothing)
        errors = []
        for activation in JETS:
            shape = TargetShape(activation=activation)
            generator = torch.Generator().manual_seed(0)
            first = random_target(shape, 1, generator, problem.coefficients)
            done = fine_tune(problem, Ensemble((first,), (size,)), steps)
            errors.append(scores(evaluate(done, inside), u, inside)[2])
        print(f"| {name} | {' | '.join(f'{e:.3f}' for e in errors)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("wave", "pdes"))
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "wave":
        wave(options.steps or 1000)
    else:
        pdes(options.steps or 200)


if __name__ == "__main__":
    main()
