"""Errors of fields, one number per sample; losses and metrics are means of these.

Every function takes ``prediction`` and ``target`` of shape (batch, channel, *space) in
physical units and returns (batch,), the mean over channels. Points of a grid are
weighted equally; on a mesh, <u²> is uᵀ M u / |Ω| with the mass matrix M, and slopes are
measured with the stiffness matrix; of points with weights of their own it is their
weighted mean, of each sample where samples are laid one after another. A target that is
zero everywhere counts as having the size ``eps``. Values of any size have the same
relative errors: squares are taken of values divided by a power of two, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from opkit.base.fourier import rfftn
from opkit.errors import OpkitInputError, nearest
from opkit.metrics.domains import Domain, Elements, Grid, Packed, Points

Error = Callable[[Tensor, Tensor, Domain], Tensor]
EPS = 1e-12


def relative_l2(
    prediction: Tensor, target: Tensor, grid: Domain | None = None, eps: float = EPS
) -> Tensor:
    """Relative L2 error ||p - t|| / ||t|| of each sample.

    Of outputs of several kinds the mean over their entries (`relative_entries`).
    """
    if isinstance(grid, Packed):
        return relative_entries(prediction, target, grid, eps).mean(1)
    prediction, target, _ = _scaled(prediction, target)
    if isinstance(grid, Elements | Points):
        size = grid.mean_square(target).clamp_min(eps**2)
        return (grid.mean_square(prediction - target) / size).sqrt().mean(1)
    error = torch.linalg.vector_norm((prediction - target).flatten(2), dim=2)
    size = torch.linalg.vector_norm(target.flatten(2), dim=2)
    result: Tensor = (error / size.clamp_min(eps)).mean(1)
    return result


def relative_entries(
    prediction: Tensor, target: Tensor, domain: Packed, eps: float = EPS
) -> Tensor:
    """Relative error of each entry of outputs of several kinds, (batch, entry).

    ||p - t|| / max(||t||, floor), with the discrete L2 norm of fields and of functions
    of time; of a number |p - t| over its root mean square in training (`Packed.floor`).
    """
    errors = []
    pairs = zip(domain.parts(prediction), domain.parts(target), strict=True)
    for k, (p, t) in enumerate(pairs):
        p, t, size = _scaled(p[:, None], t[:, None])
        weights = domain.weights(k)
        if weights is not None:
            square = weights.mean_square(t).clamp_min(eps**2)
            errors.append((weights.mean_square(p - t) / square).sqrt())
            continue
        root = t.shape[2] ** 0.5
        norm = (domain.floor(k) * root / size).clamp_min(eps)
        error = torch.linalg.vector_norm(p - t, dim=2)
        if not domain.is_number(k):
            norm = torch.maximum(torch.linalg.vector_norm(t, dim=2), norm)
        errors.append(error / norm)
    return torch.cat(errors, 1)


def _scaled(
    prediction: Tensor, target: Tensor, both: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Divide by the size of the target, so that squares stay within the numbers.

    Returns:
        prediction and target over a power of two, by channel the largest that is not
        above the target's largest value (or that of ``both``), 1 where that is zero;
        and it, (batch, channel).
    """
    largest = target.detach().flatten(2).abs().amax(2)
    if both:
        own = prediction.detach().flatten(2).abs().amax(2)
        largest = torch.maximum(largest, own)
    exponent = torch.frexp(largest)[1].clamp(-125, 127) - 1
    size = torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), exponent), 1)
    over = size.view(*size.shape, *(1,) * (target.ndim - 2))
    return prediction / over, target / over, size


def mse(prediction: Tensor, target: Tensor, grid: Domain | None = None) -> Tensor:
    """Mean squared error <(p - t)²> of each sample, in float64 for its range."""
    if isinstance(grid, Packed):
        parts = zip(grid.parts(prediction), grid.parts(target), strict=True)
        each = [
            mse(p[:, None], t[:, None], grid.weights(k))
            for k, (p, t) in enumerate(parts)
        ]
        return torch.stack(each).mean(0)
    prediction, target, size = _scaled(prediction, target, both=True)
    if isinstance(grid, Elements | Points):
        square = grid.mean_square(prediction - target)
    else:
        square = (prediction - target).square().flatten(2).mean(2)
    return (square.double() * size.double().square()).mean(1)


def nrmse(
    prediction: Tensor, target: Tensor, grid: Domain | None = None, eps: float = EPS
) -> Tensor:
    """Normalised root-mean-square error sqrt(<(p - t)²> / <t²>).

    The same number as `relative_l2` on a uniform grid, kept under its own name.
    """
    return relative_l2(prediction, target, grid, eps)


def vrmse(
    prediction: Tensor, target: Tensor, grid: Domain | None = None, eps: float = 1e-7
) -> Tensor:
    """Root-mean-square error over deviation, sqrt(<(p - t)²> / (var t + eps² <t²>)).

    1 is the error of predicting each sample's own mean (Ohana et al., The Well, 2024,
    whose eps is a number added to var t in whatever units: a field of 1e-15 then has
    no error). A target that is zero everywhere has <t²> = 1.
    """
    _refuse_packed("vrmse", grid)
    prediction, target, _ = _scaled(prediction, target)
    if isinstance(grid, Elements | Points):
        error = grid.mean_square(prediction - target)
        variance = grid.mean_square(grid.centred(target))
        square = grid.mean_square(target)
    else:
        error = (prediction - target).square().flatten(2).mean(2)
        # torch warns of the variance of nothing
        variance = target.flatten(2).var(2, correction=0) if len(target) else error
        square = target.square().flatten(2).mean(2)
    square = torch.where(square > 0, square, 1)
    return (error / (variance + eps**2 * square)).sqrt().mean(1)


