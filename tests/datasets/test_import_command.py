"""`opkit import --case` on the command line: a case's units, axes and checks."""

import json
from pathlib import Path

import numpy as np
from fixtures.command_line import Shown, run

from opkit.datasets.read import DataFile


def test_import_with_a_case(tmp_path: Path, capsys: Shown) -> None:
    """Arrays get units, axes and solver of a case; what does not fit leaves nothing."""
    case, out = tmp_path / "made.h5", tmp_path / "back.h5"
    run(
        capsys,
        "generate",
        "case",
        "darcy",
        "--out",
        case,
        "--resolution",
        17,
        "--samples",
        6,
    )
    with DataFile(case) as file:
        arrays = {n: file.read(n, slice(None)) for n in ("permeability", "pressure")}
        units = {v.name: v.units for v in file.header.variables}
    source = tmp_path / "arrays.npz"
    np.savez(source, a=arrays["permeability"], u=arrays["pressure"])
    maps = ["--input", "permeability=a:sample,y,x", "--output", "pressure=u:sample,y,x"]
    words = ["import", out, "--train", source, *maps, "--hold-out", 2]
    of_case = ["--case", "darcy", "--set", "resolution=17"]
    run(capsys, *words, *of_case)
    with DataFile(out) as file:
        assert {v.name: v.units for v in file.header.variables} == units
        assert file.header.case["name"] == "darcy"
        assert file.header.splits["validation"].tolist() == [4, 5]
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.read(name, slice(None)), array)
    findings = json.loads(run(capsys, "validate", out, "--all", "--json"))
    assert {row["name"]: row["passed"] for row in findings}["residual"] is True

    wrong = tmp_path / "wrong.h5"
    words[1] = wrong
    for case_words, message in (
        (["--case", "darcy", "--set", "resolution=21"], "17x17"),
        (["--case", "burgers"], "burgers"),
        (["--case", "darci"], "darcy"),
        ([*of_case, "--axis", "x=0,2"], "axis x"),
    ):
        assert message in run(capsys, *words, *case_words, code=2)
        assert not wrong.exists()
    np.savez(source, a=arrays["permeability"], u=1.1 * arrays["pressure"])
    run(capsys, *words, *of_case)
    assert "residual" in run(capsys, "validate", wrong, "--all", code=2)
