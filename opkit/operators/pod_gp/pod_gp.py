"""POD-GP: principal modes of the outputs, a Gaussian process for each coefficient.

    u(x) = m(x) + Σ_w Σ_k s_wk g_wk(R_w z) φ_wk(x),
    std u(x) = γ Σ_w √(Σ_k s_wk² v_wk(R_w z) φ_wk(x)² + ρ_w(x)),

z: the numbers of a sample, then the coefficients of its functions of time and of its
input fields in their own principal modes, each of variance 1; w: windows of the domain,
one or more (`windows`); φ_wk, s_wk: modes of χ_w (u - m) and the standard deviations of
their coefficients (`modes`); g_wk, v_wk: mean and variance of process k (`process`);
R_w: a rotation onto
the directions in which the answer within the window varies, most first: eigenvectors of
the mean of s² ∂g ∂gᵀ over samples and leading modes, for processes learnt in z itself;
ρ_w: variance of the training outputs outside the modes. γ is such that of each channel
95 % of the leave-one-out errors at points lie within 1.96 standard deviations, times
1 / (1 - q / n) for the q hyperparameters learnt from n samples. All in float64.

Within a window an answer depends on what is near it more than on the rest, so that
fewer samples are enough.

Sources: Guo, Hesthaven, CMAME 341, 807-826 (2018), doi:10.1016/j.cma.2018.07.017;
Casenave et al., NeurIPS 2023, arXiv:2305.12871 (MMGP); Constantine, Dow, Wang, SIAM J.
Sci. Comput. 36, A1500 (2014), doi:10.1137/130916138 (active subspaces).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.grids import resample
from opkit.operators.pod_gp import process
from opkit.operators.pod_gp.answer import Coefficients, Patches, coefficients
from opkit.operators.pod_gp.modes import (
    Modes,
    Weigh,
    inner_product,
    principal_modes,
)
from opkit.operators.pod_gp.windows import windows
from opkit.operators.shapes import DataShape, MeshShape

FEWEST = 8
"""Training samples without which there is nothing to learn from."""
NORMAL = 1.959964
"""95 % of a normal law lie within so many standard deviations."""
LOOKED_AT = 2_000_000
"""Leave-one-out errors at points that the intervals are fitted to."""
LEADING = 8
"""Modes of a window at most that its directions are taken from."""
KEPT = 30_000_000
"""Numbers in Cholesky factors that are kept between calls."""


class PODGP(Operator):
    """POD with Gaussian processes: trained in seconds on some hundred samples.

    `prepare` learns everything. The answer has gradients with respect to numbers and
    fields; `deviation` says how uncertain it is.

    Args:
        data: numbers, channels and grid or mesh of the data.
        options: see `PODGP.Options`.

    Raises:
        OpkitInputError: there are neither numbers nor input fields.
    """

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid", "mesh"),
        dimensions=(1, 2, 3),
        parameters=True,
        needs_fields=False,
        series=True,
        readouts=True,
    )
    direct: ClassVar[bool] = True
    mean: Tensor
    places: Tensor
    modes: Tensor
    rotation: Tensor
    scale: Tensor
    rest: Tensor
    widening: Tensor
    energy: Tensor
    input_mean: Tensor
    input_modes: Tensor
    series_mean: Tensor
    series_modes: Tensor
    centre: Tensor
    spread: Tensor
    x: Tensor
    alpha: Tensor
    theta: Tensor

    class Options(interface.Options):
        """Options of POD-GP."""

        modes: int = Field(
            default=60, ge=1, description="modes of the outputs in a window at most"
        )
        windows: tuple[Annotated[int, Field(ge=1)], ...] = Field(
            default=(),
            description="windows along each axis, modes in each; one if empty",
        )
        rotate: bool = Field(
            default=True,
            description="learn lengths along the directions in which a window's answer "
            "varies, not along the inputs",
        )
        energy: float = Field(
            default=0.99999,
            gt=0,
            le=1,
            description="share of the outputs' variance that modes are taken for",
        )
        input_modes: int = Field(
            default=16,
            ge=1,
            description="modes of input fields, and of series, at most",
        )
        input_energy: float = Field(
            default=0.999, gt=0, le=1, description="the same share, of input fields"
        )
        samples: int = Field(
            default=1000,
            ge=FEWEST,
            description="training samples at most: the time grows as their third power",
        )
        learning_samples: int = Field(
            default=400,
            ge=FEWEST,
            description="samples at most that hyperparameters are learnt from",
        )

    def __init__(self, data: DataShape | MeshShape, options: Options) -> None:
        super().__init__()
        self.data, self.options = data, options
        if isinstance(data, DataShape) and data.boundary_channels:
            raise OpkitInputError("pod-gp takes no data on boundary curves: use beno")
        self.packing = data.packing
        self.series = (data.series, data.times)  # functions of time (series, time)
        if not data.in_channels + data.parameters + self.series[0]:
            raise OpkitInputError(
                "pod-gp needs numbers per sample or input fields to learn from"
            )
        self.on_cells = isinstance(data, MeshShape) and data.on_cells
        self._kept: list[list[Tensor]] | None = None
        self._small: tuple[list[Any], Coefficients, Patches] | None = None
        if self.packing is not None and options.windows:
            raise OpkitInputError(
                "pod-gp: windows are for outputs that are all fields: leave them away"
            )
        self._windows = windows(self._answer, options.windows)
        self._room(n=0, modes=0, inputs=0)
        self.register_load_state_dict_post_hook(_ready)  # type: ignore[no-untyped-call]

    @property
    def _answer(self) -> DataShape | MeshShape:
        """Shape of the outputs: of several kinds one channel of all values."""
        if self.packing is None:
            return self.data
        values = (sum(self.packing.sizes),)
        return DataShape(1, 1, values, (False,), (1.0,))

    def _inner_product(self) -> Weigh:
        """Inner product of the outputs; of several kinds each counts as much."""
        if self.packing is None:
            return inner_product(self.data)
        sizes = torch.tensor(self.packing.sizes, dtype=torch.float64)
        weights = self.packing.each(1 / sizes)
        return lambda u: u * weights.to(u)

    def _room(self, n: int, modes: int, inputs: int, series: int = 0) -> None:
        """Make buffers of zeros.

        Args:
            n: training samples.
            modes: of the outputs, in each window.
            inputs: modes of the input fields.
            series: modes of the functions of time.
        """
        data, count = self.data, self.data.parameters + inputs + series
        answer = self._answer
        points = data.input_points if isinstance(data, MeshShape) else None
        space = data.shape if points is None else (points,)
        w, most = self._windows.places.shape
        shapes = {
            "mean": (answer.out_channels, *answer.shape),
            "modes": (w, modes, answer.out_channels, most),
            "scale": (w, modes),
            "rest": (w, answer.out_channels, most),
            "widening": (answer.out_channels,),
            "energy": (w,),
            "input_mean": (data.in_channels, *space),
            "input_modes": (inputs, data.in_channels, *space),
            "centre": (count,),
            "spread": (count,),
            "rotation": (w, count, count),
            "x": (w, n, count),
            "alpha": (w, modes, n),
            "theta": (w, modes, count + 3),
        }
        if self.series[0]:
            shapes["series_mean"] = self.series
            shapes["series_modes"] = (series, *self.series)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("places", self._windows.places.clone(), persistent=False)
        self._kept = self._small = None

    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for the weights of so many samples and modes."""
        sizes = [shapes.get(name, ()) for name in ("alpha", "input_modes")]
        if len(sizes[0]) != 3 or not sizes[1]:
            raise OpkitInputError(
                "pod-gp: alpha or input_modes are missing among the weights, or have "
                "another number of axes: train again"
            )
        series = shapes.get("series_modes", (0,))[:1]
        self._room(sizes[0][2], sizes[0][1], sizes[1][0], *series)

    @torch.no_grad()
    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Learn modes and processes.

        Args:
            samples: ``"outputs"`` (sample, out_channel, *space), ``"inputs"`` and
                ``"parameters"`` where the data have them.

        Raises:
            OpkitInputError: frames in time, too few samples, or outputs or inputs that
                are all the same.
        """
        samples = {name: self._chosen(field) for name, field in samples.items()}
        outputs = samples["outputs"]
        n, space = len(outputs), self._answer.shape
        if outputs.ndim != 2 + len(space):
            raise OpkitInputError(
                "pod-gp gives one answer per sample and makes no steps: use mode map "
                "or space-time"
            )
        if n < FEWEST:
            raise OpkitInputError(
                f"pod-gp needs {FEWEST} training samples at least, there are {n}: "
                "generate more"
            )
        u = outputs.double().flatten(2)
        mean = u.mean(0)
        parts = [self._principal(u - mean, w) for w in range(len(self.places))]
        counts = [0 if part is None else len(part.std) for part in parts]
        if not any(counts):
            raise OpkitInputError(
                f"pod-gp: the outputs of all {n} training samples are the same: there "
                "is nothing to learn"
            )
        fields = self._input_modes(samples)
        functions = self._series_modes(samples)
        inputs, series = (
            0 if part is None else len(part.std) for part in (fields, functions)
        )
        self._room(n, max(counts), inputs, series)
        self.mean.copy_(mean.view_as(self.mean))
        if fields is not None:
            weigh = inner_product(self.data, self.on_cells)
            self.input_mean.copy_(fields.mean.view_as(self.input_mean))
            self.input_modes.copy_(weigh(fields.fields).view_as(self.input_modes))
        if functions is not None:
            self.series_mean.copy_(functions.mean)
            self.series_modes.copy_(functions.fields / self.series[1])
        given = {k: samples[k] for k in ("parameters", "series") if k in samples}
        x = self._features(Inputs(samples.get("inputs", outputs[:, :0]), **given))
        spread = x.std(0, correction=0)
        varies = spread > 1e-6 * x.abs().amax(0)
        if not varies.any():
            raise OpkitInputError(
                f"pod-gp: the inputs of all {n} training samples are the same: there "
                "is nothing to learn from"
            )
        self.centre.copy_(x.mean(0))
        self.spread.copy_(torch.where(varies, spread, 1.0))
        self._learn((x - self.centre) / self.spread, u - mean, parts)

    def _principal(self, u: Tensor, w: int) -> Modes | None:
        """Principal modes of outputs without their mean (sample, channel, point)."""
        whole = self._inner_product()
        places = self._inside(w)

        def weigh(part: Tensor) -> Tensor:
            full = part.new_zeros(*part.shape[:-1], u.shape[-1])
            full[..., places] = part
            return whole(full)[..., places]

        options, most = self.options, len(u) - 1
        return principal_modes(
            self._within(u, w), weigh, min(options.modes, most), options.energy
        )

    def _inside(self, w: int) -> Tensor:
        """Points of a window."""
        return self._windows.places[w][self._windows.weights[w] > 0]

    def _within(self, u: Tensor, w: int) -> Tensor:
        """χ_w u at the points of a window (..., point of it)."""
        weights = self._windows.weights[w]
        return u[..., self._inside(w)] * weights[weights > 0].to(u)

    def _learn(self, z: Tensor, u: Tensor, parts: Sequence[Modes | None]) -> None:
        """Fit the processes of all windows.

        Args:
            z: inputs of the samples (sample, input).
            u: outputs without their mean (sample, channel, point).
            parts: principal modes of each window.
        """
        n, channels = u.shape[:2]
        few = _even_rows(n, max(LOOKED_AT // u[0].numel(), FEWEST), u.device)
        error = u.new_zeros(len(few), *u.shape[1:])
        std = torch.zeros_like(error)
        for w, part in enumerate(parts):
            self.rotation[w] = torch.eye(z.shape[1])
            self.x[w] = z
            if part is None:
                continue
            places, count = self._inside(w), len(part.std)
            own = self._within(u, w)
            basis = part.fields.flatten(1)
            products = own.flatten(1) @ self._weighed(part, w, u.shape[-1]).T
            y = (products / part.std).T.contiguous()
            rotation, theta = self._fitted(z, y, part.std)
            x = z @ rotation
            alpha, variance = process.weights(theta, x, y)
            outside = (own.flatten(1) - products @ basis).view_as(own)
            rest = outside.square().mean(0)
            self.rotation[w], self.x[w] = rotation, x
            self.theta[w, :count], self.alpha[w, :count] = theta, alpha
            self.modes[w, :count, :, : len(places)] = part.fields
            self.scale[w, :count] = part.std
            self.rest[w, :, : len(places)] = rest
            self.energy[w] = part.energy
            left_out = (alpha * variance).T[few] * part.std
            error[..., places] += (left_out @ basis).view_as(outside[few]) + outside[
                few
            ]
            variances = variance.T[few] * part.std.square()
            own_std = ((variances @ basis.square()).view_as(outside[few]) + rest).sqrt()
            std[..., places] += own_std
        q = self.theta.shape[-1]
        for channel in range(channels):
            off, own = error[:, channel].abs(), std[:, channel]
            # where nothing varies, such as on a Dirichlet boundary, there is no error
            ratio = (off / own)[own > 1e-9 * own.max()]
            if len(ratio):
                k = math.ceil(0.95 * len(ratio))
                widening = ratio.kthvalue(k).values / NORMAL
                self.widening[channel] = widening / max(1 - q / n, 1 / n)
        self._kept = None
        _ready(self)

    def _weighed(self, part: Modes, w: int, points: int) -> Tensor:
        """M φ of the modes of a window, at its points, flattened."""
        places = self._inside(w)
        full = part.fields.new_zeros(*part.fields.shape[:-1], points)
        full[..., places] = part.fields
        return self._inner_product()(full)[..., places].flatten(1)

    def _fitted(self, z: Tensor, y: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rotation of a window, and the hyperparameters of its processes."""
        rows = _even_rows(len(z), self.options.learning_samples, y.device)
        few = y[:, rows].contiguous()
        rotation = torch.eye(z.shape[1]).to(z)
        if self.options.rotate:
            theta = process.fit(z[rows], few[:LEADING])
            alpha, _ = process.weights(theta, z, y[:LEADING])
            slopes = process.slopes(theta, z, alpha) * std[:LEADING, None, None]
            spread = torch.einsum("kni,knj->ij", slopes, slopes)
            rotation = torch.linalg.eigh(spread).eigenvectors.flip(1)
        return rotation, process.fit(z[rows] @ rotation, few)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map numbers and fields to (batch, out_channel, *space).

        Raises:
            OpkitInputError: `prepare` was not called, or a role is missing.
        """
        z = self._normalised(inputs) @ self.rotation
        if inputs.fields.dtype == torch.float32 and not torch.compiler.is_compiling():
            learnt, patches = self._fast()
            if z.requires_grad:
                g = self._coefficients(z)
                g = torch.cat([g, torch.ones_like(g[..., :1])], -1)
            else:
                g = learnt(z)
            u = patches(g.float()).view(len(z[0]), *self.mean.shape)
            return self._on_grid(u, inputs)
        g = self._coefficients(z)
        u = self._summed(self.mean.flatten(1), g @ self.modes.flatten(2))
        return self._on_grid(u, inputs).to(inputs.fields.dtype)

    def _coefficients(self, z: Tensor) -> Tensor:
        """Coefficients of the modes (window, batch, mode), in float64."""
        return process.mean(self.theta, self.x, self.alpha, z).mT * self.scale[:, None]

    def _summed(self, start: Tensor, parts: Tensor) -> Tensor:
        """Add the parts of all windows.

        Args:
            start: what they are added to (channel, point).
            parts: (window, batch, channel times point of it).

        Returns:
            (batch, channel, *space).
        """
        windows, batch = parts.shape[:2]
        parts = parts.view(windows, batch, len(start), self.places.shape[1])
        parts = parts.permute(1, 2, 0, 3)
        start = start.expand(batch, -1, -1)
        u = start.index_add(2, self.places.flatten(), parts.flatten(2))
        return u.view(batch, *self.mean.shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PODGP:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        _ready(self)
        return self

    def _fast(self) -> tuple[Coefficients, Patches]:
        """Processes and modes as single queries need them, kept until they change.

        They are made when weights come or move: what is made while torch.func takes a
        derivative belongs to that derivative.
        """
        learnt = self.theta, self.x, self.alpha, self.scale, self.energy
        state = [
            (buffer.data_ptr(), buffer.device, buffer._version)
            for buffer in (*learnt, self.modes, self.mean)
        ]
        if self._small is None or self._small[0] != state:
            with torch.no_grad():
                patches = Patches(self._windows, self.modes, self.mean.flatten(1))
                self._small = (state, coefficients(*learnt), patches)
        return self._small[1], self._small[2]

    def projected(self, u: Tensor) -> Tensor:
        """Return the nearest fields in the modes (batch, out_channel, *space).

        Args:
            u: fields of the same shape, normalised.
        """
        mean = self.mean.flatten(1)
        off = u.double().flatten(2) - mean
        parts = torch.zeros(*self.modes.shape[:1], len(u), *self.modes.shape[2:])
        parts = parts.to(self.modes)
        for w, modes in enumerate(self.modes):
            size = len(self._inside(w))
            part = Modes(mean, modes[..., :size], self.scale[w], float(self.energy[w]))
            products = self._within(off, w).flatten(1)
            products = products @ self._weighed(part, w, off.shape[-1]).T
            parts[w, ..., :size] = torch.tensordot(products, modes[..., :size], 1)
        return self._summed(mean, parts.flatten(2)).to(u.dtype)

    def deviation(self, inputs: Inputs) -> Tensor:
        """Standard deviation of the answer at each point (batch, out_channel, *space).

        95 % of the errors lie within 1.96 of them for inputs like the training inputs.

        Raises:
            OpkitInputError: `prepare` was not called, or a role is missing.
        """
        z = self._normalised(inputs) @ self.rotation
        variances = [
            process.variance(theta, x, new, lower)
            for theta, x, new, lower in zip(
                self.theta, self.x, z, self._factors(), strict=True
            )
        ]
        v = torch.stack(variances).mT * self.scale.square()[:, None]
        squares = v @ self.modes.square().flatten(2) + self.rest.flatten(1)[:, None]
        parts = squares.clamp(min=1e-60).sqrt()  # whose slope at 0 is infinite
        std = self._summed(torch.zeros_like(self.mean).flatten(1), parts)
        widening = self.widening.view(-1, *(1,) * (std.ndim - 2))
        return self._on_grid(widening * std, inputs).to(inputs.fields.dtype)

    def _factors(self) -> Sequence[list[Tensor] | None]:
        """Cholesky factors per window, if they are small enough to be kept."""
        if self.alpha[..., 0].numel() * self.x.shape[1] ** 2 > KEPT:
            return [None] * len(self.x)
        if self._kept is None or self._kept[0][0].device != self.x.device:
            pairs = zip(self.theta, self.x, strict=True)
            with torch.no_grad():
                self._kept = [list(process.factors(*pair)) for pair in pairs]
        return self._kept

    def _chosen(self, field: Tensor) -> Tensor:
        return field[_even_rows(len(field), self.options.samples, field.device)]

    def _input_modes(self, samples: Mapping[str, Tensor]) -> Modes | None:
        if not self.data.in_channels:
            return None
        return principal_modes(
            samples["inputs"].double().flatten(2),
            inner_product(self.data, self.on_cells),
            self.options.input_modes,
            self.options.input_energy,
        )

    def _series_modes(self, samples: Mapping[str, Tensor]) -> Modes | None:
        """Principal modes of the functions of time, in the mean over times."""
        if not self.series[0]:
            return None
        return principal_modes(
            samples["series"].double(),
            lambda u: u / u.shape[-1],
            self.options.input_modes,
            self.options.input_energy,
        )

    def _normalised(self, inputs: Inputs) -> Tensor:
        if not self.x.shape[1]:
            raise OpkitInputError(
                "pod-gp has learnt nothing yet: call prepare(samples) with the "
                "training data, or load trained weights"
            )
        return (self._features(inputs) - self.centre) / self.spread

    def _features(self, inputs: Inputs) -> Tensor:
        """Numbers, coefficients of functions of time and fields (batch, input)."""
        parts = []
        if self.data.parameters:
            parts.append(inputs.need("parameters").double())
        if self.series[0]:
            functions = inputs.need("series").double() - self.series_mean
            parts.append(functions.flatten(1) @ self.series_modes.flatten(1).T)
        if self.data.in_channels:
            fields = inputs.fields.double()
            if isinstance(self.data, DataShape):
                fields = resample(fields, self.data.shape, self.data.periodic)
            centred = (fields - self.input_mean).flatten(1)
            parts.append(centred @ self.input_modes.flatten(1).T)
        return torch.cat(parts, 1)

    def _on_grid(self, u: Tensor, inputs: Inputs) -> Tensor:
        """Interpolate linearly where the inputs are on another grid."""
        if isinstance(self.data, MeshShape) or self.packing is not None:
            return u
        return resample(u, inputs.fields.shape[2:], self.data.periodic)


def _ready(model: PODGP, _: object = None) -> None:
    """Make what queries need, where something is learnt."""
    if model.x.shape[1] and not model.x.is_meta:
        model._fast()


def _even_rows(count: int, most: int, device: torch.device) -> Tensor:
    """At most so many of ``count`` rows, evenly spread; all where they are few."""
    if count <= most:
        return torch.arange(count, device=device)
    return torch.linspace(0, count - 1, most, device=device).round().long()