def relative_h1(
    prediction: Tensor, target: Tensor, grid: Domain, eps: float = EPS
) -> Tensor:
    """Relative H1 error sqrt((||e||² + ||∇e||²) / (||t||² + ||∇t||²)), e = p - t.

    Second-order differences: central, periodic across periodic axes and one-sided at
    other boundaries.

    Raises:
        OpkitInputError: of points that are neither a grid nor a mesh.
    """
    if isinstance(grid, Packed):
        raise _for_fields("relative_h1")
    if isinstance(grid, Points):
        raise OpkitInputError(
            "relative_h1 is for grids and meshes: of other points use relative_l2"
        )
    prediction, target, _ = _scaled(prediction, target)
    error, size = (_h1_squared(u, grid) for u in (prediction - target, target))
    return (error / size.clamp_min(eps**2)).sqrt().mean(1)


def _h1_squared(u: Tensor, grid: Grid | Elements) -> Tensor:
    if isinstance(grid, Elements):
        return grid.mean_square(u) + grid.mean_square_slope(u)
    total = u.square().flatten(2).mean(2)
    spacing = grid.spacing(tuple(u.shape[2:]))
    for axis, (h, closed) in enumerate(zip(spacing, grid.periodic, strict=True), 2):
        if closed:
            slope = (u.roll(-1, axis) - u.roll(1, axis)) / (2 * h)
        else:
            (slope,) = torch.gradient(u, spacing=h, dim=axis, edge_order=2)
        total = total + slope.square().flatten(2).mean(2)
    return total


def spectral_error(
    prediction: Tensor, target: Tensor, grid: Domain | None = None, eps: float = EPS
) -> Tensor:
    """Mean distance of the energy spectra in decades, mean_k |log10 E_p(k) / E_t(k)|.

    E(k) sums |û|² over shells of rounded integer wavenumber, 1 ≤ k ≤ n/2; shells of
    less than ``eps`` of the target's energy are left out. A surrogate that smooths
    scores badly here while its L2 error looks fine.

    Raises:
        OpkitInputError: on a mesh, which has no spectrum.
    """
    _refuse_packed("spectral_error", grid)
    if isinstance(grid, Elements | Points):
        raise OpkitInputError(
            "spectral_error is for grids: on a mesh use relative_l2 or relative_h1"
        )
    p, t = (energy_spectrum(u) for u in (prediction, target))
    floor = eps * t.sum(-1, keepdim=True)
    seen = t > floor
    decades = (p.clamp_min(floor + 1e-300).log10() - t.clamp_min(1e-300).log10()).abs()
    mean = (decades * seen).sum(-1) / seen.sum(-1).clamp_min(1)
    return mean.mean(1).to(target.dtype)


def energy_spectrum(u: Tensor) -> Tensor:
    """Return E(k), the sum of |û|² over shells of rounded integer wavenumber.

    Args:
        u: (batch, channel, *space).

    Returns:
        (batch, channel, k) for k = 1 … n/2, n the shortest axis, in float64.
    """
    shape = u.shape[2:]
    axes = tuple(range(2, u.ndim))
    energy = rfftn(u.double(), axes, norm="forward").abs().square()
    last = torch.full((energy.shape[-1],), 2.0, dtype=energy.dtype, device=u.device)
    last[0] = 1.0  # zero and Nyquist columns have no conjugate partner
    if shape[-1] % 2 == 0:
        last[-1] = 1.0
    waves = [torch.fft.fftfreq(n, 1 / n, device=u.device) for n in shape[:-1]]
    waves.append(torch.arange(energy.shape[-1], device=u.device, dtype=torch.float32))
    mesh = torch.meshgrid(*waves, indexing="ij")
    shell = torch.linalg.vector_norm(torch.stack(mesh), dim=0).round().long()
    top = min(shape) // 2
    flat = (energy * last).flatten(2)
    bins = flat.new_zeros(*flat.shape[:2], int(shell.max()) + 1)
    bins.index_add_(2, shell.flatten(), flat)
    result: Tensor = bins[..., 1 : top + 1]
    return result


def _for_fields(name: str) -> OpkitInputError:
    return OpkitInputError(
        f"{name} is for fields, and some outputs are numbers or series: use loss and "
        "metric relative_l2 or mse"
    )


def _refuse_packed(name: str, domain: Domain | None) -> None:
    """Refuse outputs of several kinds."""
    if isinstance(domain, Packed):
        raise _for_fields(name)


ERRORS: Mapping[str, Error] = {
    "relative_l2": relative_l2,
    "relative_h1": relative_h1,
    "mse": mse,
    "nrmse": nrmse,
    "vrmse": vrmse,
    "spectral_error": spectral_error,
}


def error(name: str) -> Error:
    """Return an error function by name.

    Raises:
        OpkitInputError: the name is unknown.
    """
    if name not in ERRORS:
        raise OpkitInputError(
            f"unknown loss or metric {name!r}.{nearest(name, ERRORS)} "
            f"Known: {', '.join(ERRORS)}."
        )
    return ERRORS[name]
