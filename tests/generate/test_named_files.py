"""A mesh file belongs to the identity of what is made with it."""

from pathlib import Path

import numpy as np
import pytest

from opkit.case import load_case
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.generate import generate, plan
from opkit.generate.manifest import fingerprint
from opkit.generate.validate import validate

pytestmark = pytest.mark.fem

MESH = """$MeshFormat
2.2 0 8
$EndMeshFormat
$Nodes
5
1 0 0 0
2 WIDE 0 0
3 WIDE 1 0
4 0 1 0
5 0.5 0.5 0
$EndNodes
$Elements
4
1 2 2 8 1 1 2 5
2 2 2 8 1 2 3 5
3 2 2 8 1 3 4 5
4 2 2 8 1 4 1 5
$EndElements
"""


def test_a_mesh_that_changes_is_another_generation(tmp_path: Path) -> None:
    """Fingerprint, content hash, caches and --resume see the content of the file."""
    path = tmp_path / "m.msh"
    domain = f"{{kind: file, path: {path}, refinements: 1}}"
    condition = "{boundary: {kind: dirichlet, value: 0}}"
    overrides = (
        f"solver.parameters.domain={domain}",
        f"solver.parameters.boundary={condition}",
        f"boundary={condition}",
    )
    path.write_text(MESH.replace("WIDE", "1"))
    case = load_case("darcy-mesh", overrides)
    first = fingerprint(plan(case, samples=4), 0)
    out = generate(case, tmp_path / "a.h5", samples=4)
    with DataFile(out) as file:
        assert list(file.header.files) == ["m.msh"]
        hash_before = file.content_hash()
        assert file.stored_hash() == hash_before
    assert all(check.passed is not False for check in validate(out))
    area = case.build_solver().simplex_mesh().volumes().sum()  # type: ignore[attr-defined]
    assert area == pytest.approx(1.0)

    path.write_text(MESH.replace("WIDE", "2"))
    area = case.build_solver().simplex_mesh().volumes().sum()  # type: ignore[attr-defined]
    assert area == pytest.approx(2.0)  # no cache holds the old mesh
    assert fingerprint(plan(case, samples=4), 0) != first
    assert all(check.passed is not False for check in validate(out))  # holds its mesh

    parts = tmp_path / "b.h5.parts"
    path.write_text(MESH.replace("WIDE", "1"))
    from opkit.generate.manifest import Manifest

    parts.mkdir()
    Manifest(parts, first).create()
    path.write_text(MESH.replace("WIDE", "2"))
    with pytest.raises(DataError, match="has changed since"):
        generate(case, tmp_path / "b.h5", samples=4, resume=True)
    with DataFile(generate(case, tmp_path / "c.h5", samples=4)) as file:
        assert file.content_hash() != hash_before
        assert np.ptp(file.header.mesh.points[:, 0]) == 2.0  # type: ignore[union-attr]
