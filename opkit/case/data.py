"""What a case's data file looks like, and its random inputs."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opkit.base.environment import VERSION
from opkit.base.files import file_digest
from opkit.base.mesh_groups import MeshGroups
from opkit.case import laws
from opkit.case.agreement import refuse_other_extent, refuse_other_parts
from opkit.case.contract import blamed, check_coordinates, check_mesh, check_sample
from opkit.case.mesh_file import portable
from opkit.case.record import Case, Samples
from opkit.datasets.header import POINTS, Axis, Header, Mesh, VariableSpec, check_header
from opkit.datasets.rounding import rounded
from opkit.datasets.shapes import Shapes
from opkit.errors import CaseError
from opkit.solvers.interface import (
    CELLS,
    FACET_PART,
    FACETS,
    Fields,
    MeshPerSample,
    MovesNodes,
    OnMesh,
    ReadsMesh,
    Solver,
)

DType = Literal["float32", "float64"]
MOST_SAMPLES = 10**9
"""Of a file, whose rows are listed in memory."""


def header_of(
    case: Case, solver: Solver, seed: int, samples: int | None, dtype: DType
) -> Header:
    """Describe the file that this case and solver make."""
    with blamed(solver, "coordinates"):
        coordinates = solver.coordinates()
    check_coordinates(solver, coordinates)
    axes = {
        name: Axis(np.asarray(c.values, np.float64), c.units, c.long_name)
        for name, c in coordinates.items()
    }
    mesh, shapes = mesh_of(solver), shapes_of(case, solver)
    if mesh is not None and mesh.groups is None:
        refuse_other_extent(case, mesh.points)
    refuse_other_parts(case, solver)
    sizes = {name: len(axis.values) for name, axis in axes.items()}
    if mesh is not None:
        sizes |= {"node": len(mesh.points), "cell": len(mesh.cells)}
    if shapes is not None:  # lengths of their own in each sample
        sizes |= {"node": 0, "cell": 0}
    variables = []
    for role in ("input", "output"):
        for v in case.inputs if role == "input" else case.outputs:
            own = sizes if v.size is None else {"component": v.size}
            unknown = [d for d in v.dims if d not in own]
            if unknown:
                raise CaseError(
                    f"case {case.name}: {v.name} has dimension {unknown[0]!r}, "
                    f"the solver has {', '.join(sizes)}"
                )
            shape = tuple(own[d] for d in v.dims)
            number = role == "output" and not set(v.dims) - {"component"}
            kind = "float64" if number else dtype
            spec = VariableSpec(v.name, role, v.dims, shape, kind, v.units, v.long_name)
            variables.append(spec)
        if role == "input":
            variables += _parameters(case)
    if isinstance(solver, MovesNodes):
        first = next(v for v in variables if v.role == "output" and v.is_field)
        space = [d for d in first.dims if d not in ("time", "layer")]
        lengths = [sizes[d] for d in space]
        dimension = len(case.geometry.extent) if mesh is None else mesh.points.shape[1]
        variables.append(
            VariableSpec(
                POINTS,
                "points",
                (*space, "component"),
                (*lengths, dimension),
                dtype,
                "1" if case.geometry.units == "nondimensional" else case.geometry.units,
                "where the nodes lie",
            )
        )
    used = {d for v in variables for d in v.dims}
    return check_header(
        Header(
            case=portable(case, mesh),
            variables=tuple(variables),
            coordinates={name: axes[name] for name in axes if name in used},
            splits=share_out(case.samples, samples),
            seed=seed,
            provenance=provenance(),
            mesh=mesh,
            files=named_files(case),
            shapes=shapes,
        ),
        f"case {case.name}",
    )


def _parameters(case: Case) -> list[VariableSpec]:
    return [
        VariableSpec(
            name,
            "input",
            ("component",) * len(law.shape),
            law.shape,
            "float64",
            law.units,
            law.long_name,
            law.scale,
        )
        for name, law in case.parameters.items()
    ]


def named_files(case: Case) -> dict[str, str]:
    """SHA-256 of each file that a case names, such as a mesh or a table, by its name.

    They decide what is made as the case's own text does. Files are texts in the
    solver's parameters or in the distribution that name a file with a suffix.
    """
    digests: dict[str, str] = {}

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            for part in value.values():
                look(part)
        elif isinstance(value, list | tuple):
            for part in value:
                look(part)
        elif isinstance(value, str) and Path(value).suffix and len(value) < 4096:
            with suppress(OSError):
                if Path(value).is_file():
                    digests[Path(value).name] = file_digest(Path(value))

    content = case.dump()
    look(content["solver"].get("parameters", {}))
    look(content.get("distribution", {}))
    return dict(sorted(digests.items()))


def mesh_of(solver: Solver) -> Mesh | None:
    """Return the mesh of a solver on nodes or cells, None for one on a grid."""
    if not isinstance(solver, OnMesh):
        return None
    with blamed(solver, "mesh"):
        points, cells = solver.mesh()
        groups = solver.mesh_groups() if isinstance(solver, ReadsMesh) else None
    return Mesh(np.asarray(points, np.float64), np.asarray(cells, np.int64), groups)


def shapes_of(case: Case, solver: Solver) -> Shapes | None:
    """Return what the meshes of all samples have in common; None if all have one.

    Raises:
        CaseError: the case does not say that each sample has a mesh, or says so and the
            solver makes none.
    """
    if isinstance(solver, MeshPerSample) != (case.geometry.kind == "meshes"):
        raise CaseError(
            f"case {case.name}: geometry.kind is {case.geometry.kind!r}, and "
            f"{type(solver).__name__} makes "
            f"{'a' if isinstance(solver, MeshPerSample) else 'no'} mesh for each "
            "sample: 'meshes' is for solvers that do (MeshPerSample)"
        )
    if not isinstance(solver, MeshPerSample):
        return None
    with blamed(solver, "mesh_kind"):
        kind = solver.mesh_kind()
    refuse_other_extent(case, np.array(kind.box))
    return Shapes(kind.dimension, kind.corners, kind.dimension, tuple(kind.parts))


def mesh_among(inputs: Fields, shapes: Shapes) -> Mesh:
    """Return the mesh that a sample's inputs hold, without batch axes."""
    groups = MeshGroups(
        subdomains=np.zeros(len(inputs[CELLS]), np.int64),
        facets=np.asarray(inputs[FACETS], np.int64),
        parts=np.asarray(inputs[FACET_PART], np.int64),
        names=shapes.parts,
    )
    points = np.asarray(inputs[POINTS], np.float64)
    return Mesh(points, np.asarray(inputs[CELLS], np.int64), groups)


