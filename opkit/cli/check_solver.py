"""The verb check-solver: is a case's solver, of whichever package, fit for opkit?"""

from __future__ import annotations

from typing import Annotated

import typer

from opkit.cli.cases import JSON, SET
from opkit.cli.console import as_json, table


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command line."""
    app.command("check-solver")(check_solver)


def check_solver(
    name: Annotated[
        str, typer.Argument(metavar="CASE", help="Name of a case, or a YAML path.")
    ],
    samples: Annotated[int, typer.Option(min=2, help="To draw and solve.")] = 3,
    resolution: Annotated[
        int | None, typer.Option(min=2, help="Grid points along every axis.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples.")] = 0,
    set_: Annotated[list[str] | None, SET] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Try a case's solver on what opkit relies on, such as seeds and residuals."""
    from opkit.case import load_case
    from opkit.errors import CaseError
    from opkit.generate.check_solver import check_solver as try_solver

    overrides = list(set_ or ())
    if resolution:
        overrides.append(f"resolution={resolution}")
    case = load_case(name, overrides)
    findings = try_solver(case, samples, seed)
    rows = [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in findings]
    as_json(findings) if json else table(rows)
    failed = [c for c in findings if c.passed is False]
    if failed:
        solver = case.solver.target
        raise CaseError(f"solver {solver}: {failed[0].name}: {failed[0].detail}")
