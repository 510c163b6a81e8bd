"""Exact Gaussian processes, many at once, on the same inputs.

    y_i = g(x_i) + ε_i,   g ~ GP(0, k),   ε ~ N(0, σ_n²),
    k(x, x') = σ_f² (1 + √5 r + 5/3 r²) exp(-√5 r) + σ_l² (1 + x·x'),
    r² = Σ_d (x_d - x'_d)² / ℓ_d²,

ARD Matérn 5/2 around a linear mean whose coefficients have the prior N(0, σ_l²). The
hyperparameters θ = (log ℓ, log σ_f², log σ_l², log(σ_n² - floor)) of each process
maximise

    log p(y | θ) + log p(θ),   log p(y | θ) = -½ yᵀ K⁻¹ y - ½ log |K| - n/2 log 2π,

K = k(x, x) + σ_n². The priors on θ are normal: they hold back the lengths that few data
say nothing about, which makes the variances truer.

Source: Rasmussen, Williams, Gaussian Processes for Machine Learning, 2006, sections
2.2, 2.7 and 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from opkit.operators.pod_gp.descent import minimise

NOISE_FLOOR = 1e-8
"""Smallest σ_n² for values of variance 1: it keeps K positive."""
ROOT5 = math.sqrt(5)
AT_ONCE = 4_000_000
"""Entries of kernel matrices that are worked on at once."""
STARTS = ((2.0, 0.5, 0.5, 1e-2), (0.8, 0.7, 0.1, 1e-1), (6.0, 1.0, 1.0, 1e-3))
"""ℓ / √p, σ_f², p σ_l² and σ_n² that the search starts from, p inputs."""
FIRST, MOST = 8, 60
"""Evaluations from each start, and then from the best."""
ENOUGH = 1e-2
"""Gain of a step in log p that is not worth another; 1 is a factor of e."""


def squares(x: Tensor, other: Tensor) -> Tensor:
    """Squared differences (..., n, m, input) of (..., n, input), (..., m, input)."""
    return (x[..., :, None, :] - other[..., None, :, :]).square()


def kernel(theta: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Return k of every process at pairs of inputs, without noise.

    Args:
        theta: hyperparameters (..., process, input + 3).
        x: (..., n, input).
        other: (..., m, input).

    Returns:
        (..., process, n, m).
    """
    p = x.shape[-1]
    r = _distance(theta, squares(x, other))
    matern = (1 + ROOT5 * r + 5 / 3 * r.square()) * (-ROOT5 * r).exp()
    signal, linear = (
        theta[..., p, None, None].exp(),
        theta[..., p + 1, None, None].exp(),
    )
    return signal * matern + linear * (1 + x @ other.mT)[..., None, :, :]


def noise(theta: Tensor) -> Tensor:
    """σ_n² of each process (process,)."""
    return NOISE_FLOOR + theta[:, -1].exp()


def loss(
    theta: Tensor, y: Tensor, squared: Tensor, products: Tensor
) -> tuple[Tensor, Tensor]:
    """-log p(y | θ) - log p(θ) of each process, and its gradient.

    Args:
        theta: (process, input + 3).
        y: (process, n).
        squared: squared differences of the inputs (n, n, input).
        products: x·x' of the inputs (n, n).

    Returns:
        (process,), infinite where K is not positive; and (process, input + 3).
    """
    n, p = len(products), squared.shape[-1]
    r = _distance(theta, squared)
    decay = (-ROOT5 * r).exp()
    signal, linear = theta[:, p, None, None].exp(), theta[:, p + 1, None, None].exp()
    bend = signal * (1 + ROOT5 * r) * decay
    matern = bend + 5 / 3 * signal * r.square() * decay
    K = matern + linear * (1 + products)
    K.diagonal(dim1=1, dim2=2).add_(noise(theta)[:, None])
    L, failed = torch.linalg.cholesky_ex(K)
    L[failed > 0] = torch.eye(n, dtype=L.dtype, device=L.device)
    inverse = torch.cholesky_inverse(L)
    alpha = (inverse @ y[..., None])[..., 0]
    value = (y * alpha).sum(1) / 2 + n / 2 * math.log(2 * math.pi)
    value = value + L.diagonal(dim1=1, dim2=2).log().sum(1)
    W = inverse - alpha[:, :, None] * alpha[:, None]  # ∂/∂K is W / 2
    slope = torch.empty_like(theta)
    slope[:, :p] = (W * bend).flatten(1) @ squared.flatten(0, 1)
    slope[:, :p] *= 5 / 3 * (-2 * theta[:, :p]).exp()
    slope[:, p] = (W * matern).sum((1, 2))
    slope[:, p + 1] = (W * (1 + products)).sum((1, 2)) * linear[:, 0, 0]
    slope[:, p + 2] = W.diagonal(dim1=1, dim2=2).sum(1) * theta[:, -1].exp()
    mean, weight = _prior(theta)
    off = theta - mean
    value = value + (weight * off.square()).sum(1) / 2
    return value.where(failed == 0, torch.inf), slope / 2 + weight * off


