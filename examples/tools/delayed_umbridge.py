"""The solver's posterior over HTTP, most of the walk on the surrogate.

    p(h, Re | d) ∝ exp(-|p(h, Re)(sensors) - d|² / 2 σ²) in the box of the case's laws

The problem is that of emcee_umbridge.py. Delayed acceptance (Christen, Fox, 2005):
steps on the level `surrogate` make one proposal, and the level `solver` of the same
server accepts it or not, so the chain's law is the solver's posterior whatever the
surrogate says.

    opkit serve runs/demo/pod-gp &
    python examples/tools/delayed_umbridge.py http://127.0.0.1:4242 [solves]
"""

import sys
import time
from pathlib import Path

import numpy as np
from emcee_umbridge import HIGH, LOW, TRUE, problem

sys.path.append(str(Path(__file__).parents[1] / "pipelines"))
from delayed import chain, effective, random_step, surrogate_steps

INNER = 20


def main(url, solves=300, inner=INNER, seed=2):
    """Return the chain (step, 2) of height and Reynolds number, and its acceptance."""
    rng = np.random.default_rng(seed)
    by_solver, by_surrogate = problem(url, level="solver"), problem(url)
    # as wide as the surrogate's posterior is, from a walk on it
    step = random_step(np.diag(0.02 * (HIGH - LOW)), rng)
    walk, _ = chain(TRUE, by_surrogate, step, 20 * inner, rng)
    root = np.linalg.cholesky(np.cov(walk[5 * inner :].T) + 1e-12 * np.eye(2))
    proposed = surrogate_steps(by_surrogate, random_step(root, rng), inner, rng)
    return chain(TRUE, by_solver, proposed, solves, rng)


if __name__ == "__main__":
    begin = time.perf_counter()
    draws, accepted = main(sys.argv[1].rstrip("/"), *map(int, sys.argv[2:]))
    for k, name in enumerate(("height of the second bump", "Reynolds number")):
        mean, std = draws[:, k].mean(), draws[:, k].std()
        print(f"{name:>26}: {mean:.4g} ± {std:.2g}, true {TRUE[k]:g}")
    seconds = time.perf_counter() - begin
    print(
        f"{len(draws)} solves, {effective(draws):.0f} effective draws, acceptance "
        f"{accepted:.2f}, {seconds:.0f} s"
    )
