"""Numbers per sample inside operators: modulation, constant channels, branches."""

from typing import Any

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import acceptance, build_operator
from opkit.operators.layers.modulation import Modulation, modulated
from opkit.operators.shapes import DataShape

OPTIONS: dict[str, dict[str, Any]] = {
    "fno": dict(n_modes=(6, 6), hidden_channels=8, n_layers=2),
    "unet": dict(hidden_channels=8, n_scales=2),
    "lsm": dict(hidden_channels=8, n_scales=2, n_heads=4),
    "mgno": dict(hidden_channels=8, n_layers=2, iterations=((1, 0), (1, 0))),
    "deeponet": dict(n_basis=8, branch_widths=(16,)),
    "mionet": dict(n_basis=8, branch_widths=(16,)),
    "transolver": dict(hidden_channels=16, n_layers=2),
    "gno": dict(hidden_channels=8, n_layers=2, kernel_width=8),
    "multipole-gno": dict(hidden_channels=8, n_layers=1, kernel_width=8, cells=(4,)),
    "gino": dict(hidden_channels=8, n_layers=2, kernel_width=8, latent_shape=(9, 9)),
    "lno": dict(hidden_channels=8, n_layers=2, kernel_width=8),
}
FILM = ("fno", "unet", "lsm", "mgno")


def shape(fields: int = 1, numbers: int = 3) -> DataShape:
    return DataShape(fields, 2, (16, 16), (False, False), (1.0, 1.0), (), numbers)


def built(name: str, data: DataShape, **more: Any) -> Any:
    torch.manual_seed(0)
    return build_operator(name, data, OPTIONS[name] | more).eval()


def inputs(fields: int = 1, batch: int = 4, seed: int = 1) -> Inputs:
    torch.manual_seed(seed)
    x = torch.randn(batch, fields, 16, 16)
    return Inputs(x, parameters=torch.randn(batch, 3))


def test_every_operator_that_takes_numbers_is_tested() -> None:
    """The table has them all, less those that are fitted and those off grids.

    SPON and BENO: `test_parameters_off_grids`.
    """
    with_numbers = {n for n, offer in acceptance().items() if offer.parameters}
    elsewhere = {"pod-deeponet", "pod-gp", "spon", "beno"}
    assert with_numbers - elsewhere == OPTIONS.keys()


@pytest.mark.parametrize("name", FILM)
def test_modulation_begins_as_the_identity(name: str) -> None:
    """Other numbers change nothing before training, and something after."""
    model = built(name, shape())
    one = inputs()
    other = one._replace(parameters=one.parameters + 1)
    assert torch.equal(model(one), model(other))
    torch.nn.init.normal_(model.modulation.last.weight, std=0.3)
    assert (model(one) - model(other)).abs().max() > 1e-3


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("entry", ["film", "channels"])
def test_numbers_belong_to_their_own_sample(name: str, entry: str) -> None:
    """Changing those of one sample changes that sample alone."""
    more = {"parameters": entry} if name in FILM else {}
    model = built(name, shape(), **more)
    if getattr(model, "modulation", None) is not None:
        torch.nn.init.normal_(model.modulation.last.weight, std=0.3)
    one = inputs()
    numbers = one.parameters.clone()
    numbers[2] += 1
    change = (model(one._replace(parameters=numbers)) - model(one)).abs()
    # group normalisation with one field at 16 x 16 leaves at least this much
    assert change[2].max() > 1e-4
    assert change[[0, 1, 3]].max() == 0


@pytest.mark.parametrize("name", OPTIONS)
def test_numbers_alone(name: str) -> None:
    """Without input fields: those that can do it, and the message of the others."""
    if acceptance()[name].needs_fields:
        with pytest.raises(OpkitInputError, match="needs input fields"):
            built(name, shape(0))
        return
    model = built(name, shape(0))
    assert model(inputs(0)).shape == (4, 2, 16, 16)


def test_modulation_is_a_scale_and_a_shift() -> None:
    """v (1 + s) + b, at every point alike."""
    x = torch.randn(3, 5, 7)
    pair = torch.randn(2, 3, 5)
    expected = x * (1 + pair[0][..., None]) + pair[1][..., None]
    assert torch.allclose(modulated(x, pair), expected, atol=1e-6)
    layers = Modulation(2, (4, 6))(torch.randn(3, 2))
    assert [tuple(part.shape) for part in layers] == [(2, 3, 4), (2, 3, 6)]


def test_mionet_with_one_branch_is_deeponet() -> None:
    """The same numbers with the same weights."""
    data = shape(1, 0)
    deeponet, mionet = built("deeponet", data), built("mionet", data)
    state = {
        name.replace("branch.", "branches.0."): tensor
        for name, tensor in deeponet.state_dict().items()
    }
    mionet.load_state_dict(state)
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(deeponet(x), mionet(x))


def test_mionet_is_linear_in_each_branch() -> None:
    """Twice the coefficients of one branch are twice the answer, less the bias."""
    model = built("mionet", shape(2))
    one = inputs(2)
    before = model(one)
    last = model.branches[1].network[-1][-1]
    with torch.no_grad():
        last.weight.mul_(2)
        last.bias.mul_(2)
    assert torch.allclose(model(one), 2 * before, rtol=1e-5, atol=1e-6)


def test_an_operator_without_numbers_says_which_take_them() -> None:
    """Before anything is built."""
    with pytest.raises(OpkitInputError, match=r"numbers per sample: use .*fno.*unet"):
        build_operator("elliptic-fno", shape(), {})
