"""Write samples that have a mesh or cloud of their own, one after another.

A file is made sample by sample, in memory that does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.digest import content_digest, sample_digest
from opkit.datasets.header import Header, Mesh, check_header
from opkit.datasets.layout import describe, fixed, lay_out
from opkit.datasets.shapes import Shapes
from opkit.errors import DataError, OpkitInputError

Array = NDArray[Any]
FLAT = 1e-14
"""Part of a mesh's size to the power d below which a cell has no volume."""


def shapes_of(mesh: Mesh) -> Shapes:
    """Return what meshes like this one have in common; a cloud has no cells."""
    groups = mesh.groups
    return Shapes(
        dimension=mesh.points.shape[1],
        corners=mesh.cells.shape[1] if len(mesh.cells) else 0,
        facet_corners=0 if groups is None else groups.facets.shape[1],
        parts=() if groups is None else groups.names,
        weights="cells" if len(mesh.cells) else "equal",
    )


def weights_of(mesh: Mesh, sample: str) -> NDArray[np.float64]:
    """Return the weights of the nodes of a sound mesh or cloud, (node,).

    Args:
        mesh: of one sample; cells in VTK's order.
        sample: begins the message, such as ``"sample 3"``.

    Raises:
        DataError: a coordinate that is not finite, a cell that names no node, has no
            volume or is turned over, or a cloud with a point twice.
    """
    points, cells = mesh.points, mesh.cells
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{sample}: node {int(np.argmin(finite))} has a coordinate that is not "
            "finite"
        )
    if not len(cells):
        _refuse_repeated(points, sample)
        return np.full(len(points), 1.0 / len(points))
    wrong = ((cells < 0) | (cells >= len(points))).any(axis=1)
    if wrong.any():
        raise DataError(
            f"{sample}: cell {int(np.argmax(wrong))} names a node that is not among "
            f"the {len(points)} there are: number them from 0 in each sample"
        )
    from opkit.elements.weights import NodeWeights  # its package loads torch

    try:
        rule = NodeWeights(cells, len(points), points.shape[1])
    except OpkitInputError as error:
        raise DataError(f"{sample}: {error}") from None
    least = rule.least(points)
    extent = np.ptp(points, axis=0).max()
    tangent = 2 if cells.shape[1] in (3, 6) else points.shape[1]
    flat = np.abs(least) <= FLAT * extent**tangent
    if flat.any():
        raise DataError(
            f"{sample}: cell {int(np.argmax(flat))} has no volume: remove it"
        )
    if (least < 0).any():
        raise DataError(
            f"{sample}: cell {int(np.argmax(least < 0))} is inverted: its nodes go "
            "round the wrong way, or the mesh folds over itself there"
        )
    _refuse_folds(cells, points.shape[1], sample)
    return rule(points)


SIDES: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
    (2, 3): ((0, 1), (1, 2), (2, 0)),
    (2, 4): ((0, 1), (1, 2), (2, 3), (3, 0)),
    (3, 4): ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1)),
}
"""Corners of the sides of a cell, turned outwards, by (dimension, corners)."""
CORNERS = {(2, 6): 3, (3, 10): 4}
"""Corners of cells of degree 2; their middles of edges come behind."""
TURNED = {
    (2, 3): (0, 2, 1), (2, 4): (0, 3, 2, 1), (2, 6): (0, 2, 1, 5, 4, 3),
    (3, 4): (0, 2, 1, 3), (3, 8): (4, 5, 6, 7, 0, 1, 2, 3),
    (3, 10): (0, 2, 1, 3, 6, 5, 4, 7, 9, 8),
}  # fmt: skip
"""Order of the nodes of a cell that is turned over, by (dimension, nodes)."""


def oriented(mesh: Mesh) -> Mesh:
    """Return a mesh whose cells all go round the same way.

    Many programs number the nodes of a cell as they come: that alone is no fault.
    """
    kind = (mesh.points.shape[1], mesh.cells.shape[1] if len(mesh.cells) else 0)
    inside = mesh.cells.size and 0 <= mesh.cells.min() <= mesh.cells.max()
    if kind not in TURNED or not inside or mesh.cells.max() >= len(mesh.points):
        return mesh
    from opkit.elements.weights import NodeWeights

    least = NodeWeights(mesh.cells, *mesh.points.shape).least(mesh.points)
    cells = mesh.cells.copy()
    cells[least < 0] = cells[least < 0][:, TURNED[kind]]
    return replace(mesh, cells=cells)


