"""Activations of coordinate networks."""

import pytest
import torch

from opkit.operators.interface import build_operator
from opkit.operators.layers.activations import FREQUENCY, Cauchy, Sine, coordinate_mlp
from opkit.operators.shapes import DataShape


def test_a_sine_network_keeps_its_values_of_order_one() -> None:
    """The law of its weights: sines of a normal number of deviation 1 at any depth."""
    torch.manual_seed(0)
    network = coordinate_mlp((1, 256, 256, 256, 256), "sine")
    z = torch.linspace(-1, 1, 500)[:, None]
    for layer in network:
        z = layer(z)
        if not isinstance(layer, torch.nn.Linear):
            # the variance of sin of U or N(0, 1) is 0.4 to 0.5
            assert 0.5 < z.detach().std() < 0.75
    # without ω a network of this depth is close to constant
    assert FREQUENCY > 1


def test_the_cauchy_activation_is_its_formula() -> None:
    activation = Cauchy()
    z = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(
        activation(z), (z + 1) / (z**2 + 1), rtol=1e-5, atol=1e-6
    )
    assert sum(p.numel() for p in activation.parameters()) == 3


@pytest.mark.parametrize("operator", ["deeponet", "mionet"])
def test_a_trunk_has_the_activation_that_was_asked_for(operator: str) -> None:
    shape = DataShape(1, 1, (8,), (False,), (1.0,))
    options = {"trunk_widths": [4, 4], "branch_widths": [4]}
    model = build_operator(operator, shape, options | {"trunk_activation": "sine"})
    layers = [type(m) for m in model.modules() if isinstance(m, Sine | torch.nn.GELU)]
    # one GELU in the branch, two sines in the trunk
    assert layers.count(Sine) == 2 and layers.count(torch.nn.GELU) == 1
