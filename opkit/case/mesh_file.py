"""Meshes that a case names by a file: where the file is, and doing without it.

In a case, any parameter of the solver that holds ``{kind: file, path: ...}`` names a
mesh file. In memory its path is absolute, so that worker processes find it; in what is
stored it is a name, and the mesh itself is stored beside the case.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opkit.case.record import Case
    from opkit.datasets.header import Mesh


def absolute_paths(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return plain data of a case, its relative paths taken as relative to a folder."""
    solver = data.get("solver")
    if not isinstance(solver, dict):
        return data
    parameters = solver.get("parameters", {})
    moved = _with_paths(parameters, lambda path: str((folder / path).absolute()))
    if moved == parameters:
        return data
    return {**data, "solver": {**solver, "parameters": moved}}


def names_file(data: Any) -> bool:
    """Whether plain data of a case name a mesh file."""
    if isinstance(data, list):
        return any(map(names_file, data))
    if not isinstance(data, dict):
        return False
    return data.get("kind") == "file" or any(map(names_file, data.values()))


def portable(case: Case, mesh: Mesh | None) -> dict[str, Any]:
    """Return a case as plain data to be stored with its mesh.

    Of a mesh from a file, paths become names and the extent is that of the mesh; other
    cases stay as they are.
    """
    data = case.dump()
    if mesh is None or mesh.groups is None:
        return data
    solver = data["solver"]
    parameters = _with_paths(solver["parameters"], lambda path: Path(path).name)
    low, high = mesh.points.min(axis=0).tolist(), mesh.points.max(axis=0).tolist()
    axes = "xyz"[: len(low)]
    extent = {axes[k]: [low[k], high[k]] for k in reversed(range(len(axes)))}
    return {
        **data,
        "solver": {**solver, "parameters": parameters},
        "geometry": {**data["geometry"], "extent": extent},
    }


def _with_paths(value: Any, change: Callable[[str], str]) -> Any:
    if not isinstance(value, dict):
        return value
    changed = {key: _with_paths(part, change) for key, part in value.items()}
    if value.get("kind") == "file" and isinstance(value.get("path"), str):
        changed["path"] = change(value["path"])
    return changed
