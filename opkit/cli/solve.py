"""The verb solve: a linear PDE as text, a solution as figure, file or values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opkit.cli.console import as_json, table


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
    figure: Annotated[Path | None, typer.Option(help="Draw u and f - Lu here.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="npz file: x, y, u, u_x, ...")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Run or weights of a HyPINO; default our own.")
    ] = None,
    refinements: Annotated[
        int, typer.Option(min=0, help="Largest number of corrections.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=0, help="Of fitting with Adam.")] = 500,
    lbfgs: Annotated[int, typer.Option(min=0, help="Of fitting with L-BFGS.")] = 300,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Solve a linear second-order PDE on [-1, 1]² less holes, without training data.

    y is time in parabolic and hyperbolic problems.
    """
    import numpy as np

    from opkit import hypino
    from opkit.errors import OpkitInputError
    from opkit.pde.problem import read_hole

    points = [_point(text) for text in at or ()]
    if out is not None and out.suffix != ".npz":
        raise OpkitInputError(f"--out {out}: the file is written as .npz, name it so")
    holes = [read_hole(text) for text in hole or ()]
    pde = hypino.PDE(equation, boundary, source, holes)
    trained = None if model is None else hypino.load(model)
    u = hypino.solve(
        pde,
        model=trained,
        refinements=refinements,
        steps=steps,
        lbfgs_steps=lbfgs,
        seed=seed,
    )
    if figure is not None:
        u.plot(figure)
    if out is not None:
        axis = np.linspace(-1, 1, 224)
        x, y = np.meshgrid(axis, axis)
        fields = {"x": axis, "y": axis, **u.derivatives(x, y)}
        np.savez_compressed(out, allow_pickle=False, **fields)
    values = [{"x": x, "y": y, "u": float(u(x, y))} for x, y in points]
    if json:
        as_json({"residual": u.residual, "history": u.history, "values": values})
        return
    if values:
        table(values)
    print(f"relative residual {u.residual:.2e} (1 is that of u = 0)")


def _point(text: str) -> tuple[float, float]:
    from opkit.errors import OpkitInputError

    try:
        x, y = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise OpkitInputError(f"--at {text!r}: write two numbers, 'X Y'") from None
    return x, y
