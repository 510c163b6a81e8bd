"""The measurements on a GPU: what travels is enough, and fits; stages end in time."""

import hashlib
import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import opkit
from benchmarks import gpu_measure, gpu_stages, gpu_tables
from benchmarks.gpu_stages import STAGES, Measurement
from opkit.solvers.interface import OnDevice

ROOT = Path(__file__).parents[2]
MOST = 64 * 2**20
"""Bytes that may travel to a lent machine."""
MACHINE = {
    "gpu": None, "torch": "2.11.0", "cuda": None, "triton": "3.6.0", "python": "3.12",
    "cores": 2, "load": 0.0, "tiny": True, "date": "2026-11-27", "time": 0.0,
}  # fmt: skip


def tracked() -> list[Path]:
    """Files that git tracks or does not ignore: those travel."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git clone: what git ignores is not known")
    names = [name for name in listing.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).exists()]


def wheels() -> dict[str, str]:
    """Requirement to sha256, of the manifest."""
    text = (ROOT / "benchmarks" / "gpu_wheels.txt").read_text()
    pairs = re.findall(r"^(\S+==\S+) \\\n\s+--hash=sha256:([0-9a-f]{64})$", text, re.M)
    assert len(pairs) == sum("==" in line for line in text.splitlines())
    return dict(pairs)


def test_what_travels_is_small() -> None:
    """The wheels are 14 MB; with a margin for newer ones, 24."""
    size = sum(path.lstat().st_size for path in tracked())
    carried = sum(path.stat().st_size for path in ROOT.glob(".gpu-wheels/*"))
    assert size + max(carried, 24 * 2**20) < MOST


def test_all_that_stages_run_travels() -> None:
    paths = {path.relative_to(ROOT).as_posix() for path in tracked()}
    modules = {m.command[0] for items in STAGES.values() for m in items} - {"pytest"}
    needed = {f"benchmarks/{module}.py" for module in modules}
    needed |= {"benchmarks/gpu.sh", "benchmarks/gpu_wheels.txt", "pyproject.toml"}
    assert needed <= paths
    for link in ("solvers", "datasets", "cases"):  # opkit/solvers -> ../solvers
        assert f"opkit/{link}" in paths
        assert any(path.startswith(f"{link}/") for path in paths)


def test_wheels_are_what_the_manifest_says() -> None:
    hashes = set(wheels().values())
    for path in ROOT.glob(".gpu-wheels/*.whl"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in hashes, path.name


def test_the_manifest_is_what_the_project_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = dict(
        re.match(r"([\w-]+)>=([\d.]+)", text).groups()  # type: ignore[union-attr]
        for items in lists
        for text in items
        if re.match(r"[\w-]+>=", text)
    )
    assert {"pydantic", "h5netcdf", "neuraloperator", "pyfftw"} <= {
        requirement.partition("==")[0] for requirement in wheels()
    }
    for requirement in wheels():
        name, _, version = requirement.partition("==")
        if name in bounds:
            low, own = (
                [int(n) for n in v.split(".")[:2]] for v in (bounds[name], version)
            )
            assert own >= low, requirement


def test_every_file_with_tests_for_a_gpu_is_run() -> None:
    own = Path(__file__)
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != own and "mark.gpu" in path.read_text()
    }
    assert files == set(gpu_stages.MARKED)


def test_every_solver_that_takes_a_device_is_measured() -> None:
    fields = re.compile(r"^    device: .* = ", re.MULTILINE)
    files = {
        path.relative_to(ROOT)
        for path in (ROOT / "solvers").rglob("*.py")
        if fields.search(path.read_text())
    }
    measured = set()
    for name in gpu_measure.SOLVERS:
        solver = opkit.load_case(name).build_solver()
        assert isinstance(solver, OnDevice)
        measured.add(Path(*type(solver).__module__.split(".")[1:]).with_suffix(".py"))
    assert measured == files
    assert set(gpu_stages.SOLVERS) == set(gpu_measure.SOLVERS)


def test_names_are_unique_and_budgets_below_the_limit() -> None:
    assert sorted(STAGES) == [1, 2, 3, 4, 5, 6, 7]
    for items in STAGES.values():
        assert len({item.name for item in items}) == len(items)
        assert all(item.seconds < gpu_stages.LIMIT for item in items)
    # a command has 600 s: the limit, the last one's end, and the wheels' installation
    assert gpu_stages.LIMIT <= 480


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stage 1 is a doctor that is not asked about, one that hangs, one that fails."""

    class Line(Measurement):
        def arguments(self, small: bool, result: Path) -> list[str]:
            return [sys.executable, "-c", self.command[0], str(result)]

    write = "import sys; open(sys.argv[1], 'w').write('[{\"a\": 1}]')"
    items = (
        Line("good", (write,), 60.0),
        Line("hangs", (f"{write}\nimport time; time.sleep(60)",), 2.0),
        Line("bad", ("raise SystemExit('no such card')",), 60.0),
        Line("late", (write,), 60.0),
    )
    monkeypatch.setitem(STAGES, 1, items)
    monkeypatch.setattr(gpu_stages, "machine", lambda: MACHINE)
    return tmp_path


