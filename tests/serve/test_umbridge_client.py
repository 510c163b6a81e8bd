"""The client of UM-Bridge itself, against the server (pip install opkit[tools])."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("aiohttp")
umbridge = pytest.importorskip("umbridge")

from fixtures.http import running  # noqa: E402

from opkit.serve.server import Server  # noqa: E402


def test_the_client_finds_everything_and_its_errors_are_ours(darcy) -> None:
    surrogate = darcy.load()
    field = darcy.permeability[0].astype(np.float64)
    vector = [field.ravel().tolist()]
    with running(Server(surrogate)) as url:
        assert umbridge.supported_models(url) == ["forward"]
        model = umbridge.HTTPModel(url, "forward")
        assert model.get_input_sizes() == model.get_output_sizes() == [289]
        assert model.supports_evaluate() and model.supports_gradient()
        assert model.supports_apply_jacobian() and model.supports_apply_hessian()
        (pressure,) = model(vector)
        np.testing.assert_array_equal(pressure, surrogate(field).ravel())
        (true,) = model(vector, {"level": "solver"})
        np.testing.assert_allclose(true, darcy.pressure[0].ravel(), atol=1e-6)
        # a linear functional: its gradient along v is that of the Jacobian along v
        sens, vec = np.random.default_rng(0).standard_normal((2, 289)).tolist()
        slope = np.dot(model.gradient(0, 0, vector, sens), vec)
        along = np.dot(sens, model.apply_jacobian(0, 0, vector, vec))
        assert slope == pytest.approx(along, rel=1e-3, abs=1e-6)  # in float32
        second = model.apply_hessian(0, 0, 0, vector, sens, vec)
        assert np.isfinite(second).all() and np.abs(second).max() > 0
        with pytest.raises(Exception, match=r"InvalidInput.*permeability has 2 values"):
            model([[1.0, 2.0]])
