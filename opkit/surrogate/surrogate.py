"""Surrogates: a bundle as a function from arrays to arrays, in physical units."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from opkit.base.device import present
from opkit.base.forks import watch_forks
from opkit.base.show import Shown, grid
from opkit.datasets.modes import need_steps
from opkit.errors import DataError, OpkitInputError
from opkit.metrics.domains import Domain, Elements, Grid, Points
from opkit.operators.inputs import Inputs, as_inputs
from opkit.operators.shapes import DataShape, MeshShape
from opkit.surrogate import held_out
from opkit.surrogate.adapters import arrays, dolfinx_functions
from opkit.surrogate.adapters.at import At
from opkit.surrogate.adapters.refuse import (
    check_inputs,
    refuse_other_data,
    with_finite,
)
from opkit.surrogate.anywhere import Anywhere
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle import forward
from opkit.surrogate.bundle.build import model_that_fits
from opkit.surrogate.bundle.normalise import PhysicalModel, packed_domain
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.checks import fallback
from opkit.surrogate.checks.calibration import COVERAGE, PREFIX, Calibration
from opkit.surrogate.checks.checker import Checker
from opkit.surrogate.checks.fallback import Solved
from opkit.surrogate.checks.functions import Function, QuantityFunction, named
from opkit.surrogate.checks.interface import Context
from opkit.surrogate.checks.nodes import with_points
from opkit.surrogate.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opkit.datasets.field_dataset import FieldDataset


class Surrogate(Shown):
    """A trained operator with its normalisers and its record.

    Callable on numpy arrays, torch tensors, xarray objects, and dicts of arrays by
    variable name; gives back the same kind, in physical units. Gradients flow where a
    torch input requires them.

    Args:
        model: the operator between its normalisers.
        config: the bundle's record.
        calibration: of its errors; None for bundles from before there was one.
        source: run directory or bundle that it was loaded from.
        functions: quantities of interest written in Python, by name.
    """

    def __init__(
        self,
        model: PhysicalModel,
        config: BundleConfig,
        calibration: Calibration | None = None,
        source: Path | None = None,
        functions: Mapping[str, QuantityFunction] | None = None,
    ) -> None:
        # frozen weights: a graph is built for gradients of the inputs alone
        self.model = model.eval().requires_grad_(False)
        self.config = config
        self.calibration = calibration
        self.source = source
        self.functions = dict(functions or {})

    def _facts(self) -> dict[str, Any]:
        config = self.config
        own = [
            row
            for row in config.scores
            if row.predictor == "surrogate" and row.resolution == config.shape.shape
        ]
        return {
            "operator": config.operator,
            "case": config.case.get("name", "imported data"),
            "grid": grid(config.shape.shape),
            "inputs": ", ".join(v.name for v in config.inputs) or None,
            "parameters": ", ".join(v.name for v in config.parameters) or None,
            "series": ", ".join(v.name for v in config.series) or None,
            "static": ", ".join(v.name for v in config.by_role["static"]) or None,
            "boundary": ", ".join(v.name for v in config.boundary) or None,
            "outputs": ", ".join(v.name for v in config.outputs),
            **{f"relative L2 on {row.split}": row.relative_l2 for row in own},
            "flags": config.flags or None,
        }

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
        self,
        inputs: Any,
        check: bool = False,
        coverage: float = COVERAGE,
        static: Any = None,
        at: Any = None,
        quantity: Function | None = None,
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
            static: fields that stay as they are along a rollout, if trained so, and if
                ``inputs`` does not hold them by name: an array, or a dict or xarray
                object by name.
            at: points of the domain that answers are wanted at in place of the nodes:
                (point, coordinate) with the columns x, y, z, time of those there are,
                or a dict or ``xarray.Dataset`` of (point,) by name. `how_at` says
                where they come from. Gradients flow to points that are torch tensors.
            quantity: with ``check``, a function of outputs and inputs of one sample,
                arrays by name, that gives a number; see `with_quantities`.

        Returns:
            The same kind, with the outputs' variables; with ``check`` a `Checked`. With
            ``at`` an axis ``point`` stands in place of those of space.

        Raises:
            OpkitInputError: wrong variables, axes, extent, or not finite; a point
                outside the domain.
            NonFiniteError: a prediction without a check is not finite.
            BundleError: a check of a bundle without calibration.
            MissingExtraError: a check needs a solver that is not installed.
        """
        if quantity is not None:
            if not check:
                raise OpkitInputError("a quantity belongs to a check: give check=True")
            return self._with(quantity)(inputs, True, coverage, static, at)
        if at is not None:
            return self._at(self.predict, inputs, None, static, at, check)
        if check:
            return self.checker.check(self.predict, inputs, None, coverage, static)
        run = with_finite(self.predict)
        if dolfinx_functions.is_functions(inputs):
            return dolfinx_functions.apply(run, inputs, self.config, self.mesh)
        return arrays.apply(run, inputs, self.config, None, static)

    @property
    def how_at(self) -> str:
        """In words, where answers at points between the nodes come from."""
        return self._anywhere.how

    @cached_property
    def _anywhere(self) -> Anywhere:
        return Anywhere(self.config, self.model, self.shape)

    def _at(
        self,
        predict: Callable[[Inputs], Tensor],
        inputs: Any,
        steps: int | None,
        static: Any,
        at: Any,
        check: bool,
    ) -> Any:
        if check:
            raise OpkitInputError(
                "a check judges whole fields: leave at or check away, and ask twice"
            )
        if self.config.shape.packing is not None:
            others = [v.name for v in self.config.outputs if v.kind != "field"]
            raise OpkitInputError(
                f"at is for fields, the output {', '.join(others)} is none: leave it "
                "away, and interpolate the fields"
            )
        if dolfinx_functions.is_functions(inputs):
            raise OpkitInputError(
                "at is for arrays: a Function that the surrogate gives has eval"
            )
        points = self._anywhere.points(at)
        run = with_finite(self._anywhere.ask(predict, points))
        labels = {"how": self.how_at}
        where = At(points.coordinates, labels)
        return arrays.apply(run, inputs, self.config, steps, static, where)

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.model.inputs.mean.dtype

    @cached_property
    def shape(self) -> DataShape | MeshShape:
        """What the operator was built for."""
        arrays = {name: t.cpu() for name, t in self.model.mesh.named_buffers()}
        return self.config.shape.build(arrays)

    @cached_property
    def context(self) -> Context:
        """Record and model, and the case's solver."""
        return Context(self.config, self.model)

    @property
    def mesh(self) -> MeshShape:
        """The mesh the surrogate was trained on.

        Raises:
            OpkitInputError: it was trained on a grid.
        """
        if not isinstance(self.shape, MeshShape):
            raise OpkitInputError("this surrogate was trained on a grid, not on a mesh")
        return self.shape

    @cached_property
    def domain(self) -> Domain:
        """What norms of its outputs are taken with."""
        packed = packed_domain(self.model.outputs)
        if packed is not None:
            return packed
        shape = self.shape
        if isinstance(shape, MeshShape):
            return Elements(shape.points, shape.cells)
        return Grid(shape.extent, shape.periodic)

    def domain_of(self, inputs: Inputs) -> Domain:
        """Return what norms of its outputs for a batch are taken with."""
        if not self.config.shape.ragged:
            return self.domain
        points = Points(inputs.need("weights"), inputs.sample)
        return packed_domain(self.model.outputs, points) or points

    def predict(self, inputs: Inputs | Tensor, steps: int = 1) -> Tensor:
        """Map a batch (batch, [history,] channel, *space) of any float type.

        Differentiable, and can be transformed by torch.func.

        Args:
            inputs: physical units; a tensor holds the fields alone.
            steps: frames to roll out, in autoregressive mode.

        Returns:
            (batch, [steps,] channel, *space) on the inputs' device, in their type; of
            samples one after another (1, channel, N), or as
            `opkit.operators.shapes.Packing` lays them.
        """
        inputs = as_inputs(inputs)
        if isinstance(inputs, Inputs) and inputs.sample is not None:
            parts = [self.predict(one) for one in inputs.apart()]
            packing = self.config.shape.packing
            return torch.cat(parts, -1) if packing is None else packing.lay(parts)
        check_inputs(self.config, self.shape, inputs, self.dtype, steps)
        inputs = with_points(inputs, self.context, self.shape)
        return forward.predict(self.model, inputs.for_operators, steps)

    def samples(
        self,
        data: Path,
        split: str | None,
        subsample: int | None = None,
        trusted: bool = False,
    ) -> FieldDataset:
        """Open samples as the surrogate was trained on; see `Recipe.samples`.

        A stride that misses the end of an axis is refused, unless what it leaves is
        the domain that the surrogate was trained on.

        Raises:
            DataError: the file holds other variables, units, extents or steps of time
                than the surrogate was trained on, or another mesh.
        """
        recipe = self.config.recipe
        samples = recipe.samples(data, split, subsample, trusted, whole=False)
        try:
            refuse_other_data(self.config, samples)
        except DataError:  # the right data, at a stride that cuts the domain?
            as_trained = recipe.samples(data, split, None, trusted, whole=False)
            refuse_other_data(self.config, as_trained)
            samples = recipe.samples(data, split, subsample, trusted)
        mesh, own = samples.header.mesh, self.shape
        if mesh is not None and isinstance(own, MeshShape):
            own.refuse_other(mesh.points, mesh.cells)
        return samples

    def rollout(
        self,
        inputs: Any,
        steps: int,
        static: Any = None,
        check: bool = False,
        coverage: float = COVERAGE,
        at: Any = None,
    ) -> Any:
        """Predict ``steps`` frames, each from the frames before it.

        Args:
            inputs: ([batch,] history, channel, *space), a dict, or an xarray object
                with a dim ``time`` of length history; physical units. Functions of
                time have a value for each of these frames and each predicted one,
                ([batch,] history + steps) or longer; in xarray they share ``time``
                with the frames, whose values after the first ``history`` are not
                looked at (NaN, where `xarray.merge` filled up).
            steps: number of frames.
            static: as for a call.
            check: also give bounds of the error at each step; see `Checked`.
            coverage: probability that the errors stay within them.
            at: points that answers are wanted at, as for a call.

        Returns:
            ([batch,] steps, channel, *space), the same kind; with ``check`` a
            `Checked`.

        Raises:
            OpkitInputError: the surrogate is not autoregressive, or steps are none.
        """
        need_steps(self.config.recipe.arrangement)
        forward.check_steps(steps)
        roll = partial(self.predict, steps=steps)
        if at is not None:
            return self._at(roll, inputs, steps, static, at, check)
        if check:
            return self.checker.check(roll, inputs, steps, coverage, static)
        return arrays.apply(with_finite(roll), inputs, self.config, steps, static)

    def frames(
        self, inputs: Any, steps: int | None = None, static: Any = None
    ) -> Iterator[Any]:
        """Yield one predicted frame after the other; memory does not grow with steps.

        Args:
            inputs: numpy or torch (batch, history, channel, *space), physical units, or
                a dict by variable name, as for a call.
            steps: number of frames; without end if None, or as long as the functions of
                time that are given.
            static: (batch, channel, *space) fields that do not change, if trained so.

        Yields:
            (batch, channel, *space), the same kind.

        Raises:
            OpkitInputError: the surrogate is not autoregressive, or steps are none.
            NonFiniteError: a frame is not finite.
        """
        need_steps(self.config.recipe.arrangement)
        if steps is not None:
            forward.check_steps(steps)
        if isinstance(inputs, Mapping):
            return self._frames_by_name(inputs, steps, static)
        fixed = None if static is None else arrays.as_tensor(static)
        batch = Inputs(arrays.as_tensor(inputs), static=fixed)
        frames = self._frames(batch, steps)
        return frames if isinstance(inputs, Tensor) else (f.numpy() for f in frames)

    def _frames(self, batch: Inputs, steps: int | None) -> Iterator[Tensor]:
        check_inputs(self.config, self.shape, batch, self.dtype, steps or 1)
        count = sys.maxsize if steps is None else steps
        finite = with_finite(lambda frame: frame)
        return map(finite, forward.frames(self.model, batch, count))

    def _frames_by_name(
        self, inputs: Mapping[str, Any], steps: int | None, static: Any
    ) -> Iterator[dict[str, Any]]:
        config, keep = self.config, isinstance(next(iter(inputs.values())), Tensor)
        if steps is None and config.series:
            given = [inputs[v.name] for v in config.series if v.name in inputs]
            ends = [np.shape(values)[-1] - config.history for values in given]
            steps = max(min(ends, default=1), 1)
        batch, batched = arrays.batch_of(inputs, config, static, steps)

        def named(frame: Tensor) -> dict[str, Any]:
            parts = by_name(frame, config)
            if not batched:
                parts = {name: part.squeeze(0) for name, part in parts.items()}
            return {k: v if keep else v.detach().numpy() for k, v in parts.items()}

        return map(named, self._frames(batch, steps))

    def solve(
        self,
        inputs: Any,
        tolerance: float | None = None,
        steps: int | None = None,
        static: Any = None,
        coverage: float = COVERAGE,
        significance: float = 0.05,
        quantity: str | Function | None = None,
        exact: bool = False,
        store: str | Path | None = None,
    ) -> Solved:
        """Predict, and solve where the prediction may be off by more than tolerated.

        Solvers that take a first guess start from the prediction where that helps.

        Args:
            inputs: as for a call or, with ``steps``, for a rollout.
            tolerance: largest relative L2 error; for rollouts at every step. 0 accepts
                no prediction: each sample is solved to the solver's own accuracy.
            steps: of a rollout.
            static: as for a rollout.
            coverage: part of inputs like the training inputs for which the tolerance
                must hold.
            significance: part of them that each check of inputs may take for strange.
            quantity: name of a quantity of interest, or a function as for a check: the
                tolerance is then for its error, in its own units.
            exact: the same as a tolerance of 0.
            store: data file that keeps what the solver solved, for training to go on
                with; made where it is missing. Its samples are solved to the case's
                own accuracy, and equal inputs are kept once.

        Returns:
            Outputs, what was done for each sample, and what it saved.

        Raises:
            OpkitInputError: inputs or a tolerance that cannot be.
            BundleError: the bundle has no calibration.
            CaseError: a sample needs a solver, and the case's is not known here.
            MissingExtraError: a sample needs a solver that is not installed.
            SolverError: the solver cannot reach its accuracy for one of the inputs.
            DataError: the store is of another case or kind, or cannot be written.
        """
        if quantity is not None and not isinstance(quantity, str):
            return self._with(quantity).solve(
                inputs, tolerance, steps, static, coverage, significance,
                named(quantity), exact, store,
            )  # fmt: skip
        if exact and tolerance is None:
            tolerance = 0.0
        if tolerance is None or (exact and tolerance):
            raise OpkitInputError("give either a tolerance or exact=True")
        run: Callable[[Inputs], Tensor] = self.predict
        if steps is not None:
            need_steps(self.config.recipe.arrangement)
            forward.check_steps(steps)
            run = partial(self.predict, steps=steps)
        return fallback.solve(
            self.checker,
            run,
            inputs,
            tolerance,
            steps,
            static,
            coverage,
            significance,
            quantity,
            None if store is None else Store(Path(store), self.config.weights_sha256),
        )

    @cached_property
    def checker(self) -> Checker:
        """What judges this surrogate's predictions.

        Raises:
            BundleError: the bundle has no calibration.
        """
        return Checker(self.calibration, self.functions)

    def with_quantities(
        self, quantities: Mapping[str, Function], data: str | Path | None = None
    ) -> Surrogate:
        """Return this surrogate with quantities of interest written in Python.

        A function is called with the outputs and the inputs of one sample, float64
        arrays by name in physical units, and gives a number. Its errors are measured at
        once, on the samples that the surrogate's error bounds were made of, so its
        bounds hold with the same probability.

        Args:
            quantities: functions by name.
            data: a file with a test or validation split that the surrogate was not
                trained on, of the law that bounds are wanted for; None for the file of
                the training, as its run directory names it. Where that is not at hand,
                a check gives values with infinite bounds and says why in ``reason``,
                and `solve` refuses a tolerance for them.

        Raises:
            OpkitInputError: a name that is used, or a function that gives no number.
            BundleError: the bundle has no calibration; ``data`` holds no such samples.
            DataError: ``data`` cannot be read, or holds other variables.
        """
        for name, function in quantities.items():
            if name in self.checker.quantities.units or name in self.functions:
                raise OpkitInputError(f"there is a quantity {name!r}: rename one")
            if not callable(function):
                raise OpkitInputError(f"quantity {name}: give a function")
        new = {name: QuantityFunction(name, f) for name, f in quantities.items()}
        measured = held_out.calibrated(
            new,
            self.checker.calibration,
            self.source,
            None if data is None else Path(data),
        )
        every = {**self.functions, **measured}
        return Surrogate(self.model, self.config, self.calibration, self.source, every)

    def without_solver(self, data: str | Path | None = None) -> Surrogate:
        """Return this surrogate with checks that ask no solver.

        Without the residual of the PDE a check is fast, and can be exported. Where the
        residual is part of the error bound, the errors are measured again without it,
        on the samples that the bound was made of: it is then as likely to hold, and
        wider, or the same for all inputs.

        Args:
            data: as for `with_quantities`.

        Raises:
            BundleError: the bundle has no calibration; errors are to be measured again,
                and there are no samples for it.
            DataError: ``data`` cannot be read, or holds other variables.
        """
        place = None if data is None else Path(data)
        less = held_out.without_solver(self.checker.calibration, self.source, place)
        if less is self.calibration:
            return self
        return Surrogate(self.model, self.config, less, self.source)

    def _with(self, function: Function) -> Surrogate:
        """Return this surrogate with one more function; measured once."""
        name = named(function)
        if name in self.functions and self.functions[name].function is function:
            return self
        one = self._asked.get(name)
        if one is None or one.functions[name].function is not function:
            one = self._asked[name] = self.with_quantities({name: function})
        return one

    @cached_property
    def _asked(self) -> dict[str, Surrogate]:
        return {}


