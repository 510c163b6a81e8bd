"""The child process of `read_mesh`: meshio's reader under limits, arrays out.

    python -m opkit.solvers.fem.read_mesh_child FILE OUT.npz

Ends with 0 and a written OUT.npz, or with 2 and the reason on standard error.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Indices
from opkit.base.sandbox import Limits, answer, limit_this_process
from opkit.errors import DataError

LIMITS = Limits()
RATE = 4 << 20  # bytes per second of processor time beyond the limit
CORNERS = {"vertex": 1, "line": 2, "triangle": 3, "quad": 4, "tetra": 4}
GROUPS = ("gmsh:physical", "medit:ref", "su2:tag")
FLAT = 1e-9  # of the extent: what OpenCASCADE's rounding leaves in z
NAMES = re.compile(rb'(\d)\s+(\d+)\s+"([^"\n]*)"')


def limits_of(path: str) -> Limits:
    """Return the limits under which a file of this size is read."""
    more = os.stat(path).st_size // RATE
    return replace(
        LIMITS,
        processor_seconds=LIMITS.processor_seconds + more,
        wall_seconds=LIMITS.wall_seconds + 10 * more,
    )


def convert(
    mesh: Any, names: dict[tuple[int, int], str] | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays of a meshio mesh: points, cells, subdomains, names, facets_0, ...

    Args:
        mesh: meshio's.
        names: of groups by dimension and number, where they are not in the mesh.
            Groups of facets without a name are called ``group-7`` by their number;
            several groups of one name are one part.

    Raises:
        DataError: the mesh is of another kind, an index is out of range, cells are
            curved, or a named group of facets has one that is no side of a cell.
    """
    points = np.asarray(mesh.points, dtype=np.float64)
    zeros = [np.zeros(len(b)) for b in mesh.cells]
    tags = next((mesh.cell_data[g] for g in GROUPS if g in mesh.cell_data), zeros)
    blocks = []
    for block, tag in zip(mesh.cells, tags, strict=True):
        nodes = np.asarray(block.data, dtype=np.int64)
        kind = block.type.rstrip("0123456789")
        if kind not in CORNERS:
            raise DataError(
                f"cells of type {block.type}: triangles, quads, tetrahedra only"
            )
        if nodes.size and (nodes.min() < 0 or nodes.max() >= len(points)):
            bad = np.argwhere((nodes < 0) | (nodes >= len(points)))[0]
            node = nodes[tuple(bad)]
            raise DataError(
                f"{kind} {bad[0]} names node {node}; there are {len(points)}"
            )
        check_straight(points, nodes, kind)
        # gmsh writes the group of a curve that it ran backwards as a negative number
        blocks.append((kind, nodes, np.abs(np.asarray(tag, dtype=np.int64))))
    solid = any(kind == "tetra" for kind, _, _ in blocks)
    if not solid and points.shape[1] == 3:
        size = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
        if len(points) and np.ptp(points[:, 2]) > FLAT * size:
            raise DataError(
                "a surface in space: only flat meshes and tetrahedra are read"
            )
        points = points[:, :2]
    inner = ("tetra",) if solid else ("triangle", "quad")
    simplices = [_simplices(points, *block) for block in blocks if block[0] in inner]
    if not simplices:
        raise DataError("no triangles, quads or tetrahedra in it")
    cells = np.concatenate([cells for cells, _ in simplices])
    # Middle nodes, and nodes that only points or lines use, have no part in it; a
    # node that nothing uses stays, to be refused.
    listed = np.concatenate([nodes.ravel() for _, nodes, _ in blocks])
    in_cells = np.isin(np.arange(len(points)), cells)
    keep = ~np.isin(np.arange(len(points)), listed) | in_cells
    number = np.cumsum(keep) - 1
    dimension = points.shape[1]
    outer = "triangle" if solid else "line"
    words = {(d, n): name for name, (n, d) in mesh.field_data.items()} | (names or {})
    parts: dict[str, list[Indices]] = {}
    named = [name for (d, _), name in words.items() if d == dimension - 1 and name]
    for kind, nodes, tag in blocks:
        if kind != outer:
            continue
        for group in np.unique(tag[tag > 0]):
            name = words.get((dimension - 1, int(group)), "")
            if not name:
                name = f"group-{group}"
                if name in named:
                    raise DataError(
                        f"group {group} has no name and another is called {name!r}: "
                        "name it otherwise"
                    )
            facets = nodes[tag == group, :dimension]
            loose = ~in_cells[facets].all(axis=1)
            if loose.any():
                raise DataError(
                    f"part {name!r}: {int(loose.sum())} of {len(facets)} {kind}s are "
                    "not on the mesh, whose cells do not use their nodes: remove them"
                )
            parts.setdefault(name, []).append(number[facets])
    for name in named:
        parts.setdefault(name, [np.zeros((0, dimension), dtype=np.int64)])
    return {f"facets_{i}": np.concatenate(f) for i, f in enumerate(parts.values())} | {
        "points": points[keep],
        "cells": number[cells],
        "subdomains": np.concatenate([tag for _, tag in simplices]),
        "names": np.array(list(parts), dtype=str),
        "named": np.isin(list(parts), named),
    }


