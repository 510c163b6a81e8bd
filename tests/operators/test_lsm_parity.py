"""LSM computes what the authors' code computes, with the authors' weights.

``data/lsm_reference.npz`` holds outputs of the authors' models (thuml,
Latent-Spectral-Models, commit d5a0b40, run on a CPU) and the names and shapes of their
weights; weights and inputs are drawn here from a seed. It was made by

    python tests/operators/test_lsm_parity.py CHECKOUT

and the slow test repeats that against a checkout at $OPKIT_LSM_REFERENCE.
"""

import importlib
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from opkit.errors import BundleError
from opkit.operators.lsm.lsm import LSM
from opkit.operators.lsm.points import PointLSM, count_published
from opkit.operators.lsm.published_weights import load_reference
from opkit.operators.shapes import DataShape

FILE = Path(__file__).parent / "data" / "lsm_reference.npz"
# sizes that pad every axis, differently; tiny width so that weights stay small
GRIDS = {
    "2d": dict(shape=(21, 35), in_channels=3, out_channels=2),
    "2d-unpadded": dict(shape=(32, 16), in_channels=1, out_channels=1),
    "3d": dict(shape=(17, 18, 10), in_channels=2, out_channels=2),
}
POINTS = dict(n=50, n_modes=(4, 3), latent=(16, 32), width=8)
BATCH, WIDTH = 2, 8


