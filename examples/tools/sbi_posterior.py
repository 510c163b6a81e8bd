"""An amortised posterior: neural posterior estimation (sbi) on a surrogate.

Simulations are what sbi needs many of, and what a surrogate gives: parameters are drawn
from the prior, pressures on the upper wall are predicted in one batch, noise is added,
and a normalising flow learns p(h, Re | pressures). Afterwards each new measurement
costs one pass, without a chain. sbi writes the curves of training to ./sbi-logs.

    python examples/tools/sbi_posterior.py runs/demo/pod-gp [simulations]
"""

import sys
import time

import numpy as np
import torch
from sbi.inference import NPE
from sbi.utils import BoxUniform

import opkit

LOW, HIGH = torch.tensor([0.1, 100.0]), torch.tensor([0.4, 400.0])
TRUE = torch.tensor([0.27, 230.0])
SENSORS, NOISE, BATCH = 12, 0.05, 500


def predicted(surrogate, z):
    """Pressures (batch, sensor) on the upper wall, of (batch, 2) h and Re."""
    rows = []
    for part in torch.split(z, BATCH):
        heights = torch.full((len(part), 3), 0.25)
        heights[:, 1] = part[:, 0]
        query = {"heights": heights, "reynolds": part[:, 1]}
        query["places"] = torch.tensor([[1.5, 3.7, 5.9]]).expand(len(part), 3)
        query["widths"] = torch.full((len(part), 3), 0.65)
        wall = surrogate(query)["pressure"][:, -1]
        inside = np.linspace(0, wall.shape[1] - 1, SENSORS + 2)[1:-1].round()
        rows.append(wall[:, inside.astype(int)])
    return torch.cat(rows)


def main(run, simulations=2000, draws=2000, seed=0, epochs=200):
    """Return draws (draw, 2) for one measurement, the measurement, and σ."""
    torch.manual_seed(seed)
    surrogate = opkit.load(run)
    exact = predicted(surrogate, TRUE[None])
    sigma = NOISE * float(exact.max() - exact.min())
    measured = exact + sigma * torch.randn_like(exact)
    prior = BoxUniform(LOW, HIGH)
    z = prior.sample((simulations,))
    x = predicted(surrogate, z)
    inference = NPE(prior=prior, show_progress_bars=False)
    inference.append_simulations(z, x + sigma * torch.randn_like(x))
    inference.train(max_num_epochs=epochs)
    posterior = inference.build_posterior()
    taken = posterior.sample((draws,), x=measured, show_progress_bars=False)
    return taken.numpy(), measured.numpy()[0], sigma


if __name__ == "__main__":
    begin = time.perf_counter()
    draws, _, _ = main(sys.argv[1], *map(int, sys.argv[2:]))
    for k, name in enumerate(("height of the second bump", "Reynolds number")):
        mean, std = draws[:, k].mean(), draws[:, k].std()
        print(f"{name:>26}: {mean:.4g} ± {std:.2g}, true {float(TRUE[k]):g}")
    print(f"{time.perf_counter() - begin:.0f} s")