def load(
    path: str | Path,
    device: str = "cpu",
    quantities: Mapping[str, Function] | None = None,
    data: str | Path | None = None,
) -> Surrogate:
    """Load a surrogate from a run directory or a bundle.

    Args:
        path: of it, or ``zoo:NAME`` for one that comes with opkit.
        device: where its weights go.
        quantities: of interest, written in Python: see `Surrogate.with_quantities`.
        data: file to measure their errors on.

    Raises:
        BundleError: missing, damaged, of a newer format, or weights that do not fit.
        OpkitInputError: an operator this opkit does not know, or a device that is
            not there.
    """
    place = present(device)
    watch_forks()
    config, weights = bundle.read(Path(path))
    surrogate = build(config, weights, Path(path)).to(place)
    return surrogate.with_quantities(quantities, data) if quantities else surrogate


def build(
    config: BundleConfig, weights: Mapping[str, Tensor], source: Path | None = None
) -> Surrogate:
    """Construct a surrogate from a bundle's record and weights.

    Args:
        config: the record.
        weights: tensors by name.
        source: where they come from.

    Raises:
        BundleError: names or shapes of the weights do not fit the operator.
    """
    own = {k: v for k, v in weights.items() if not k.startswith(PREFIX)}
    model = model_that_fits(config, own)
    model.load_state_dict(own, strict=True)
    calibration = None
    if config.calibration is not None:
        numbers = {k: v for k, v in weights.items() if k.startswith(PREFIX)}
        context = Context(config, model)
        calibration = Calibration.from_tensors(config.calibration, numbers, context)
    return Surrogate(model, config, calibration, source)
