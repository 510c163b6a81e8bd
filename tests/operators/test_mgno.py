"""MgNO: parity with the authors' code, linearity, boundaries, published sizes.

``data/mgno_reference.npz`` holds an output of the authors' ``MgNO_DC`` (xlliu2017,
MgNO, commit 0f70fa4, run on a CPU) and the names and shapes of its weights; weights and
input are drawn here from a seed. It was made by

    python tests/operators/test_mgno.py CHECKOUT

and the slow test repeats that against a checkout at $OPKIT_MGNO_REFERENCE.
"""

import importlib
import json
import os
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.mgno import MgNO, VCycle
from opkit.operators.shapes import DataShape

FILE = Path(__file__).parent / "data" / "mgno_reference.npz"
# the authors create smoothing steps after the coarsest grid but never use them: none
ITERATIONS = ((2, 0), (1, 1), (2, 0))
SHAPE, WIDTH, LAYERS = (16, 24), 4, 2
KEY_MAP = (  # (authors' name, ours); level 0 has no restriction before its steps
    (r"conv_list\.(\d)\.layer0\.(\d)\.([AS])\.", "cycles.{0}.before.0.steps.{1}.{2}."),
    (r"conv_list\.(\d)\.layer(\d)\.0\.(Pi|R)\.", "cycles.{0}.restrictions.{-1}.{2}."),
    (
        r"conv_list\.(\d)\.layer(\d)\.(\d)\.([AS])\.",
        "cycles.{0}.before.{1}.steps.{-2}.{3}.",
    ),
    (
        r"conv_list\.(\d)\.post_smooth_layer(\d)\.(\d)\.([AS])\.",
        "cycles.{0}.after.{1}.steps.{2}.{3}.",
    ),
    (r"conv_list\.(\d)\.RTlayers\.(\d)\.", "cycles.{0}.prolongations.{1}.conv."),
    (r"linear_list\.(\d)\.", "pointwise.{0}."),
    (r"linear\.", "projection."),
)


def rename(name: str) -> str:
    for pattern, target in KEY_MAP:
        match = re.match(pattern, name)
        if match:
            g = list(match.groups())
            for i in (1, 2):  # {-i}: one less than group i
                if f"{{-{i}}}" in target:
                    target = target.replace(f"{{-{i}}}", str(int(g[i]) - 1))
            return target.format(*g) + name[match.end() :]
    raise KeyError(name)


def draw(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(1)
    return {
        name: torch.from_numpy(
            rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))
        ).float()
        for name, shape in shapes.items()
    }


def draw_input() -> torch.Tensor:
    values = np.random.default_rng(2).standard_normal((2, 1, *SHAPE))
    return torch.from_numpy(values).float()


def square(n: tuple[int, ...], periodic: bool = False, channels: int = 1) -> DataShape:
    return DataShape(channels, 1, n, (periodic,) * len(n), (1.0,) * len(n))


def test_agrees_with_stored_output():
    with np.load(FILE) as stored:
        state, expected = draw(json.loads(str(stored["shapes"]))), stored["output"]
    options = MgNO.Options(
        hidden_channels=WIDTH, n_layers=LAYERS, iterations=ITERATIONS
    )
    model = MgNO(square(SHAPE), options)
    model.load_state_dict({rename(name): value for name, value in state.items()})
    with torch.no_grad():
        u = model(draw_input()).numpy()
    np.testing.assert_allclose(u, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_agrees_with_a_checkout():
    checkout = os.environ.get("OPKIT_MGNO_REFERENCE")
    if not checkout:
        pytest.skip("set OPKIT_MGNO_REFERENCE to a checkout of the authors' code")
    with np.load(FILE) as stored:
        expected = stored["output"]
    output = run_reference(Path(checkout))["output"]
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [(19,), (12, 17), (9, 10, 8)])
def test_a_cycle_is_linear(shape, residual):
    torch.manual_seed(0)
    modes = ("circular", "zeros", "reflect")[: len(shape)]
    cycle = VCycle(2, 3, ((1, 1), (2, 1), (1, 1)), modes, residual=residual).double()
    f, g = torch.randn(2, 1, 2, *shape, dtype=torch.float64)
    torch.testing.assert_close(cycle(2 * f - g), 2 * cycle(f) - cycle(g))


def test_reflection_keeps_a_constant_and_zeros_do_not():
    """Pure averaging of a constant field sees the boundary only through padding."""
    for mode, exact in (("reflect", True), ("circular", True), ("zeros", False)):
        cycle = VCycle(1, 1, ((1, 0), (1, 0)), (mode, mode))
        with torch.no_grad():
            for p in cycle.parameters():
                p.fill_(1 / 16)
            u = cycle(torch.ones(1, 1, 8, 8))
        assert (u.std() < 1e-6 * u.mean()) == exact


def test_axes_may_have_different_boundaries():
    """Periodic along x, Dirichlet along y: equivariant to shifts along x only."""
    torch.manual_seed(0)
    data = DataShape(1, 1, (13, 16), (False, True), (1.0, 1.0))
    options = MgNO.Options(hidden_channels=6, iterations=((1, 0), (1, 0), (1, 0)))
    model, x = MgNO(data, options).double(), torch.randn(1, 1, 13, 16).double()
    with torch.no_grad():
        u, along_x, along_y = (model(x), model(x.roll(4, 3)), model(x.roll(4, 2)))
    torch.testing.assert_close(along_x, u.roll(4, 3))
    assert (along_y - u.roll(4, 2)).abs().max() > 1e-3 * u.abs().max()


def test_normalisation_is_not_tied_to_a_grid():
    model = MgNO(
        square((16, 16)),
        MgNO.Options(
            hidden_channels=8,
            n_layers=2,
            iterations=((1, 0),) * 3,
            norm="group",
            add_input=True,
        ),
    )
    assert model(torch.randn(1, 1, 21, 34)).shape == (1, 1, 21, 34)


def test_bad_options_are_refused():
    with pytest.raises(OpkitInputError, match="a step before"):
        MgNO(square((16, 16)), MgNO.Options(iterations=((0, 1), (1, 0))))
    data = DataShape(1, 2, (64, 64), (False,) * 2, (1.0,) * 2)
    with pytest.raises(OpkitInputError, match="add_input=false"):
        MgNO(data, MgNO.Options(add_input=True))


def run_reference(checkout: Path) -> dict[str, np.ndarray]:
    """Output of the authors' model, and the shapes of its weights."""
    # modules their file imports and the model does not need
    for name, attribute in (("torchinfo", "summary"), ("utilities3", "count_params")):
        module = types.ModuleType(name)
        setattr(module, attribute, None)
        sys.modules.setdefault(name, module)
    sys.path.insert(0, str(checkout))
    try:
        reference = importlib.import_module("models")
    finally:
        sys.path.remove(str(checkout))
    model = reference.MgNO_DC(LAYERS, WIDTH, 1, 1, [list(pair) for pair in ITERATIONS])
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(draw(shapes))
    with torch.no_grad():
        output = model(draw_input()).numpy()
    return {"shapes": np.array(json.dumps(shapes)), "output": output}


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **run_reference(Path(sys.argv[1])))