def draw(shapes: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    """Weights of order 1/sqrt(fan in), positive variances, from names and shapes."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            value = np.zeros(shape, dtype=np.int64)
        elif name.endswith("running_var"):
            value = 0.5 + np.abs(value)
        elif name.endswith(("weights1", "weights2")):
            value = (value + 1j * rng.standard_normal(shape)) / shape[0]
        elif len(shape) > 1:
            value = value / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.from_numpy(np.asarray(value)).to(
            torch.complex64
            if np.iscomplexobj(value)
            else torch.float32
            if np.asarray(value).dtype == np.float64
            else torch.int64
        )
    return state


def draw_input(*shape: int, seed: int) -> torch.Tensor:
    values = np.random.default_rng(seed).random(shape)
    return torch.from_numpy(values).float()


def build(name: str) -> LSM:
    spec = GRIDS[name]
    d = len(spec["shape"])
    data = DataShape(
        spec["in_channels"],
        spec["out_channels"],
        spec["shape"],
        (False,) * d,
        (1.0,) * d,
    )
    return LSM(data, LSM.Options(hidden_channels=WIDTH))


def build_points(coded: bool) -> PointLSM:
    data = DataShape(2, 1, (POINTS["n"],), (False,), (1.0,))
    options = PointLSM.Options(
        hidden_channels=POINTS["width"],
        n_modes=POINTS["n_modes"],
        latent_shape=POINTS["latent"],
        n_code=42 if coded else 0,
        hermitian=False,
    )
    return PointLSM(data, options)


@pytest.fixture(scope="module")
def stored():
    with np.load(FILE) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("training", [False, True])
def test_grid_model_agrees_with_stored_outputs(stored, name, training):
    model = build(name)
    load_reference(model, draw(json.loads(str(stored[f"{name}/shapes"])), seed=1))
    x = draw_input(BATCH, GRIDS[name]["in_channels"], *GRIDS[name]["shape"], seed=2)
    if training:  # batch statistics of a few points magnify fp32 rounding: fp64
        model, x = model.double(), x.double()
    model.train(training)
    with torch.no_grad():
        u = model(x).numpy()
    expected = stored[f"{name}/{'train' if training else 'eval'}"]
    assert u.shape == expected.shape
    # sums in another order, and frequencies rounded to fp32: 1e-5 of the largest value
    np.testing.assert_allclose(u, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("coded", [False, True])
def test_point_model_agrees_with_stored_outputs(stored, coded):
    model = build_points(coded).eval()
    shapes = {k: json.loads(str(stored[f"points/{k}"])) for k in ("shapes", "map")}
    load_reference(model, draw(shapes["shapes"], 1), draw(shapes["map"], 3))
    x = draw_input(BATCH, 2, POINTS["n"], seed=2)
    code = draw_input(BATCH, 42, seed=4) if coded else None
    with torch.no_grad():
        u = model(x, code=code).numpy()
    expected = stored[f"points/{'coded' if coded else 'plain'}"]
    np.testing.assert_allclose(u, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_wrong_or_missing_weights_are_refused_by_name(stored):
    model = build("2d")
    state = draw(json.loads(str(stored["2d/shapes"])), seed=1)
    missing = {k: v for k, v in state.items() if k != "process3.latent"}
    with pytest.raises(BundleError, match=r"unet\.blocks\.2\.tokens is missing"):
        load_reference(model, missing)
    with pytest.raises(BundleError, match=r"fc9\.weight is not part"):
        load_reference(model, {**state, "fc9.weight": torch.zeros(1)})
    with pytest.raises(BundleError, match=r"lifting\.bias has 3 numbers, not 8"):
        load_reference(model, {**state, "fc0.bias": torch.zeros(3)})


@pytest.mark.slow
def test_agrees_with_a_checkout(stored, tmp_path):
    checkout = os.environ.get("OPKIT_LSM_REFERENCE")
    if not checkout:
        pytest.skip("set OPKIT_LSM_REFERENCE to a checkout of the authors' code")
    fresh = run_reference(Path(checkout))
    assert fresh.keys() == stored.keys()
    for name, value in fresh.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, stored[name], rtol=1e-4, atol=1e-5)
    # the published irregular model: complex numbers counted once
    data = DataShape(2, 1, (972,), (False,), (1.0,))
    published = PointLSM(data, PointLSM.Options(n_code=42))
    assert count_published(published) - count_published(published.map) == 5_402_785


class _OnCPU(TorchFunctionMode):
    """Run code written for a GPU: ``.cuda()`` and ``device="cuda"`` do nothing."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.cuda:
            return args[0]
        if kwargs.get("device") == "cuda":
            kwargs["device"] = "cpu"
        return function(*args, **kwargs)


def run_reference(checkout: Path) -> dict[str, np.ndarray]:
    """Outputs of the authors' models, and the shapes of their weights."""
    sys.path.insert(0, str(checkout))
    try:
        with _OnCPU(), torch.no_grad():
            return {**_run_grids(), **_run_points()}
    finally:
        sys.path.remove(str(checkout))


def _shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def _arguments(in_dim, out_dim, width, patch=(1, 1), padding=(0, 0)):
    text = {"patch_size": patch, "padding": padding}
    return types.SimpleNamespace(
        in_dim=in_dim,
        out_dim=out_dim,
        d_model=width,
        num_token=4,
        num_basis=12,
        **{key: ",".join(map(str, value)) for key, value in text.items()},
    )


def _run_grids() -> dict[str, np.ndarray]:
    results = {}
    for name, spec in GRIDS.items():
        shape = spec["shape"]
        patch = [-(-n // 16) for n in shape]
        padding = [16 * p - n for p, n in zip(patch, shape, strict=True)][::-1]
        reference = importlib.import_module(f"models.LSM_{len(shape)}D")
        model = reference.Model(
            _arguments(spec["in_channels"], spec["out_channels"], WIDTH, patch, padding)
        )
        results[f"{name}/shapes"] = np.array(json.dumps(_shapes(model)))
        model.load_state_dict(draw(_shapes(model), seed=1))
        x = draw_input(BATCH, spec["in_channels"], *shape, seed=2)
        u = model.eval()(x.movedim(1, -1)).movedim(-1, 1)
        results[f"{name}/eval"] = u.numpy()
        u = model.train().double()(x.double().movedim(1, -1)).movedim(-1, 1)
        results[f"{name}/train"] = u.numpy().astype(np.float32)
    return results


def _run_points() -> dict[str, np.ndarray]:
    reference = importlib.import_module("models.LSM_Irregular_Geo")
    (m1, m2), (s1, s2) = POINTS["n_modes"], POINTS["latent"]
    model = reference.Model(
        _arguments(2, 1, POINTS["width"], [-(-s1 // 16), -(-s2 // 16)]),
        modes1=m1,
        modes2=m2,
        s1=s1,
        s2=s2,
    ).eval()
    iphi = reference.IPHI()
    results = {
        "points/shapes": np.array(json.dumps(_shapes(model))),
        "points/map": np.array(json.dumps(_shapes(iphi))),
    }
    model.load_state_dict(draw(_shapes(model), seed=1))
    iphi.load_state_dict(draw(_shapes(iphi), seed=3))
    x = draw_input(BATCH, 2, POINTS["n"], seed=2).movedim(1, -1).contiguous()
    code = draw_input(BATCH, 42, seed=4)
    for name, value in (("plain", None), ("coded", code)):
        u = model(x, code=value, iphi=iphi).movedim(-1, 1)
        results[f"points/{name}"] = u.numpy()
    return results


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **run_reference(Path(sys.argv[1])))
