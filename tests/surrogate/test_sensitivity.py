"""Sensitivity to errors of the input, against maps whose norm is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.errors import OpkitInputError
from opkit.surrogate.sensitivity import certificate, sensitivity


def test_a_linear_map_has_the_norm_of_its_matrix() -> None:
    """Singular values 3, 1, 0.5, 0.2: an error falls by 9 per step of the iteration."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(n, 4, generator=generator).double())[0]
        for n in (6, 5)
    )
    sizes = torch.tensor([3.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    matrix = left * sizes @ right.T
    x = torch.randn(3, 5, generator=generator).double()
    found = sensitivity(lambda v: v @ matrix.T, x, steps=20)
    np.testing.assert_allclose(found.gain, 3.0, rtol=1e-12)
    ratio = torch.linalg.vector_norm(x, dim=1) / (x @ matrix.T).norm(dim=1)
    np.testing.assert_allclose(found.relative, 3.0 * ratio, rtol=1e-12)
    along = np.abs(found.direction @ right[:, 0].numpy())
    np.testing.assert_allclose(along, 1.0, rtol=1e-12)
    assert (found.settled < 1e-12).all()


def test_fields_are_one_vector_and_samples_stay_apart() -> None:
    """u ↦ u²: the Jacobian is diagonal, 2 u; its norm is 2 max |u| of each sample."""
    u = np.array([[[1.0, 2.0], [3.0, 0.5]], [[0.1, 0.2], [0.3, -0.9]]])
    found = sensitivity(lambda v: v * v, u, steps=60)
    # the ratio of the two largest is 3/2: (2/3)^120 is below rounding
    np.testing.assert_allclose(found.gain, [6.0, 1.8], rtol=1e-10)
    assert found.direction.shape == u.shape
    assert abs(found.direction[1, 1, 1]) == pytest.approx(1.0)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(OpkitInputError, match="2 or more"):
        sensitivity(lambda v: v, torch.ones(2, 3), steps=1)
    with pytest.raises(OpkitInputError, match="not finite"):
        sensitivity(lambda v: v, torch.full((2, 3), torch.nan))
    with pytest.raises(OpkitInputError, match="give \\(batch"):
        sensitivity(lambda v: v, torch.ones(3))


def learnt(folder: Path, *overrides: str) -> opkit.Surrogate:
    """Train on u = 3 a, fields of four sines with coefficients of variance 1."""
    x = np.arange(32) / 32
    waves = np.sin(2 * np.pi * np.arange(1, 5)[:, None] * x)
    a = np.random.default_rng(0).normal(size=(300, 4)) @ waves
    data = xr.Dataset({"a": (("sample", "x"), a), "u": (("sample", "x"), 3 * a)})
    split = {"validation": 0.1, "test": 0.1}
    path = folder / "d.h5"
    opkit.save(data, path, ["a"], ["u"], split=split, periodic=["x"])
    recipe = ["model.n_basis=4", *overrides]
    opkit.train(path, folder / "run", operator="pod-deeponet", overrides=recipe)
    return opkit.load(folder / "run")


def test_a_certificate_holds_for_any_two_fields(tmp_path: Path) -> None:
    """Its value is known: γ s₁ σ_u / σ_a, with σ_u = 3 σ_a and four equal modes.

    s₁ = 1/2, so that γ = 2 is the least that can learn the factor 3. 240 samples know
    the modes' sizes to about 10 %.
    """
    sandwich = ["model.branch=sandwich", "model.branch_bound=2.4"]
    sandwich += ["model.branch_widths=[32]", "training.epochs=30"]
    sandwich += ["training.learning_rate=2e-2", "training.batch_size=40"]
    surrogate = learnt(tmp_path, *sandwich)
    bound = certificate(surrogate)
    assert bound == pytest.approx(2.4 / 2 * 3, rel=0.12)
    a = torch.randn(40, 1, 32, generator=torch.Generator().manual_seed(1))
    local = sensitivity(surrogate.predict, a)
    assert 2.5 < local.gain.max() <= bound
    far = torch.cat([a[:20], 30 * a[:20], -a[:20]])
    gap = surrogate.predict(far)[:, None] - surrogate.predict(far)
    way = (far[:, None] - far).flatten(2).norm(dim=2)
    assert (gap.flatten(2).norm(dim=2) <= bound * way * (1 + 1e-5)).all()


def test_without_a_bound_there_is_no_certificate(tmp_path: Path) -> None:
    surrogate = learnt(tmp_path, "training.epochs=1")
    with pytest.raises(OpkitInputError, match=r"--set model\.branch=sandwich"):
        certificate(surrogate)