def names_in(path: str) -> dict[tuple[int, int], str]:
    """Names of a .msh file's groups by dimension and number.

    Of one name for groups of two dimensions meshio keeps one only.

    Raises:
        DataError: a group has two names.
    """
    if not path.lower().endswith(".msh"):
        return {}
    with open(path, "rb") as file:
        text = file.read()
    start = text.find(b"$PhysicalNames")
    section = text[start : text.find(b"$EndPhysicalNames")] if start >= 0 else b""
    names: dict[tuple[int, int], str] = {}
    for dimension, number, label in NAMES.findall(section):
        name = label.decode("utf-8", "replace")
        first = names.setdefault((int(dimension), int(number)), name)
        if first != name:
            raise DataError(
                f"group {int(number)} has the names {first!r} and {name!r}: keep one"
            )
    return names


def let_groups_be_absent() -> None:
    """Have meshio read MSH 4.1 files in which some curves are in no group.

    It lists the groups of the others only, and then refuses the file.

    Raises:
        DataError: on reading, a curve, surface or volume in two groups.
    """
    from meshio.gmsh import _gmsh41

    original = _gmsh41._read_entities

    def read(*arguments: Any) -> Any:
        groups, bounds = original(*arguments)
        filled: list[dict[int, list[int]]] = []
        for dimension, entities in enumerate(groups):
            filled.append({})
            for tag, numbers in entities.items():
                some = [abs(int(n)) for n in np.ravel(numbers)]
                if dimension > 0 and len(some) > 1:
                    kind = ("point", "curve", "surface", "volume")[dimension]
                    raise DataError(
                        f"{kind} {tag} is in the groups {some[0]} and {some[1]}: "
                        "put it into one"
                    )
                filled[-1][tag] = some or [0]
        return filled, bounds

    _gmsh41._read_entities = read


def follow_no_includes() -> None:
    """Have meshio refuse Abaqus files that name others by ``*INCLUDE``.

    meshio reads the files named by the function of this name in the module; the list of
    formats holds the original, which reads the first one.
    """
    from meshio.abaqus import _abaqus

    def refuse(path: Any) -> Any:
        raise DataError(
            f"*INCLUDE names {str(path)[-80:]!r}: files that a file names are not "
            "followed: paste it in"
        )

    _abaqus.read = refuse


def _simplices(
    points: NDArray[np.float64], kind: str, nodes: Indices, tag: Indices
) -> tuple[Indices, Indices]:
    """Corners of the cells; a quad is cut along its shorter diagonal."""
    nodes = nodes[:, : CORNERS[kind]]
    if kind != "quad":
        return nodes, tag
    a, b, c, d = nodes.T
    across = np.linalg.norm(points[a] - points[c], axis=1)
    along = np.linalg.norm(points[b] - points[d], axis=1) < across
    first = np.where(along[:, None], np.stack([a, b, d], 1), np.stack([a, b, c], 1))
    second = np.where(along[:, None], np.stack([b, c, d], 1), np.stack([a, c, d], 1))
    return np.concatenate([first, second]), np.concatenate([tag, tag])


def check_straight(points: NDArray[np.float64], nodes: Indices, kind: str) -> None:
    """Refuse a cell that is not straight, whose further nodes show how it bends.

    In a straight cell of order p they lie where barycentric coordinates are multiples
    of 1/p, in any order; of quadrilaterals, which have order 2, in the middle of the
    sides and of the whole.

    Raises:
        DataError: a cell is curved, or a quadrilateral of higher order.
    """
    corners = CORNERS[kind]
    more = nodes.shape[1] - corners
    if more <= 0 or not len(nodes):
        return
    corner, extra = points[nodes[:, :corners]], points[nodes[:, corners:]]
    size = np.ptp(corner, axis=1).max(axis=1)
    if kind == "quad":
        if more > 5:
            raise DataError("quads of higher order than 2: write linear cells")
        middles = [(corner + np.roll(corner, -1, axis=1)) / 2]
        middles.append(corner.mean(axis=1, keepdims=True))
        places = np.concatenate(middles, axis=1)
        gap = np.linalg.norm(extra[:, :, None] - places[:, None], axis=3).min(axis=2)
    else:
        edges = corner[:, 1:] - corner[:, :1]
        offset = extra - corner[:, :1]
        inverse = np.linalg.pinv(edges)  # rows are edges
        weights = np.einsum("cki,cij->ckj", offset, inverse)
        order = {n: p for p, n in enumerate(_counts(corners), 1)}.get(nodes.shape[1], 0)
        nearest = np.round(weights * order) / max(order, 1)
        gap = np.linalg.norm(offset - np.einsum("ckj,cji->cki", nearest, edges), axis=2)
    curved = gap.max(axis=1) > 1e-6 * size
    if curved.any():
        raise DataError(
            f"{kind} {int(np.argmax(curved))} is curved: write the mesh with linear "
            "cells"
        )


def _counts(corners: int) -> list[int]:
    """Nodes of a simplex of order 1, 2, 3, ..."""
    return [comb(p + corners - 1, corners - 1) for p in range(1, 11)]


def main(path: str, out: str) -> int:
    """Read under limits, convert, write."""
    limit_this_process(limits_of(path))
    import meshio

    let_groups_be_absent()
    follow_no_includes()

    def read() -> None:
        try:
            arrays: dict[str, Any] = convert(meshio.read(path), names_in(path))
        except SystemExit:  # meshio's way to say so
            raise DataError(
                f"{path}: cannot be read: it is no mesh of the format that "
                f"{os.path.splitext(path)[1]} stands for"
            ) from None
        except Exception as error:  # readers end in many ways
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1][:200]
            raise DataError(f"{path}: cannot be read as a mesh ({reason})") from None
        np.savez(out, **arrays)

    return answer(path, read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