def _refuse_folds(cells: NDArray[np.int64], dimension: int, sample: str) -> None:
    """Refuse cells that lie on the same side of a side that they share.

    Of cells that are not turned over, two then go along it in the same direction.
    """
    count = int(cells.shape[1])
    corners = CORNERS.get((dimension, count), count)
    if (dimension, corners) not in SIDES:
        return
    around: NDArray[np.int64] = np.array(SIDES[dimension, corners])
    sides = cells[:, around].reshape(-1, dimension)
    owner = np.repeat(np.arange(len(cells)), len(around))
    turned = sides
    if dimension == 3:  # the smallest node first, the others in the order they go round
        first = sides.argmin(1)[:, None]
        turned = np.take_along_axis(sides, (first + np.arange(3)) % 3, 1)
    order = np.lexsort(turned.T[::-1])
    same = (turned[order[1:]] == turned[order[:-1]]).all(axis=1)
    if same.any():
        k = int(same.argmax())
        one, other = sorted((int(owner[order[k]]), int(owner[order[k + 1]])))
        raise DataError(
            f"{sample}: cell {other} is inverted: it lies over cell {one}, where the "
            "mesh folds over itself"
        )


def _refuse_repeated(points: NDArray[np.float64], sample: str) -> None:
    order = np.lexsort(points.T)
    same = (points[order[1:]] == points[order[:-1]]).all(axis=1)
    if same.any():
        k = int(same.argmax())
        first, second = sorted((int(order[k]), int(order[k + 1])))
        raise DataError(
            f"{sample}: points {first} and {second} of the cloud are the same: remove "
            "one"
        )


def parts_of_sample(mesh: Mesh, weights: Array) -> dict[str, Array]:
    """Return the arrays of a mesh by the names that digests have them under."""
    arrays: dict[str, Array] = {
        "points": np.asarray(mesh.points, np.float64),
        "weights": weights,
    }
    if len(mesh.cells):
        arrays["cell_nodes"] = np.asarray(mesh.cells, np.int64)
    if mesh.groups is not None:
        arrays["facet_nodes"] = np.asarray(mesh.groups.facets, np.int64)
        arrays["facet_part"] = np.asarray(mesh.groups.parts, np.int64)
    return arrays


