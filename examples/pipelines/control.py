"""Hold a chaotic field down: linear feedback, and plans through a surrogate.

    ∂u/∂t = F(u) + Σ a_j b_j,    J = Σ Δ (∫ u² dx + ρ |a|²),    17 forces

Kuramoto-Sivashinsky on 32π, the field known, the solver as the plant. Model predictive
control: the amplitudes of the next AHEAD intervals are improved by Adam, with gradients
through the surrogate (or by nothing else that is cheap: the solver has none), the first
ones are applied, and the rest is where the next plan starts from. Beside it the
regulator of the system linearised about zero, and no force at all.

    python examples/pipelines/control.py RUN [intervals]

RUN: an autoregressive surrogate of kuramoto-sivashinsky-32pi, as in docs/dynamics.md.
"""

import sys
import time

import numpy as np
import torch

import opkit
from opkit.assimilate import solver_step
from opkit.case.record import parse_case
from opkit.control import regulator, system_of

FORCES = 17  # 15 waves grow; of N equally spaced forces none reaches both phases of N/2
AHEAD, ROUNDS, RATE, PRICE = 8, 12, 0.2, 0.1


def plans(surrogate, system):
    """Return a feedback that plans through the surrogate, with a memory of its plan."""
    forces = torch.as_tensor(system.forces, dtype=torch.float32)
    weights = torch.as_tensor(system.weights, dtype=torch.float32)
    plan = torch.zeros(AHEAD, len(forces))

    def price(state, plan):
        total = 0.0
        for amplitudes in plan:
            total = total + system.price * amplitudes.square().sum()
            push = system.time_step * amplitudes @ forces
            ahead = surrogate.rollout((state + push / 2)[None, None, None], 1)
            state = ahead.reshape(state.shape) + push / 2
            total = total + (weights * state.square()).sum()
        return total

    def act(states):
        state = torch.as_tensor(states[0], dtype=torch.float32)
        with torch.no_grad():
            plan[:-1], plan[-1] = plan[1:].clone(), 0.0
        plan.requires_grad_(True)
        search = torch.optim.Adam([plan], RATE)
        for _ in range(ROUNDS):
            search.zero_grad()
            price(state, plan).backward()
            search.step()
        plan.requires_grad_(False)
        return plan[:1].double().numpy()

    return act


def main(run, intervals=60, seed=0):
    """Return name to (cost, mean square of the last third, seconds per interval)."""
    surrogate = opkit.load(run)
    case = parse_case(surrogate.config.case)
    step = solver_step(case, steps=2)
    system = system_of(case, FORCES, width=0.8 / FORCES, steps=2, price=PRICE)
    drawn = case.build_solver().sample(np.random.default_rng(seed))["initial_state"]
    ways = {
        "no force": lambda states: np.zeros((1, FORCES)),
        "feedback about zero": regulator(system),
        "plans through the surrogate": plans(surrogate, system),
    }
    rows = {}
    for name, act in ways.items():
        state, paid, squares = np.array(drawn)[None], 0.0, []
        begin = time.perf_counter()
        for _ in range(intervals):
            action = act(state)
            paid += float(system.cost(state, action)[0])
            with np.errstate(all="ignore"):
                state = system.advance(state, action)
            if not np.isfinite(state).all():
                paid, squares = np.inf, [np.inf]
                break
            squares.append(float((state**2).mean()))
        seconds = (time.perf_counter() - begin) / intervals
        rows[name] = paid, np.mean(squares[-intervals // 3 :]), seconds
    many = np.repeat(np.array(drawn)[None], 64, 0)
    frames = many[:, None, None].astype(np.float32)
    rates = {}
    both = {
        "solver": lambda: step(many),
        "surrogate": lambda: surrogate.rollout(frames, 1),
    }
    for name, work in both.items():
        work()
        begin = time.perf_counter()
        for _ in range(10):
            work()
        rates[name] = 640 / (time.perf_counter() - begin)
    return rows, rates


if __name__ == "__main__":
    rows, rates = main(sys.argv[1], *map(int, sys.argv[2:]))
    for name, (paid, square, seconds) in rows.items():
        words = f"cost {paid:.0f}, <u²> {square:.4f} at the end, {seconds:.3f} s"
        print(f"{name:>27}: {words}")
    for name, rate in rates.items():
        print(f"{name:>27}: {rate:.0f} steps per second, 64 at once")
