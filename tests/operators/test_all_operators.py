"""What every operator promises. New ones are found through `OPERATORS`.

The problem: a(x) is a random trigonometric polynomial and u solves u - Δu/(2π)² = a,
so that u is known at any point: a_k becomes a_k / (1 + |k|²).
"""

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from opkit.base.linearisation import Linearisation
from opkit.errors import OpkitInputError
from opkit.operators import OPERATORS
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator, operator_class
from opkit.operators.layers.grids import coordinates
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.fem.domains import Square

SHAPES = {1: (24,), 2: (17, 12), 3: (10, 9, 12)}  # odd ones among them
TINY = {  # options that make an operator small; one not listed here takes its defaults
    "fno": lambda d: dict(n_modes=(5,) * d, hidden_channels=16, n_layers=2),
    "elliptic-fno": lambda d: dict(n_modes=(5,) * d, hidden_channels=16, n_layers=2),
    "lsm": lambda d: dict(hidden_channels=8, n_scales=3),
    "lsm-points": lambda d: dict(
        hidden_channels=8, n_scales=3, n_modes=(4, 4), latent_shape=(12, 12)
    ),
    "mgno": lambda d: dict(
        hidden_channels=16, n_layers=2, iterations=((1, 0), (1, 1), (2, 0))
    ),
    "unet": lambda d: dict(hidden_channels=16, n_scales=3),
    "spon": lambda d: dict(hidden_channels=16, n_layers=2),
    "deeponet": lambda d: dict(n_basis=32, branch_widths=(64,), trunk_widths=(64, 64)),
    "mionet": lambda d: dict(n_basis=32, branch_widths=(64,), trunk_widths=(64, 64)),
    "transolver": lambda d: dict(
        hidden_channels=32, n_layers=2, n_heads=2, n_slices=16, mlp_ratio=2
    ),
    "gno": lambda d: dict(
        hidden_channels=12, n_layers=2, kernel_width=8, radius=(0.3, 0.35, 0.17)[d - 1]
    ),
    "multipole-gno": lambda d: dict(
        hidden_channels=12,
        n_layers=1,
        kernel_width=8,
        cells=(4,),
        reach=2.0,
        radius=(0.3, 0.35, 0.17)[d - 1],
    ),
    "lno": lambda d: dict(hidden_channels=16, n_layers=2, kernel_width=16),
    "gino": lambda d: dict(
        hidden_channels=16,
        n_layers=2,
        kernel_width=8,
        latent_shape=((24,), (10, 10), (5, 5, 5))[d - 1],
    ),
    "pod-deeponet": lambda d: dict(n_basis=5 if d == 1 else 13, branch_widths=(64,)),
}
CASES = [
    (name, dimension)
    for name in sorted(OPERATORS)
    for dimension in operator_class(name).accepts.dimensions
    # those on boundary curves take two arguments: test_boundary_operators.py
    if "boundary" not in operator_class(name).accepts.geometries
    # those without weights to train are tested by themselves: test_pod_gp.py
    and not operator_class(name).direct
]
# steps of the optimiser, 150 if not listed; a step of these is cheap
STEPS = {
    "elliptic-fno": 300,
    "spon": 300,
    "deeponet": 1000,
    "pod-deeponet": 500,
    "mionet": 1000,
    "transolver": 800,
    "lno": 800,
    "gino": 250,
}
# operators whose answer converges as the grid of the input is refined
CONSISTENT = (
    "fno",
    "deeponet",
    "pod-deeponet",
    "mionet",
    "transolver",
    "gno",
    "multipole-gno",
    "lno",
    "gino",
)
LEARNT = [(name, d) for name, d in CASES if d == 2 or (name, 2) not in CASES]
# a step of these is dear; gno and its V-cycles learn in test_gno.py instead
DEAR = ("gno", "multipole-gno", "lno", "gino", "transolver", "lsm-points")
LONG = (*DEAR, "lsm", "elliptic-fno")
"""Operators that are trained in slow tests: 8 s and more on a core."""
TRAINED = [
    pytest.param(*case, marks=pytest.mark.slow if case[0] in LONG else ())
    for case in LEARNT
    if case[0] not in ("gno", "multipole-gno")
]
# on lines and in space their shapes alone are looked at there
USUAL = [
    pytest.param(
        *case, marks=pytest.mark.slow if case[0] in DEAR and case[1] != 2 else ()
    )
    for case in CASES
]


EXPORTED = (
    "deeponet",
    "elliptic-fno",
    "fno",
    "lsm",
    "mgno",
    "mionet",
    "transolver",
    "unet",
)
"""Operators whose programs take any batch, without a preparation by data."""

ON_MESHES = ("spon",)
"""Operators that are built from a `MeshShape`, once for each mesh."""