class RaggedWriter:
    """Takes samples one after another, and holds none of them.

    Args:
        file: empty, open for writing with ``libver=LIBVER``.
        header: with `Shapes` and without their offsets.
        diagnostics: names of the solver's numbers a sample; the first is ``error``.
        measure: what ``error`` is.
        gzip: compression level 0 (none) to 9.

    Raises:
        DataError: the header contradicts itself.
    """

    def __init__(
        self,
        file: h5py.File,
        header: Header,
        diagnostics: Sequence[str] = (),
        measure: str = "",
        gzip: int = 0,
    ) -> None:
        assert header.shapes is not None
        self.header = check_header(header, "header")
        lay_out(file, header, diagnostics, measure, gzip)
        n = header.samples
        self.written = 0
        self._file, self._shapes = file, header.shapes
        self._index = np.full(n, -1, np.int64)
        self._digests = np.zeros((n, 32), np.uint8)
        self._offsets = {p: np.zeros(n + 1, np.int64) for p in header.shapes.places}
        self._numbers = {f"solver_{name}": np.zeros(n) for name in diagnostics}
        self._numbers |= {
            v.name: np.zeros((n, *v.shape), v.dtype)
            for v in header.variables
            if v.is_whole
        }

    def put(
        self,
        index: int,
        mesh: Mesh,
        fields: Mapping[str, Array],
        diagnostics: Mapping[str, float] | None = None,
        place: str | None = None,
    ) -> None:
        """Write the next sample.

        Args:
            index: number i of its random stream.
            mesh: its nodes, cells and parts of the boundary.
            fields: variable name to (node,), (cell,), (time,) or number, as stored.
            diagnostics: name to number.
            place: where the sample comes from, for messages; ``"sample 3"`` of the
                fourth where not given.

        Raises:
            DataError: the mesh is not sound, of another kind than those before, or has
                other lengths than the fields.
        """
        row, sample = self.written, place or f"sample {self.written}"
        self._check(mesh, fields, sample)
        numbers = diagnostics or {}
        parts = parts_of_sample(mesh, weights_of(mesh, sample))
        flat = {name: part for name, part in parts.items() if name != "points"}
        for k, axis in enumerate("xyz"[: self._shapes.dimension]):
            flat[f"node_{axis}"] = parts["points"][:, k]
        stored = {
            v.name: np.asarray(fields[v.name], v.dtype) for v in self.header.variables
        }
        for v in self.header.variables:
            if v.is_whole:
                self._numbers[v.name][row] = stored[v.name]
            else:
                flat[v.name] = stored[v.name]
        counts = self._counts(mesh)
        for place, offsets in self._offsets.items():
            offsets[row + 1] = offsets[row] + counts[place]
            flat[place] = np.full(counts[place], row, np.int32)
        for name, values in flat.items():
            dataset = self._file[name]
            start = len(dataset)
            dataset.resize(start + len(values), axis=0)
            if len(values):
                dataset[start:] = values
        for name, number in numbers.items():
            self._numbers[f"solver_{name}"][row] = number
        digest = sample_digest({**stored, **parts}, numbers)
        self._digests[row] = np.frombuffer(digest, np.uint8)
        self._index[row] = index
        self.written += 1

    def copy(self, source: h5py.File) -> None:
        """Copy all samples of another such file to the first rows, chunks as they are.

        Args:
            source: the other file, of this layout, open for reading.

        Raises:
            DataError: it lies in chunks of another size.
        """
        assert not self.written
        count = len(source["sample"])
        before = slice(0, count)
        self._index[before] = source["sample"][:]
        self._digests[before] = source["sha256"][:]
        for name, numbers in self._numbers.items():
            numbers[before] = source[name][:]
        for place, offsets in self._offsets.items():
            offsets[: count + 1] = source[f"{place}_offset"][:]
        for name in self._flat:
            _copy_chunks(source[name], self._file[name])
        self.written = count

    @property
    def _flat(self) -> list[str]:
        """Names of the data sets that grow."""
        places = self._shapes.places
        names = [f"node_{axis}" for axis in "xyz"[: self._shapes.dimension]]
        names += ["weights", *places]
        names += ["cell_nodes"] if "cell" in places else []
        names += ["facet_nodes", "facet_part"] if "facet" in places else []
        return names + [v.name for v in self.header.variables if not v.is_whole]

    def finish(self, provenance: Mapping[str, Any] | None = None) -> str:
        """Write offsets, numbers, indices, digests and the content hash; return it.

        Args:
            provenance: what is known at the end only; added to the header's.

        Raises:
            DataError: fewer samples came than the header says.
        """
        if self.written != self.header.samples:
            raise DataError(
                f"{self.written} samples were written, the header says "
                f"{self.header.samples}"
            )
        if provenance:
            whole = {**self.header.provenance, **provenance}
            describe(self._file, replace(self.header, provenance=whole))
        for place, offsets in self._offsets.items():
            self._file[f"{place}_offset"][:] = offsets
        for name, numbers in self._numbers.items():
            self._file[name][:] = numbers
        self._file["sample"][:] = self._index
        self._file["sha256"][:] = self._digests
        header = replace(
            self.header, shapes=replace(self._shapes, offsets=self._offsets)
        )
        content = content_digest(header, self._index, self._digests)
        self._file.attrs["content_hash"] = fixed(content)
        return content

    def _counts(self, mesh: Mesh) -> dict[str, int]:
        facets = 0 if mesh.groups is None else len(mesh.groups.facets)
        return {"node": len(mesh.points), "cell": len(mesh.cells), "facet": facets}

    def _check(self, mesh: Mesh, fields: Mapping[str, Array], sample: str) -> None:
        if self.written == self.header.samples:
            raise DataError(f"{sample}: the header says {self.written} samples")
        if not len(mesh.points):
            raise DataError(f"{sample}: has no nodes")
        if shapes_of(mesh).describe() != self._shapes.describe():
            raise DataError(
                f"{sample}: {_kind(shapes_of(mesh))}, the file is of "
                f"{_kind(self._shapes)}: one file has one kind of cells and names"
            )
        if mesh.groups is not None:
            fault = mesh.groups.fault(
                len(mesh.points), mesh.points.shape[1], len(mesh.cells)
            )
            if fault:
                raise DataError(f"{sample}: {fault}")
        counts = self._counts(mesh)
        for v in self.header.variables:
            if v.name not in fields:
                raise DataError(f"{sample}: lacks {v.name}")
            shape = np.shape(fields[v.name])
            expected = v.shape if v.is_whole else (counts[v.dims[0]],)
            if shape != expected:
                raise DataError(
                    f"{sample}: {v.name} has shape {shape}, its mesh {expected}"
                )


def _copy_chunks(source: h5py.Dataset, target: h5py.Dataset) -> None:
    """Copy a data set that grows, byte by byte.

    Raises:
        DataError: the other lies in chunks of another size.
    """
    if source.chunks != target.chunks:
        raise DataError(
            f"{source.file.filename}: {source.name} lies in chunks of {source.chunks}, "
            f"not {target.chunks}: name another file"
        )
    target.resize(len(source), axis=0)

    def take(chunk: Any) -> None:
        mask, raw = source.id.read_direct_chunk(chunk.chunk_offset)
        target.id.write_direct_chunk(chunk.chunk_offset, raw, mask)

    if len(source):
        source.id.chunk_iter(take)


def _kind(shapes: Shapes) -> str:
    cells = f"cells of {shapes.corners} corners" if shapes.corners else "clouds"
    parts = f", boundary parts {', '.join(shapes.parts)}" if shapes.parts else ""
    return f"{cells} in {shapes.dimension} dimensions{parts}"
