"""Try a case's solver, of whichever package, on what opkit relies on."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.case.catalogue import check_recipes
from opkit.case.contract import blamed, check_solution, residual_of
from opkit.case.data import draw, header_of
from opkit.case.record import Case
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.errors import OpkitError, OpkitInputError
from opkit.generate.pools import LocalWorkers
from opkit.generate.shard import Task
from opkit.generate.validate import Finding
from opkit.generate.worker import raise_failure
from opkit.solvers.interface import Fields, MeshPerSample, Solution, Solver

OWN = 1e-2
"""Largest residual that a solver's own solution may have."""
NOISE = 10.0
"""How many times that of its own solution the residual of noise must be."""
Answer = tuple[bool | None, str]


def check_solver(
    case: Case,
    samples: int = 3,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Try the solver of a case on everything that opkit relies on.

    Names, shapes and types of what its methods return; the same samples for the same
    seed; solutions that do not depend on the rest of the batch, bit for bit; inputs
    left as they are; residuals small for its own solutions and large for noise; the
    same solutions from a pickled copy and in another process; NaN and wrong shapes
    refused; options of the case's recipes that their operators have.

    Args:
        case: the problem; a small resolution will do.
        samples: to draw and solve, two or more.
        seed: of the samples.
        progress: called with the name of each check before it is made.

    Returns:
        The checks; the solver is right if none has ``passed`` False. After one that
        the others build upon has failed, they have None.

    Raises:
        CaseError: the solver cannot be built, lacks a method, or does not fit its case.
        OpkitInputError: fewer than two samples.
    """
    if samples < 2:
        raise OpkitInputError(f"samples {samples}: give 2 or more, to compare batches")
    solver = case.build_solver()
    if isinstance(solver, MeshPerSample):
        raise OpkitInputError(
            f"case {case.name}: its solver meshes each sample, and is tried by what it "
            "makes: `opkit generate case` with a few samples, then `opkit validate`"
        )
    trial = _Trial(case, solver, header_of(case, solver, seed, samples, "float64"))
    findings: list[Finding] = []
    blocked = ""
    for name, ask in trial.questions():
        if blocked:
            findings.append(Finding(name, None, f"not asked: {blocked} failed"))
            continue
        if progress is not None:
            progress(name)
        try:
            passed, detail = ask()
        except MemoryError:
            passed, detail = False, "out of memory: choose a smaller resolution"
        except OpkitError as error:
            passed, detail = False, str(error)
        findings.append(Finding(name, passed, detail))
        if passed is False and name in ("sample", "solve"):
            blocked = name
    return findings


@dataclass
class _Trial:
    """One solver under trial, with its samples and solutions once there are any."""

    case: Case
    solver: Solver
    header: Header
    inputs: Fields = field(default_factory=dict)
    solution: Solution = field(default_factory=lambda: Solution({}, np.zeros(0)))

    def questions(self) -> Iterator[tuple[str, Callable[[], Answer]]]:
        """The checks in order; two of them bring what those after them need."""
        yield "recipes", self._recipes
        yield "sample", self._sample
        yield "solve", self._solve
        yield "seeds", self._seeds
        yield "again", self._again
        yield "batches", self._batches
        yield "residual of its solutions", self._residual
        yield "residual of noise", self._noise
        yield "pickling", self._pickling
        yield "another process", self._process
        yield "NaN", self._nan
        yield "shapes", self._shapes

    def _recipes(self) -> Answer:
        check_recipes(self.case)
        return True, f"options of {', '.join(self.case.recipes) or 'none'}"

    @property
    def _count(self) -> int:
        return self.header.samples

    def _draw(self, solver: Solver, seed: int) -> Fields:
        inputs = self.header.inputs
        drawn = [
            draw(self.case, solver, seed, i, "float64", inputs)
            for i in range(self._count)
        ]
        return {v.name: np.stack([d[v.name] for d in drawn]) for v in inputs}

    def _solved(self, solver: Solver, inputs: Fields) -> Solution:
        with blamed(solver, "solve"):
            solution = solver.solve(inputs)
        batch = len(next(iter(inputs.values())))
        check_solution(solver, solution, self.header.outputs, batch)
        return solution

    def _sample(self) -> Answer:
        self.inputs = self._draw(self.solver, self._seed)
        for name, values in self.inputs.items():
            if not np.isfinite(values).all():
                return False, f"sample() gives NaN or infinity in {name}"
        shapes = (f"{v.name} {v.shape}" for v in self.header.inputs)
        return True, f"{self._count} samples of {', '.join(shapes)}"

    @property
    def _seed(self) -> int:
        return self.header.seed or 0

    def _solve(self) -> Answer:
        copies = {name: values.copy() for name, values in self.inputs.items()}
        start = time.perf_counter()
        self.solution = self._solved(self.solver, copies)
        seconds = (time.perf_counter() - start) / self._count
        for v in self.header.outputs:
            values = np.asarray(self.solution.outputs[v.name])
            if not np.isfinite(values).all():
                return False, f"solve() gives NaN or infinity in {v.name}"
            if values.dtype != np.float64:
                return False, f"{v.name} is {values.dtype}: give float64"
        if not np.isfinite(self.solution.error).all():
            return False, "error has NaN or infinity"
        changed = [n for n, v in copies.items() if not _same(v, self.inputs[n])]
        if changed:
            return False, f"solve() changes {changed[0]} in place: copy it first"
        worst = float(np.max(self.solution.error))
        return True, f"{self.solution.measure} up to {worst:.1e}; {seconds:.2g} s each"

    def _seeds(self) -> Answer:
        for maker, solver in (
            ("the same solver", self.solver),
            ("a solver built anew", self.case.build_solver()),
        ):
            again = self._draw(solver, self._seed)
            for name, values in self.inputs.items():
                if not _same(values, again[name]):
                    return False, (
                        f"{name} differs when {maker} draws the same seed: use no "
                        "randomness but that of rng"
                    )
        if all(_same(v[0], v[1]) for v in self.inputs.values()):
            return None, "the same for all seeds: nothing is random"
        return True, "the same samples for the same seed, others for others"

    def _again(self) -> Answer:
        gap = self._gap(self._solved(self.solver, self.inputs), self.solution)
        if gap:
            return False, f"solving the same batch again differs: {gap}"
        return True, "the same solutions, bit for bit"

    def _batches(self) -> Answer:
        for i in range(self._count):
            one = {name: values[i : i + 1] for name, values in self.inputs.items()}
            gap = self._gap(self._solved(self.solver, one), self.solution, i)
            if gap:
                return False, (
                    f"sample {i} alone differs from the same in a batch: {gap}; solve "
                    "the samples of a batch one by one"
                )
        return True, "alone as in a batch, bit for bit"

    def _residual(self) -> Answer:
        own = residual_of(self.solver, self.inputs, self._outputs())
        rounded = {
            name: values.astype(np.float32).astype(np.float64)
            for name, values in self._outputs().items()
        }
        stored = residual_of(self.solver, self.inputs, rounded)
        detail = f"up to {own.max():.1e}; rounded to float32 {stored.max():.1e}"
        if not (own.max() <= OWN and np.isfinite(stored).all()):
            return False, f"{detail}: at most {OWN:g} may be left of its own solutions"
        return True, detail

    def _noise(self) -> Answer:
        """Values of the solution in another order: as large, with the same means."""
        rng = np.random.default_rng(self._seed)
        noise = {}
        for v in self.header.outputs:
            values = np.array(self._outputs()[v.name])
            axes = sum(dim in ("z", "y", "x", "node", "cell") for dim in v.dims)
            flat = values.reshape(*values.shape[: values.ndim - axes], -1)
            noise[v.name] = rng.permuted(flat, axis=-1).reshape(values.shape)
        if all(_same(noise[n], v) for n, v in self._outputs().items()):
            return None, "solutions are constant: noise is no different"
        own = residual_of(self.solver, self.inputs, self._outputs())
        try:
            residual = residual_of(self.solver, self.inputs, noise)
        except OpkitError as error:
            return True, f"refused: {error}"
        detail = f"{residual.min():.1e} or more"
        if not (residual > NOISE * own.max()).all():
            return False, (
                f"{detail}, its own solutions {own.max():.1e}: measure how far outputs "
                "are from solving the equation for these inputs"
            )
        return True, detail

    def _pickling(self) -> Answer:
        try:
            copy: Solver = pickle.loads(pickle.dumps(self.solver))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            return False, f"the solver cannot be pickled: {error}"
        gap = self._gap(self._solved(copy, self.inputs), self.solution)
        if gap:
            return False, f"a pickled copy solves differently: {gap}"
        return True, "a copy solves alike"

    def _process(self) -> Answer:
        """Generate in a worker process as `opkit.generate.generate` does."""
        with TemporaryDirectory() as folder:
            task = Task(
                case=self.case.dump(),
                seed=self._seed,
                dtype="float64",
                gzip=0,
                first=0,
                last=self._count,
                batch=self._count,
                path=str(Path(folder) / "shard.h5"),
                fingerprint="",
            )
            workers = LocalWorkers(1)
            try:
                answer = workers.submit(asdict(task)).result()
            finally:
                workers.close()
            if "error" in answer:
                raise_failure(answer["error"])
            with DataFile(Path(folder) / "shard.h5") as file:
                stored = {
                    v.name: file.read(v.name, slice(None))
                    for v in self.header.variables
                }
        for name, values in {**self.inputs, **self._outputs()}.items():
            if not _same(values, stored[name]):
                gap = _far(name, stored[name], values)
                return False, f"{name} differs in another process: {gap}"
        return True, "the same samples and solutions"

    def _nan(self) -> Answer:
        for name, values in self.inputs.items():
            spoiled = values.copy()
            spoiled.flat[spoiled.size // 2] = np.nan
            if not self._refuses({**self.inputs, name: spoiled}):
                return False, (
                    f"solve() takes NaN in {name}: refuse it, for example with "
                    "opkit.solvers.inputs.checked_field"
                )
        return True, "refused in every input"

    def _shapes(self) -> Answer:
        for v in self.header.inputs:
            if not v.shape:
                continue
            cut = self.inputs[v.name][..., :-1]
            if not self._refuses({**self.inputs, v.name: cut}):
                return False, (
                    f"solve() takes {v.name} of shape {cut.shape}: refuse it, for "
                    "example with opkit.solvers.inputs.checked_field"
                )
        return True, "another shape is refused in every input"

    def _refuses(self, inputs: Fields) -> bool:
        """Whether solve() raises one of opkit's exceptions; an accident is none."""
        try:
            self.solver.solve(inputs)
        except OpkitError:
            return True
        except Exception:
            return False
        return False

    def _outputs(self) -> Mapping[str, NDArray[Any]]:
        outputs = self.solution.outputs
        return {v.name: np.asarray(outputs[v.name]) for v in self.header.outputs}

    def _gap(self, solution: Solution, truth: Solution, row: int | None = None) -> str:
        """The first output that differs and by how much; empty if none does."""
        for name, values in self._outputs().items():
            true = values if row is None else values[row : row + 1]
            other = np.asarray(solution.outputs[name])
            if not _same(other, true):
                return _far(name, other, true)
        return ""


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.array_equal(a, b))


def _far(name: str, values: NDArray[Any], true: NDArray[Any]) -> str:
    size = float(np.linalg.norm(true)) or 1.0
    return f"{name} by {float(np.linalg.norm(values - true)) / size:.1e} (relative L2)"
