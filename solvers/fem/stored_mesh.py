"""A mesh from a file, as data file or bundle hold it: the file itself may be gone."""

from __future__ import annotations

import hashlib

import numpy as np
from pydantic import PrivateAttr

from opkit.base.arrays import Array, Indices
from opkit.base.mesh_groups import MeshGroups
from opkit.solvers.fem.domains import MeshFile
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh, check_cells


class StoredMesh(MeshFile):
    """A `MeshFile` whose finest mesh is known; equal to another by its content."""

    _finest: SimplexMesh = PrivateAttr()
    _digest: str = PrivateAttr()

    @classmethod
    def of(
        cls, file: MeshFile, points: Array, cells: Indices, groups: MeshGroups
    ) -> StoredMesh:
        """Rebuild a domain from its finest mesh.

        Args:
            file: the domain as the case names it.
            points: nodes (node, d), corners first, of degree 1 or 2.
            cells: (cell, corner), corners first.
            groups: of the mesh.

        Raises:
            MeshError: the arrays are no mesh, or none that was refined so often.
        """
        corners = np.ascontiguousarray(cells[:, : points.shape[1] + 1])
        points = points[: int(corners.max(initial=-1)) + 1]
        fault = groups.fault(len(points), points.shape[1], len(corners))
        if fault:
            raise MeshError(f"the stored mesh of {file.path.name}: {fault}")
        check_cells(points, corners)
        digest = hashlib.sha256("\0".join(groups.names).encode())
        for array in (points, corners, groups.subdomains, groups.facets, groups.parts):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        stored = cls(path=file.path, refinements=file.refinements)
        stored._finest = SimplexMesh(
            points,
            corners,
            groups.subdomains,
            groups.facets,
            groups.parts,
            groups.names,
        )
        stored._digest = digest.hexdigest()
        return stored

    def content(self) -> str:
        """Digest of the mesh, whatever became of the file."""
        return self._digest

    def __eq__(self, other: object) -> bool:
        """Whether the other is the same mesh."""
        return isinstance(other, StoredMesh) and self._key == other._key

    def __hash__(self) -> int:
        """Hash of the content."""
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, int]:
        return self._digest, self.refinements

    def hierarchy(self, cells: int) -> list[SimplexMesh]:
        """The stored mesh and those it was refined from; ``cells`` has no say."""
        meshes = [self._finest]
        for _ in range(self.refinements):
            meshes.append(coarsen(meshes[-1]))
        return meshes


def coarsen(mesh: SimplexMesh) -> SimplexMesh:
    """Undo `opkit.solvers.fem.simplex_mesh.refine`, number for number.

    Raises:
        MeshError: the mesh was not refined.
    """
    count, half = len(mesh.cells) // 4, len(mesh.facets) // 2
    if mesh.dimension != 2 or len(mesh.cells) != 4 * count or not count:
        raise MeshError(f"a mesh of {len(mesh.cells)} cells was not refined")
    corners = [mesh.cells[k * count : (k + 1) * count, k] for k in range(3)]
    cells = np.stack(corners, axis=1)
    return SimplexMesh(
        points=mesh.points[: int(cells.max()) + 1],
        cells=cells,
        subdomains=mesh.subdomains[:count],
        facets=np.stack([mesh.facets[:half, 0], mesh.facets[half:, 0]], axis=1),
        parts=mesh.parts[:half],
        names=mesh.names,
    )