def fit(x: Tensor, y: Tensor) -> Tensor:
    """Return hyperparameters (process, input + 3).

    Args:
        x: inputs (n, input) of variance about 1.
        y: values (process, n) of mean about 0 and variance about 1.
    """
    squared, products = squares(x, x), x @ x.T
    size = max(AT_ONCE // len(x) ** 2, 1)
    return torch.cat([_fit(part, squared, products) for part in torch.split(y, size)])


def _fit(y: Tensor, squared: Tensor, products: Tensor) -> Tensor:
    p = squared.shape[-1]

    def objective(theta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return loss(theta, y[rows], squared, products)

    ends, values = [], []
    for length, signal, linear, variance in STARTS:
        theta = y.new_full((len(y), p + 3), math.log(length * math.sqrt(p)))
        theta[:, p:] = y.new_tensor([signal, linear / p, variance]).log()
        theta, value = minimise(objective, theta, FIRST, ENOUGH)
        ends.append(theta)
        values.append(value)
    best = torch.stack(values).argmin(0)
    start = torch.stack(ends)[best, torch.arange(len(y), device=y.device)]
    return minimise(objective, start, MOST, ENOUGH)[0]


def factors(theta: Tensor, x: Tensor) -> Iterator[Tensor]:
    """Yield the Cholesky factors of K (some processes, n, n), in order."""
    size = max(AT_ONCE // len(x) ** 2, 1)
    for part in torch.split(theta, size):
        K = kernel(part, x, x)
        K.diagonal(dim1=1, dim2=2).add_(noise(part)[:, None])
        yield torch.linalg.cholesky(K)


def weights(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return α = K⁻¹ y, and the variances of leave-one-out predictions.

    The variance of y_i when predicted from all other samples, noise included, is
    1 / (K⁻¹)_ii, and the error α_i / (K⁻¹)_ii.

    Returns:
        α (process, n), and the variances (process, n).
    """
    alphas, variances, start = [], [], 0
    for L in factors(theta, x):
        inverse = torch.cholesky_inverse(L)
        part = y[start : start + len(L)]
        alphas.append((inverse @ part[..., None])[..., 0])
        variances.append(1 / inverse.diagonal(dim1=1, dim2=2))
        start += len(L)
    return torch.cat(alphas), torch.cat(variances)


def mean(theta: Tensor, x: Tensor, alpha: Tensor, new: Tensor) -> Tensor:
    """Return predictive means (..., process, batch) at inputs (..., batch, input)."""
    return (kernel(theta, new, x) @ alpha[..., None])[..., 0]


def slopes(theta: Tensor, x: Tensor, alpha: Tensor) -> Tensor:
    """Return the gradients of the predictive means at the inputs learnt from.

    Returns:
        (process, n, input).
    """
    p = x.shape[1]
    r = _distance(theta, squares(x, x))
    bend = -5 / 3 * theta[:, p, None, None].exp() * (1 + ROOT5 * r) * (-ROOT5 * r).exp()
    bend = bend * alpha[:, None]
    curved = bend.sum(2)[..., None] * x - bend @ x
    linear = theta[:, p + 1, None, None].exp() * (alpha @ x)[:, None]
    return curved * (-2 * theta[:, None, :p]).exp() + linear


def variance(
    theta: Tensor, x: Tensor, new: Tensor, lower: Iterable[Tensor] | None = None
) -> Tensor:
    """Return predictive variances (process, batch), noise included.

    Args:
        theta: hyperparameters (process, input + 3).
        x: inputs learnt from (n, input).
        new: (batch, input).
        lower: what `factors` yields, where it is at hand.
    """
    p, start, parts = x.shape[1], 0, []
    for L in lower or factors(theta, x):
        own = theta[start : start + len(L)]
        v = kernel(own, x, new)
        if new.shape[0]:  # not every library of linear algebra takes none
            v = torch.linalg.solve_triangular(L, v, upper=False)
        signal, linear = own[:, p, None].exp(), own[:, p + 1, None].exp()
        prior = signal + linear * (1 + new.square().sum(1)) + noise(own)[:, None]
        parts.append((prior - v.square().sum(1)).clamp(min=noise(own)[:, None]))
        start += len(L)
    return torch.cat(parts)


def _distance(theta: Tensor, squared: Tensor) -> Tensor:
    """Return r of every process (..., process, n, m)."""
    p = squared.shape[-1]
    r2 = (-2 * theta[..., :p]).exp() @ squared.flatten(-3, -2).mT
    # the slope of √ is infinite at 0, where that of the kernel is 0
    r = r2.clamp(min=1e-30).sqrt()
    return r.view(*theta.shape[:-1], *squared.shape[-3:-1])


def _prior(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Means and precisions (input + 3,) of the normal priors on θ."""
    p = theta.shape[1] - 3
    means = [math.log(2 * math.sqrt(p))] * p + [0.0, -math.log(p), math.log(1e-3)]
    precisions = [3.0] * p + [0.1, 0.1, 0.02]
    return theta.new_tensor(means), theta.new_tensor(precisions)
