"""What the solver solved in place of predictions, kept as a data file."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

import opkit
from opkit.base.files import locked
from opkit.datasets.read import DataFile
from opkit.errors import DataError, SolverError
from opkit.generate import generate
from opkit.generate.validate import validate
from opkit.surrogate import store as stores
from opkit.surrogate.checks.case_solver import CaseSolver
from opkit.surrogate.store import Store


def test_what_is_solved_is_kept_as_a_file_that_validates(darcy, tmp_path) -> None:
    s, path = darcy.load(), tmp_path / "store.h5"
    a = darcy.permeability[:12]
    first = s.solve(a[:8], 1e-4, store=path)
    assert (first.stored, first.known) == (8, 0)
    second = s.solve(a[5:12], 1e-4, store=path)
    assert (second.stored, second.known) == (4, 3)
    with DataFile(path) as file:
        np.testing.assert_array_equal(file.read("permeability", slice(None)), a)
        # stored in float32, and solved to the case's own 1e-8
        exact = s.checker.context.case_solver.solver.solve({"permeability": a})
        stored = file.read("pressure", slice(None))
        np.testing.assert_allclose(
            stored, exact.outputs["pressure"], rtol=1e-6, atol=1e-8
        )
        np.testing.assert_allclose(stored[:8], first.outputs, rtol=1e-6, atol=1e-8)
        assert (file.diagnostics()["error"] <= 1e-8).all()
        assert sorted(file.header.splits) == ["train", "validation"]
        provenance = file.header.provenance
        assert provenance["kept_by"] == "surrogate.solve"
        assert provenance["surrogates"] == [s.config.weights_sha256]
        assert provenance["generation_seconds"] > 0
    assert all(finding.passed is not False for finding in validate(path, None))


def test_accepted_predictions_are_not_kept(darcy, tmp_path) -> None:
    path = tmp_path / "store.h5"
    result = darcy.load().solve(darcy.permeability[:4], 10.0, store=path)
    assert (result.action == "accepted").all() and result.stored == 0
    assert not path.exists()


def test_equal_inputs_of_one_batch_and_of_other_types_are_kept_once(
    darcy, tmp_path
) -> None:
    s, path = darcy.load(), tmp_path / "store.h5"
    a = np.asarray(darcy.permeability[:3], np.float64)
    twice = s.solve(np.concatenate([a, a]), exact=True, store=path)
    assert (twice.stored, twice.known) == (3, 3)
    with DataFile(path) as file:
        assert file.header.dtype == "float64"
    stores._known.clear()  # as another process, which reads the file
    again = s.solve(a.astype(np.float32), exact=True, store=path)
    assert (again.stored, again.known) == (0, 3)


def test_numbers_per_sample_and_the_split_of_an_input(pod, tmp_path) -> None:
    """The split follows from the input, not from the order of asking."""
    s = opkit.load(pod / "run")
    z = np.random.default_rng(5).uniform(-1, 1, (30, 4))
    splits = []
    for order in (slice(None), slice(None, None, -1)):
        path = tmp_path / f"{len(splits)}.h5"
        s.solve({"coefficients": z[order]}, exact=True, store=path)
        with DataFile(path) as file:
            rows = file.header.splits["validation"]
            splits.append(sorted(map(tuple, file.read("coefficients", rows))))
        assert all(finding.passed is not False for finding in validate(path))
    assert splits[0] == splits[1]
    # a fifth: binomial, within 4 standard deviations
    assert abs(len(splits[0]) - 6) < 4 * np.sqrt(30 * 0.2 * 0.8)


def test_threads_that_keep_into_one_file_lose_nothing(darcy, tmp_path) -> None:
    s, path = darcy.load(), tmp_path / "store.h5"
    a = darcy.permeability[:24]
    with ThreadPoolExecutor(4) as pool:
        parts = [a[i : i + 4] for i in range(0, 24, 2)]  # each field twice, but the end
        results = list(pool.map(lambda x: s.solve(x, 1e-4, store=path), parts))
    assert sum(r.stored for r in results) == 24
    with DataFile(path) as file:
        kept = file.read("permeability", slice(None))
        assert {x.tobytes() for x in kept} == {x.tobytes() for x in a}
        assert sum(1 for _ in file.verify()) == 24


def test_a_store_that_is_held_is_waited_for_and_then_refused(
    darcy, tmp_path, monkeypatch
) -> None:
    s, path = darcy.load(), tmp_path / "store.h5"
    monkeypatch.setattr(stores, "WAIT", 0.05)
    with (
        locked(tmp_path / ".store.h5.lock"),
        pytest.raises(DataError, match=r"another process keeps into store\.h5"),
    ):
        s.solve(darcy.permeability[:1], exact=True, store=path)
    monkeypatch.setattr(stores, "WAIT", 30.0)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path / ".store.h5.lock"):
            held.set()
            let_go.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert s.solve(darcy.permeability[:1], exact=True, store=path).stored == 1
    thread.join()


def test_what_was_solved_before_a_failure_is_kept(darcy, tmp_path, monkeypatch) -> None:
    s, path = darcy.load(), tmp_path / "store.h5"
    solve, calls = CaseSolver.solve, []

    def fails_cold(self, inputs, guess=None, steps=1, rtol=None):
        calls.append(len(inputs.fields))
        if guess is None:
            raise SolverError("no answer")
        return solve(self, inputs, guess, steps, rtol)

    monkeypatch.setattr(CaseSolver, "solve", fails_cold)
    strange = np.full((1, 17, 17), 1000.0, np.float32)  # solved from nothing
    with pytest.raises(SolverError, match="no answer"):
        s.solve(np.concatenate([darcy.permeability[:3], strange]), 1e-4, store=path)
    with DataFile(path) as file:
        assert len(file) == 3


@pytest.mark.parametrize("what", ["generated", "folder", "text", "missing"])
def test_a_path_that_can_be_no_store_is_refused_before_solving(
    darcy, tmp_path, what, monkeypatch
) -> None:
    path = {
        "generated": darcy.data,
        "folder": tmp_path,
        "text": tmp_path / "notes.h5",
        "missing": tmp_path / "no" / "store.h5",
    }[what]
    if what == "text":
        path.write_text("notes")
    before = path.read_bytes() if path.is_file() else None
    monkeypatch.setattr(CaseSolver, "solve", None)  # would raise if called
    message = {
        "generated": "another origin: name another file",
        "folder": "is a folder: name a file",
        "text": "notes.h5",
        "missing": "folder is missing: make it",
    }[what]
    with pytest.raises(DataError, match=message) as caught:
        darcy.load().solve(darcy.permeability[:1], exact=True, store=path)
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_a_store_of_another_case_is_left_as_it_is(darcy, pod, tmp_path) -> None:
    path = tmp_path / "store.h5"
    darcy.load().solve(darcy.permeability[:2], exact=True, store=path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="holds samples of darcy, not of darcy-par"):
        opkit.load(pod / "run").solve(
            {"coefficients": np.zeros(4)}, exact=True, store=path
        )
    double = np.asarray(darcy.permeability[:1], np.float64) * (1 + 1e-9)
    with pytest.raises(DataError, match="holds float32, and these inputs are float64"):
        darcy.load().solve(double, exact=True, store=path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [".store.h5.lock", "store.h5"]


def test_a_damaged_store_is_not_added_to(darcy, tmp_path) -> None:
    s, path = darcy.load(), tmp_path / "store.h5"
    s.solve(darcy.permeability[:2], exact=True, store=path)
    with h5py.File(path, "r+") as file:
        file["split"][0] = 2
    with pytest.raises(DataError, match="content hash does not match"):
        s.solve(darcy.permeability[2:3], exact=True, store=path)


def test_rollouts_are_kept_as_trajectories(flow, tmp_path) -> None:
    s, path = opkit.load(flow.run), tmp_path / "store.h5"
    frames = s.solve(flow.permeability, 1e-9, steps=4, coverage=0.8, store=path)
    assert frames.stored == len(flow.permeability)
    with DataFile(path) as file:
        stored = file.read(file.header.outputs[0].name, slice(None))
        np.testing.assert_allclose(
            stored.reshape(np.shape(frames.outputs)), frames.outputs, rtol=1e-5
        )
    with pytest.raises(DataError, match="other parameters"):
        s.solve(flow.permeability, 1e-9, steps=2, coverage=0.8, store=path)
    assert all(finding.passed is not False for finding in validate(path))


def test_an_empty_store_has_nothing_to_keep(tmp_path) -> None:
    assert Store(tmp_path / "s.h5").keep() == (0, 0)
    assert not list(Path(tmp_path).iterdir())


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Darcy flow set by four numbers, learnt by Gaussian processes."""
    made = tmp_path_factory.mktemp("pod")
    sizes = ("samples.train=40", "samples.validation=50", "samples.test=20")
    own = (
        "resolution=9",
        "solver.parameters.terms=4",
        "parameters.coefficients.size=4",
    )
    data = generate(opkit.load_case("darcy-parametric", (*own, *sizes)), made / "d.h5")
    opkit.train(data, made / "run", operator="pod-gp", device="cpu")
    return made
