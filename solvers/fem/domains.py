"""Domains a case can name: built-in shapes, and meshes from files."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.spatial import Delaunay

from opkit.base.files import file_digest
from opkit.base.records import Record
from opkit.solvers.fem.read_mesh import read_mesh
from opkit.solvers.fem.simplex_mesh import (
    MeshError,
    SimplexMesh,
    boundary_facets,
    build,
    refine,
)


class _Domain(Record):
    @abstractmethod
    def hierarchy(self, cells: int) -> list[SimplexMesh]:
        """Nested meshes, finest first: refined until extent / longest edge >= cells."""

    @property
    @abstractmethod
    def words(self) -> tuple[str, str]:
        """What the domain is called in a title, and the set in an equation."""

    def mesh(self, cells: int) -> SimplexMesh:
        """The finest mesh of the `hierarchy`."""
        return self.hierarchy(cells)[0]

    def content(self) -> str:
        """What the mesh depends on beside the fields: a digest of files."""
        return ""


class _Halved(_Domain):
    """A domain whose finer meshes come from halving a coarsest one."""

    @abstractmethod
    def coarsest(self) -> SimplexMesh:
        """The mesh that `hierarchy` refines."""

    def hierarchy(self, cells: int) -> list[SimplexMesh]:
        """Nested meshes, finest first: halved until extent / longest edge >= cells."""
        meshes = [self.coarsest()]
        while _longest_edge(meshes[0]) > meshes[0].size / cells * (1 + 1e-12):
            meshes.insert(0, refine(meshes[0]))
        return meshes


class Square(_Domain):
    """The unit square in ``left``, ``right``, ``bottom``, ``top``."""

    kind: Literal["square"] = "square"

    @property
    def words(self) -> tuple[str, str]:
        """Name and set."""
        return "the unit square", "(0,1)²"

    def hierarchy(self, cells: int) -> list[SimplexMesh]:
        """Squares of side 1 / cells, then of twice the side while that divides 1."""
        meshes = [self._squares(cells)]
        while cells % 2 == 0:
            cells //= 2
            meshes.append(self._squares(cells))
        return meshes

    @staticmethod
    def _squares(cells: int) -> SimplexMesh:
        """Squares of side 1 / cells, each cut along its rising diagonal."""
        n = cells + 1
        x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
        number = np.arange(n * n).reshape(n, n)
        a, b, c, d = (
            number[s].ravel()
            for s in (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1])
        )
        triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        sides = {
            "left": number[:, 0],
            "right": number[:, -1],
            "bottom": number[0],
            "top": number[-1],
        }
        tagged = {s: np.stack([k[:-1], k[1:]], 1) for s, k in sides.items()}
        return build(np.stack([x.ravel(), y.ravel()], 1), triangles, tagged=tagged)


class LShape(_Halved):
    """[-1, 1]² less (0, 1]²: three unit squares, each a subdomain.

    The two edges that meet in the re-entrant corner are ``inner``, the others
    ``outer``. Solutions behave like r^(2/3) at the corner: uniform meshes reach order
    4/3 in L2 and 2/3 in H1. ``divisions`` cuts the sides of the unit squares in the
    coarsest mesh: meshes of resolution 4, 8, 16 nest, those of 3 divisions among
    themselves.
    """

    kind: Literal["l-shape"] = "l-shape"
    divisions: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def words(self) -> tuple[str, str]:
        """Name and set."""
        return "an L-shaped domain", "(-1,1)² less [0,1)²"

    def coarsest(self) -> SimplexMesh:
        """Two triangles a small square, mirror symmetric about the line y = x."""
        n = self.divisions
        line = np.arange(-n, n + 1)
        x, y = np.meshgrid(line, line)
        inside = (x <= 0) | (y <= 0)
        number = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, -1)
        cells = []
        for row, column in ((0, 0), (0, n), (n, 0)):
            block = number[row : row + n + 1, column : column + n + 1]
            a, b, c, d = block[:-1, :-1], block[:-1, 1:], block[1:, 1:], block[1:, :-1]
            # diagonals run towards the re-entrant corner
            pairs = [(a, b, c), (a, c, d)] if row == column else [(a, b, d), (b, c, d)]
            halves = [np.stack([k.ravel() for k in pair], 1) for pair in pairs]
            cells.append(np.stack(halves, 1).reshape(-1, 3))
        right, up = number[n, n:], number[n:, n]
        inner = [np.stack([side[:-1], side[1:]], 1) for side in (right, up)]
        return build(
            np.stack([x[inside], y[inside]], 1) / n,
            np.concatenate(cells),
            subdomains=np.repeat([0, 1, 2], 2 * n * n),
            tagged={"inner": np.concatenate(inner)},
            rest="outer",
        )


class NotchedTriangle(_Halved):
    """The triangle (0, 0), (1, 0), (1/2, √3/2) less the notch 0.49 < x < 0.51, y < 0.4.

    ``notch`` is the edge of the notch, ``outer`` the rest; subdomains are left of,
    right of and above the notch. Cells shrink towards the tip of the notch.
    Source: Lu et al., Comput. Methods Appl. Mech. Eng. 2022, arXiv:2111.05512.
    """

    kind: Literal["notched-triangle"] = "notched-triangle"

    @property
    def words(self) -> tuple[str, str]:
        """Name and set."""
        return "a triangle with a notch", "the notched triangle"

    def coarsest(self) -> SimplexMesh:
        """A graded triangulation, mirror symmetric in its nodes."""
        root = np.sqrt(3.0)
        left = [(0.0, 0.0), (0.25, 0.0), (0.40, 0.0), (0.46, 0.0), (0.49, 0.0)]
        left += [(0.49, y) for y in (0.05, 0.11, 0.18, 0.25, 0.31, 0.35, 0.38, 0.4)]
        left += [(x, root * x) for x in (0.1, 0.17, 0.4 / root, 0.31, 0.38, 0.43, 0.47)]
        left += [(0.45, 0.05), (0.43, 0.14), (0.43, 0.24), (0.45, 0.31), (0.465, 0.36)]
        left += [(0.465, 0.40), (0.475, 0.425), (0.43, 0.4), (0.45, 0.46), (0.37, 0.4)]
        left += [(0.33, 0.1), (0.34, 0.23), (0.25, 0.23), (0.18, 0.12), (0.4, 0.55)]
        left += [(0.30, 0.4), (0.455, 0.65), (0.39, 0.33), (0.38, 0.47)]
        middle = [(0.5, y) for y in (0.4, 0.42, 0.45, 0.5, 0.58, 0.69, root / 2)]
        points = np.array([*left, *((1.0 - x, y) for x, y in left), *middle])
        cells = Delaunay(points).simplices.astype(np.int64)
        x, y = points[cells].mean(axis=1).T
        cells = cells[~((abs(x - 0.5) < 0.01) & (y < 0.4))]
        corner = points[cells]
        u, v = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        turn = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        cells = cells[abs(turn) > 1e-9]  # Qhull's slivers along the straight sides
        cells[turn[abs(turn) > 1e-9] < 0] = cells[turn[abs(turn) > 1e-9] < 0][:, ::-1]
        x, y = points[cells].mean(axis=1).T
        subdomains = np.where(y > 0.4, 2, np.where(x < 0.5, 0, 1))
        facets = boundary_facets(cells)
        centre = points[facets].mean(axis=1)
        notch = (abs(centre[:, 0] - 0.5) < 0.0101) & (centre[:, 1] < 0.401)
        return build(
            points, cells, subdomains, tagged={"notch": facets[notch]}, rest="outer"
        )


class MeshFile(_Domain):
    """A mesh from a file: subdomains and boundary parts are its physical groups."""

    kind: Literal["file"] = "file"
    path: Path
    refinements: Annotated[int, Field(ge=0, le=8)] = 0

    @property
    def words(self) -> tuple[str, str]:
        """Name and set."""
        return f"the mesh {self.path.name}", f"the mesh {self.path.name}"

    def content(self) -> str:
        """SHA-256 of the file; a file that changes is another domain."""
        return file_digest(self.path) if self.path.is_file() else ""

    def hierarchy(self, cells: int) -> list[SimplexMesh]:
        """The file's mesh, refined as often as asked; ``cells`` has no say."""
        if not self.path.is_file():
            raise MeshError(
                f"{self.path}: no such file: put the mesh there or give its path (data "
                "and runs of versions that did not store the mesh need it too)"
            )
        meshes = [read_mesh(self.path)]
        for _ in range(self.refinements):
            meshes.insert(0, refine(meshes[0]))
        return meshes


Domain = Annotated[
    Square | LShape | NotchedTriangle | MeshFile, Field(discriminator="kind")
]


def _longest_edge(mesh: SimplexMesh) -> float:
    corners = mesh.points[mesh.cells]
    sides = corners - np.roll(corners, 1, axis=1)
    return float(np.linalg.norm(sides, axis=2).max())
