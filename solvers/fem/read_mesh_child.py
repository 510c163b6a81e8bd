"""The child process of `read_mesh`: meshio's reader under limits, arrays out.

    python -m opkit.solvers.fem.read_mesh_child FILE OUT.npz

Ends with 0 and a written OUT.npz, or with 2 and the reason on standard error.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Indices
from opkit.base.sandbox import Limits, answer, limit_this_process
from opkit.errors import DataError

LIMITS = Limits(processor_seconds=60, wall_seconds=60)
CORNERS = {"vertex": 1, "line": 2, "triangle": 3, "quad": 4, "tetra": 4}


def convert(mesh: Any) -> dict[str, NDArray[Any]]:
    """Arrays of a meshio mesh: points, cells, subdomains, names, facets_0, ...

    Raises:
        DataError: the mesh is of another kind, or an index is out of range.
    """
    points = np.asarray(mesh.points, dtype=np.float64)
    tags = mesh.cell_data.get("gmsh:physical", [np.zeros(len(b)) for b in mesh.cells])
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
        _straight(points, nodes, kind)
        blocks.append((kind, nodes, np.asarray(tag, dtype=np.int64)))
    solid = any(kind == "tetra" for kind, _, _ in blocks)
    if not solid and points.shape[1] == 3:
        if len(points) and np.ptp(points[:, 2]) > 0:
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
    keep = ~np.isin(np.arange(len(points)), listed)
    keep[cells] = True
    number = np.cumsum(keep) - 1
    dimension = points.shape[1]
    outer = "triangle" if solid else "line"
    names = [n for n, (_, d) in mesh.field_data.items() if d == dimension - 1]
    arrays: dict[str, NDArray[Any]] = {}
    for i, name in enumerate(names):
        facets = [
            nodes[tag == mesh.field_data[name][0], :dimension]
            for kind, nodes, tag in blocks
            if kind == outer
        ]
        empty = np.zeros((0, dimension), dtype=np.int64)
        arrays[f"facets_{i}"] = number[np.concatenate([empty, *facets])]
    return arrays | {
        "points": points[keep],
        "cells": number[cells],
        "subdomains": np.concatenate([tag for _, tag in simplices]),
        "names": np.array(names, dtype="U64"),
    }


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


def _straight(points: NDArray[np.float64], nodes: Indices, kind: str) -> None:
    """Refuse a middle node that is not in the middle of its edge."""
    corners = CORNERS[kind]
    pairs = {"line": [(0, 1)], "triangle": [(0, 1), (1, 2), (2, 0)]}.get(kind, [])
    for k, (i, j) in enumerate(pairs):
        if nodes.shape[1] > corners:
            a, b = points[nodes[:, i]], points[nodes[:, j]]
            gap = np.linalg.norm(points[nodes[:, corners + k]] - (a + b) / 2, axis=1)
            curved = gap > 1e-6 * np.linalg.norm(b - a, axis=1)
            if curved.any():
                cell = int(np.argmax(curved))
                raise DataError(
                    f"{kind} {cell} is curved: write the mesh with linear cells"
                )


def main(path: str, out: str) -> int:
    """Read under limits, convert, write."""
    limit_this_process(LIMITS)
    import meshio

    def read() -> None:
        try:
            arrays: dict[str, Any] = convert(meshio.read(path))
        except (Exception, SystemExit) as error:  # readers end in many ways
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1][:200]
            raise DataError(f"{path}: cannot be read as a mesh ({reason})") from None
        np.savez(out, **arrays)

    return answer(path, read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