def test_a_stage_records_what_it_did_not_do(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_stages, "LEAST", 0.0)
    begin = time.monotonic()
    good, hangs, bad, _ = gpu_stages.stage(1, quick)
    assert time.monotonic() - begin < 40  # not the minute that one of them sleeps
    assert good["status"] == "done" and good["result"] == [{"a": 1}]
    # what it had written is kept
    assert hangs["status"] == "skipped" and hangs["result"] == [{"a": 1}]
    assert bad["status"] == "failed" and bad["reason"] == ["no such card"]
    (again,) = gpu_stages.stage(1, quick, ["late"], limit=-1.0)
    assert again["status"] == "skipped"
    assert {p.name for p in quick.iterdir()} == {
        "stage-1.json", "stage-1.log", "stage-1-late.json", "stage-1-late.log"
    }  # fmt: skip
    results = gpu_tables.load(quick)[1]
    assert set(results.results("")) == {"good", "hangs", "late"}
    assert "no such card" in results.missing()


def test_tables_replace_what_stands_between_the_marks(tmp_path: Path) -> None:
    docs, folder = tmp_path / "docs", tmp_path / "out" / "one"
    docs.mkdir()
    folder.mkdir(parents=True)
    for name in {document for _, document, _ in gpu_tables.TABLES.values()}:
        (docs / name).write_text((ROOT / "docs" / name).read_text())
    row = {"solver": "darcy", "resolution": [9, 9], "batch": 2, "distance": 1e-9}
    row |= {"ms_per_sample": 2.0, "cpu_ms_per_sample": 8.0}
    stage = {"stage": 4, "machine": MACHINE, "measurements": [
        {"name": "solver darcy", "status": "done", "seconds": 1.0, "result": [row]},
        {"name": "solver burgers", "status": "skipped", "reason": "no time"},
    ]}  # fmt: skip
    (folder / "stage-4.json").write_text(json.dumps(stage))
    before = (docs / "tables.md").read_text()
    assert gpu_tables.write(tmp_path / "out", docs) == ["solvers"]
    text = (docs / "tables.md").read_text()
    assert "| darcy | 9x9 | 2 | 8 | 2 | 4.0 | 1.0e-09 |" in text
    assert "Not measured: solver burgers (skipped: no time)." in text
    assert "triton 3.6.0, 2026-11-27. Tiny sizes: a rehearsal" in text
    head = before.partition("<!-- gpu:solvers -->")[0]
    tail = before.partition("<!-- /gpu:solvers -->")[2]
    assert text.startswith(head) and text.endswith(tail)
    gpu_tables.write(tmp_path / "out", docs)
    assert (docs / "tables.md").read_text() == text


def test_the_training_problem_is_as_training_wants_it() -> None:
    """A setup made by hand: fields that it gets later have to be added there."""
    pytest.importorskip("neuralop")
    from benchmarks import training

    problem = training.make_problem(8, 3, 4)
    assert training.make_model(problem).parameter_count > 0


def test_documents_without_marks_are_refused() -> None:
    with pytest.raises(ValueError, match="gpu:layers"):
        gpu_tables.replaced("no marks", "layers", "")
