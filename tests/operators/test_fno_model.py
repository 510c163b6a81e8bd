"""`ChannelsLastFNO` is neuraloperator's FNO: same parameters, same function."""

import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.operators.fno.network import ChannelsLastFNO, FNOBlocks
from opkit.operators.layers.spectral_conv import from_complex, neuralop_state_dict
from opkit.train.loop.plan import saved_bytes

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
    parameters = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        grad = parameter.grad
        if name.endswith("weight.tensor"):
            name, grad = name.removesuffix(".tensor"), from_complex(grad, len(grid))
        # instance norm takes the bias out again: its gradient is rounding alone
        error = (parameters[name].grad - grad).norm()
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


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, 3, 12, 12),
        torch.zeros(1, 2, 12, 12, dtype=torch.int64),
        torch.zeros(1, 2, 12, 12, dtype=torch.complex64),
        torch.zeros(2, 12),
    ],
)
def test_bad_input(x):
    _, ours = pair(2)
    with pytest.raises(OpkitInputError, match="expected real floating-point fields"):
        ours(x)


def test_empty_batch():
    _, ours = pair(2)
    y = ours(torch.zeros(0, 2, 12, 12))
    assert y.shape == (0, 3, 12, 12)
    y.sum().backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in ours.parameters())


def test_any_order_of_memory():
    _, ours = pair(2)
    x = torch.randn(2, 2, 12, 10)
    y = ours(x)
    last = x.to(memory_format=torch.channels_last)
    strided = torch.stack([x, x], -1)[..., 0]
    for other in (last, strided):
        assert not other.is_contiguous()
        assert torch.equal(ours(other), y)


def test_compile():
    """Traced, the model is the plain composition; eager, blocks of points."""
    _, ours = pair(2)
    x = torch.randn(2, 2, 12, 12)
    y, z = ours(x), torch.compile(ours, fullgraph=True, backend="aot_eager")(x)
    assert relative(z, y) < 1e-6
    grads = [
        torch.autograd.grad(out.square().sum(), list(ours.parameters()))
        for out in (y, z)
    ]
    for one, other in zip(*grads, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm() + 1e-6


def test_functional_transforms(monkeypatch):
    """torch.func sees plain operations, on the backend that has them."""
    monkeypatch.setenv("OPKIT_SPECTRAL_BACKEND", "reference")
    _, ours = pair(2)
    ours.double()
    x, direction = torch.randn(2, 1, 2, 12, 12, dtype=torch.float64)
    _, slope = torch.func.jvp(ours, (x,), (direction,))
    step = 1e-5
    difference = (ours(x + step * direction) - ours(x - step * direction)) / (2 * step)
    assert relative(slope, difference) < 1e-8  # step^2, and rounding over step


def test_saved_activations():
    """At most half of what neuraloperator's model keeps for the backward pass."""
    theirs, ours = pair(2)
    x = torch.randn(2, 2, 32, 32)
    nbytes, others = (
        saved_bytes(lambda model=model: model(x), (x, *model.parameters()))
        for model in (ours, theirs)
    )
    assert nbytes < others / 2
