"""Normalisation as part of the model: physical units in, physical units out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from opkit.metrics.domains import Packed, Points
from opkit.operators.inputs import Inputs, as_inputs
from opkit.operators.interface import Operator
from opkit.operators.shapes import Packing


class Moments:
    """Mean, variance and range of channels, gathered batch by batch in float64.

    Merged as in Chan, Golub, LeVeque 1983: the result does not depend on how the data
    are cut into batches, beyond rounding.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.square = torch.zeros((), dtype=torch.float64)
        self.low = torch.tensor(torch.inf)
        self.high = torch.tensor(-torch.inf)

    def add(self, batch: Tensor) -> None:
        """Add a batch (batch, channel, *space)."""
        x = batch.transpose(0, 1).flatten(1).double()
        n, mean = x.shape[1], x.mean(1)
        delta, total = mean - self.mean, self.count + n
        between = delta.square() * (self.count * n / total)
        self.square = self.square + (x - mean[:, None]).square().sum(1) + between
        self.mean = self.mean + delta * (n / total)
        self.count = total
        self.low = torch.minimum(self.low, x.amin(1))
        self.high = torch.maximum(self.high, x.amax(1))

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each channel."""
        return (self.square / self.count).sqrt()


class PackedMoments(Moments):
    """The same of outputs of several kinds, of each entry of `Packing.sizes`."""

    def __init__(self, packing: Packing) -> None:
        super().__init__()
        self._packing = packing
        self._each = [Moments() for _ in packing.sizes]

    def add(self, batch: Tensor) -> None:
        """Add a batch (batch, 1, value)."""
        sizes = list(self._packing.at(batch.shape[2]).sizes)
        for own, part in zip(self._each, torch.split(batch, sizes, 2), strict=True):
            own.add(part)
        self.count += len(batch)
        self.mean, self.low, self.high = (
            torch.cat([vars(own)[name] for own in self._each])
            for name in ("mean", "low", "high")
        )

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each entry."""
        return torch.cat([own.deviation for own in self._each])


