"""Verbs about data files: inspect, validate, import, export-data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from opkit.cli import complete
from opkit.cli.cases import FORCE, JSON, SET
from opkit.cli.console import as_json, say, size, table

if TYPE_CHECKING:
    from opkit.datasets.header import Header

T = TypeVar("T")
FIELD = "Variable of the case and the array that holds it, as above."
FILES = "Training data: a file, a folder or a pattern; several are read in order."


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(inspect)
    app.command()(validate)
    app.command("import")(import_)
    app.command()(export_data)


def inspect(
    file: Annotated[Path, typer.Argument(help="Data file.")],
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw samples into this PNG.")
    ] = None,
    json: Annotated[bool, JSON] = False,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Show a data file's card and check it; of a mesh file its parts."""
    from opkit.base.files import check_target
    from opkit.datasets.card import card
    from opkit.datasets.conformity import faults
    from opkit.datasets.read import DataFile
    from opkit.errors import DataError

    if plot:
        check_target(plot, [file], force)
    if _is_mesh(file):
        _inspect_mesh(file, json)
        return
    facts = card(file)
    with DataFile(file) as opened:
        wrong = list(faults(opened))
        facts["boundary"] = _parts_of(opened.header)
    if plot:
        from opkit.figures.data_file import draw

        draw(file, plot)
    if json:
        as_json({**facts, "faults": wrong})
    else:
        _print_card(file, facts)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"{file}: {wrong[0]}{more}")
    if not json:
        print("The file follows the specification.")


def _is_mesh(file: Path) -> bool:
    from opkit.solvers.fem.read_mesh import SUFFIXES

    return file.suffix.lower() in SUFFIXES


def _inspect_mesh(file: Path, json: bool) -> None:
    import numpy as np

    from opkit.solvers.fem.read_mesh import read_mesh

    mesh = read_mesh(file)
    volumes, sizes = mesh.volumes(), mesh.part_sizes()
    size_name, cell_name = (
        ("length", "area") if mesh.dimension == 2 else ("area", "volume")
    )
    facets = np.bincount(mesh.parts, minlength=len(mesh.names))
    parts: list[dict[str, Any]] = [
        {"part": name, "facets": int(n), size_name: sizes[name]}
        for name, n in zip(mesh.names, facets, strict=True)
    ]
    regions: list[dict[str, Any]] = [
        {
            "subdomain": int(number),
            "cells": int((mesh.subdomains == number).sum()),
            cell_name: float(volumes[mesh.subdomains == number].sum()),
        }
        for number in np.unique(mesh.subdomains)
    ]
    if json:
        as_json({"nodes": len(mesh.points), "parts": parts, "subdomains": regions})
        return
    table(parts, title=f"{file}: {len(mesh.points)} nodes, {len(mesh.cells)} cells")
    table(regions)


def _parts_of(header: Header) -> list[dict[str, Any]]:
    """Named parts of the boundary of the case's mesh, if its solver can be built."""
    from opkit.case.record import parse_stored
    from opkit.errors import OpkitError
    from opkit.solvers.interface import NamedParts

    if header.mesh is None or not header.case:
        return []
    try:
        case = parse_stored(header.case, "case", header.mesh)
        solver = case.build_solver()
        if not isinstance(solver, NamedParts):
            return []
        sizes = solver.part_sizes()
    except OpkitError:
        return []  # stored without its parts, and the mesh's own file is elsewhere
    conditions = case.solver.parameters.get("boundary", {})
    size_name = "length" if header.mesh.points.shape[1] == 2 else "area"
    return [
        {
            "part": name,
            size_name: length,
            "condition": _pairs(dict(conditions.get(name, {}))),
        }
        for name, length in sizes.items()
    ]


