"""Cases whose solver meshes each sample: ragged files, made, resumed and checked."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import opkit
from opkit.case import load_case
from opkit.case.record import parse_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.layout import LIBVER
from opkit.datasets.ragged_write import RaggedWriter
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, Interrupted, OpkitInputError
from opkit.evaluate import solver as solver_scores
from opkit.evaluate.pays import measure
from opkit.generate import generate, plan
from opkit.generate.check_solver import check_solver
from opkit.generate.run import Progress
from opkit.generate.validate import validate
from opkit.surrogate.predict_file import predict
from opkit.train import train

meshio = pytest.importorskip("meshio")
SAMPLES = 8
SMALL = ("resolution=5", "solver.parameters.around=10")


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small plates."""
    path = tmp_path_factory.mktemp("plates") / "plates.h5"
    return generate(load_case("elasticity-plates", SMALL), path, 3, SAMPLES)


def test_the_file_is_ragged_and_right(plates: Path) -> None:
    """Its own solver draws the same shapes and finds the stored fields solved."""
    findings = {f.name: f for f in validate(plates, None)}
    assert all(f.passed for f in findings.values()), findings
    assert {"meshes", "case", "inputs", "residual"} <= findings.keys()
    with DataFile(plates) as file:
        shapes = file.header.shapes
        assert (shapes.corners, shapes.facet_corners) == (6, 2)
        assert shapes.parts == ("edges", "holes", "left", "right")
        meshes = [file.mesh(row) for row in range(SAMPLES)]
        weights = [file.sample(row, ["weights"])["weights"] for row in range(SAMPLES)]
    counts = {len(mesh.points) for mesh in meshes}
    assert len(counts) > SAMPLES // 2  # lengths of their own
    for mesh, w in zip(meshes, weights, strict=True):
        holes = mesh.groups.facets[mesh.groups.parts == 1]
        a, b = mesh.points[holes].transpose(1, 0, 2) - [1.0, 0.5]
        # Green: the area of the holes, whose edges come in no order of direction
        area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2
        assert 0 < 2 - w.sum() <= area + 1e-9
    estimate = plan(load_case("elasticity-plates", SMALL), 3, SAMPLES).file_bytes
    # of the first plate, for all: these have 180 to 480 nodes; and 100 kB of metadata
    assert 0.5 < estimate / plates.stat().st_size < 2