class Normaliser(nn.Module):
    """Per-channel standardisation z = (x - mean) / std, as a module with buffers.

    Args:
        channels: number of channels.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("low", torch.zeros(channels))
        self.register_buffer("high", torch.zeros(channels))

    def fit(self, moments: Moments, physical: bool = False) -> Normaliser:
        """Set mean, std and range; a constant channel gets std 1.

        Args:
            moments: of the training samples.
            physical: set only the range, so that values pass unchanged.

        Raises:
            ValueError: no data, or another number of channels.
        """
        if not moments.count or moments.mean.shape != self.mean.shape:
            raise ValueError(
                f"moments of {moments.count} values with shape "
                f"{tuple(moments.mean.shape)} for {len(self.mean)} channels"
            )
        std = moments.deviation
        # below float32 resolution of the mean a spread is rounding, not signal
        constant = std <= 1e-6 * moments.mean.abs() + torch.finfo(torch.float32).tiny
        if not physical:
            self.mean.copy_(moments.mean)
            self.std.copy_(torch.where(constant, torch.ones_like(std), std))
        self.low.copy_(moments.low)
        self.high.copy_(moments.high)
        return self

    def moments(self) -> Moments:
        """Return moments to fit to, without any samples yet."""
        return Moments()

    def even(self, x: Tensor) -> Tensor:
        """Return x (batch, channel, *space) in what varies evenly: itself."""
        return x

    def encode(self, x: Tensor) -> Tensor:
        """Return (x - mean) / std for x of shape (batch, channel, *space)."""
        return (self.even(x) - _along(self.mean, x)) / _along(self.std, x)

    def decode(self, z: Tensor) -> Tensor:
        """Return z std + mean, the inverse of `encode`."""
        return z * _along(self.std, z) + _along(self.mean, z)


class PackedNormaliser(Normaliser):
    """Standardisation of outputs of several kinds, (batch, 1, value).

    Mean, standard deviation and range are those of each entry of `Packing.sizes`.

    Args:
        packing: how they are laid one after another.
    """

    size: Tensor

    def __init__(self, packing: Packing) -> None:
        super().__init__(len(packing.sizes))
        self.packing = packing
        self.register_buffer("size", torch.ones(len(packing.sizes)))

    def moments(self) -> Moments:
        """Return moments to fit to, without any samples yet."""
        return PackedMoments(self.packing)

    def fit(self, moments: Moments, physical: bool = False) -> Normaliser:
        """Set also the root mean square of each entry, 1 where it is 0."""
        super().fit(moments, physical)
        size = (moments.mean.square() + moments.deviation.square()).sqrt()
        self.size.copy_(torch.where(size > 0, size, 1.0))
        return self

    def encode(self, x: Tensor, samples: int = 1) -> Tensor:
        """Return (x - mean) / std for x of shape (batch, 1, value).

        Args:
            x: physical units.
            samples: of several lengths, that lie one after another.
        """
        mean, std = self._along(x, samples)
        return (x - mean) / std

    def decode(self, z: Tensor, samples: int = 1) -> Tensor:
        """Return z std + mean, the inverse of `encode`."""
        mean, std = self._along(z, samples)
        return z * std + mean

    def _along(self, like: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        count = like.shape[2]
        mean, std = (
            self.packing.each(each, count, samples) for each in (self.mean, self.std)
        )
        return mean, std


class NumberNormaliser(Normaliser):
    """Standardisation of numbers per sample, of their logarithm where that is even.

    Mean, standard deviation and range are those of x, or of log x.

    Args:
        logs: for each number, whether its logarithm is what varies evenly.
    """

    def __init__(self, logs: Sequence[bool]) -> None:
        super().__init__(len(logs))
        self.logs = tuple(logs)

    def even(self, x: Tensor) -> Tensor:
        """Return x (batch, number), or log x; NaN of a number that has none."""
        if not any(self.logs):
            return x
        columns = [
            column.log() if log else column
            for column, log in zip(x.unbind(1), self.logs, strict=True)
        ]
        return torch.stack(columns, 1)

    def decode(self, z: Tensor) -> Tensor:
        """Undo `encode`."""
        return self.uneven(super().decode(z))

    def uneven(self, x: Tensor) -> Tensor:
        """Undo `even`, for (batch, number)."""
        columns = [
            column.exp() if log else column
            for column, log in zip(x.unbind(1), self.logs, strict=True)
        ]
        return torch.stack(columns, 1)


def packed_domain(outputs: Normaliser, points: Points | None = None) -> Packed | None:
    """Return what errors of outputs of several kinds are measured with.

    None where all outputs are fields.

    Args:
        outputs: normaliser of the outputs.
        points: of samples with a mesh or cloud each.
    """
    if not isinstance(outputs, PackedNormaliser):
        return None
    packing = outputs.packing
    fields = packing.fields[0]
    domain = Packed(packing.sizes, fields, outputs.size)
    return domain if not packing.ragged else domain.on(points)


def decoded(outputs: Normaliser, z: Tensor, inputs: Inputs) -> Tensor:
    """Return the answer to a batch in physical units.

    Args:
        outputs: normaliser of the outputs.
        z: what the operator gives.
        inputs: of the batch.
    """
    if isinstance(outputs, PackedNormaliser) and outputs.packing.ragged:
        return outputs.decode(z, inputs.samples)
    return outputs.decode(z)


def _along(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.ndim - 2))


def _mean(frame: Tensor) -> Tensor:
    """Mean over space of (batch, channel, *space), with axes of length one."""
    return frame.mean(tuple(range(2, frame.ndim)), keepdim=True)


def _with_square_of(before: Tensor, frame: Tensor) -> Tensor:
    """Scale the deviation of a frame from its mean, so that <u²> is as before.

    A frame that is constant, or whose mean alone has more, is left as it is.
    """
    mean = _mean(frame)
    deviation = frame - mean
    wanted = _mean(before.square()) - mean.square()
    own = _mean(deviation.square())
    possible = (wanted > 0) & (own > 0)
    ratio = torch.where(possible, wanted / torch.where(possible, own, 1), 1)
    return mean + deviation * ratio.sqrt()


class PhysicalModel(nn.Module):
    """An operator between its normalisers: u = decode(operator(encode(a))).

    Args:
        operator: maps normalised (batch, in_channel, *space) fields.
        inputs: normaliser of the input channels.
        outputs: normaliser of the output channels.
        history: frames the operator sees; 0 where it is not autoregressive.
        static: normaliser of fields that do not change in time, autoregressive only.
        parameters: normaliser of numbers per sample.
        series: normaliser of functions of time.
        keep_means: whether each frame is given the mean over space of the one before.
        keep_energy: whether its deviation from the mean is scaled so that its mean
            square over space is that of the one before.
        mesh: arrays of the mesh the operator was built for, by name.
    """

    def __init__(
        self,
        operator: Operator,
        inputs: Normaliser,
        outputs: Normaliser,
        history: int = 0,
        static: Normaliser | None = None,
        mesh: Mapping[str, Tensor] | None = None,
        parameters: NumberNormaliser | None = None,
        series: Normaliser | None = None,
        keep_means: bool = False,
        keep_energy: bool = False,
    ) -> None:
        super().__init__()
        self.keep_means, self.keep_energy = keep_means, keep_energy
        self.operator = operator
        self.inputs = inputs
        self.outputs = outputs
        self.history = history
        self.static = static
        self.numbers = parameters  # nn.Module has a method parameters
        self.series = series
        self.mesh = nn.Module()  # its tensors are in the state dict as mesh.*
        for name, tensor in (mesh or {}).items():
            self.mesh.register_buffer(name, tensor)

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def forward(
        self,
        inputs: Inputs | Tensor,
        steps: int = 1,
        detach: bool = False,
        truth: Tensor | None = None,
        forcing: float = 0.0,
    ) -> Tensor:
        """Map physical inputs to physical outputs.

        Without history: (batch, in_channel, *space) -> (batch, out_channel, *space).
        With history: (batch, history, channel, *space) -> (batch, steps, channel,
        *space), each frame from the ``history`` frames before it, and from functions of
        time at those and at its own time.

        Args:
            inputs: a batch in physical units; a tensor holds the fields alone.
            steps: frames to roll out, with history.
            detach: cut the gradient between frames, so that each step learns from the
                states the model itself makes (pushforward; Brandstetter et al. 2022).
            truth: (batch, steps, channel, *space), needed where ``forcing`` is not 0.
            forcing: α, what is fed back is (1 − α) of the prediction and α of the
                truth (generalised teacher forcing; Hess et al. 2023).
        """
        physical = as_inputs(inputs)
        inputs = self.encode(physical)
        if not self.history:
            return decoded(self.outputs, self.operator(inputs), inputs)
        static = [] if inputs.static is None else [inputs.static]
        window = deque(inputs.fields.unbind(1), maxlen=self.history)
        frames = []
        last = physical.fields[:, -1]
        for k in range(steps):
            fields = torch.cat([*window, *static], 1)
            step = inputs.at_step(k, self.history)
            frame = self.outputs.decode(
                self.operator(step._replace(fields=fields, static=None))
            )
            if self.keep_means:
                frame = frame + (_mean(last) - _mean(frame))
            if self.keep_energy:
                frame = _with_square_of(last, frame)
            frames.append(frame)
            last = frame.detach() if detach else frame
            if truth is not None and forcing:
                last = torch.lerp(last, truth[:, k], forcing)
            window.append(self.inputs.encode(last))
        return torch.stack(frames, 1)

    def encode(self, inputs: Inputs) -> Inputs:
        """Normalise fields, frame by frame, static fields, numbers and series.

        Boundary data and points stay in physical units: operators that take them scale
        them themselves.
        """
        fields = inputs.fields
        if self.history:
            frames = fields.unbind(1)
            fields = torch.stack([self.inputs.encode(frame) for frame in frames], 1)
        else:
            fields = self.inputs.encode(fields)
        static = inputs.static
        if static is not None and self.static is not None:
            static = self.static.encode(static)
        numbers = inputs.parameters
        if numbers is not None and self.numbers is not None:
            numbers = self.numbers.encode(numbers)
        series = inputs.series
        if series is not None and self.series is not None:
            series = self.series.encode(series)
        return inputs._replace(
            fields=fields, static=static, parameters=numbers, series=series
        )

    def normaliser(self, role: str) -> Normaliser | None:
        """Return the normaliser of a role of the samples, None where it has none."""
        by_role = {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "static": self.static,
            "parameters": self.numbers,
            "series": self.series,
        }
        return by_role.get(role)
