"""Proximal policy optimisation of stable-baselines3 on a field, beside the regulator.

    ∂u/∂t + 0.1 ∂u/∂x = 0.002 ∂²u/∂x² + 0.1 u + Σ a_j b_j

Convection, diffusion and reaction of controlgym (Zhang et al., L4DC 2024) on a ring of
length 1 with 64 points, from a mean of 1, which grows; 100 intervals of 0.1. The policy
sees ten sensors with noise; the regulator sees the field itself, and is the best there
is without an end.

    python examples/tools/ppo.py [steps]        needs stable-baselines3
"""

import sys

import numpy as np
from gymnasium.wrappers import RescaleAction
from stable_baselines3 import PPO

from opkit.case.catalogue import load_case
from opkit.control import environment, regulator

CASE = [
    "solver.parameters.velocity=0.1",
    "solver.parameters.diffusion=0.002",
    "solver.parameters.growth=0.1",
    "solver.parameters.mean_flow=1",
]


def returns(env, act, episodes=50):
    """Mean return and its standard error; ``act(observation, state)`` decides."""
    totals = []
    for seed in range(episodes):
        seen, info = env.reset(seed=1000 + seed)
        total, over = 0.0, False
        while not over:
            seen, reward, lost, over, info = env.step(act(seen, info["state"]))
            total, over = total + reward, over or lost
        totals.append(total)
    return np.mean(totals), np.std(totals) / episodes**0.5


def main(steps=40_000, seed=0):
    """Return name to (mean return, standard error)."""
    case = load_case("advection-diffusion", CASE)
    plain = environment(case, actuators=8, steps=1, noise=0.1, horizon=100, limit=2.0)
    best = regulator(plain.system)
    scaled = RescaleAction(plain, np.float32(-1), np.float32(1))
    agent = PPO(
        "MlpPolicy", scaled, n_steps=1000, batch_size=250, gamma=0.99,
        learning_rate=1e-3, seed=seed, device="cpu",
        policy_kwargs={"log_std_init": -2.0},
    )  # fmt: skip
    nothing = np.zeros(8, np.float32)
    rows = {
        "nothing": returns(scaled, lambda seen, state: nothing),
        "regulator": returns(plain, lambda seen, state: best(state[None])[0]),
        "PPO, untrained": returns(scaled, lambda o, s: agent.predict(o)[0]),
    }
    agent.learn(steps)
    act = agent.predict
    rows[f"PPO, {steps} steps"] = returns(
        scaled, lambda o, s: act(o, deterministic=True)[0]
    )
    return rows


if __name__ == "__main__":
    for name, (mean, error) in main(*map(int, sys.argv[1:])).items():
        print(f"{name:>18}: return {mean:.4f} ± {error:.4f}")
