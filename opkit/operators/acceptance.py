"""Which operator takes which data: refusals before anything is built or trained."""

from __future__ import annotations

from opkit.errors import OpkitInputError
from opkit.operators import OPERATORS
from opkit.operators.interface import Accepts, GeometryKind, operator_class


def acceptance() -> dict[str, Accepts]:
    """Return what every operator accepts, by name."""
    return {name: operator_class(name).accepts for name in OPERATORS}


def acceptance_table() -> str:
    """Return a Markdown table of operators, geometries and numbers of space axes."""
    rows = ["| operator | geometry | space axes |", "|---|---|---|"]
    for name, accepts in acceptance().items():
        axes = ", ".join(map(str, accepts.dimensions))
        rows.append(f"| {name} | {', '.join(accepts.geometries)} | {axes} |")
    return "\n".join(rows)


def check_acceptance(name: str, geometry: GeometryKind, axes: int) -> None:
    """Refuse data that an operator cannot take.

    Args:
        name: of the operator.
        geometry: kind of the case's geometry.
        axes: number of space axes of the fields, with time in space-time mode.

    Raises:
        OpkitInputError: one line that names the operators which could.
    """
    accepts = operator_class(name).accepts
    if geometry in accepts.geometries and axes in accepts.dimensions:
        return
    others = [
        other
        for other, offer in acceptance().items()
        if geometry in offer.geometries and axes in offer.dimensions
    ]
    remedy = f"use {' or '.join(others)}" if others else "none does yet"
    raise OpkitInputError(
        f"operator {name} takes {' or '.join(accepts.geometries)} with "
        f"{' or '.join(map(str, accepts.dimensions))} space axes, not {geometry} with "
        f"{axes}: {remedy}"
    )


if __name__ == "__main__":
    print(acceptance_table())
