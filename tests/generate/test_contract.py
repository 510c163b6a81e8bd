"""Solvers of other packages that break the contract: one line says what and where."""

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, OpkitError, SolverError
from opkit.generate import generate
from opkit.generate.validate import validate

Stranger = Callable[..., Case]
METHODS = ("coordinates", "sample", "solve", "residual")


def test_a_whole_one_generates_and_validates(
    stranger: Stranger, tmp_path: Path
) -> None:
    path = generate(stranger(), tmp_path / "decay.h5")
    with DataFile(path) as file:
        start, end = file.read("start", slice(None)), file.read("end", slice(None))
    np.testing.assert_allclose(end, start / np.e, rtol=1e-6)  # stored as float32
    assert all(check.passed for check in validate(path, samples=None))


def test_an_empty_distribution_is_the_law_with_its_defaults(stranger: Stranger) -> None:
    assert stranger(distribution={}).build_solver().distribution.scale == 1.0
    assert stranger(distribution={"scale": 2}).build_solver().distribution.scale == 2.0
    optional = ("distribution: Law", "distribution: Law = Law(scale=3)")
    assert stranger(optional).build_solver().distribution.scale == 3.0


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_missing_is_named_on_loading(
    stranger: Stranger, method: str
) -> None:
    case = stranger((f"def {method}(self", f"def {method}_(self"))
    message = rf"Decay has no method {method}: add it; {method}\("
    with pytest.raises(CaseError, match=message) as caught:
        case.build_solver()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('{"start": self', '{"strat": self'),
            r"sample\(\) gives no 'start', which the case lists as input, but strat",
        ),
        (("size=self.resolution", "size=5"), r"start with shape \(5,\).*\(x\), here"),
        (('return {"start":', 'return 0, {"start":'), r"sample\(\) gives a tuple"),
        (('{"end": end}', '{"and": end}'), r"solve\(\) gives no 'end'.* but and: use"),
        (('{"end": end}', '{"end": end[:, 1:]}'), r"end with shape \(4, 7\).*\(4, 8"),
        (('{"end": end}', '{"end": end + 1j}'), "end as complex128: give real"),
        (("np.zeros(len(end))", "0.0"), "error is a single number: give one number"),
        (("np.zeros(len(end))", "None"), "error is None: give one number per sample"),
        ((', "exact")', ")"), "measure is '': say in words"),
        ((', "exact")', ', "exact", {"n": 3})'), r"details\['n'\] is a single number"),
        (("return Solution(", "return dict("), "raised TypeError"),
        (('Solution({"end": end}, error, "exact")', "end"), "returns a ndarray: re"),
        (("Coordinate(np.arange(float(*self.resolution)))", "1"), r"\['x'\] is a int"),
    ],
)  # fmt: skip
def test_what_a_method_returns_is_looked_at(
    stranger: Stranger, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    case = stranger(change)
    out = tmp_path / "decay.h5"
    with pytest.raises(OpkitError, match=message) as caught:
        generate(case, out)
    assert "\n" not in str(caught.value)
    assert not out.exists() and not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("method", METHODS)
def test_an_accident_in_a_method_is_one_line_with_its_place(
    stranger: Stranger, tmp_path: Path, method: str
) -> None:
    path = generate(stranger(), tmp_path / "decay.h5")
    accident = f"def {method}(self, *_):\n        return {{}}['gone']\n\n    def _(self"
    broken = stranger((f"def {method}(self", accident))
    message = rf"Decay.{method} raised KeyError: 'gone' \(stranger.py, line \d+\)"
    if method != "residual":
        with pytest.raises(SolverError, match=message) as caught:
            generate(broken, tmp_path / "new.h5")
        shown = "".join(traceback.format_exception(caught.value))  # by --debug
        assert "return {}['gone']" in shown
        assert "\n" not in str(caught.value)
    (line,) = {c.detail for c in validate(path) if c.passed is False}
    assert "KeyError: 'gone'" in line and "\n" not in line


def test_validate_looks_at_the_residual(stranger: Stranger, tmp_path: Path) -> None:
    path = generate(stranger(), tmp_path / "decay.h5")
    stranger(("return gap / np.linalg.norm(end, axis=1)", "return gap.max()"))
    (wrong,) = (c for c in validate(path) if c.passed is False)
    assert wrong.name == "residual"
    assert wrong.detail.startswith("Decay.residual() is a single number: give one")


@pytest.mark.parametrize(
    ("target", "change", "message"),
    [
        ("nowhere:Decay", None, "no module named 'nowhere': install that module, or "
         "correct entry point 'lost' of package stranger"),
        ("stranger:Decay", ("class Decay", "class Other"), "has no class 'Decay'"),
        ("stranger:Decay", ("import numpy", "import no_such_thing\nimport numpy"),
         "no module named 'no_such_thing': install no_such_thing, which it imports"),
        ("stranger:Decay", ("import numpy", "1 / 0\nimport numpy"),
         "importing stranger raised ZeroDivisionError"),
        ("stranger:Decay", ("import numpy as np", "import numpy as np :"),
         "importing stranger raised SyntaxError"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported(
    stranger: Stranger, target: str, change: tuple[str, str] | None, message: str
) -> None:
    case = stranger(*([change] if change else []), solver={"target": target})
    with pytest.raises(CaseError, match=message) as caught:
        case.build_solver()
    assert "\n" not in str(caught.value)


def test_a_plain_class_with_four_methods_is_a_solver(
    stranger: Stranger, tmp_path: Path
) -> None:
    plain = (
        "@solver_dataclass\nclass Decay:",
        "class Decay:\n    def __init__(self, resolution):\n"
        "        self.resolution, self.distribution = resolution, Law()\n",
    )
    case = stranger(plain)
    path = generate(case, tmp_path / "decay.h5")
    assert all(check.passed for check in validate(path))
    with pytest.raises(CaseError, match="unexpected keyword argument 'speed'"):
        faster = {"target": "stranger:Decay", "parameters": {"speed": 1}}
        stranger(plain, solver=faster).build_solver()


def test_the_command_line_prints_one_line(stranger: Stranger, tmp_path: Path) -> None:
    case = tmp_path / "decay.yaml"
    data = stranger(("def residual(self", "def rest(self")).dump()
    case.write_text(yaml.safe_dump(json.loads(json.dumps(data))))
    for verb in (["generate"], ["cases", "show"], ["check-solver"]):
        ran = subprocess.run(
            [sys.executable, "-c", "import opkit.cli; opkit.cli.main()", *verb, case],
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert ran.returncode == 2, ran.stderr
        assert ran.stderr.count("\n") == 1
        assert ran.stderr.startswith("Error: solver Decay has no method residual")
