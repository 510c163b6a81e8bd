"""Nothing in the current folder becomes code, whichever verb is called there."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import planted
import pytest

from opkit.base import children, elsewhere
from opkit.errors import DataError

PLUGIN = Path(__file__).parents[1] / "plugin"
SMALL = "--set resolution=9 --set samples.train=8 --set samples.validation=2"
TRAIN = (
    "--set subsample=1 --set model.n_modes=[2,2] --set model.hidden_channels=4 "
    "--set model.n_layers=1 --set training.epochs=2 --set training.batch_size=4"
)
MAP = "--input a=a:sample,x --output b=b:sample,x"


@pytest.fixture
def trap(tmp_path: Path) -> planted.Trap:
    return planted.Trap(tmp_path / "data from elsewhere")


def test_the_trap_works(trap: planted.Trap) -> None:
    code = "import random"
    unsafe = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    run = [sys.executable, "-c", code]
    subprocess.run(run, cwd=trap.folder, env=unsafe, capture_output=True)
    assert trap.ran() == ["random"]


def test_generate_and_read_in_a_folder_of_traps(trap: planted.Trap) -> None:
    """A plug-in on PYTHONPATH still runs in two workers; nothing of the folder does."""
    stated = (PLUGIN / "toy-heat.yaml").read_text()
    (trap.folder / "heat.yaml").write_text(stated)
    command = "generate case heat.yaml -o d.h5 --samples 6 --resolution 8 -w 2"
    for verb in (command, "inspect d.h5", "validate d.h5"):
        done = trap.opkit(*verb.split(), path=[str(PLUGIN)])
        assert (done.returncode, trap.ran()) == (0, []), (verb, done.stderr)


VERBS = {
    "cases": "cases",
    "cases show": "cases show darcy",
    "doctor": "doctor",
    "check-solver": "check-solver darcy --resolution 9",
    "operators": "operators",
    "generate": f"generate case darcy -o d.h5 -w 2 -q {SMALL}",
    "generate dask": f"generate case darcy -o k.h5 --scheduler local -q {SMALL}",
    "generate flow": "generate case navier-stokes -o f.h5 --samples 2 --resolution 16 "
    "--set solver.parameters.records=2 -q",
    "inspect": "inspect d.h5 --plot d.png",
    "validate": "validate d.h5",
    "validate flow": "validate f.h5",
    "import npz": f"import i.h5 --train a.npz {MAP}",
    "import mat": f"import m.h5 --train a.mat {MAP}",
    "import h5": f"import j.h5 --train a.h5 {MAP}",
    "export-data": "export-data d.h5 well --to well",
    "export-data zarr": "export-data d.h5 zarr --to zarr",
    "train": f"train d.h5 -o run -q {TRAIN}",
    "train workers": "train d.h5 -o run2 -q --set training.workers=1 "
    f"--set training.memory=1e-9 {TRAIN}",
    "tune": "tune d.h5 -o tune --trials 1 -q --set "
    f"'search={{training.learning_rate: {{low: 1e-4, high: 1e-2}}}}' {TRAIN}",
    "evaluate": "evaluate run --solver",
    "predict": "predict run d.h5 -o p.h5",
    "predict nc": "predict run d.h5 -o p.nc",
    "plot": "plot run",
    "runs": "runs .",
    "report": "report run -o r.html",
    "export": "export run --to pt2",
    "export onnx": "export run --to onnx",
    "export aoti": "export run --to aoti",
    "solve": "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --steps 3 --lbfgs 0 "
    "--figure s.png -o s.npz",
    "generate mesh": "generate case darcy-mesh -o e.h5 --samples 3 --resolution 4 -q",
    "generate ranks": "generate case darcy-mesh -o e2.h5 --samples 3 --resolution 4 "
    "-q --ranks 2",
    "generate from a mesh file": "generate case mesh.yaml -o e3.h5 --samples 3 -q",
    "validate mesh": "validate e.h5",
    "generate trajectories": "generate case advection-diffusion -o t.h5 --samples 4 "
    "--resolution 32 -q",
    "modes": "modes t.h5",
    "assimilate": "assimilate advection-diffusion --cycles 2 --members 3 --filter etkf "
    "--steps 5 -o s.nc",
    "discover": "discover kuramoto-sivashinsky --wrong title=x --pairs 4 --steps 2",
    "new": "new plugin rod-and-more",
}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_verb_in_a_folder_of_traps(trap: planted.Trap) -> None:
    counts, faults = verbs_in_a_trap(trap)
    assert not faults
    assert counts["verbs"] == counts["done"] and not counts["planted modules that ran"]


def verbs_in_a_trap(trap: planted.Trap) -> tuple[dict[str, int], list[str]]:
    """Call each verb; count those that did their work and the planted code that ran."""
    import h5py
    import hostile_others
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(4, 8)) for name in "ab"}
    np.savez(trap.folder / "a.npz", allow_pickle=False, **arrays)
    savemat(trap.folder / "a.mat", arrays)
    with h5py.File(trap.folder / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    mesh = trap.folder / "square.msh"
    mesh.write_text(hostile_others.SQUARE)
    (trap.folder / "mesh.yaml").write_text(_outer_only(hostile_others.mesh_case(mesh)))
    counts, faults = {"verbs": 0, "done": 0, "planted modules that ran": 0}, []
    for name, words in VERBS.items():
        done = trap.opkit(*shlex.split(words))
        counts["verbs"] += 1
        counts["done"] += done.returncode == 0
        if done.returncode:
            faults.append(f"{name}: {done.stderr[-1000:]}")
    counts["planted modules that ran"] = len(trap.ran())
    return counts, faults + trap.ran()


def _outer_only(case: str) -> str:
    """The case with conditions on the boundary that the square has."""
    case = case.replace("inner: {kind: dirichlet, value: 0}, ", "")
    return case.replace("  inner: {kind: dirichlet, value: 0}\n", "")


def path_of(code: str, folder: Path, **variables: str) -> list[str]:
    """Import path of a child that is started from Python code in a folder."""
    start = (
        "import json, sys; sys.path.append('relative'); sys.path.append('/appended');"
        "from opkit.base.children import environment;"
        "print(json.dumps(environment()['PYTHONPATH'].split(':')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + start],
        cwd=folder,
        env={**os.environ, "PYTHONSAFEPATH": "", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout))


def test_what_is_on_the_path_of_a_child(tmp_path: Path) -> None:
    """Named folders are, wherever they are named; the current folder is not."""
    root = str(planted.ROOT)
    path = path_of("", tmp_path, PYTHONPATH=f"{root}::plugins")
    assert root in path and str(tmp_path / "plugins") in path and "/appended" in path
    assert str(tmp_path) not in path and "" not in path and "relative" not in path
    assert str(tmp_path) in path_of("", tmp_path, PYTHONPATH=f"{root}:.")
    hidden = f"import sys; sys.path.insert(0, {root!r});"
    assert root in path_of(hidden, tmp_path, PYTHONPATH="")


def test_variables_that_change_what_runs_are_not_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONSTARTUP", "evil.py")
    monkeypatch.setenv("PYTHONBREAKPOINT", "evil.run")
    monkeypatch.setenv("PYTHONWARNINGS", "error::evil.Warning")
    monkeypatch.setenv("PYTHONHASHSEED", "3")
    variables = children.environment({"A": "b"})
    names = {name for name in variables if name.startswith("PYTHON")}
    assert names >= {"PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHASHSEED"}
    assert not names & {"PYTHONSTARTUP", "PYTHONBREAKPOINT", "PYTHONWARNINGS"}
    assert variables["A"] == "b" and "-P" in children.python("m")


def test_settings_files_of_the_folder_are_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matplotlibrc").write_text("")
    with elsewhere.elsewhere("matplotlibrc"):
        assert Path.cwd() == elsewhere.PACKAGE
    assert Path.cwd() == tmp_path
    with elsewhere.elsewhere("absent"):
        assert Path.cwd() == tmp_path


@pytest.mark.parametrize("name", ["libcuda.so.1", "tls/haswell/libcuda.so.1"])
def test_no_process_starts_beside_a_library_that_pytorch_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "haswell").mkdir()
    children.environment()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
    for start in (children.environment, children.close_folder):
        with pytest.raises(DataError, match=rf"^{name}: .*move it"):
            start()


def test_packages_do_not_read_settings_of_the_folder(tmp_path: Path) -> None:
    """A pipe without a writer would be waited for, for ever."""
    os.mkfifo(tmp_path / "matplotlibrc")
    (tmp_path / ".numba_config.yaml").write_text("[")
    code = (
        "from opkit.base.children import close_folder; close_folder()\n"
        "import matplotlib, numba\n"
        "assert numba.njit(lambda x: x + 1)(1) == 2\n"
        "print(matplotlib.__spec__.loader is matplotlib.__loader__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(planted.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "True\n", done.stderr
