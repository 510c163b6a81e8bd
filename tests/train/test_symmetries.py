"""Training data are enlarged by symmetries of the case's equation, and by no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import opkit
from opkit.case import load_case
from opkit.case.recipe import Recipe, Training
from opkit.errors import OpkitInputError
from opkit.train.fields.symmetries import augmentation

SMALL = (
    "resolution=64",
    "solver.parameters.length=22",
    "solver.parameters.spin_up=0",
    "solver.parameters.records=4",
    "samples.train=4",
    "samples.validation=2",
    "samples.test=2",
)


def augmented(
    case: Any, names: tuple[str, ...], mode: str = "autoregressive"
) -> tuple[Any, Any]:
    recipe = Recipe(operator="fno", mode=mode, training=Training(symmetries=names))
    extent = tuple(high - low for low, high in case.geometry.extent.values())
    periodic = (True,) * len(extent)
    solver = case.build_solver()
    step = case.solver.parameters.get("record_interval")
    return (
        augmentation(recipe, case.dump(), case.shape, periodic, extent, step),
        solver,
    )


def trajectory(solver: Any) -> tuple[dict[str, torch.Tensor], str, str]:
    """A batch of one, first frame and the frames after it."""
    drawn = solver.sample(np.random.default_rng(0))
    (name,) = drawn
    outputs = solver.solve({name: drawn[name][None]}).outputs
    (output,) = outputs
    batch = {
        "inputs": torch.from_numpy(drawn[name])[None, None, None],
        "outputs": torch.from_numpy(outputs[output])[:, :, None],
    }
    return batch, name, output


@pytest.mark.parametrize(
    ("name", "changes", "symmetries"),
    [
        ("kuramoto-sivashinsky", SMALL, ("shift", "flip_x", "galilei")),
        ("korteweg-de-vries", (*SMALL[:1], *SMALL[2:]), ("galilei", "shift")),
        (
            "navier-stokes",
            ("resolution=16", "solver.parameters.records=2"),
            ("shift", "transpose", "rotate"),
        ),
    ],
)
def test_augmented_trajectories_solve_the_equation(
    name: str, changes: tuple[str, ...], symmetries: tuple[str, ...]
) -> None:
    """The solver's residual of what was transformed is that of what was not."""
    augment, solver = augmented(load_case(name, changes), symmetries)
    batch, initial, output = trajectory(solver)
    random = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(4):
        new = augment(batch, random)
        assert {role: t.shape for role, t in new.items()} == {
            role: t.shape for role, t in batch.items()
        }
        fields = {initial: new["inputs"][:, 0, 0].numpy()}
        records = {output: new["outputs"][:, :, 0].numpy()}
        # the tolerance of the solver; a wrong sign or shift gives residuals of order 1
        assert solver.residual(fields, records)[0] < 1e-4
        seen.add(float(new["inputs"].flatten()[0]))
    assert len(seen) > 1


def test_symmetries_that_the_equation_has_not_are_refused() -> None:
    flow = load_case("navier-stokes", ("resolution=16",))
    with pytest.raises(OpkitInputError, match=r"flip_x is no symmetry .* transpose"):
        augmented(flow, ("flip_x",))
    with pytest.raises(OpkitInputError, match="no grid point of 20"):
        augmented(load_case("navier-stokes", ("resolution=20",)), ("rotate",))
    waves = load_case("kuramoto-sivashinsky", SMALL)
    with pytest.raises(OpkitInputError, match="autoregressive"):
        augmented(waves, ("galilei",), "map")
    with pytest.raises(OpkitInputError, match="negate is for cases"):
        augmented(load_case("darcy"), ("negate",))


@pytest.mark.slow
def test_a_run_with_symmetries_of_its_case(tmp_path: Path) -> None:
    data = opkit.generate(load_case("kuramoto-sivashinsky", SMALL), tmp_path / "d.h5")
    settings = (
        "training.epochs=1",
        "model.n_modes=[4]",
        "model.hidden_channels=4",
        "training.symmetries=[shift, flip_x, galilei]",
    )
    made = opkit.train(data, tmp_path / "run", overrides=settings, device="cpu")
    assert np.isfinite(made.scores[0].relative_l2)
    with pytest.raises(OpkitInputError, match="transpose is no symmetry"):
        opkit.train(
            data, tmp_path / "no", overrides=("training.symmetries=[transpose]",)
        )
    assert not (tmp_path / "no").exists()