def outputs_of(header: Header, inputs: Fields) -> Sequence[VariableSpec]:
    """Return the outputs with the lengths that they have on a sample's own mesh.

    Args:
        header: of the file.
        inputs: a batch; of one sample where each has a mesh.
    """
    if not header.ragged:
        return header.outputs
    sizes = {"node": inputs[POINTS].shape[1], "cell": inputs[CELLS].shape[1]}
    return [
        v if v.is_whole else replace(v, shape=tuple(sizes[d] for d in v.dims))
        for v in header.outputs
    ]


def arrays_of(mesh: Mesh) -> dict[str, np.ndarray[Any, Any]]:
    """Return a mesh with its boundary as the inputs of a solver, without batch axes."""
    assert mesh.groups is not None
    return {
        POINTS: mesh.points,
        CELLS: mesh.cells,
        FACETS: mesh.groups.facets,
        FACET_PART: mesh.groups.parts,
    }


def draw(
    case: Case,
    solver: Solver,
    seed: int,
    index: int,
    dtype: DType,
    inputs: Sequence[VariableSpec] = (),
) -> Fields:
    """Draw sample i of a seed: fields by the solver, parameters by the case's laws.

    Fields are rounded to the stored type: the solver then solves for exactly the inputs
    that the file holds.

    Args:
        case: whose laws the parameters follow.
        solver: of the case.
        seed: of the data set.
        index: i.
        dtype: stored type.
        inputs: of the case, which the sample then has to have.

    Raises:
        CaseError: one of them is missing or has another shape.
        DataError: the stored type cannot hold it.
        SolverError: the solver cannot draw the sample.
    """
    stream = np.random.default_rng(np.random.SeedSequence([seed, index]))
    with blamed(solver, "sample"):
        sample = solver.sample(stream)
    fields = [v for v in inputs if v.name not in case.parameters]
    whole: Fields = {}
    if isinstance(solver, MeshPerSample):
        whole = {name: np.asarray(sample[name]) for name in check_mesh(solver, sample)}
        sizes = {"node": len(whole[POINTS]), "cell": len(whole[CELLS])}
        fields = [replace(v, shape=tuple(sizes[d] for d in v.dims)) for v in fields]
    check_sample(solver, sample, fields)
    stored = {
        name: rounded(name, np.asarray(values)[None], dtype)[0].astype(np.float64)
        for name, values in sample.items()
        if name not in whole
    }
    stored |= whole
    return stored | laws.draw(case.parameters, case.design, seed, index)


def share_out(counts: Samples, total: int | None) -> dict[str, np.ndarray[Any, Any]]:
    """Return rows of each split: train first, then validation, then test.

    With a total, splits keep the case's proportions, and each split of the case keeps
    at least one sample as long as there are enough.

    Raises:
        CaseError: no samples at all, or more than a file can list.
    """
    sizes = {k: n for k, n in counts.model_dump().items() if n}
    everything = sum(sizes.values())
    if total is None:
        total = everything
    if total < 1 or not sizes:
        raise CaseError("no samples asked for: give at least one")
    if total > MOST_SAMPLES:
        raise CaseError(f"{total} samples: give at most {MOST_SAMPLES:,}")
    exact = {k: n * total / everything for k, n in sizes.items()}
    whole = {k: int(v) for k, v in exact.items()}
    for name in sorted(exact, key=lambda k: whole[k] - exact[k]):
        if sum(whole.values()) < total:
            whole[name] += 1
    for name in whole:
        largest = max(whole, key=lambda k: whole[k])
        if not whole[name] and whole[largest] > 1:
            whole[name], whole[largest] = 1, whole[largest] - 1
    ends = np.cumsum(list(whole.values()))
    return {
        name: np.arange(end - whole[name], end)
        for name, end in zip(whole, ends, strict=True)
        if whole[name]
    }


def provenance() -> Mapping[str, Any]:
    """Versions of what makes the data."""
    return {
        "opkit": VERSION,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "h5py": version("h5py"),
        "machine": platform.machine(),
    }
