"""Over HTTP, surrogates whose samples have places of their nodes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from fixtures.http import ask, running

import opkit
from opkit.base.arrays import Array
from opkit.serve.server import Server
from opkit.surrogate import Surrogate

SMALL = [
    "model.hidden_channels=8",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.n_slices=4",
    "training.epochs=2",
]
LOAD = 0.3


def sheared(k: float) -> Array:
    y, x = np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 5), indexing="ij")
    return np.stack([x + 0.02 * k * y, y], -1)


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    """Of imported data: no solver says where the nodes are."""
    folder = tmp_path_factory.mktemp("points")
    points = np.stack([sheared(k) for k in range(30)])
    load = np.linspace(0.1, 1, 30)
    arrays = {
        "at": (("sample", "y", "x", "component"), points),
        "load": (("sample",), load),
        "u": (("sample", "y", "x"), load[:, None, None] * points.prod(-1)),
    }
    split = {"validation": 0.2}
    data = opkit.save(
        arrays, folder / "d.h5", ["load"], ["u"], points=["at"], split=split
    )
    run = folder / "run"
    opkit.train(data, run, operator="transolver", overrides=SMALL, device="cpu")
    loaded = opkit.load(run)
    loaded.model.double()
    return loaded


@pytest.fixture(scope="module")
def url(surrogate: Surrogate) -> Iterator[str]:
    with running(Server(surrogate, page=True)) as address:
        yield address


def test_points_are_one_more_input(url: str, surrogate: Surrogate) -> None:
    points = sheared(4.5)
    expected = surrogate({"load": LOAD, "points": points})
    sizes = ask(f"{url}/InputSizes", {"name": "forward"})
    assert sizes == (200, {"inputSizes": [1, 40]})
    schema = ask(f"{url}/schema")[1]["properties"]["inputs"]
    assert schema["required"] == ["load", "points"]
    inputs = {"load": LOAD, "points": points.tolist()}
    status, reply = ask(f"{url}/predict", {"inputs": inputs})
    assert status == 200, reply
    np.testing.assert_array_equal(reply["outputs"]["u"], expected["u"])
    message = {"name": "forward", "input": [[LOAD], points.ravel().tolist()]}
    (flat,) = ask(f"{url}/Evaluate", message)[1]["output"]
    np.testing.assert_array_equal(flat, expected["u"].ravel())
    folded = points.copy()
    folded[1, 1] = 2.0
    inputs["points"] = folded.tolist()
    status, reply = ask(f"{url}/predict", {"inputs": inputs})
    assert status == 400 and "fold" in reply["error"]["message"], reply
    status, reply = ask(f"{url}/predict", {"inputs": {"load": LOAD}})
    assert status == 400 and "inputs lack points" in reply["error"]["message"]


def test_derivatives_of_attention_are_products_with_one_jacobian(
    url: str, surrogate: Surrogate
) -> None:
    points = sheared(4.5)

    def asked(kind: str, wrt: int = 0, **more: object) -> tuple[int, dict[str, object]]:
        message = {"name": "forward", "input": [[LOAD], points.ravel().tolist()]}
        return ask(f"{url}/{kind}", message | {"outWrt": 0, "inWrt": wrt, **more})

    weights = np.random.default_rng(0).normal(size=20)
    (gradient,) = asked("Gradient", sens=weights.tolist())[1]["output"]
    column = asked("ApplyJacobian", vec=[1.0])[1]["output"]
    assert weights @ column == pytest.approx(gradient, rel=1e-10)
    ends = [
        surrogate({"load": LOAD + h, "points": points})["u"].ravel()
        for h in (-1e-4, 1e-4)
    ]
    slope = (ends[1] - ends[0]) / 2e-4
    # central differences: their error is of order step², relative 1e-8
    assert np.linalg.norm(column - slope) < 1e-6 * np.linalg.norm(slope)
    status, reply = asked("ApplyJacobian", 1, vec=[0.0] * 40)
    assert status == 400 and "inWrt is 1, the points" in reply["error"]["message"]


def test_the_page_draws_at_the_points_of_the_sample(url: str) -> None:
    setup = ask(f"{url}/page/setup")[1]
    (slider,) = setup["sliders"]
    assert slider["name"] == "load" and setup["fields"] == []
    inputs = ask(f"{url}/page/inputs", {"stored": 2})[1]["inputs"]
    status, reply = ask(f"{url}/page/predict", {"inputs": inputs})
    assert status == 200, reply
    places = reply["places"]
    assert (places["kind"], places["rows"], places["columns"]) == ("moved", 4, 5)
    drawn = np.reshape(inputs["points"], (-1, 2))
    np.testing.assert_allclose(places["points"], drawn, rtol=1e-4, atol=1e-5)
