"""Surrogates: a bundle as a function from arrays to arrays, in physical units."""

from __future__ import annotations

import sys
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opkit.base.device import present
from opkit.errors import BundleError, OpkitInputError
from opkit.surrogate.adapters import arrays
from opkit.surrogate.adapters import dolfinx_functions as functions
from opkit.surrogate.adapters.refuse import check_inputs
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle import forward
from opkit.surrogate.bundle.build import build_model
from opkit.surrogate.bundle.normalise import PhysicalModel
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.checks import fallback
from opkit.surrogate.checks.calibration import COVERAGE, PREFIX, Calibration
from opkit.surrogate.checks.checker import Checker
from opkit.surrogate.checks.fallback import Solved
from opkit.surrogate.checks.interface import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Surrogate:
    """A trained operator with its normalisers and its record.

    Callable on numpy arrays, torch tensors, xarray objects, and dicts of arrays by
    variable name; gives back the same kind, in physical units. Gradients flow where a
    torch input requires them.

    Args:
        model: the operator between its normalisers.
        config: the bundle's record.
        calibration: of its errors; None for bundles from before there was one.
    """

    def __init__(
        self,
        model: PhysicalModel,
        config: BundleConfig,
        calibration: Calibration | None = None,
    ) -> None:
        # frozen weights: a graph is built for gradients of the inputs alone
        self.model = model.eval().requires_grad_(False)
        self.config = config
        self.calibration = calibration

    def __repr__(self) -> str:
        """Name the operator, the case, the grid and the test error."""
        case = self.config.case.get("name", "imported data")
        grid = "x".join(str(n) for n in self.config.shape.shape)
        scores = [
            f", relative L2 {row.relative_l2:.4f} on {row.split}"
            for row in self.config.scores
            if row.predictor == "surrogate"
            and row.resolution == self.config.shape.shape
        ]
        return (
            f"Surrogate({self.config.operator} for {case} at {grid}{''.join(scores)})"
        )

    @property
    def device(self) -> torch.device:
        """Device the weights are on."""
        return self.model.inputs.mean.device

    def to(self, device: str | torch.device) -> Surrogate:
        """Move the weights; returns this surrogate.

        Raises:
            OpkitInputError: a device that is unknown or not there.
        """
        self.model.to(present(device))
        return self

    def __call__(
        self, inputs: Any, check: bool = False, coverage: float = COVERAGE
    ) -> Any:
        """Predict the outputs for one sample or a batch.

        Args:
            inputs: one of

                * an array (*space) or (batch, *space) where the case has one input
                  channel, (channel, *space) or (batch, channel, *space) otherwise; in
                  autoregressive mode with a history axis before the channels;
                * a dict of such arrays by variable name, without a channel axis where
                  the variable has one channel;
                * an ``xarray.DataArray`` or ``Dataset`` with the space axes by name;
                  on dask nothing is computed until its values are asked for;
                * a dolfinx Function on the surrogate's mesh, or a dict of them.
            check: also say whether the predictions solve the PDE, whether the inputs
                resemble the training inputs, and how large the errors may be.
            coverage: probability that the errors stay within the bounds of a check.

        Returns:
            The same kind, with the outputs' variables; with ``check`` a `Checked`.

        Raises:
            OpkitInputError: wrong variables, axes, extent, or not finite.
            BundleError: a check of a bundle without calibration.
            MissingExtraError: a check needs a solver that is not installed.
        """
        if check:
            return self.checker.check(self._once, inputs, None, coverage)
        if functions.given(inputs):
            return functions.apply(self._once, inputs, self.config, self.model)
        return arrays.apply(self._once, inputs, self.config)

    def _once(self, inputs: Tensor, boundary: Tensor | None = None) -> Tensor:
        return self.predict(inputs, beside=boundary)

    def predict(
        self, inputs: Tensor, steps: int = 1, beside: Tensor | None = None
    ) -> Tensor:
        """Map a batch (batch, [history,] channel, *space) of any float type.

        Differentiable, and can be transformed by torch.func.

        Args:
            inputs: physical units.
            steps: frames to roll out, in autoregressive mode.
            beside: (batch, channel, *space) fields given at every step, in
                autoregressive mode; (batch, channel, boundary) data on a boundary
                curve, if trained so.

        Returns:
            (batch, [steps,] channel, *space) on the inputs' device, in their type.
        """
        check_inputs(self.config, self.model, inputs, beside)
        return forward.predict(self.model, inputs, steps, beside)

    def rollout(
        self,
        inputs: Any,
        steps: int,
        static: Any = None,
        check: bool = False,
        coverage: float = COVERAGE,
    ) -> Any:
        """Predict ``steps`` frames, each from the frames before it.

        Args:
            inputs: ([batch,] history, channel, *space), a dict, or an xarray object
                with a dim ``time`` of length history; physical units.
            steps: number of frames.
            static: (batch, channel, *space) fields that do not change, if trained so.
            check: also give bounds of the error at each step; see `Checked`.
            coverage: probability that the errors stay within them.

        Returns:
            ([batch,] steps, channel, *space), the same kind; with ``check`` a
            `Checked`.

        Raises:
            OpkitInputError: the surrogate is not autoregressive.
        """
        self._need_history()
        fixed = None if static is None else torch.as_tensor(static)

        def roll(x: Tensor) -> Tensor:
            return self.predict(x, steps, fixed)

        if check:
            return self.checker.check(roll, inputs, steps, coverage, fixed)
        return arrays.apply(roll, inputs, self.config, steps)

    def frames(
        self, inputs: Any, steps: int | None = None, static: Any = None
    ) -> Iterator[Any]:
        """Yield one predicted frame after the other; memory does not grow with steps.

        Args:
            inputs: numpy or torch (batch, history, channel, *space), physical units.
            steps: number of frames; without end if None.
            static: (batch, channel, *space) fields that do not change, if trained so.

        Yields:
            (batch, channel, *space), the same kind.

        Raises:
            OpkitInputError: the surrogate is not autoregressive.
        """
        self._need_history()
        x = torch.as_tensor(inputs)
        fixed = None if static is None else torch.as_tensor(static)
        check_inputs(self.config, self.model, x, fixed)
        count = sys.maxsize if steps is None else steps
        made = forward.frames(self.model, x, count, fixed)
        return made if isinstance(inputs, Tensor) else (f.numpy() for f in made)

    def _need_history(self) -> None:
        if not self.model.history:
            raise OpkitInputError(
                "this surrogate maps inputs to outputs at once: train with "
                "--set mode=autoregressive for rollouts"
            )

    def solve(
        self,
        inputs: Any,
        tolerance: float,
        steps: int | None = None,
        static: Any = None,
        coverage: float = COVERAGE,
        significance: float = 0.05,
    ) -> Solved:
        """Predict, and solve where the prediction may be off by more than tolerated.

        Args:
            inputs: as for a call or, with ``steps``, for a rollout.
            tolerance: largest relative L2 error; for rollouts at every step.
            steps: of a rollout.
            static: as for a rollout.
            coverage: part of inputs like the training inputs for which the tolerance
                must hold.
            significance: part of them that each check of inputs may take for strange.

        Returns:
            Outputs, what was done for each sample, and what it saved.

        Raises:
            OpkitInputError: inputs or a tolerance that cannot be.
            BundleError: the bundle has no calibration.
            CaseError: a sample needs a solver, and the case's is not known here.
            MissingExtraError: a sample needs a solver that is not installed.
            SolverError: the solver cannot reach its accuracy for one of the inputs.
        """
        fixed = None if static is None else torch.as_tensor(static)
        run: Callable[..., Tensor] = self._once
        if steps is not None:
            self._need_history()
            run = partial(self.predict, steps=steps, beside=fixed)
        return fallback.solve(
            self.checker,
            run,
            inputs,
            tolerance,
            steps,
            fixed,
            coverage,
            significance,
        )

    @cached_property
    def checker(self) -> Checker:
        """What judges this surrogate's predictions.

        Raises:
            BundleError: the bundle has no calibration.
        """
        return Checker(self.calibration)


