"""Is a data file right? Its layout, its bytes, and its physics by its own solver."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opkit.case.contract import blamed, check_solution, residual_of
from opkit.case.data import arrays_of, draw, header_of, outputs_of
from opkit.case.record import Case, parse_stored
from opkit.datasets.agreement import same_units
from opkit.datasets.conformity import duplicates, faults
from opkit.datasets.header import Header, Mesh, VariableSpec
from opkit.datasets.importers.clouds import refuse_folds
from opkit.datasets.ragged_write import weights_of
from opkit.datasets.read import DataFile
from opkit.datasets.suspicions import suspicions
from opkit.errors import DataError, OpkitError
from opkit.solvers.interface import POINTS, Fields, Solver

MARGIN = 20.0  # a stored sample's residual over that of a fresh solve, rounded alike
INPUT_TOLERANCE = 1e-3  # relative L2; other library versions round differently


@dataclass(frozen=True)
class Finding:
    """One question about a file and its answer.

    Args:
        name: what was looked at.
        passed: None where it could not be asked.
        detail: figures, or what is wrong.
    """

    name: str
    passed: bool | None
    detail: str


def validate(
    path: str | Path,
    samples: int | None = 8,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Check a data file against its spec, its checksums, its case and its solver.

    The solver of the case stored in the file redraws inputs from their seeds, and
    computes the residual of the stored outputs. A residual passes if it is at most
    `MARGIN` times that of a fresh solve of the same inputs rounded to the stored type,
    so a changed sample, and a changed parameter of the case, are both seen.

    Args:
        path: the file.
        samples: how many random samples the solver looks at; None for all.
        seed: of that choice.
        progress: called with the name of each question before it is asked.

    Returns:
        The findings; the file is right if none has ``passed`` False.

    Raises:
        DataError: the file cannot be opened at all.
    """
    with DataFile(path) as file:
        count = len(file) if samples is None else min(samples, len(file))
        chosen = np.random.default_rng(seed).choice(len(file), count, replace=False)
        rows = np.sort(chosen)
        questions: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
            ("layout", lambda: _layout(file)),
            ("checksums", lambda: _checksums(file)),
            ("meshes", lambda: _meshes(file)),
            ("values", lambda: _values(file)),
            ("duplicates", lambda: _duplicates(file)),
            ("case", lambda: _by_solver(file, rows)),
        ]
        findings: list[Finding] = []
        for name, ask in questions:
            if progress is not None:
                progress(name)
            findings += ask()
    return findings


def _layout(file: DataFile) -> Iterator[Finding]:
    wrong = list(faults(file))
    count = len(file.header.variables)
    yield Finding(
        "layout", not wrong, "; ".join(wrong) or f"{count} variables as in spec"
    )


def _checksums(file: DataFile) -> Iterator[Finding]:
    try:
        intact = sum(1 for _ in file.verify())
    except DataError as error:
        yield Finding("checksums", False, str(error))
    else:
        yield Finding("checksums", True, f"{intact} samples, {file.stored_hash()[:16]}")
    finite = True
    for v in file.header.variables:
        for row in range(len(file)):
            try:
                finite &= bool(np.isfinite(file.read(v.name, row)).all())
            except DataError:
                continue  # said above
    yield Finding("finite values", finite, "no NaN, no infinity" if finite else "NaN")


def _meshes(file: DataFile) -> Iterator[Finding]:
    """Look at the mesh or moved grid of each sample, where each has its own."""
    header = file.header
    if not header.ragged and not any(v.role == POINTS for v in header.variables):
        return
    try:
        for row in range(len(file)):
            if not header.ragged:
                points = {POINTS: file.read(POINTS, row)[None]}
                refuse_folds(header, points, [f"sample {row}"])
                continue
            weights = weights_of(file.mesh(row), f"sample {row}")
            stored = file.sample(row, ["weights"])["weights"]
            if not np.allclose(weights, stored, 1e-9, 1e-12 * weights.sum()):
                raise DataError(f"sample {row}: weights do not follow from its cells")
    except DataError as error:
        yield Finding("meshes", False, str(error))
    else:
        yield Finding("meshes", True, f"{len(file)} samples, no cell inverted")


def _values(file: DataFile) -> Iterator[Finding]:
    odd = list(suspicions(file))
    yield Finding("values", not odd, "; ".join(odd) or "no fill values, none blank")


def _duplicates(file: DataFile) -> Iterator[Finding]:
    try:
        pairs = duplicates(file)
    except DataError as error:
        yield Finding("duplicates", None, str(error))
        return
    across = [pair for pair in pairs if pair[0] == "across splits"]
    detail = f"{len(across)} across splits, {len(pairs) - len(across)} within"
    if across:
        detail += f"; samples {across[0][1]} and {across[0][2]}"
    yield Finding("duplicates", not across, detail)


def _by_solver(file: DataFile, rows: NDArray[np.int64]) -> Iterator[Finding]:
    if not file.header.case:
        yield Finding("case", None, "imported without a case")
        return
    try:
        case = parse_stored(file.header.case, str(file.path), file.header.mesh)
        _check_claims(file, case)
        solver = case.build_solver()
        yield _same_grid(file, case, solver)
    except OpkitError as error:
        yield Finding("case", False, str(error))
        return
    for name, ask in (("inputs", _inputs), ("residual", _residual)):
        try:
            yield ask(file, case, solver, rows)
        except OpkitError as error:
            yield Finding(name, False, " ".join(str(error).split()))


