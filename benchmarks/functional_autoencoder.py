"""Functional auto-encoders: against principal components, in-painting, novelty.

    python -m benchmarks.functional_autoencoder [law] [inpainting] [novelty]

law: random fields of 32 sines on a ring (eigenvalues ((2πk)² + 0.1²)⁻²), 8 latents,
trained on 128 points; and bumps that travel, 2 latents. Mean squared error over that of
the best linear code of as many numbers, at 64, 128 and 256 points.

inpainting: fields from 10 scattered points with noise of 1 %, relative L2 (mean over
fields) of the encoder's answer, of the most probable code (`fill`), of the most
probable one of as many principal components, and of optimal interpolation with the
covariance of the training samples. Fields: those of the law, bumps, and velocities at
time 1 of Burgers' equation (case ``burgers``, 128 points).

novelty: areas under the curve of telling shifted inputs from others; log permeability
of a log-normal law on 32 x 32 points. The present score is
`opkit.surrogate.checks.novelty`; "components" is the auto-encoder before it is trained,
whose networks are zero: 32 principal components.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from opkit.case.catalogue import load_case
from opkit.operators.layers.grids import coordinates
from opkit.priors.autoencoder import FunctionalAutoencoder, Training
from opkit.solvers.laws.permeability import LogNormal
from opkit.surrogate.checks.novelty import distance, features, whitening

SEEN, NOISE = 10, 0.01


def ring(n: int) -> Tensor:
    return (torch.arange(n) / n)[:, None]


def sines(count: int, seed: int, points: Tensor) -> Tensor:
    k = torch.arange(1, 33).double()
    size = 1 / ((2 * np.pi * k) ** 2 + 0.01)
    factors = torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))
    sine = 2**0.5 * torch.sin(2 * np.pi * points.double() * k)
    return ((factors * size) @ sine.T).float()


def bumps(count: int, seed: int, points: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    at = torch.rand(count, 1, generator=generator)
    gap = (points[:, 0] - at + 0.5) % 1 - 0.5
    return torch.exp(-((gap / 0.06) ** 2) / 2)


def burgers(count: int, seed: int, points: Tensor) -> Tensor:
    solver = load_case("burgers").build_solver()
    rng = np.random.default_rng(seed)
    drawn = [solver.sample(rng) for _ in range(count)]
    inputs = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}
    u = next(iter(solver.solve(inputs).outputs.values()))
    u = u.reshape(count, -1, u.shape[-1])[:, -1]
    return torch.from_numpy(u[:, :: u.shape[1] // len(points)]).float()


def components(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    mean = values.mean(0)
    _, size, basis = torch.linalg.svd(values - mean, full_matrices=False)
    return mean, basis[:count] * size[:count, None] / len(values) ** 0.5


def law() -> None:
    print("| fields | points | error / best linear code | relative L2 |")
    print("|---|---|---|---|")
    for draw, latents in ((sines, 8), (bumps, 2)):
        training = Training(steps=1500, rate=1e-3 if draw is sines else 3e-3)
        begin = time.process_time()
        train = draw(1000, 0, ring(128))
        model = FunctionalAutoencoder.fit(train, ring(128), latents, [True], training)
        seconds = time.process_time() - begin
        for n in (64, 128, 256):
            true = draw(400, 1, ring(n))
            mean, basis = components(draw(4000, 2, ring(n)), latents)
            rows = torch.linalg.svd(basis, full_matrices=False)[2]
            best = mean + (true - mean) @ rows.T @ rows
            with torch.no_grad():
                off = model(true, ring(n), torch.ones(n))[..., 0] - true
            ratio = (off.square().sum() / (best - true).square().sum()).item()
            error = (off.norm() / (true - mean).norm()).item()
            print(f"| {draw.__name__} | {n} | {ratio:.4f} | {100 * error:.2f} % |")
        print(f"{draw.__name__}: {seconds:.0f} s of training")


def inpainting() -> None:
    print("| fields | encoder | fill | components | optimal interpolation | training |")
    print("|---|---|---|---|---|---|")
    x = ring(128)
    fields: list[tuple[Callable[[int, int, Tensor], Tensor], int]]
    fields = [(sines, 8), (bumps, 2), (burgers, 8)]
    for draw, latents in fields:
        train, true = draw(800, 0, x), draw(100, 1, x)
        noise = NOISE * train.std().item()
        training = Training(steps=2000, rate=2e-3, least=0.1)
        begin = time.process_time()
        model = FunctionalAutoencoder.fit(train, x, latents, [True], training)
        seconds = time.process_time() - begin
        generator = torch.Generator().manual_seed(3)
        errors = []
        for field in true:
            at = torch.randperm(128, generator=generator)[:SEEN]
            seen = field[at] + noise * torch.randn(SEEN, generator=generator)
            with torch.no_grad():
                direct = model.decode(model.encode(seen[None], x[at]), x)
                code = model.fill(seen[None], x[at], noise)
                best = model.decode(code, x)
            answers = [direct[0, :, 0], best[0, :, 0]]
            for count in (latents, 128):
                mean, basis = components(train, count)
                lost = (train - mean).square().mean() - basis.square().sum() / 128
                part, variance = basis[:, at], noise**2 + max(lost.item(), 0.0)
                gram = part.T @ part + variance * torch.eye(SEEN)
                answers.append(
                    mean + basis.T @ part @ torch.linalg.solve(gram, seen - mean[at])
                )
            errors.append([((a - field).norm() / field.norm()).item() for a in answers])
        cells = " | ".join(f"{100 * e:.1f} %" for e in np.mean(errors, 0))
        print(f"| {draw.__name__} | {cells} | {seconds:.0f} s |", flush=True)


def novelty() -> None:
    n = 32
    points = coordinates([n, n], [False, False]).flatten(1).T
    axis = torch.ones(n)
    axis[[0, -1]] = 0.5
    weights = torch.outer(axis, axis).flatten()

    def draw(count: int, seed: int, tau: float = 3.0) -> Tensor:
        rng = np.random.default_rng(seed)
        drawn = [LogNormal(tau=tau).draw(rng, (n, n)) for _ in range(count)]
        return torch.from_numpy(np.log(np.stack(drawn))).float()

    train, usual, other = draw(1000, 0), draw(400, 1), draw(400, 2)
    size = train.std()
    generator = torch.Generator().manual_seed(4)
    middle = 0.2 + 0.6 * torch.rand(400, 1, 2, generator=generator)
    near = ((points - middle).square().sum(-1) < 0.08**2).view(-1, n, n)
    shifts = {
        "1.3 times as large": 1.3 * other,
        "shorter (τ = 4.5)": draw(400, 3, 4.5),
        "0.5 standard deviations higher": other + 0.5 * size,
        "5 % of noise": other
        + 0.05 * size * torch.randn(400, n, n, generator=generator),
        "an inclusion of radius 0.08": other + 0.5 * size * near,
    }
    half = (train.max() - train.min()) / 2
    middle_value = (train.max() + train.min()) / 2

    def present(u: Tensor) -> Tensor:
        return features(((u - middle_value) / half)[:, None], True)

    mean, whiten = whitening(present(train))
    begin = time.process_time()
    model = FunctionalAutoencoder.fit(
        train.flatten(1), points, 32, [False, False],
        Training(steps=600, batch=16), weights, count=8,
    )  # fmt: skip
    seconds = time.process_time() - begin

    def present_score(u: Tensor) -> Tensor:
        return distance(present(u), mean, whiten)

    def learnt_score(u: Tensor) -> Tensor:
        return model.novelty(u.flatten(1), points, weights)

    linear = FunctionalAutoencoder.fit(
        train.flatten(1),
        points,
        32,
        [False, False],
        Training(steps=0),
        weights,
        count=8,
    )

    def linear_score(u: Tensor) -> Tensor:
        return linear.novelty(u.flatten(1), points, weights)

    scores = (present_score, linear_score, learnt_score)
    print("| shift | present score | components | auto-encoder |\n|---|---|---|---|")
    for name, shifted in shifts.items():
        areas = [area(s(usual), s(shifted)) for s in scores]
        print(f"| {name} | {' | '.join(f'{a:.3f}' for a in areas)} |", flush=True)
    print(f"{seconds:.0f} s of training")


def area(usual: Tensor, shifted: Tensor) -> float:
    """Probability that a shifted input has the larger score."""
    ranks = rankdata(torch.cat([usual, shifted]).numpy())[len(usual) :]
    count = len(shifted)
    return float((ranks.mean() - (count + 1) / 2) / len(usual))


PARTS = {"law": law, "inpainting": inpainting, "novelty": novelty}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    chosen = parser.parse_args().parts or list(PARTS)
    torch.set_num_threads(1)
    for name in chosen:
        PARTS[name]()
    print(f"processor time, one thread, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