def load(path: str | Path, device: str = "cpu") -> Surrogate:
    """Load a surrogate from a run directory or a bundle.

    Raises:
        BundleError: missing, damaged, of a newer format, or weights that do not fit.
        OpkitInputError: an operator this opkit does not know, or a device that is
            not there.
    """
    place = present(device)
    config, weights = bundle.read(Path(path))
    return build(config, weights).to(place)


def build(config: BundleConfig, weights: Mapping[str, Tensor]) -> Surrogate:
    """Construct a surrogate from a bundle's record and weights.

    Raises:
        BundleError: names or shapes of the weights do not fit the operator.
    """
    own = {k: v for k, v in weights.items() if not k.startswith(PREFIX)}
    model = build_model(config, own)
    expected = model.state_dict()
    wrong = sorted(
        name
        for name in expected.keys() | own.keys()
        if name not in expected
        or name not in own
        or expected[name].shape != own[name].shape
        or expected[name].dtype != own[name].dtype
    )
    if wrong:
        raise BundleError(
            f"weights do not fit operator {config.operator}: {len(wrong)} of "
            f"{len(expected)} tensors missing, unknown or of another shape "
            f"({', '.join(wrong[:3])}); train again with this version"
        )
    model.load_state_dict(own, strict=True)
    calibration = None
    if config.calibration is not None:
        numbers = {k: v for k, v in weights.items() if k.startswith(PREFIX)}
        context = Context(config, model)
        calibration = Calibration.from_tensors(config.calibration, numbers, context)
    return Surrogate(model, config, calibration)