@pytest.mark.slow
def test_the_same_content_from_workers_and_after_an_interruption(
    plates: Path, tmp_path: Path
) -> None:
    """Sample i depends on the seed and i alone; lost and damaged shards are redone."""
    case = load_case("elasticity-plates", SMALL)
    other = tmp_path / "again.h5"

    def interrupt(progress: Progress) -> None:
        if progress.done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="shards are kept"):
        generate(case, other, 3, SAMPLES, progress=interrupt)
    shards = sorted((tmp_path / "again.h5.parts").glob("shard-*.h5"))
    resumed = len(shards) - 2
    shards[0].unlink()
    content = bytearray(shards[1].read_bytes())
    content[len(content) // 2] ^= 1
    shards[1].write_bytes(content)
    seen: list[Progress] = []
    generate(case, other, 3, SAMPLES, workers=2, resume=True, progress=seen.append)
    assert seen[0].resumed == resumed
    with DataFile(plates) as one, DataFile(other) as two:
        assert one.content_hash() == two.content_hash()


def test_a_moved_node_is_seen(plates: Path, tmp_path: Path) -> None:
    """By the digest of its sample."""
    copy = tmp_path / "copy.h5"
    copy.write_bytes(plates.read_bytes())
    with h5py.File(copy, "r+") as file:
        values = file["node_x"][:]
        values[7] += 1e-3
        file["node_x"][:] = values
    findings = {f.name: f.passed for f in validate(copy, 1)}
    assert findings["checksums"] is False


def test_another_material_is_seen_by_the_residual(plates: Path, tmp_path: Path) -> None:
    """The stored case says ν = 0.2, its fields are those of 0.3."""
    with DataFile(plates) as file:
        rows = range(SAMPLES)
        names = [v.name for v in file.header.variables]
        samples = [(file.mesh(row), file.sample(row, names)) for row in rows]
        header = json.loads(json.dumps(file.header.case)), file.header
    header[0]["solver"]["parameters"]["poisson"] = 0.2
    other = replace(header[1], case=header[0])
    other = replace(other, shapes=replace(other.shapes, offsets={}))
    path = tmp_path / "other.h5"
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = RaggedWriter(file, other)
        for row, (mesh, fields) in enumerate(samples):
            writer.put(row, mesh, fields)
        writer.finish()
    findings = {f.name: f for f in validate(path, 2)}
    assert findings["checksums"].passed and findings["inputs"].passed
    assert findings["residual"].passed is False


def test_from_the_file_to_a_prediction(plates: Path, tmp_path: Path) -> None:
    """Train, load, and a .vtu for each sample with its own mesh."""
    run = tmp_path / "run"
    few = ["training.epochs=1", "model.hidden_channels=8", "model.n_layers=1"]
    train(plates, run, operator="transolver", overrides=few)
    assert predict(run, plates, tmp_path / "p.vtu", split="test") == (1,)
    with DataFile(plates) as file:
        (row,) = file.indices("test")
        mesh = file.mesh(int(row))
    written = meshio.read(tmp_path / f"p_{row:06d}.vtu")
    np.testing.assert_array_equal(written.points[:, :2], mesh.points)
    np.testing.assert_array_equal(written.cells_dict["triangle6"], mesh.cells)
    assert written.point_data["von_mises"].shape == (len(mesh.points),)
    surrogate = opkit.load(run)
    item = surrogate.samples(plates, "test")[0]
    asked = {
        "traction": item["parameters"], "points": item["points"],
        "weights": item["weights"],
    }  # fmt: skip
    with pytest.raises(CaseError, match=r"the mesh of each sample: give cells"):
        surrogate.solve(asked, tolerance=1e-9)
    mesh_of_it = {name: item[name] for name in ("cells", "facets", "facet_part")}
    solved = surrogate.solve(asked | mesh_of_it, tolerance=1e-9)
    with DataFile(plates) as file:
        stored = file.read("von_mises", int(row))
    # the same solver, stored in float32
    np.testing.assert_allclose(solved.outputs["von_mises"], stored, rtol=2e-6)
    _keeps(surrogate, plates, tmp_path / "kept.h5")
    pays = measure(surrogate, plates, 1, 1, 10.0)
    assert pays.rungs[0].label == "solver"
    assert pays.rungs[0].relative_l2 is not None and pays.rungs[0].relative_l2 < 1e-6
    # a function has what a user has of a mesh: where its nodes are, and their shares
    checked = surrogate(
        asked, check=True, quantity=lambda u, x: u["von_mises"] @ x["weights"]
    )
    stress = checked.prediction["von_mises"].double() @ item["weights"].double()
    assert checked.quantities["quantity"].value == pytest.approx(float(stress))
    (full,) = solver_scores.table(surrogate.config.recipe, plates, "train", 2)
    assert full.predictor == "solver" and full.samples == 2 and full.seconds
    assert full.relative_l2 < 1e-6  # stored in float32
    with pytest.raises(OpkitInputError, match=r"opkit validate"):
        check_solver(load_case("elasticity-plates", SMALL))
    with pytest.raises(OpkitInputError, match=r"pod-gp takes no ragged data.*use "):
        train(plates, tmp_path / "other", operator="pod-gp")


def _keeps(surrogate: opkit.Surrogate, plates: Path, store: Path) -> None:
    """What the solver solved is kept, two batches one after the other, each once."""
    roles = ("points", "weights", "cells", "facets", "facet_part")
    samples = surrogate.samples(plates, "train")
    asked = [
        {"traction": item["parameters"]} | {role: item[role] for role in roles}
        for item in (samples[k] for k in range(3))
    ]
    # two samples of one shape in a batch, the first again, and two others
    both = {name: torch.stack([part, part]) for name, part in asked[0].items()}
    both["traction"] = both["traction"] * torch.tensor([[1.0], [0.5]])
    first = surrogate.solve(both, exact=True, store=store)
    assert (first.stored, first.known) == (2, 0)
    old = store.read_bytes()
    kept = [surrogate.solve(one, exact=True, store=store) for one in asked]
    assert [(k.stored, k.known) for k in kept] == [(0, 1), (1, 0), (1, 0)]
    with DataFile(store) as file:
        assert len(file) == 4
        assert file.header.shapes is not None
        ends = file.header.shapes.offsets["node"]
        for row, one in ((0, asked[0]), (2, asked[1]), (3, asked[2])):
            mesh, sample = file.mesh(row), file.sample(row)
            np.testing.assert_array_equal(mesh.points, one["points"])
            np.testing.assert_array_equal(mesh.cells, one["cells"])
            np.testing.assert_array_equal(sample["traction"], one["traction"])
            assert ends[row + 1] - ends[row] == len(one["points"])
    assert all(f.passed for f in validate(store, None) if f.passed is not None)
    assert FieldDataset(store, None)[3]["outputs"].shape[1] == len(asked[2]["points"])
    assert store.read_bytes() != old and not list(store.parent.glob("*.part*"))


def test_cases_that_do_not_say_so() -> None:
    """One line each."""
    data = load_case("elasticity-plates").dump()
    data["geometry"]["kind"] = "mesh"
    with pytest.raises(CaseError, match=r"geometry.kind is 'mesh'.*a mesh for each"):
        plan(parse_case(data))
    data = load_case("darcy").dump()
    data["geometry"]["kind"] = "meshes"
    with pytest.raises(CaseError, match=r"Darcy makes no mesh for each sample"):
        plan(parse_case(data))
    data = load_case("elasticity-plates").dump()
    data["quantities"] = {
        "q": {"kind": "maximum", "of": "von_mises", "part": "hole", "units": "1"}
    }
    with pytest.raises(CaseError, match=r"quantities.q: there is no part 'hole'"):
        plan(parse_case(data))
