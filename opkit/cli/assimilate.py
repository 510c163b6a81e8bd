"""The verb assimilate: a filter on a twin experiment of a case."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opkit.cli import complete
from opkit.cli.cases import FORCE, JSON, SET
from opkit.cli.console import as_json, progress, table

if TYPE_CHECKING:
    from opkit.assimilate import Assimilation, Filter, Grid, Observation, Twin

FILTERS = ("etkf", "letkf", "3dvar", "oi")


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command line."""
    app.command()(assimilate)


def assimilate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="Name of a case, or a YAML path.",
            autocompletion=complete.cases,
        ),
    ],
    filter: Annotated[
        str, typer.Option("--filter", help="etkf, letkf, 3dvar or oi.")
    ] = "letkf",
    members: Annotated[int, typer.Option(help="Of the ensemble.")] = 20,
    cycles: Annotated[int, typer.Option(min=1, help="Observation times.")] = 200,
    every: Annotated[
        list[int] | None,
        typer.Option(help="Observe every n-th point; repeat for each axis."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Observe at a point 'X' or 'Y X' instead; repeatable."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of observations; a quarter of the state's."
        ),
    ] = None,
    inflation: Annotated[
        float, typer.Option(help="Factor of the analysed anomalies.")
    ] = 1.03,
    radius: Annotated[
        float | None,
        typer.Option(help="Of localisation; a tenth of the shortest side."),
    ] = None,
    no_rotate: Annotated[
        bool,
        typer.Option("--no-rotate", help="Do not rotate the ensemble at random."),
    ] = False,
    scale: Annotated[
        float, typer.Option(help="3dvar: variance of the background, of 1.")
    ] = 0.1,
    initial_error: Annotated[
        float, typer.Option(help="Of the first ensemble, in standard deviations.")
    ] = 0.1,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Fixed time steps of the solver in one cycle."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Forecast by the surrogate of this run.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="With --run: solve where a step may be off by more."),
    ] = None,
    model_errors: Annotated[
        bool,
        typer.Option(
            "--model-errors", help="With --run: add its errors, drawn at random."
        ),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="After a divergence.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="netCDF file: analyses, truth, observations"),
    ] = None,
    set_: Annotated[list[str] | None, SET] = None,
    force: Annotated[bool, FORCE] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Estimate a case's states from noisy, sparse observations, and score it.

    The truth is a run of the case's solver; the model of the filter is that solver, or
    the surrogate of a run. Climatology and optimal interpolation stand beside it.
    """
    from opkit.assimilate import OptimalInterpolation, surrogate_step, twin
    from opkit.base.files import check_target
    from opkit.case import load_case
    from opkit.errors import OpkitInputError, nearest
    from opkit.surrogate.bundle.run_directory import files_of

    if filter not in FILTERS:
        raise OpkitInputError(
            f"no filter {filter!r}: use {', '.join(FILTERS)}.{nearest(filter, FILTERS)}"
        )
    if run is None and (tolerance is not None or model_errors):
        raise OpkitInputError("--tolerance and --model-errors are about --run: add it")
    if every and at:
        raise OpkitInputError("--every and --at: give one of them")
    if out is not None:
        if out.suffix != ".nc":
            raise OpkitInputError(f"--out {out}: the file is netCDF, name it .nc")
        if not out.absolute().parent.is_dir():
            raise OpkitInputError(f"{out}: there is no such folder: create it first")
        check_target(out, files_of(run), force)
    if members < 2 and filter in ("etkf", "letkf"):
        raise OpkitInputError(
            f"an ensemble of {members}: {filter} needs a spread: give 2 members or more"
        )
    case = load_case(name, set_ or ())
    experiment = twin(
        case,
        lambda grid: _observation(grid, every, at),
        cycles=cycles,
        members=members,
        noise=noise,
        initial_error=initial_error,
        steps=steps,
        seed=seed,
    )
    step = None
    if run is not None:
        step = surrogate_step(run, tolerance, experiment.interval)
    chosen = _filter(experiment, filter, inflation, radius, not no_rotate, scale)
    errors = None
    if model_errors and step is not None:
        errors = experiment.model_errors(step)
    with progress(f"{filter} on {case.name}", "cycles", quiet=json) as update:
        made = experiment.run(
            chosen,
            step,
            seed=seed,
            model_errors=errors,
            keep_going=keep_going,
            report=lambda done, total: update(done, total),
        )
    if made.diverged is not None:
        warnings.warn(f"the filter diverged at cycle {made.diverged}", stacklevel=1)
    rows: list[dict[str, Any]] = [
        _row("climatology", experiment.climatological_error, None, None),
    ]
    if filter != "oi":
        floor = experiment.run(
            OptimalInterpolation(experiment.climatology), lambda states: states
        )
        rows.append(
            _row("optimal interpolation", experiment.scores(floor)["rmse"], None, None)
        )
    scores = experiment.scores(made)
    label = filter if run is None else f"{filter}, surrogate"
    spread = scores["spread"] if members > 1 and filter != "oi" else None
    rows.append(_row(label, scores["rmse"], spread, sum(made.seconds)))
    if out is not None:
        _write(out, experiment, made, force)
    if json:
        as_json({"rows": rows, "diverged": made.diverged, "file": out})
    else:
        table(rows)


def _row(
    label: str, rmse: float, spread: float | None, seconds: float | None
) -> dict[str, Any]:
    return {"estimate": label, "RMSE": rmse, "spread": spread, "s/cycle": seconds}


def _observation(
    grid: Grid, every: list[int] | None, at: list[str] | None
) -> Observation:
    from opkit.assimilate import at_points
    from opkit.assimilate import every as observe_every
    from opkit.errors import OpkitInputError

    if not at:
        chosen = every or [1]
        return observe_every(chosen[0] if len(chosen) == 1 else chosen, grid)
    try:
        places = [[float(x) for x in text.replace(",", " ").split()] for text in at]
    except ValueError:
        raise OpkitInputError(f"--at {at[0]!r}: write numbers, 'X' or 'Y X'") from None
    if any(len(place) != len(grid.axes) for place in places):
        raise OpkitInputError(f"--at: give {len(grid.axes)} numbers for each point")
    return at_points(places, grid)


def _filter(
    experiment: Twin,
    filter: str,
    inflation: float,
    radius: float | None,
    rotate: bool,
    scale: float,
) -> Filter:
    from opkit.assimilate import ETKF, LETKF, OptimalInterpolation, ThreeDVar

    if filter == "etkf":
        return ETKF(inflation, rotate)
    if filter == "letkf":
        sides = [float(axis[-1] - axis[0]) for axis in experiment.grid.axes]
        return LETKF(
            radius if radius is not None else min(sides) / 10, inflation, rotate
        )
    if filter == "oi":
        return OptimalInterpolation(experiment.climatology)
    return ThreeDVar(experiment.climatology, scale)


def _write(path: Path, experiment: Twin, made: Assimilation, force: bool) -> None:
    from opkit.base.files import appearing
    from opkit.datasets.disk import QuietFile

    mean = made.states["mean"]
    whole = made.states.assign_coords(time=experiment.observations["time"].values)
    whole = whole.assign(
        truth=(mean.dims, experiment.truth),
        observations=(("time", "observation"), experiment.observations.values),
    )
    places = experiment.observation.places
    if places is not None:
        whole["places"] = (("place", "axis"), places)
    with (
        appearing(path, replace=force) as temporary,
        QuietFile(temporary, "w+b") as raw,  # HDF5 crashes on a full disk
        raw.raising_refusals(),
    ):
        whole.to_netcdf(raw, engine="h5netcdf")
