"""POD-GP: principal modes of the outputs, a Gaussian process for each coefficient.

    u(x) = m + Σ_k s_k g_k(z) φ_k(x),   var u(x) = γ² (Σ_k s_k² v_k(z) φ_k(x)² + ρ(x)),

z: the numbers of a sample, then the coefficients of its input fields in their own
principal modes, each of variance 1; g_k, v_k: mean and variance of process k
(`process`); φ_k, s_k: modes and standard deviations of their coefficients (`modes`);
ρ: variance of the training outputs outside the modes. γ is such that of each channel
95 % of the leave-one-out errors at points lie within 1.96 standard deviations, times
1 / (1 - q / n) for the q hyperparameters learnt from n samples. All in float64.

Sources: Guo, Hesthaven, CMAME 341, 807-826 (2018), doi:10.1016/j.cma.2018.07.017;
Casenave et al., NeurIPS 2023, arXiv:2305.12871 (MMGP).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.grids import resample
from opkit.operators.pod_gp import process
from opkit.operators.pod_gp.modes import Modes, inner_product, principal_modes
from opkit.operators.shapes import DataShape, MeshShape

FEWEST = 8
"""Training samples without which there is nothing to learn from."""
NORMAL = 1.959964
"""95 % of a normal law lie within so many standard deviations."""
LOOKED_AT = 2_000_000
"""Leave-one-out errors at points that the intervals are fitted to."""
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
    )
    direct: ClassVar[bool] = True
    mean: Tensor
    modes: Tensor
    scale: Tensor
    rest: Tensor
    widening: Tensor
    energy: Tensor
    input_mean: Tensor
    input_modes: Tensor
    centre: Tensor
    spread: Tensor
    x: Tensor
    alpha: Tensor
    theta: Tensor

    class Options(interface.Options):
        """Options of POD-GP."""

        modes: int = Field(default=60, ge=1, description="modes of the outputs at most")
        energy: float = Field(
            default=0.99999,
            gt=0,
            le=1,
            description="share of the outputs' variance that modes are taken for",
        )
        input_modes: int = Field(
            default=16, ge=1, description="modes of input fields at most"
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
        if not data.in_channels + data.parameters:
            raise OpkitInputError(
                "pod-gp needs numbers per sample or input fields to learn from"
            )
        self.on_cells = isinstance(data, MeshShape) and data.on_cells
        self._kept: list[Tensor] | None = None
        self._small: tuple[tuple[int, str, int], Tensor, Tensor] | None = None
        self._room(n=0, modes=0, inputs=0)

    def _room(self, n: int, modes: int, inputs: int) -> None:
        """Make buffers of zeros.

        Args:
            n: training samples.
            modes: of the outputs.
            inputs: modes of the input fields.
        """
        data, count = self.data, self.data.parameters + inputs
        points = data.input_points if isinstance(data, MeshShape) else None
        space = data.shape if points is None else (points,)
        shapes = {
            "mean": (data.out_channels, *data.shape),
            "modes": (modes, data.out_channels, *data.shape),
            "scale": (modes,),
            "rest": (data.out_channels, *data.shape),
            "widening": (data.out_channels,),
            "energy": (),
            "input_mean": (data.in_channels, *space),
            "input_modes": (inputs, data.in_channels, *space),
            "centre": (count,),
            "spread": (count,),
            "x": (n, count),
            "alpha": (modes, n),
            "theta": (modes, count + 3),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self._kept = self._small = None

    def allocate(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for the weights of so many samples and modes."""
        sizes = [shapes.get(name, ()) for name in ("alpha", "input_modes")]
        if len(sizes[0]) != 2 or not sizes[1]:
            raise OpkitInputError(
                "pod-gp: alpha or input_modes are missing among the weights, or have "
                "another number of axes: train again"
            )
        self._room(n=sizes[0][1], modes=sizes[0][0], inputs=sizes[1][0])

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
        n, space = len(outputs), self.data.shape
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
        options = self.options
        principal = principal_modes(
            outputs.double().flatten(2),
            inner_product(self.data),
            min(options.modes, n - 1),
            options.energy,
        )
        if principal is None:
            raise OpkitInputError(
                f"pod-gp: the outputs of all {n} training samples are the same: there "
                "is nothing to learn"
            )
        fields = self._input_modes(samples)
        inputs = 0 if fields is None else len(fields.std)
        self._room(n, len(principal.std), inputs)
        if fields is not None:
            weigh = inner_product(self.data, self.on_cells)
            self.input_mean.copy_(fields.mean.view_as(self.input_mean))
            self.input_modes.copy_(weigh(fields.fields).view_as(self.input_modes))
        x = self._features(
            Inputs(samples.get("inputs", outputs[:, :0]), samples.get("parameters"))
        )
        spread = x.std(0, correction=0)
        varies = spread > 1e-6 * x.abs().amax(0)
        if not varies.any():
            raise OpkitInputError(
                f"pod-gp: the inputs of all {n} training samples are the same: there "
                "is nothing to learn from"
            )
        self.centre.copy_(x.mean(0))
        self.spread.copy_(torch.where(varies, spread, 1.0))
        self.x.copy_((x - self.centre) / self.spread)
        self._learn(outputs.double().flatten(2), principal)

    def _learn(self, u: Tensor, principal: Modes) -> None:
        """Fit the processes to outputs (sample, channel, point)."""
        n = len(u)
        weigh = inner_product(self.data)
        centred = (u - principal.mean).flatten(1)
        weighed = weigh(principal.fields).flatten(1)
        coefficients = centred @ weighed.T
        y = (coefficients / principal.std).T.contiguous()
        rows = _even_rows(n, self.options.learning_samples, y.device)
        self.theta.copy_(process.fit(self.x[rows], y[:, rows].contiguous()))
        alpha, variance = process.weights(self.theta, self.x, y)
        self.alpha.copy_(alpha)
        self.mean.copy_(principal.mean.view_as(self.mean))
        self.modes.copy_(principal.fields.view_as(self.modes))
        self.scale.copy_(principal.std)
        self.energy.fill_(principal.energy)
        basis = principal.fields.flatten(1)
        outside = centred - coefficients @ basis
        rest = outside.square().mean(0)
        self.rest.copy_(rest.view_as(self.rest))

        left_out = (alpha * variance).T * principal.std
        few = _even_rows(n, max(LOOKED_AT // basis.shape[1], FEWEST), y.device)
        error = (left_out[few] @ basis + outside[few]).abs()
        variances = variance.T[few] * principal.std.square()
        std = (variances @ basis.square() + rest).sqrt()
        q = len(self.theta[0])
        by_channel = zip(
            error.view(len(few), *principal.mean.shape).unbind(1),
            std.view(len(few), *principal.mean.shape).unbind(1),
            strict=True,
        )
        for channel, (off, own) in enumerate(by_channel):
            # where nothing varies, such as on a Dirichlet boundary, there is no error
            ratio = (off / own)[own > 1e-9 * own.max()]
            if len(ratio):
                k = math.ceil(0.95 * len(ratio))
                widening = ratio.kthvalue(k).values / NORMAL
                self.widening[channel] = widening / max(1 - q / n, 1 / n)
        self._kept = None

    def forward(self, inputs: Inputs) -> Tensor:
        """Map numbers and fields to (batch, out_channel, *space).

        Raises:
            OpkitInputError: `prepare` was not called, or a role is missing.
        """
        z = self._normalised(inputs)
        g = process.mean(self.theta, self.x, self.alpha, z).T * self.scale
        if inputs.fields.dtype == torch.float32 and not torch.compiler.is_compiling():
            mean, modes = self._single()
            u = torch.addmm(mean, g.float(), modes).view(-1, *self.mean.shape)
            return self._on_grid(u, inputs)
        u = self.mean + torch.tensordot(g, self.modes, 1)
        return self._on_grid(u, inputs).to(inputs.fields.dtype)

    def _single(self) -> tuple[Tensor, Tensor]:
        """Mean (point,) and modes (mode, point) in float32, kept between calls.

        Reading the modes is what an answer takes: half the bytes, half the time.
        """
        modes = self.modes
        state = (modes.data_ptr(), str(modes.device), modes._version)
        if self._small is None or self._small[0] != state:
            single = self.mean.flatten().float(), modes.flatten(1).float()
            self._small = (state, *single)
        return self._small[1], self._small[2]

    def deviation(self, inputs: Inputs) -> Tensor:
        """Standard deviation of the answer at each point (batch, out_channel, *space).

        95 % of the errors lie within 1.96 of them for inputs like the training inputs.

        Raises:
            OpkitInputError: `prepare` was not called, or a role is missing.
        """
        z = self._normalised(inputs)
        variance = process.variance(self.theta, self.x, z, self._factors())
        v = variance.T * self.scale.square()
        u = torch.tensordot(v, self.modes.square(), 1) + self.rest
        std = self.widening.view(-1, *(1,) * (u.ndim - 2)) * u.sqrt()
        return self._on_grid(std, inputs).to(inputs.fields.dtype)

    def _factors(self) -> list[Tensor] | None:
        """Cholesky factors, where they are small enough to be kept between calls."""
        if self.theta.shape[0] * self.x.shape[0] ** 2 > KEPT:
            return None
        if self._kept is None or self._kept[0].device != self.x.device:
            with torch.no_grad():
                self._kept = list(process.factors(self.theta, self.x))
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

    def _normalised(self, inputs: Inputs) -> Tensor:
        if not len(self.x):
            raise OpkitInputError(
                "pod-gp has learnt nothing yet: call prepare(samples) with the "
                "training data, or load trained weights"
            )
        return (self._features(inputs) - self.centre) / self.spread

    def _features(self, inputs: Inputs) -> Tensor:
        """Numbers, and coefficients of the fields (batch, input)."""
        parts = []
        if self.data.parameters:
            parts.append(inputs.need("parameters").double())
        if self.data.in_channels:
            fields = inputs.fields.double()
            if isinstance(self.data, DataShape):
                fields = resample(fields, self.data.shape, self.data.periodic)
            centred = (fields - self.input_mean).flatten(1)
            parts.append(centred @ self.input_modes.flatten(1).T)
        return torch.cat(parts, 1)

    def _on_grid(self, u: Tensor, inputs: Inputs) -> Tensor:
        """Interpolate linearly where the inputs are on another grid."""
        if isinstance(self.data, MeshShape):
            return u
        return resample(u, inputs.fields.shape[2:], self.data.periodic)


def _even_rows(count: int, most: int, device: torch.device) -> Tensor:
    """At most so many of ``count`` rows, evenly spread; all where they are few."""
    if count <= most:
        return torch.arange(count, device=device)
    return torch.linspace(0, count - 1, most, device=device).round().long()
