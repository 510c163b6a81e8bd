"""The page: sections through a template into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

import opkit
from opkit.base.files import check_target, make_folder, write_bytes
from opkit.errors import OpkitInputError
from opkit.report import (
    case_and_data,
    limits,
    pays,
    provenance,
    regions,
    rollouts,
    samples,
    training,
)
from opkit.report.content import Section, grid, number
from opkit.report.subject import Subject, read
from opkit.surrogate.bundle.run_directory import files_of


def report(
    run: Path,
    out: Path,
    data: Path | None = None,
    solver: bool = True,
    force: bool = False,
) -> Path:
    """Write a report about a run.

    Args:
        run: run directory or bundle.
        out: HTML file to write; appears whole or not at all.
        data: data file; the one it was trained on where not given.
        solver: time the case's solver, to say whether the surrogate pays.
        force: replace ``out`` if it exists; never the data.

    Returns:
        The path written.

    Raises:
        BundleError: no bundle, or its data file is not known or gone.
        CaseError: the data are of another case.
        DataError: the data cannot be read, or the page not written.
        MissingExtraError: matplotlib is not installed.
    """
    if out.suffix not in (".html", ".htm"):
        raise OpkitInputError(f"{out}: write the report to a .html file")
    check_target(out, [data, *files_of(Path(run))], force)
    subject = read(Path(run), data)
    parts = [
        pays.section(subject) if solver else None,
        case_and_data.case_section(subject),
        case_and_data.data_section(subject),
        training.training_section(subject),
        training.errors_section(subject),
        regions.section(subject),
        samples.section(subject),
        rollouts.section(subject),
        limits.section(subject),
        provenance.section(subject),
    ]
    sections = [section for section in parts if section is not None]
    make_folder(out.parent)
    write_bytes(out, render(subject, sections).encode(), replace=force)
    return out


def render(subject: Subject, sections: Sequence[Section]) -> str:
    """Return the page as HTML; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("opkit.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    config = subject.config
    own, *others = subject.evaluation.rows
    trivial = {
        r.predictor: r.relative_l2 for r in others if r.resolution == own.resolution
    }
    flags = subject.evaluation.flags
    where = f"{grid(own.resolution)}, {own.samples} {own.split} samples"
    figures = {
        f"relative L2 error, {where}": number(own.relative_l2),
        "error of the mean predictor": number(trivial.get("mean")),
        **{
            f"error of {words}": number(trivial[name])
            for name, words in (
                ("persistence", "persistence"),
                ("linear", "a linear model of one step"),
            )
            if name in trivial
        },
        "worst sample": number(float(subject.errors.max())),
        "flags": str(len(flags)),
    }
    return environment.get_template("page.html").render(
        title=f"{config.operator} for {config.case.get('name', 'imported data')}",
        subtitle=str(config.case.get("title", "")),
        version=opkit.__version__,
        figures=figures,
        flags=flags,
        sections=sections,
    )