def _print_card(file: Path, facts: dict[str, Any]) -> None:
    problem, storage = facts["problem"], facts["storage"]
    lines = {
        "case": problem["case"] or "imported data",
        "title": problem["title"],
        "equation": problem["equation"],
        "solver": problem["solver"],
        "parameters": _pairs(problem["parameters"]),
        "laws": "; ".join(f"{k}: {_pairs(v)}" for k, v in problem["laws"].items()),
        "distribution": _pairs(problem["distribution"]),
        "a mesh each": _pairs(_without_lists(facts["meshes"] or {})),
        "splits": _pairs(facts["splits"]),
        "size": f"{size(storage['bytes'])}, {storage['ratio']:.2f} of the raw numbers",
        **{key.replace("_", " "): value for key, value in facts["origin"].items()},
    }
    if facts["solver_error"]:
        error = facts["solver_error"]
        lines["solver error"] = (
            f"{error['measure']}: median {error['median']:.1e}, "
            f"largest {error['largest']:.1e} (sample {error['sample']})"
        )
    rows = [{"what": k, "value": v} for k, v in lines.items() if v not in (None, "")]
    table(rows, title=str(file))
    table(facts["variables"])
    if facts["dimensions"]:
        table(facts["dimensions"])
    if facts["boundary"]:
        table(facts["boundary"])


