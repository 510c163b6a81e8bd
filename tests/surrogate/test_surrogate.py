"""Surrogates: kinds of arrays, units, refusals, gradients."""

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.errors import BundleError, OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Operator
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.normalise import Normaliser, PhysicalModel
from opkit.surrogate.bundle.record import Channels, Shape
from opkit.surrogate.surrogate import Surrogate
from opkit.train import train


class Double(Operator):
    """Channel sums times (1, 2, …): linear, on every grid, easy to predict."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.out = out

    def forward(self, inputs: Inputs) -> torch.Tensor:
        total = inputs.fields.sum(1, keepdim=True)
        return torch.cat([total * (k + 1) for k in range(self.out)], 1)


def linear(
    inputs=(("a", 1),), outputs=(("u", 1),), periodic=(False, False)
) -> Surrogate:
    from opkit.case.recipe import Recipe
    from opkit.surrogate.bundle.record import BundleConfig, Provenance

    ins = tuple(Channels(name=n, units="1", channels=c) for n, c in inputs)
    outs = tuple(Channels(name=n, units="Pa", channels=c) for n, c in outputs)
    i, o = sum(c for _, c in inputs), sum(c for _, c in outputs)
    config = BundleConfig(
        operator="fno",
        options={},
        shape=Shape(
            in_channels=i,
            out_channels=o,
            shape=(8, 6),
            periodic=periodic,
            extent=(7.0, 5.0),
        ),
        axes=("y", "x"),
        inputs=ins,
        outputs=outs,
        case={},
        recipe=Recipe(operator="fno"),
        provenance=Provenance(
            data="",
            data_hash="",
            train_samples=1,
            validation_samples=1,
            validation_source="train",
            seed=0,
            epochs=1,
            best_epoch=1,
            best_validation=1,
            parameters=0,
            seconds=0,
            environment={},
            command="",
        ),
    )
    normaliser = Normaliser(i)
    normaliser.mean.fill_(1.0)
    normaliser.high.fill_(2.0)
    return Surrogate(PhysicalModel(Double(o), normaliser, Normaliser(o)), config)


A = np.arange(48.0).reshape(8, 6)


def test_numpy_single_fields_and_batches_give_the_same_kind():
    s = linear()
    one = s(A)
    assert isinstance(one, np.ndarray) and one.dtype == np.float64
    np.testing.assert_allclose(one, A - 1)
    batch = s(np.stack([A, 2 * A]))
    assert batch.shape == (2, 8, 6)
    np.testing.assert_allclose(batch[1], 2 * A - 1)
    np.testing.assert_allclose(s(A[None, None])[0, 0], A - 1)
    np.testing.assert_allclose(s(A.astype(np.float32)), A - 1)
    np.testing.assert_allclose(s(A > 10), (A > 10) - 1.0)


def test_an_empty_batch_has_empty_predictions():
    outputs = linear()(np.zeros((0, 8, 6), np.float32))
    assert (outputs.shape, outputs.dtype) == ((0, 8, 6), np.float32)


def test_dicts_with_several_variables_and_layers():
    s = linear((("a", 1), ("q", 2)), (("u", 1), ("v", 2)))
    q = np.stack([A, A])
    out = s({"a": A, "q": q})
    np.testing.assert_allclose(out["u"], 3 * (A - 1))
    assert out["v"].shape == (2, 8, 6)
    np.testing.assert_allclose(out["v"][1], 9 * (A - 1))
    many = s({"a": A[None], "q": q[None]})
    np.testing.assert_allclose(many["v"][0], out["v"])
    with pytest.raises(OpkitInputError, match="lack q"):
        s({"a": A})
    with pytest.raises(OpkitInputError, match="batch"):
        s({"a": A[None], "q": q})


def test_torch_keeps_device_type_and_gradient():
    s = linear()
    x = torch.tensor(A, requires_grad=True)
    y = s(x)
    assert y.dtype == torch.float64 and y.requires_grad
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))
    with torch.no_grad():
        assert not s(x).requires_grad
    assert not s(torch.tensor(A)).requires_grad


def test_xarray_keeps_coordinates_and_any_batch_dims():
    s = linear()
    y, x = np.linspace(0, 7, 8), np.linspace(0, 5, 6)
    a = xr.DataArray(
        np.stack([A, A, A]).reshape(3, 8, 6).transpose(1, 0, 2),
        dims=("y", "member", "x"),
        coords={"y": y, "x": x, "member": [4, 5, 6]},
    )
    u = s(a)
    assert isinstance(u, xr.DataArray) and u.name == "u" and u.attrs["units"] == "Pa"
    assert u.dims == ("member", "y", "x")
    np.testing.assert_allclose(u.sel(member=5), A - 1)
    np.testing.assert_array_equal(u.member, [4, 5, 6])
    assert isinstance(s(a.to_dataset(name="a")), xr.Dataset)
    with pytest.raises(OpkitInputError, match="dims"):
        s(a.rename(x="lon"))


def test_a_crop_of_the_domain_is_refused():
    s = linear()
    crop = xr.DataArray(A[:4], dims=("y", "x"), coords={"y": np.linspace(0, 3, 4)})
    with pytest.raises(OpkitInputError, match="spans 3"):
        s(crop)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((8, 6), np.nan), "NaN"),
        (np.zeros(6), "1 axes"),
        (np.zeros((2, 3, 8, 6)), "3 channels"),
        (np.zeros((1, 1, 1, 8, 6)), "5 axes"),
        (np.array([["a"]]), "real numbers"),
    ],
)
def test_bad_inputs_are_refused_in_one_line(value, message):
    with pytest.raises(OpkitInputError, match=message) as caught:
        linear()(value)
    assert "\n" not in str(caught.value)


def test_another_resolution_is_said():
    with pytest.warns(UserWarning, match="never measured"):
        linear()(np.zeros((16, 12)))


def test_rollouts_need_an_autoregressive_surrogate():
    with pytest.raises(OpkitInputError, match="autoregressive"):
        linear().rollout(np.zeros((1, 1, 1, 8, 6)), 3)


def test_load_predicts_what_was_trained_and_refuses_foreign_weights(
    tmp_path, make_data
):
    data = make_data()
    result = train(
        data, tmp_path / "run", operator="fno", overrides=["training.epochs=1"]
    )
    s = opkit.load(result.run)
    assert "relative L2" in repr(s)
    field = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    np.testing.assert_array_equal(opkit.load(result.bundle)(field), s(field))
    config, weights = s.config, s.model.state_dict()
    weights.pop("operator.lifting.fcs.0.weight")
    with pytest.raises(BundleError, match="1 of"):
        surrogate.build(config, weights)
