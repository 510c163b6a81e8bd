"""The verb solve: a linear PDE as text, a solution as figure, file or values."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opkit.cli.cases import FORCE
from opkit.cli.console import as_json, table

if TYPE_CHECKING:
    from opkit.hypino import Solution


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(solve)


def solve(
    equation: Annotated[str, typer.Argument(help="Such as 'u_xx + u_yy + u = f'.")],
    boundary: Annotated[
        str,
        typer.Option(
            "--boundary", "-b", help="Such as 'u = 0 on left, right; u_n = 1 on top'."
        ),
    ] = "",
    source: Annotated[str | None, typer.Option(help="Formula of f in x and y.")] = None,
    hole: Annotated[
        list[str] | None,
        typer.Option(help="disk X Y R | rectangle X0 Y0 X1 Y1 | polygon X Y X Y ..."),
    ] = None,
    at: Annotated[
        list[str] | None, typer.Option(help="Point 'X Y' to print u at; repeatable.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw u and its error here.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="npz file: x, y, u, u_x, ..., error"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Run or weights of a HyPINO; default our own.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="both, elements (the reference) or network.")
    ] = "both",
    tolerance: Annotated[
        float, typer.Option(help="Of the elements' estimated error, relative to |u|.")
    ] = 1e-4,
    cells: Annotated[
        int | None,
        typer.Option(min=36, max=411, help="Most elements along a side; default 81."),
    ] = None,
    refinements: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Largest number of corrections of the network; 2, or 0 with --steps.",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=0, help="Of fitting the network with Adam.")
    ] = 0,
    lbfgs: Annotated[
        int, typer.Option(min=0, help="Of fitting the network with L-BFGS.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    force: Annotated[bool, FORCE] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Solve a linear second-order PDE on [-1, 1]² less holes, and say how well.

    Finite elements answer, with an error estimate; the network's answer is shown with
    its distance from them. y is time in parabolic and hyperbolic problems.
    """
    import numpy as np

    from opkit import hypino
    from opkit.base.files import appearing, check_target
    from opkit.errors import OpkitInputError
    from opkit.pde.problem import read_hole
    from opkit.surrogate.bundle.run_directory import files_of

    points = [_point(text) for text in at or ()]
    if out is not None and out.suffix != ".npz":
        raise OpkitInputError(f"--out {out}: the file is written as .npz, name it so")
    for path in (out, figure):
        if path is not None and not path.absolute().parent.is_dir():
            raise OpkitInputError(f"{path}: there is no such folder: create it first")
    for target in (figure, out):
        if target is not None:
            check_target(target, files_of(model), force)
    holes = [read_hole(text) for text in hole or ()]
    pde = hypino.PDE(equation, boundary, source, holes)
    trained = None if model is None else hypino.load(model)
    u = hypino.solve(
        pde,
        model=trained,
        method=method,  # type: ignore[arg-type]  # checked there
        refinements=refinements,
        steps=steps,
        lbfgs_steps=lbfgs,
        tolerance=tolerance,
        cells=cells,
        seed=seed,
    )
    if figure is not None:
        u.plot(figure, force=force)
    if out is not None:
        axis = np.linspace(-1, 1, 224)
        x, y = np.meshgrid(axis, axis)
        fields = {"x": axis, "y": axis, **u.derivatives(x, y)}
        fields["error"] = u.error_at(x, y)
        with appearing(out, replace=force) as new, new.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **fields)
    values = [_values(u, x, y) for x, y in points]
    for row in values:
        if row["u"] != row["u"]:
            warnings.warn(
                f"no value at {row['x']:g} {row['y']:g}: outside the domain",
                stacklevel=2,
            )
    if json:
        as_json({**_figures(u), "values": values})
        return
    if values:
        digits = {"u": ".7g", "network": ".4g", "error": ".2g"}
        table(
            [
                {k: format(v, digits.get(k, "g")) for k, v in row.items()}
                for row in values
            ]
        )
    for line in _summary(u):
        print(line)


def _values(u: Solution, x: float, y: float) -> dict[str, float]:
    row = {"x": x, "y": y, "u": float(u(x, y)), "error": float(u.error_at(x, y))}
    if u.method == "both":
        row["network"] = float(u.network_values(x, y))
    return row


def _figures(u: Solution) -> dict[str, Any]:
    """What is known about the answer, as numbers; None where it does not apply."""
    elements = u.elements
    spectrum = None if elements is None else elements.spectrum
    return {
        "method": u.method,
        "error_estimate": _number(u.error_estimate),
        "error_rms": _number(u.error_rms),
        "max_u": None if elements is None else elements.largest,
        "cells": None if elements is None else elements.cells,
        "eigenvalue": None if spectrum is None else spectrum.eigenvalue.real,
        "eigenvalue_distance": u.eigenvalue_distance,
        "distance": u.distance,
        "error_bound": u.error_bound,
        "residual": u.residual,
        "history": u.history,
        "notes": u.notes,
    }


def _number(value: float) -> float | None:
    return value if value == value else None


def _summary(u: Solution) -> Iterator[str]:
    """Lines on the error of the answer, in the units of u."""
    elements = u.elements
    if elements is None:
        yield f"network: nothing vouches for it; relative residual {u.residual:.2e}"
        return
    error = (
        f"{u.error_estimate:.2g} at most, {u.error_rms:.2g} root mean square, of "
        f"max |u| {elements.largest:.4g}"
    )
    by = "network, judged by elements" if u.method == "network" else "elements"
    yield f"estimated error: {error} ({by}, {elements.cells} cells)"
    if u.distance is not None:
        shown = "" if u.method == "network" else "network: "
        bound = (
            "" if u.error_bound is None else f", error bound {u.error_bound:.2g} rms"
        )
        yield f"{shown}{100 * u.distance:.3g} % from the elements (relative L2){bound}"
    if elements.spectrum is not None and u.eigenvalue_distance is not None:
        yield (
            f"eigenvalue nearest to 0: {elements.spectrum.eigenvalue.real:.4g}, a "
            f"relative distance of {u.eigenvalue_distance:.2g}"
        )


def _point(text: str) -> tuple[float, float]:
    from opkit.errors import OpkitInputError

    try:
        x, y = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise OpkitInputError(f"--at {text!r}: write two numbers, 'X Y'") from None
    return x, y
