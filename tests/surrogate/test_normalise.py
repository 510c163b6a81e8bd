"""Normalisers against numpy; models between normalisers."""

import numpy as np
import pytest
import torch
from torch import nn

from opkit.operators.inputs import Inputs
from opkit.operators.interface import Operator
from opkit.surrogate.bundle.normalise import Moments, Normaliser, PhysicalModel


def fitted(*batches: torch.Tensor) -> Normaliser:
    moments = Moments()
    for batch in batches:
        moments.add(batch)
    return Normaliser(batches[0].shape[1]).fit(moments)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_equal_numpys_however_the_data_are_cut(offset):
    # 1e4 beside a spread of 1: sums of squares in one pass would lose 8 of 16 digits
    x = torch.randn(10, 3, 6, 5, generator=torch.Generator().manual_seed(0)) + offset
    for cuts in ([10], [1] * 10, [3, 7]):
        moments = fitted(*x.split(cuts))
        values = x.double().numpy()
        # float32 buffers
        np.testing.assert_allclose(
            moments.mean, values.mean((0, 2, 3)), rtol=1e-6, atol=1e-7
        )
        np.testing.assert_allclose(moments.std, values.std((0, 2, 3)), rtol=1e-6)
        np.testing.assert_array_equal(
            moments.low, values.min((0, 2, 3)).astype(np.float32)
        )
        np.testing.assert_array_equal(
            moments.high, values.max((0, 2, 3)).astype(np.float32)
        )


def test_decode_is_the_inverse_of_encode_and_a_constant_channel_survives():
    x = torch.randn(6, 2, 8)
    x[:, 1] = 7.0
    normaliser = fitted(x)
    z = normaliser.encode(x)
    assert z[:, 0].std(correction=0).item() == pytest.approx(1, rel=1e-5)
    assert z[:, 1].abs().max() == 0
    torch.testing.assert_close(normaliser.decode(z), x)


def test_channels_must_agree():
    moments = Moments()
    moments.add(torch.randn(2, 3, 4))
    with pytest.raises(ValueError, match="2 channels"):
        Normaliser(2).fit(moments)


class LastFramePlusOne(Operator):
    """What an operator gets with history: frames side by side as channels."""

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return inputs.fields[:, 2:4] + 1


class Times(Operator):
    """One weight: u = w x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return self.weight * inputs.fields


def test_rollout_feeds_predictions_back():
    model = PhysicalModel(LastFramePlusOne(), Normaliser(2), Normaliser(2), history=2)
    x = torch.zeros(3, 2, 2, 5)
    x[:, 1] = 10
    y = model(x, steps=4)
    assert y.shape == (3, 4, 2, 5)
    expected = torch.tensor([11.0, 12, 13, 14]).view(1, 4, 1, 1).expand_as(y)
    torch.testing.assert_close(y, expected)


def test_pushforward_cuts_the_gradient_between_steps_only():
    operator = Times()
    model = PhysicalModel(operator, Normaliser(1), Normaliser(1), history=1)
    x = torch.ones(1, 1, 1, 1)
    model(x, steps=2)[:, 1].sum().backward()
    assert operator.weight.grad.item() == pytest.approx(4.0)  # d(w²)/dw = 2w
    operator.weight.grad = None
    model(x, steps=2, detach=True)[:, 1].sum().backward()
    assert operator.weight.grad.item() == pytest.approx(2.0)  # d(w · 2)/dw


def test_forcing_mixes_the_truth_into_what_is_fed_back():
    operator = Times()  # u → 2 u
    model = PhysicalModel(operator, Normaliser(1), Normaliser(1), history=1)
    x, truth = torch.ones(1, 1, 1, 1), torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)
    for forcing, second in ((0.0, 4.0), (1.0, 20.0), (0.25, 8.0)):
        y = model(x, 2, truth=truth, forcing=forcing)
        # 2 ((1 - α) 2 + α 10)
        assert y.flatten().tolist() == pytest.approx([2.0, second])
    operator.weight.grad = None
    model(x, 2, truth=truth, forcing=0.25)[:, 1].sum().backward()
    # d(w ((1 - α) w + 10 α))/dw = 2 (1 - α) w + 10 α: the part through the past shrinks
    assert operator.weight.grad.item() == pytest.approx(5.5)
