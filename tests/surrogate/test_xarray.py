"""xarray and dask: names, coordinates, units, attributes, laziness."""

import numpy as np
import pytest
import xarray as xr

from opkit.errors import OpkitInputError


def field(values, **attrs):
    y = xr.DataArray(np.linspace(0, 1, 17), dims="y", attrs={"long_name": "north"})
    return xr.DataArray(
        values,
        dims=("member", "y", "x"),
        coords={"y": y, "x": np.linspace(0, 1, 17), "member": np.arange(len(values))},
        attrs=attrs,
        name="permeability",
    )


def test_names_coordinates_and_attributes_are_carried_over(darcy):
    s = darcy.load()
    a = darcy.permeability[:4]
    expected = s(a)
    outputs = s(field(a, units="1", comment="core 7"))
    assert outputs.name == "pressure" and outputs.dims == ("member", "y", "x")
    assert outputs.attrs == {"units": "1", "long_name": "pressure"}
    assert outputs.y.attrs == {"long_name": "north"}
    np.testing.assert_array_equal(outputs, expected)
    turned = field(a).transpose("x", "member", "y").expand_dims(model=[0, 1])
    np.testing.assert_allclose(
        s(turned).transpose("model", "member", "y", "x")[1], expected
    )
    whole = s(field(a).to_dataset().assign_attrs(institution="here"))
    assert whole.attrs == {"institution": "here"}
    np.testing.assert_array_equal(whole["pressure"], expected)
    one = s(field(a).isel(member=2, drop=True))
    # another batch size, another order of float32 sums
    np.testing.assert_allclose(one, expected[2], atol=1e-7)


def test_dask_computes_nothing_until_asked(darcy):
    pytest.importorskip("dask.array")
    s = darcy.load()
    calls = []
    plain = s.predict

    def counted(*args, **options):
        calls.append(args[0].batch)
        return plain(*args, **options)

    s.predict = counted
    a = darcy.permeability[:6]
    lazy = s(field(a).chunk({"member": 2}))
    assert calls == [] and lazy.chunks[0] == (2, 2, 2)
    assert lazy.dtype == np.float32 and lazy.attrs["units"] == "1"
    first = lazy.isel(member=0).compute()
    assert calls == [2]
    calls.clear()
    expected = plain(*_tensors(a))[:, 0].numpy()
    # blocks of two samples round differently from one of six
    np.testing.assert_allclose(first, expected[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-5, atol=1e-7)
    assert sorted(calls) == [2, 2, 2]
    with pytest.raises(OpkitInputError, match=r"\.compute\(\)"):
        s(field(a).chunk({"member": 2}), check=True)
    with pytest.raises(OpkitInputError, match=r"\.compute\(\)"):
        s.solve(field(a).to_dataset().chunk({"member": 2}), 0.1)
    calls.clear()
    bad = a.copy()
    bad[3, 0, 0] = np.nan
    late = s(field(bad).chunk({"member": 2}))
    with pytest.raises(OpkitInputError, match="NaN"):
        late.compute()


def _tensors(a):
    import torch

    return (torch.from_numpy(a[:, None]),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.rename(x="lon"), "without x: rename"),
        (lambda a: a.assign_attrs(units="m2"), "'m2'"),
        (lambda a: a.isel(y=slice(None, None, -1)), "sortby"),
        (lambda a: a.assign_coords(x=np.linspace(0, 1, 17) ** 2), "not evenly spaced"),
        (lambda a: a.assign_coords(x=np.linspace(0, 2, 17)), "spans 2"),
        (lambda a: a.isel(y=slice(0, 9)), "spans 0.5"),
        (lambda a: a.assign_coords(x=a.x.assign_attrs(units="km")), "axis x .*'km'"),
        (lambda a: a.where(a.member > 0), "NaN"),
        (lambda a: a.rename("k").to_dataset(), "lack permeability"),
        (lambda a: a.astype(str), "real numbers"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(darcy, change, message):
    with pytest.raises(OpkitInputError, match=message) as caught:
        darcy.load()(change(field(darcy.permeability[:2])))
    assert "\n" not in str(caught.value)


def test_fields_cut_into_chunks_are_refused(darcy):
    pytest.importorskip("dask.array")
    with pytest.raises(OpkitInputError, match=r"chunk\(x=-1\)"):
        darcy.load()(field(darcy.permeability[:2]).chunk({"x": 5}))


def test_rollouts_continue_the_time_axis(flow):
    s = flow.load()
    frames = xr.DataArray(
        flow.permeability[:, :, 0],
        dims=("member", "time", "y", "x"),
        coords={"time": ("time", [1.0, 2.0], {"units": "1"})},
        name="vorticity",
    )
    rollout = s.rollout(frames.transpose("time", "y", "member", "x"), 3)
    np.testing.assert_array_equal(rollout.time, [3.0, 4.0, 5.0])
    assert rollout.time.attrs == {"units": "1"}
    expected = s.rollout(flow.permeability, 3)[:, :, 0]
    np.testing.assert_allclose(
        rollout.transpose("member", "time", "y", "x"), expected, rtol=1e-5, atol=1e-6
    )
    one = s(frames)
    assert "time" not in one.dims
    np.testing.assert_allclose(
        one.transpose("member", "y", "x"), expected[:, 0], rtol=1e-5, atol=1e-6
    )