def nodes_and_cells(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n x n points of the unit square in two triangles each square."""
    mesh = Square().mesh(n - 1)
    return mesh.points, mesh.cells


class Fields:
    """Random a and u on a grid, or at random points if the operator takes meshes."""

    def __init__(self, name: str, dimension: int, seed: int = 0) -> None:
        self.mesh = "grid" not in operator_class(name).accepts.geometries
        self.d = 2 if self.mesh else dimension
        self.elements = name in ON_MESHES
        self.shape = (60,) if self.mesh else SHAPES[dimension]
        if self.elements:
            self.shape = (81,)
        self.rng = np.random.default_rng(seed)
        waves = itertools.product(range(-2, 3), repeat=self.d)
        self.k = np.array([k for k in waves if sum(map(abs, k)) <= 2])

    def points(self, shape: tuple[int, ...], periodic: bool) -> np.ndarray:
        if self.elements:
            return nodes_and_cells(round(shape[0] ** 0.5))[0].T
        if self.mesh:
            return self.rng.random((self.d, *shape))
        return coordinates(shape, (periodic,) * self.d).numpy().astype(float)

    def draw(
        self, n: int, shape: tuple[int, ...] | None = None, periodic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (n, channel, *shape) and outputs (n, 1, *shape)."""
        points = self.points(shape or self.shape, periodic)
        phase = 2 * np.pi * np.tensordot(self.k, points, axes=1)
        amplitude = self.rng.standard_normal((2, n, len(self.k)))
        smooth = 1 / (1 + (self.k**2).sum(1))
        a, u = (
            np.tensordot(amplitude[0] * s, np.cos(phase), axes=1)
            + np.tensordot(amplitude[1] * s, np.sin(phase), axes=1)
            for s in (np.ones(len(self.k)), smooth)
        )
        inputs = [a[:, None] / a.std()]
        if self.mesh and not self.elements:  # coordinates are the first channels
            inputs.insert(0, np.broadcast_to(points, (n, *points.shape)))
        x = torch.from_numpy(np.concatenate(inputs, 1)).float()
        return x, torch.from_numpy(u[:, None] / u.std()).float()


def build(name: str, dimension: int, outputs: int = 1, periodic: bool = False):
    if periodic and not operator_class(name).accepts.periodic:
        pytest.skip(f"{name} does not take periodic axes")
    torch.manual_seed(0)
    fields = Fields(name, dimension)
    x, u = fields.draw(40, periodic=periodic)
    d = len(fields.shape)
    data = DataShape(x.shape[1], outputs, fields.shape, (periodic,) * d, (1.0,) * d)
    if fields.elements:
        data = mesh_shape(9, outputs)
    model = build_operator(name, data, TINY.get(name, lambda d: {})(dimension))
    if hasattr(model, "prepare"):
        outputs_ = u.expand(-1, outputs, *[-1] * d).contiguous()
        model.prepare({"inputs": x, "outputs": outputs_})
    return model, fields, data


def mesh_shape(n: int, outputs: int = 1) -> MeshShape:
    points, cells = nodes_and_cells(n)
    free, zeros = np.zeros(len(points), bool), np.zeros((outputs, len(points)))
    coarse = nodes_and_cells((n + 1) // 2)
    return MeshShape(1, outputs, "node", points, cells, free, zeros, (coarse,))


def relative_l2(predicted: torch.Tensor, u: torch.Tensor) -> float:
    error = (predicted - u).flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)
    return error.mean().item()


def fit(model, x, u, steps: int, batch: int, rate: float = 3e-3) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randperm(len(x), generator=generator)[:batch]
        optimiser.zero_grad()
        (model(x[chosen]) - u[chosen]).square().mean().backward()
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize(("name", "dimension"), CASES)
@pytest.mark.parametrize("periodic", [False, True])
def test_shapes_and_independence_of_the_batch(name, dimension, periodic):
    model, fields, _ = build(name, dimension, outputs=2, periodic=periodic)
    x, _ = fields.draw(3, periodic=periodic)
    with torch.no_grad():
        u = model.eval()(x)
        alone = model(x[1:2])
    assert u.shape == (3, 2, *fields.shape)
    assert u.dtype == torch.float32
    # another batch size may sum in another order, in fp32
    torch.testing.assert_close(alone[0], u[1], rtol=1e-4, atol=1e-5)
    # and the output does depend on the input, by more than rounding
    assert (u[0] - u[1]).abs().max() > 1e-5 * u.abs().max()


@pytest.mark.parametrize(("name", "dimension"), USUAL)
def test_gradient_reaches_every_parameter_and_the_input(name, dimension):
    model, fields, _ = build(name, dimension)
    x, u = fields.draw(3)
    x.requires_grad_()
    (model(x) - u).square().mean().backward()
    dead = [
        key
        for key, p in model.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert not dead
    assert x.grad is not None
    assert x.grad.isfinite().all() and x.grad[:, -1].abs().max() > 0


@pytest.mark.parametrize(("name", "dimension"), LEARNT)
def test_products_with_the_jacobian_and_its_transpose_agree(name, dimension):
    """<J v, w> = <v, Jᵀ w>: J v needs a derivative of Jᵀ w, on every operator."""
    model, fields, _ = build(name, dimension)
    model.eval().double()
    x = fields.draw(2)[0].double()
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    lines = Linearisation(lambda x: (model(x),), [x])
    w = torch.randn(lines.outputs[0].shape, generator=generator, dtype=x.dtype)
    (pushed,), (pulled,) = lines.jvp([v]), lines.vjp([w])
    # rounding; elliptic-fno solves a system by iteration, to 1e-6
    rounding = 1e-5 if name == "elliptic-fno" else 1e-10
    assert (pushed * w).sum().item() == pytest.approx(
        (pulled * v).sum().item(), abs=rounding * float(pushed.norm() * w.norm())
    )
    assert pushed.norm() > 0


@pytest.mark.parametrize("name", EXPORTED)
def test_a_traced_program_takes_any_batch(name):
    numbers = operator_class(name).accepts.parameters
    data = DataShape(1, 1, (17, 17), (False,) * 2, (1.0,) * 2, parameters=numbers)
    model = build_operator(name, data, TINY[name](2)).eval()
    x = torch.rand(3, 1, 17, 17, generator=torch.Generator().manual_seed(0))
    arguments = (x, x[:, 0, 0, :1]) if numbers else (x,)

    class Called(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, fields, numbers=None):
            return self.model(Inputs(fields=fields, parameters=numbers))

    sizes = tuple({0: torch.export.Dim("batch", min=1)} for _ in arguments)
    with torch.no_grad():
        two = tuple(part[:2] for part in arguments)
        program = torch.export.export(Called(), two, dynamic_shapes=sizes)
        for n in (1, 3):
            some = [part[:n] for part in arguments]
            expected = Called()(*some)
            # rounding: other kernels may be chosen in a program
            gap = (program.module()(*some) - expected).norm()
            assert gap < 1e-5 * expected.norm()


@pytest.mark.parametrize(("name", "dimension"), USUAL)
def test_every_block_matters(name, dimension):
    model, fields, _ = build(name, dimension)
    x, _ = fields.draw(2)
    model.eval()
    idle = []
    with torch.no_grad():
        whole = model(x)
        for key, block in model.named_modules():
            own = {k: p.clone() for k, p in block.named_parameters()}
            # a block that starts as zeros (a bias) shows nothing when set to zero
            if not key or not any(p.any() for p in own.values()):
                continue
            for p in block.parameters():
                p.zero_()
            if torch.equal(model(x), whole):
                idle.append(key)
            for k, p in block.named_parameters():
                p.copy_(own[k])
        assert torch.equal(model(x), whole)
    assert not idle


@pytest.mark.parametrize(("name", "dimension"), TRAINED)
def test_overfits_one_batch(name, dimension):
    model, fields, _ = build(name, dimension)
    x, u = fields.draw(4)
    fit(model, x, u, STEPS.get(name, 150), batch=4)
    # memory, in training mode: far below the spread of the data, 1
    with torch.no_grad():
        assert relative_l2(model(x), u) < 0.1


@pytest.mark.parametrize(("name", "dimension"), TRAINED)
def test_beats_the_mean_predictor_on_new_data(name, dimension):
    model, fields, _ = build(name, dimension)
    x, u = fields.draw(256)
    new_x, new_u = x[192:], u[192:]
    fit(model, x[:192], u[:192], STEPS.get(name, 150), batch=16)
    with torch.no_grad():
        error = relative_l2(model.eval()(new_x), new_u)
    assert error < 0.5 * relative_l2(u[:192].mean(0, keepdim=True), new_u)


@pytest.mark.parametrize(("name", "dimension"), USUAL)
def test_saves_and_loads(name, dimension, tmp_path):
    model, fields, data = build(name, dimension)
    x, u = fields.draw(8)
    fit(model, x, u, steps=2, batch=8)  # moves statistics of normalisation too
    # neuraloperator adds a dict of metadata
    state = {
        key: value.contiguous()
        for key, value in model.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    save_file(state, tmp_path / "model.safetensors")
    torch.manual_seed(1)
    other = build_operator(name, data, TINY.get(name, lambda d: {})(dimension))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(other.eval()(x), model.eval()(x))


@pytest.mark.parametrize(("name", "dimension"), USUAL)
def test_runs_on_a_finer_grid(name, dimension):
    model, fields, _ = build(name, dimension)
    fine = tuple(2 * n - 1 for n in fields.shape)
    if fields.elements:
        fine, model = (17 * 17,), model.on(mesh_shape(17))
    x, _ = fields.draw(2, fine)
    with torch.no_grad():
        u = model.eval()(x)
    assert u.shape == (2, 1, *fine)
    assert u.isfinite().all()


@pytest.mark.parametrize("name", CONSISTENT)
@pytest.mark.parametrize("periodic", [False, True])
def test_answer_converges_as_the_grid_is_refined(name, periodic):
    """The discretised operator tends to one operator between functions.

    Against the finest grid the difference at shared points must fall like h or faster
    (h² where the sums over the grid are trapezoidal or the interpolation linear).
    """
    sizes = [16, 32, 64, 256]
    model, fields, data = build(name, 1, periodic=periodic)
    torch.manual_seed(0)
    data = DataShape(1, 1, (16 + (not periodic),), (periodic,), (1.0,))
    model = build_operator(name, data, TINY[name](1)).eval()
    fields.shape = data.shape
    if hasattr(model, "prepare"):
        model.prepare({"outputs": fields.draw(40, periodic=periodic)[1]})
    answers = []
    for n in sizes:
        fields.rng = np.random.default_rng(1)
        x, _ = fields.draw(4, (n + (not periodic),), periodic)
        # the same function on every grid: undo the scaling by the grid's own spread
        answers.append(model(x / x[..., :1]).detach()[..., :: n // 16])
    errors = [relative_l2(a, answers[-1]) for a in answers[:-1]]
    if max(errors) > 1e-5:  # periodic FNO: exact, up to aliasing of its nonlinearity
        rates = np.diff(np.log2(errors))
        assert (rates < -0.8).all(), errors


@pytest.mark.parametrize(
    ("name", "options", "shift"),
    [
        ("fno", dict(n_modes=(4, 4), hidden_channels=8, coordinates=False), 1),
        ("mgno", dict(hidden_channels=8, iterations=((1, 0), (1, 1), (2, 0))), 4),
        ("unet", dict(hidden_channels=8, n_scales=3), 4),
    ],
)
def test_translation_equivariance_on_a_torus(name, options, shift):
    """A(τa) = τA(a) for every shift by whole points of the coarsest grid."""
    torch.manual_seed(0)
    data = DataShape(1, 1, (24, 16), (True, True), (1.0, 1.0))
    model = build_operator(name, data, options).double().eval()
    x = torch.randn(2, 1, 24, 16, dtype=torch.float64)
    shifts, axes = (3 * shift, -shift), (2, 3)
    with torch.no_grad():
        u, moved = model(x), model(x.roll(shifts, axes))
    torch.testing.assert_close(moved, u.roll(shifts, axes), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "dimension"), USUAL)
def test_unknown_options_and_dimensions_are_refused(name, dimension):
    _, _, data = build(name, dimension)
    with pytest.raises(OpkitInputError, match="unknown key"):
        build_operator(name, data, {"hiden_channels": 3})
    four = DataShape(1, 1, (4,) * 4, (False,) * 4, (1.0,) * 4)
    with pytest.raises(OpkitInputError, match=f"{name} takes"):
        build_operator(name, four, {})


@pytest.mark.parametrize(
    ("name", "options", "remedy"),
    [
        ("fno", dict(n_modes=(12, 12)), "model.n_modes"),
        ("lsm", {}, "model.n_scales=4"),
        ("mgno", {}, "at most 3 entries"),
        ("unet", {}, "model.n_scales=4"),
        ("deeponet", dict(sensors=(9, 9)), "model.sensors"),
        ("pod-deeponet", dict(sensors=(9, 9)), "model.sensors"),
    ],
)
def test_grids_too_small_are_refused_and_the_remedy_works(name, options, remedy):
    small = DataShape(1, 1, (8, 8), (False, False), (1.0, 1.0))
    with pytest.raises(OpkitInputError, match=remedy) as caught:
        build_operator(name, small, options)
    assert "subsample=1 keeps all" in str(caught.value)
    works = {
        "fno": dict(n_modes=(8, 8)),
        "lsm": dict(n_scales=4),
        "mgno": dict(iterations=((1, 0),) * 3),
        "unet": dict(n_scales=4),
    }.get(name, dict(sensors=(8, 8)))
    build_operator(name, small, works)


@pytest.mark.parametrize(("name", "dimension"), LEARNT)
def test_mixed_precision_stays_close(name, dimension):
    """Under bfloat16 autocast: finite, and within a few of its units (2⁻⁸)."""
    model, fields, _ = build(name, dimension)
    x, _ = fields.draw(4)
    with torch.no_grad():
        exact = model.eval()(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            u = model(x)
    assert u.isfinite().all()
    # roundings of a dozen layers add up; a part that overflows or is cut shows as 1
    assert (u.float() - exact).norm() < 0.1 * exact.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.train()(x).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
