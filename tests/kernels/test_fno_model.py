"""`ChannelsLastFNO` is neuraloperator's FNO: same parameters, same function."""

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.fno_model import ChannelsLastFNO, FNOBlocks
from opkit.operators.spectral_conv import from_complex, neuralop_state_dict

models = pytest.importorskip("neuralop.models")


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def pair(axes, **options):
    torch.manual_seed(0)
    common = {
        "n_modes": (6,) * axes,
        "in_channels": 2,
        "out_channels": 3,
        "hidden_channels": 8,
        "n_layers": 3,
    }
    theirs = models.FNO(
        **common,
        positional_embedding=None,
        use_channel_mlp=options.get("channel_mlp", True),
        norm=options.get("norm"),
    )
    ours = ChannelsLastFNO(**common, **options, compat="neuralop-2.0")
    state = {k: v for k, v in theirs.state_dict().items() if torch.is_tensor(v)}
    with torch.no_grad():  # their gates start at one: make them tell channels apart
        for name, value in state.items():
            if "channel_mlp_skips" in name:
                value.normal_()
    ours.load_state_dict(dict(state))
    return theirs, ours


@pytest.mark.parametrize(
    ("grid", "options"),
    [
        ((16,), {}),
        ((12, 10), {}),
        ((13, 11), {}),
        ((12, 12), {"channel_mlp": False}),
        ((12, 12), {"norm": "group_norm"}),
        ((12, 12), {"norm": "instance_norm"}),
        ((8, 6, 8), {}),
    ],
)
def test_equals_neuraloperator(grid, options):
    theirs, ours = pair(len(grid), **options)
    x = torch.randn(2, 2, *grid)
    y, truth = ours(x), theirs(x)
    # fp32 arithmetic through three layers
    assert relative(y, truth) < 1e-5
    target = torch.randn_like(truth)
    (truth * target).sum().backward()
    (y * target).sum().backward()
    found = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        grad = parameter.grad
        if name.endswith("weight.tensor"):
            name, grad = name.removesuffix(".tensor"), from_complex(grad, len(grid))
        # instance norm takes the bias out again: its gradient is rounding alone
        error = (found[name].grad - grad).norm()
        assert error < 1e-4 * grad.norm() + 2e-5, name


def test_weights_go_back():
    theirs, ours = pair(2)
    fresh, _ = pair(2)
    for parameter in fresh.parameters():
        torch.nn.init.zeros_(parameter)
    fresh.load_state_dict(neuralop_state_dict(ours))
    x = torch.randn(1, 2, 12, 12)
    assert torch.equal(fresh(x), theirs(x))


def test_input_is_left_alone():
    _, ours = pair(2)
    x = torch.randn(1, 2, 12, 12)
    copy = x.clone()
    ours(x).sum().backward()
    assert torch.equal(x, copy)


def test_export():
    _, ours = pair(2)
    x = torch.randn(2, 2, 12, 12)
    assert relative(torch.export.export(ours, (x,)).module()(x), ours(x)) < 1e-6


def test_autocast_and_double_precision():
    _, ours = pair(2)
    x = torch.randn(2, 2, 12, 12)
    y = ours(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ours(x)
        mixed.float().square().sum().backward()
    # bf16 products in a dozen layers, 2^-9 each; the spectral part stays in fp32
    assert relative(mixed.float(), y) < 3e-2
    assert relative(ours.double()(x.double()).float(), y) < 1e-5


def test_unknown_norm():
    with pytest.raises(OpkitInputError, match="group_norm"):
        FNOBlocks(4, (4, 4), 1, norm="layer_norm")
