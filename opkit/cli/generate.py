"""The verb generate: a case becomes a data file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON, SET
from opkit.cli.console import as_json, progress, say, size, table

if TYPE_CHECKING:
    from opkit.case import Case

QUIET = typer.Option("--quiet", "-q", help="No progress.")
SUFFIXES = (".h5", ".hdf5", ".nc", ".nc4")
DRY = typer.Option("--dry-run", help="Say what it would take; make nothing.")


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(generate)


def generate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[case] NAME",
            help="Name of a case, or a YAML path.",
            autocompletion=complete.cases,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to make; default NAME.h5.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Total over all splits.")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help="Grid points along every axis."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the data set.")
    ] = 0,
    workers: Annotated[int, typer.Option("-w", "--workers", metavar="N", min=1)] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Dask scheduler, or 'local'."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cuda for solvers that run on a GPU.", autocompletion=complete.devices
        ),
    ] = None,
    ranks: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="MPI ranks that share a sample (darcy-mesh)."
        ),
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    gzip: Annotated[
        int, typer.Option(metavar="N", min=0, max=9, help="Compression level.")
    ] = 0,
    double: Annotated[
        bool, typer.Option("--float64", help="Store float64 instead of float32.")
    ] = False,
    where_uncertain: Annotated[
        Path | None,
        typer.Option(help="Run whose surrogate picks the samples it is worst at."),
    ] = None,
    pool: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, help="Samples to pick from; default 10 times --samples."
        ),
    ] = None,
    set_: Annotated[list[str] | None, SET] = None,
    dry_run: Annotated[bool, DRY] = False,
    json: Annotated[bool, JSON] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Solve a case for random inputs and write one HDF5 file."""
    from opkit.case import load_case
    from opkit.errors import CaseError, DataError
    from opkit.solvers.interface import OnDevice, Parallel

    name = words[-1]
    if words[:-1] not in ([], ["case"]):
        raise CaseError(f"{' '.join(words)}: write it as `opkit generate case NAME`")
    overrides = list(set_ or ())
    if resolution:
        overrides.append(f"resolution={resolution}")
    case = load_case(name, overrides)
    if device:
        _refuse_unless(case, OnDevice, f"--device {device}", "computes on the CPU")
        overrides.append(f"solver.parameters.device={device}")
    if ranks > 1:
        _refuse_unless(
            case, Parallel, f"--ranks {ranks}", "cannot share a sample between ranks"
        )
        overrides.append("solver.parameters.parallel=true")
    if device or ranks > 1:
        case = load_case(name, overrides)
    dtype: Any = "float64" if double else "float32"
    target = out or Path(f"{case.name}.h5")
    if target.suffix not in SUFFIXES:
        raise DataError(
            f"{target}: a data file is HDF5 (netCDF-4), name it "
            f"{target.with_suffix('.h5').name}"
        )
    if dry_run:
        _show_plan(case, seed, samples, dtype, json)
        return
    picked, marks = None, None
    if where_uncertain is not None:
        from opkit.train.pick_samples import pick

        count = samples or case.samples.train
        chosen = pick(where_uncertain, case, count, pool or 10 * count, seed, dtype)
        case, picked, marks = chosen.case, chosen.numbers, chosen.marks
        samples = None
    from opkit.generate import Progress
    from opkit.generate import generate as run

    with progress(f"{case.name} -> {target.name}", "samples", quiet or json) as update:

        def show(event: Progress) -> None:
            stage = "" if event.stage == "solving" else f", {event.stage}"
            note = f"worst solver error {event.worst:.1e}{stage}"
            update(event.done, event.total, note, event.resumed)

        run(
            case,
            target,
            seed,
            samples,
            workers,
            scheduler,
            resume,
            show,
            dtype,
            gzip,
            picked,
            marks,
            ranks,
        )
    nbytes = target.stat().st_size
    if json:
        as_json({"file": target, "bytes": nbytes})
    elif not quiet:
        say(f"{target}: {size(nbytes)}. `opkit inspect {target}` shows it.")


def _refuse_unless(case: Case, capability: type, option: str, instead: str) -> None:
    from opkit.errors import CaseError

    solver = case.build_solver()
    if not isinstance(solver, capability):
        raise CaseError(
            f"{option}: the solver of case {case.name} ({type(solver).__name__}) "
            f"{instead}: leave {option.split()[0]} out"
        )


def _show_plan(
    case: Any, seed: int, samples: int | None, dtype: Any, json: bool
) -> None:
    from opkit.generate import plan

    planned = plan(case, seed, samples, dtype)
    if json:
        as_json(
            {
                "case": case.identity,
                "samples": planned.samples,
                "splits": {k: len(v) for k, v in planned.header.splits.items()},
                "resolution": case.shape,
                "file_bytes": planned.file_bytes,
                "disk_bytes": planned.disk_bytes,
                "memory_bytes": planned.memory_bytes,
                "shard_samples": planned.shard_samples,
                "batch_samples": planned.batch_samples,
                "shards": planned.shards,
            }
        )
        return
    splits = ", ".join(f"{k} {len(v)}" for k, v in planned.header.splits.items())
    grid = " x ".join(str(n) for n in case.shape)
    rows = [
        {"what": "case", "value": case.identity},
        {"what": "samples", "value": f"{planned.samples} ({splits})"},
        {"what": "resolution", "value": grid},
        {"what": "file", "value": size(planned.file_bytes)},
        {"what": "disk while it is made", "value": size(planned.disk_bytes)},
        {"what": "memory a worker", "value": size(planned.memory_bytes)},
        {"what": "shards", "value": planned.shards},
    ]
    table(rows)