def _check_claims(file: DataFile, case: Case) -> None:
    """Refuse a case that is far larger than the file, before its solver is built.

    Raises:
        DataError: naming what it claims and what the file holds.
    """
    sizes = file.header.sizes
    points = max(math.prod(v.shape) for v in file.header.variables)
    claimed = math.prod(case.shape)
    records, frames = case.solver.parameters.get("records"), sizes.get("time", 1)
    for name, claim, held in (
        ("resolution", claimed, points),
        ("records", records, frames),
    ):
        if isinstance(claim, int) and claim > 64 * held + 4096:
            raise DataError(
                f"{file.path}: its case claims {name} {claim}, the file holds {held}"
            )


def _same_grid(file: DataFile, case: Case, solver: Solver) -> Finding:
    header = file.header
    expected = header_of(case, solver, header.seed or 0, len(file), header.dtype)
    wrong = []
    if _by_name(expected) != _by_name(header):
        wrong.append("variables are not those of the case")
    one, other = (h.shapes and h.shapes.describe() for h in (expected, header))
    if one != other:
        wrong.append("the kind of its meshes is not the solver's")
    for name, axis in expected.coordinates.items():
        axis_here = header.coordinates.get(name)
        same = axis_here is not None and axis_here.values.shape == axis.values.shape
        if axis_here is None or not (
            same and np.allclose(axis_here.values, axis.values)
        ):
            wrong.append(f"coordinate {name} is not the solver's")
        elif not same_units(axis_here.units, axis.units):
            wrong.append(
                f"coordinate {name} is in {axis_here.units!r}, the solver's in "
                f"{axis.units!r}"
            )
    if not _same_mesh(expected.mesh, header.mesh):
        wrong.append("the mesh is not the solver's")
    return Finding("case", not wrong, "; ".join(wrong) or case.identity)


def _by_name(header: Header) -> dict[str, VariableSpec]:
    """Variables without their order: a stored case has its parameters sorted."""
    return {variable.name: variable for variable in header.variables}


def _same_mesh(one: Mesh | None, other: Mesh | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        np.array_equal(one.cells, other.cells)
        and one.points.shape == other.points.shape
        and np.allclose(one.points, other.points, rtol=1e-9, atol=0.0)
    )


def _inputs(
    file: DataFile, case: Case, solver: Solver, rows: NDArray[np.int64]
) -> Finding:
    if file.header.seed is None:
        return Finding("inputs", None, "no seed: not drawn by opkit")
    index, dtype = file.index, file.header.dtype
    distances = np.zeros(len(rows))
    for k, row in enumerate(rows):
        seed, inputs = file.header.seed, file.header.inputs
        drawn = draw(case, solver, seed, int(index[row]), dtype, inputs)
        for v in file.header.inputs:
            stored = file.read(v.name, int(row)).astype(np.float64)
            scale = np.linalg.norm(drawn[v.name]) or 1.0
            distance = np.linalg.norm(stored - drawn[v.name]) / scale
            distances[k] = np.maximum(distances[k], distance)
        if file.header.ragged:
            distances[k] = np.maximum(distances[k], _shape_distance(file, row, drawn))
    worst, where = _worst(distances, rows)
    detail = f"{len(rows)} samples redrawn, worst difference {worst:.1e}"
    passed = worst <= INPUT_TOLERANCE
    return Finding("inputs", passed, detail if passed else f"{detail} (sample {where})")


def _residual(
    file: DataFile, case: Case, solver: Solver, rows: NDArray[np.int64]
) -> Finding:
    del case
    reference = 0.0
    for row in rows[:2]:
        inputs = _read(file, row, "input")
        solved = _solved(file, solver, inputs)
        rounded = {
            v.name: solved[v.name].astype(v.dtype).astype(np.float64)
            for v in file.header.outputs
        }
        reference = max(reference, float(residual_of(solver, inputs, rounded)[0]))
    residuals = np.zeros(len(rows))
    for k, row in enumerate(rows):
        inputs, outputs = _read(file, row, "input"), _read(file, row, "output")
        residuals[k] = residual_of(solver, inputs, outputs)[0]
    worst, where = _worst(residuals, rows)
    limit = MARGIN * max(reference, 1e-12)
    detail = (
        f"{len(rows)} samples, worst {worst:.1e} (sample {where}), "
        f"allowed {limit:.1e} = {MARGIN:g} x that of a fresh solve"
    )
    return Finding("residual", bool(worst <= limit), detail)


def _solved(file: DataFile, solver: Solver, inputs: Fields) -> Fields:
    with blamed(solver, "solve"):
        solution = solver.solve(inputs)
    check_solution(solver, solution, outputs_of(file.header, inputs), 1)
    return solution.outputs


def _worst(values: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[float, int]:
    """The largest value, NaN above all, and its row."""
    ranked = np.nan_to_num(values, nan=np.inf, posinf=np.inf)
    return float(values[ranked.argmax()]), int(rows[ranked.argmax()])


def _read(file: DataFile, row: int, role: str) -> Fields:
    variables = file.header.inputs if role == "input" else file.header.outputs
    fields = {
        v.name: file.read(v.name, int(row)).astype(np.float64)[None] for v in variables
    }
    if role == "input" and file.header.ragged:
        mesh = arrays_of(file.mesh(int(row)))
        fields |= {name: array[None] for name, array in mesh.items()}
    return fields


def _shape_distance(file: DataFile, row: int, drawn: Fields) -> float:
    """Return how far the stored nodes are from those drawn, relative; 1 of others."""
    stored = arrays_of(file.mesh(int(row)))
    points = np.asarray(drawn[POINTS])
    if any(stored[name].shape != np.shape(drawn[name]) for name in stored):
        return 1.0
    same = all(np.array_equal(stored[n], drawn[n]) for n in stored if n != POINTS)
    size = float(np.ptp(points, axis=0).max())
    return float(np.abs(stored[POINTS] - points).max()) / size if same else 1.0
