"""The cycle of a filter: forecast, analyse, and say when it has lost the system.

A filter that knows its own errors has innovations d of the size that it expects,

    z = mean of d² / (spread² + R) ≈ 1,

spread that of the observed forecasts. Where z is above `LIMIT` in the mean of the last
`WINDOW` cycles, observations no longer correct it: it has diverged.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from opkit.assimilate.filters import Filter
from opkit.assimilate.observations import ErrorCovariance, Observation
from opkit.base.arrays import Array
from opkit.errors import FilterDivergedError, NonFiniteError, OpkitInputError

if TYPE_CHECKING:
    import xarray as xr

Step = Callable[[Array], Array]
"""States (member, *space) to those one cycle later."""
WINDOW = 30
LIMIT = 2.0
AXES = ("z", "y", "x")


@dataclass(frozen=True)
class Assimilation:
    """What a filter made of observations.

    Args:
        states: dataset over time: ``mean`` and ``spread`` of the analyses (time,
            *space), ``forecast_mean``, and by cycle ``innovation``, the number z.
        ensemble: analysed members of the last cycle (member, *space).
        seconds: of forecasts and of analyses, means over cycles.
        diverged: first cycle at which the filter had diverged; None where it has not.
    """

    states: xr.Dataset
    ensemble: Array
    seconds: tuple[float, float]
    diverged: int | None


def assimilate(
    step: Step,
    filter: Filter,
    ensemble: Array,
    observations: ArrayLike | xr.DataArray,
    observation: Observation,
    errors: ArrayLike,
    *,
    seed: int = 0,
    model_errors: Array | None = None,
    keep_going: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Assimilation:
    """Forecast and analyse once for each time of the observations.

    Args:
        step: the model; from one observation to the next.
        filter: turns forecasts into analyses.
        ensemble: members (member, *space) one step before the first observation.
        observations: (time, observation), with a coordinate ``time`` where it is a
            DataArray; NaN where there is none.
        observation: what is observed.
        errors: R: a variance, variances, or the matrix.
        seed: of random rotations and model errors.
        model_errors: (sample, *space); of each forecast a random one is subtracted.
        keep_going: after a divergence.
        report: called with the number of cycles done and of all.

    Raises:
        OpkitInputError: too few members, shapes that do not fit, observations that are
            infinite, R that is not positive.
        NonFiniteError: the model returned NaN or infinity, or the filter did; the
            message says when.
        FilterDivergedError: the filter has diverged, unless ``keep_going``.
    """
    members = np.array(ensemble, np.float64)
    times, series = _series(observations)
    cov = _checked(members, filter, series, observation, errors)
    if model_errors is not None:
        _check_model_errors(model_errors, members)
    rng = np.random.default_rng(seed)
    recent: deque[float] = deque(maxlen=WINDOW)
    history: dict[str, list[Array]] = {"mean": [], "spread": [], "forecast_mean": []}
    innovations, spent, diverged = [], [0.0, 0.0], None
    for cycle, values in enumerate(series):
        begin = time.perf_counter()
        members = _forecast(step, members, cycle)
        if model_errors is not None:
            rows = rng.integers(len(model_errors), size=len(members))
            members = members - model_errors[rows]
        middle = time.perf_counter()
        history["forecast_mean"].append(members.mean(0))
        z = _innovation(members, values, observation, cov)
        if np.isfinite(values).any():
            members = filter.analyse(members, values, observation, cov, rng)
            if not np.isfinite(members).all():
                raise NonFiniteError(
                    f"the analysis of cycle {cycle} (time {times[cycle]:g}) is NaN or "
                    "infinite: the variances are too large or too small"
                )
        spent[0] += middle - begin
        spent[1] += time.perf_counter() - middle
        history["mean"].append(members.mean(0))
        history["spread"].append(_spread(members))
        innovations.append(z)
        if np.isfinite(z) and filter.least > 1:
            recent.append(z)
        if diverged is None and len(recent) == WINDOW and np.mean(recent) > LIMIT:
            diverged = cycle
            if not keep_going:
                raise FilterDivergedError(
                    f"the filter has diverged at cycle {cycle} (time "
                    f"{times[cycle]:g}): over {WINDOW} cycles the innovations are "
                    f"{np.sqrt(np.mean(recent)):.3g} times what it expects: take more "
                    "inflation, localisation, more members or more observations"
                )
        if report is not None:
            report(cycle + 1, len(series))
    states = _dataset(history, np.array(innovations), times, observation)
    each = (spent[0] / len(series), spent[1] / len(series))
    return Assimilation(states, members, each, diverged)


def _series(observations: ArrayLike | xr.DataArray) -> tuple[Array, Array]:
    """Times and values of observations."""
    import xarray as xr

    if isinstance(observations, xr.DataArray):
        if "time" not in observations.dims or observations.ndim != 2:
            raise OpkitInputError(
                f"observations have the dims {', '.join(map(str, observations.dims))}: "
                "give time and one more"
            )
        ordered = observations.transpose("time", ...)
        series = np.asarray(ordered.values, np.float64)
        if "time" in ordered.coords:
            return np.asarray(ordered["time"].values, np.float64), series
    else:
        series = np.asarray(observations, np.float64)
    if series.ndim != 2 or not len(series):
        raise OpkitInputError(
            f"observations have shape {series.shape}: give (time, observation)"
        )
    return np.arange(1.0, len(series) + 1), series


def _checked(
    members: Array,
    filter: Filter,
    series: Array,
    observation: Observation,
    errors: ArrayLike,
) -> ErrorCovariance:
    grid = observation.grid.shape
    if members.ndim <= len(grid) or members.shape[-len(grid) :] != grid:
        shape = ", ".join(map(str, ("member", *grid)))
        raise OpkitInputError(f"the ensemble has shape {members.shape}: give ({shape})")
    if len(members) < filter.least:
        raise OpkitInputError(
            f"an ensemble of {len(members)}: {type(filter).__name__} needs a spread: "
            f"give {filter.least} members or more"
        )
    if not np.isfinite(members).all():
        raise OpkitInputError("the ensemble is not finite: replace such members")
    if np.isinf(series).any():
        where = int(np.isinf(series).any(1).argmax())
        raise OpkitInputError(
            f"the observations of cycle {where} are infinite: write NaN where there "
            "are none"
        )
    count = observation(members[:1]).shape[1]
    if series.shape[1] != count:
        raise OpkitInputError(
            f"{series.shape[1]} observations at a time, and the operator "
            f"({observation.name}) gives {count}: they have to agree"
        )
    return ErrorCovariance(errors, count)


def _check_model_errors(model_errors: Array, members: Array) -> None:
    errors = np.asarray(model_errors)
    if errors.shape[1:] != members.shape[1:] or not len(errors):
        raise OpkitInputError(
            f"model errors have shape {errors.shape}: give (sample, "
            f"{', '.join(map(str, members.shape[1:]))})"
        )
    if not np.isfinite(errors).all():
        raise OpkitInputError("the model errors are not finite: leave such samples out")


def _forecast(step: Step, members: Array, cycle: int) -> Array:
    ahead = np.asarray(step(members), np.float64)
    if ahead.shape != members.shape:
        raise OpkitInputError(
            f"the model returns shape {ahead.shape} for {members.shape}: a step keeps "
            "the shape of the ensemble"
        )
    bad = ~np.isfinite(ahead).reshape(len(ahead), -1).all(1)
    if bad.any():
        raise NonFiniteError(
            f"the model returned NaN or infinity for member {int(bad.argmax())} at "
            f"cycle {cycle}: shorter steps of the model, or less inflation, may help"
        )
    return ahead


def _innovation(
    members: Array, values: Array, observation: Observation, errors: ErrorCovariance
) -> float:
    """Return z of one cycle; NaN without observations or spread."""
    seen = np.isfinite(values)
    if not seen.any():
        return float("nan")
    observed = observation(members)[:, seen]
    spread = observed.var(0, ddof=1) if len(members) > 1 else 0.0
    expected = spread + errors.variances[seen]
    return float(((values[seen] - observed.mean(0)) ** 2 / expected).mean())


def _spread(members: Array) -> Array:
    if len(members) < 2:
        return np.zeros(members.shape[1:])
    spread: Array = members.std(0, ddof=1)
    return spread


def _dataset(
    history: dict[str, list[Array]], z: Array, times: Array, observation: Observation
) -> xr.Dataset:
    import xarray as xr

    grid = observation.grid
    names = AXES[-len(grid.axes) :]
    layers = history["mean"][0].ndim - len(names)
    dims = ("time", *(f"layer_{i}" for i in range(layers)), *names)
    if layers == 1:
        dims = ("time", "layer", *names)
    data = {name: (dims, np.stack(fields)) for name, fields in history.items()}
    coordinates = {"time": times, **dict(zip(names, grid.axes, strict=True))}
    states: xr.Dataset = xr.Dataset(
        {**data, "innovation": (("time",), z)}, coords=coordinates
    )
    states.attrs["observation"] = observation.name
    return states