def _without_lists(facts: dict[str, Any]) -> dict[str, Any]:
    """Write lists as texts, with spaces in place of the underscores of names."""
    texts = {k: " ".join(v) if isinstance(v, list) else v for k, v in facts.items()}
    return {k.replace("_", " "): v for k, v in texts.items() if v != ""}


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def validate(
    file: Annotated[Path, typer.Argument(help="Data file.")],
    samples: Annotated[
        int, typer.Option(min=1, help="Samples whose physics is recomputed.")
    ] = 16,
    every: Annotated[
        bool, typer.Option("--all", help="Recompute the physics of every sample.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the samples.")] = 0,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Check a data file: layout, checksums, duplicates, and the PDE itself."""
    from opkit.errors import DataError
    from opkit.generate.validate import validate as validate_file

    findings = validate_file(file, samples=None if every else samples, seed=seed)
    rows = [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in findings]
    as_json(findings) if json else table(rows)
    failed = [c for c in findings if c.passed is False]
    if failed:
        detail = failed[0].detail.removeprefix(f"{file}: ")
        raise DataError(f"{file}: {failed[0].name}: {detail}")


def import_(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Data file to make.")],
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=ARRAY[:DIMS][@FRAMES]", help=FIELD),
    ] = None,
    outputs: Annotated[
        list[str],
        typer.Option("--output", metavar="NAME=ARRAY[:DIMS][@FRAMES]", help=FIELD),
    ],
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="FILES", help=FILES),
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option("--validation", metavar="FILES")
    ] = None,
    test: Annotated[list[str] | None, typer.Option("--test", metavar="FILES")] = None,
    hold_out: Annotated[
        int, typer.Option(min=0, help="Last training samples kept for validation.")
    ] = 0,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT=SHARE,...",
            help="Training samples drawn for other splits, such as test=0.1.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw.")] = 0,
    format: Annotated[
        str | None, typer.Option(help="Default: told by content.")
    ] = None,
    coordinates: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            metavar="DIM=LOW,HIGH",
            help="Ends of an axis of the arrays, before frames are cut.",
        ),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(
            "--units",
            metavar="NAME=UNITS",
            help="Units of a variable or axis, where the files do not say.",
        ),
    ] = None,
    periodic: Annotated[
        list[str] | None,
        typer.Option(
            "--periodic",
            metavar="DIM",
            help="Axis whose value after the last is the first again.",
        ),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARRAY[:DIMS]",
            help="Coordinates of each sample's nodes: one array for x, y, (z), or one "
            "with the axis component.",
        ),
    ] = None,
    meshes: Annotated[
        str | None,
        typer.Option(
            metavar="one|moved|each",
            help="What meshes of several files have in common. Default: told by "
            "content.",
        ),
    ] = None,
    double: Annotated[bool, typer.Option("--float64", help="Store float64.")] = False,
    case: Annotated[
        str | None,
        typer.Option(
            help="Case the data belong to: name or YAML path.",
            autocompletion=complete.cases,
        ),
    ] = None,
    set_: Annotated[list[str] | None, SET] = None,
    json: Annotated[bool, JSON] = False,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Copy arrays out of other groups' files into one data file.

    A folder of .vtu, .msh or .cgns files holds one sample a file: where their meshes
    differ, each sample keeps its own.

    --input permeability=x takes the array x under another name.

    --input permeability=x:sample,y,x names its dims, where the file does not.

    --output vorticity=u:sample,x,y,time@1: takes the frames from the second on.
    """
    from opkit.datasets.importers.convert import import_data
    from opkit.datasets.importers.fieldmap import FieldMap
    from opkit.datasets.read import DataFile
    from opkit.errors import DataError

    dtype: Literal["float32", "float64"] = "float64" if double else "float32"
    by_split = {"train": train, "validation": validation, "test": test}
    files = {split: paths for split, paths in by_split.items() if paths}
    if not files:
        raise DataError("no files: give --train, --validation or --test FILES")
    import_data(
        files,
        out,
        [FieldMap.parse(text, "input") for text in inputs or ()]
        + [FieldMap.parse(text, "output") for text in outputs],
        format=format,
        held_out={"validation": hold_out} if hold_out else None,
        coordinates=_once("--axis", (_axis(text) for text in coordinates or ())),
        like=_header_of(case, set_ or [], dtype),
        dtype=dtype,
        units=_once("--units", (_pair("--units", text) for text in units or ())),
        periodic=periodic or (),
        fractions=_shares(split) if split else None,
        seed=seed,
        force=force,
        meshes=_meshes(meshes),
        points=[FieldMap.parse(f"points={text}", "input") for text in points or ()],
    )
    nbytes = out.stat().st_size
    with DataFile(out, trusted=True) as data_file:
        turned = data_file.header.provenance.get("turned")
        drawn = data_file.header.provenance.get("split")
        sizes = {name: len(rows) for name, rows in data_file.header.splits.items()}
    if json:
        as_json({"file": out, "bytes": nbytes, "splits": sizes, "turned": turned})
        return
    say(f"{out}: {size(nbytes)}. `opkit inspect {out}` shows it.")
    if turned:
        say(f"Turned round with their data, to increase: {', '.join(turned)}.")
    if drawn:
        say(f"Samples drawn with seed {seed}: {_pairs(sizes)}.")


def export_data(
    file: Annotated[Path, typer.Argument(help="Data file.")],
    out: Annotated[Path, typer.Argument(help="Folder or file to make.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="well, pdebench, zarr or vtu.", autocompletion=complete.layouts
        ),
    ],
    json: Annotated[bool, JSON] = False,
) -> None:
    """Write a data file in the layout of The Well, PDEBench, Zarr v3 or ParaView."""
    from opkit.datasets.exporters import convert as exporting

    kind: Any = to  # export_data refuses what it does not know
    paths = list(exporting.export_data(file, out, kind))
    if json:
        as_json(paths)
        return
    for path in paths:
        say(path)


def _header_of(
    name: str | None, overrides: list[str], dtype: Literal["float32", "float64"]
) -> Header | None:
    from opkit.errors import CaseError

    if name is None:
        if overrides:
            raise CaseError("--set belongs to a case: name it with --case")
        return None
    from opkit.case import load_case
    from opkit.case.data import header_of

    case = load_case(name, overrides)
    return header_of(case, case.build_solver(), 0, None, dtype)


def _axis(text: str) -> tuple[str, tuple[float, float]]:
    from opkit.errors import DataError

    name, _, values = text.partition("=")
    try:
        low, high = (float(word) for word in values.split(","))
    except ValueError:
        raise DataError(f"--axis {text}: write it as --axis x=0,1") from None
    if not low < high:
        raise DataError(f"--axis {text}: an axis increases: swap the two")
    return name, (low, high)


def _pair(option: str, text: str) -> tuple[str, str]:
    from opkit.errors import DataError

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise DataError(f"{option} {text}: write it as {option} NAME=VALUE")
    return name, value


def _meshes(text: str | None) -> Literal["one", "moved", "each"] | None:
    from opkit.errors import DataError

    known: tuple[Literal["one", "moved", "each"], ...] = ("one", "moved", "each")
    for word in known:
        if text == word:
            return word
    if text is not None:
        raise DataError(f"--meshes {text}: choose from {', '.join(known)}")
    return None


def _shares(text: str) -> dict[str, float]:
    from opkit.errors import DataError

    pairs = _once("--split", (_pair("--split", word) for word in text.split(",")))
    try:
        return {name: float(value) for name, value in pairs.items()}
    except ValueError:
        raise DataError(
            f"--split {text}: write it as --split validation=0.1,test=0.1"
        ) from None


def _once(option: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return pairs as a dict; a name that stands twice has two meanings."""
    from opkit.errors import DataError

    by_name: dict[str, T] = {}
    for name, value in pairs:
        if name in by_name:
            raise DataError(f"{option} {name}: is given twice: give it once")
        by_name[name] = value
    return by_name
