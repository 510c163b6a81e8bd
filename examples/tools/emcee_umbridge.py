"""A posterior over HTTP: emcee asks a server of opkit through UM-Bridge.

    p(h, Re | d) ∝ exp(-|p(h, Re)(sensors) - d|² / 2 σ²) in the box of the case's laws

Unknown are the height of the second bump and the Reynolds number; the data are noisy
pressures on the upper wall. One address is both models: the solver makes the data, the
surrogate walks, and its error bound widens σ. Any sampler that speaks UM-Bridge can
take emcee's place (PyMC, MUQ, QMCPy, tinyDA), in any language.

    opkit serve runs/demo/pod-gp &
    python examples/tools/emcee_umbridge.py http://127.0.0.1:4242 [steps]
"""

import json
import sys
import time
import urllib.request

import emcee
import numpy as np
import umbridge

LOW, HIGH = np.array([0.1, 100.0]), np.array([0.4, 400.0])
TRUE = np.array([0.27, 230.0])
SENSORS, NOISE, COVERAGE = 12, 0.02, 0.9
BOUND = {"bound": True, "coverage": COVERAGE}


def get(url):
    with urllib.request.urlopen(url) as reply:
        return json.loads(reply.read())


def wall(url):
    """Places of the sensors in the vector of pressures: nodes of the last row."""
    reply = get(f"{url}/schema")["$defs"]["reply"]["properties"]["outputs"]
    rows = reply["properties"]["pressure"]["anyOf"][0]
    last, count = rows["minItems"] - 1, rows["items"]["minItems"]
    inside = np.linspace(0, count - 1, SENSORS + 2)[1:-1].round().astype(int)
    return (last * count + inside).tolist()


def query(z, order):
    """The input vectors of bumps at fixed places, in the server's order."""
    inputs = {"places": [1.5, 3.7, 5.9], "widths": [0.65, 0.65, 0.65]}
    inputs |= {"heights": [0.25, float(z[0]), 0.25], "reynolds": [float(z[1])]}
    return [inputs[name] for name in order]


def problem(url, seed=0, level="surrogate"):
    """Return the log-posterior by a level of the server."""
    model = umbridge.HTTPModel(url, "forward")
    order = list(get(url + "/")["inputs"])
    config = {"outputs": ["pressure"], "nodes": wall(url)}
    (exact,) = model(query(TRUE, order), config | {"level": "solver"})
    noise = NOISE * np.ptp(exact)
    data = np.random.default_rng(seed).normal(exact, noise)
    # the bound is of the relative L2 error; here it is taken for that of each sensor
    sigma = noise
    if level == "surrogate":
        _, (bound,) = model(query(TRUE, order), config | BOUND)
        sigma = np.hypot(noise, bound * np.sqrt(np.mean(np.square(exact))))

    def log_p(z):
        if not ((z > LOW) & (z < HIGH)).all():
            return -np.inf
        (pressures,) = model(query(z, order), config | {"level": level})
        return -0.5 * float(np.sum(np.square((pressures - data) / sigma)))

    return log_p


def main(url, steps=400, walkers=8, seed=1):
    """Return draws (draw, 2) of height and Reynolds number, without a burn-in."""
    rng = np.random.default_rng(seed)
    sampler = emcee.EnsembleSampler(walkers, 2, problem(url))
    sampler.random_state = np.random.RandomState(seed).get_state()
    start = TRUE + 0.05 * (HIGH - LOW) * rng.normal(size=(walkers, 2))
    sampler.run_mcmc(np.clip(start, LOW + 1e-3, HIGH - 1e-3), steps)
    return sampler.get_chain(discard=steps // 4, flat=True)


if __name__ == "__main__":
    begin = time.perf_counter()
    draws = main(sys.argv[1].rstrip("/"), *map(int, sys.argv[2:]))
    for k, name in enumerate(("height of the second bump", "Reynolds number")):
        mean, std = draws[:, k].mean(), draws[:, k].std()
        print(f"{name:>26}: {mean:.4g} ± {std:.2g}, true {TRUE[k]:g}")
    print(f"{len(draws)} draws in {time.perf_counter() - begin:.0f} s")
