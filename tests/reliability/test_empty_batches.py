"""Batches without samples: results are empty too, and no library is asked for them.

Some builds of FFT, LAPACK and attention kernels refuse arrays without elements (torch
2.14 with MKL does), so a result without elements is made without them.
"""

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.fft
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import opkit
from opkit.metrics import functional
from opkit.metrics.functional import Grid
from opkit.operators import OPERATORS
from opkit.operators.hypino.network import PRESETS, HyPINO
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator, operator_class
from opkit.operators.layers.attention import attend
from opkit.operators.layers.boundary_curve import CURVE
from opkit.operators.pod_gp.process import variance
from opkit.operators.shapes import DataShape, MeshShape
from opkit.solvers.elliptic_boundary.laws import CornerCuts
from opkit.solvers.elliptic_boundary.solver import EllipticBoundary
from opkit.solvers.fem.domains import Square
from opkit.solvers.interface import Parametric, with_parameters

ASKED = ("fft", "linalg_", "cholesky", "triangular", "lu_solve", "scaled_dot_product")


class NothingEmpty(TorchDispatchMode):
    """Raises where torch is asked for a transform, a solve or attention of nothing."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        tensors = [a for a in (*args, *(kwargs or {}).values()) if torch.is_tensor(a)]
        name = function.name().replace("linalg_vector_norm", "")  # a sum
        if any(word in name for word in ASKED):
            assert all(t.numel() for t in tensors), f"{function.name()} of nothing"
        return function(*args, **(kwargs or {}))


def refusing(function: Any) -> Any:
    @functools.wraps(function)
    def checked(array: Any, *args: Any, **kwargs: Any) -> Any:
        assert np.size(array), f"{function.__name__} of nothing"
        return function(array, *args, **kwargs)

    return checked


@pytest.fixture
def libraries_refuse() -> Iterator[None]:
    """Numpy and scipy refuse to transform and to solve for nothing, as torch does."""
    with ExitStack() as stack:
        for module, names in (
            (np.fft, ("fft", "rfft", "irfft", "rfft2", "irfft2", "rfftn", "irfftn")),
            (scipy.fft, ("dctn", "dstn", "rfft", "rfftn", "irfftn")),
            (np.linalg, ("solve", "inv", "eigh", "svd", "lstsq", "cholesky")),
        ):
            for name in names:
                checked = refusing(getattr(module, name))
                stack.enter_context(mock.patch.object(module, name, checked))
        stack.enter_context(NothingEmpty())
        yield


SMALL = {  # options that make an operator small
    "fno": {"n_modes": (4, 4), "hidden_channels": 8, "n_layers": 1},
    "elliptic-fno": {"n_modes": (4, 4), "hidden_channels": 8, "n_layers": 1},
    "lsm": {"hidden_channels": 8, "n_scales": 2},
    "mgno": {"hidden_channels": 8, "n_layers": 1, "iterations": ((1, 0), (1, 0))},
    "unet": {"hidden_channels": 8, "n_scales": 2},
    "deeponet": {"n_basis": 4, "branch_widths": (8,), "trunk_widths": (8,)},
    "mionet": {"n_basis": 4, "branch_widths": (8,), "trunk_widths": (8,)},
    "pod-deeponet": {"n_basis": 4, "branch_widths": (8,)},
    "transolver": {"hidden_channels": 16, "n_layers": 1, "n_heads": 2, "n_slices": 4},
}
GRIDS = [
    name
    for name in sorted(OPERATORS)
    if {"grid"} <= set(operator_class(name).accepts.geometries)
    and 2 in operator_class(name).accepts.dimensions
    and not operator_class(name).direct
    and "boundary" not in operator_class(name).accepts.geometries
]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("training", [True, False])
def test_operators_on_grids(name: str, training: bool, libraries_refuse: None) -> None:
    shape = (12, 12)
    data = DataShape(1, 2, shape, (False, False), (1.0, 1.0))
    model = build_operator(name, data, SMALL.get(name, {})).train(training)
    x, u = torch.randn(8, 1, *shape), torch.randn(8, 2, *shape)
    model.prepare({"inputs": x, "outputs": u})
    none = x[:0].requires_grad_()
    answer = model(Inputs(none))
    assert answer.shape == (0, 2, *shape)
    answer.sum().backward()
    assert none.grad is not None and none.grad.shape == none.shape


def mesh(n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    square = Square().mesh(n - 1)
    return square.points, square.cells


@pytest.mark.parametrize("name", ["spon", "lsm-points"])
def test_operators_on_nodes(name: str, libraries_refuse: None) -> None:
    points, cells = mesh(9)
    count = len(points)
    data: DataShape | MeshShape
    if name == "spon":
        free, zeros = np.zeros(count, bool), np.zeros((1, count))
        data = MeshShape(1, 1, "node", points, cells, free, zeros, (mesh(5),))
        options: dict[str, Any] = {"hidden_channels": 8, "n_layers": 2}
    else:
        data = DataShape(3, 1, (count,), (False,), (1.0,))
        options = {"hidden_channels": 8, "n_scales": 2, "n_modes": (4, 4)}
        options["latent_shape"] = (12, 12)
    model = build_operator(name, data, options)
    x, u = torch.rand(8, data.in_channels, count), torch.randn(8, 1, count)
    model.prepare({"inputs": x, "outputs": u})
    none = x[:0].requires_grad_()
    answer = model(none)
    assert answer.shape == (0, 1, count)
    answer.sum().backward()


@pytest.mark.parametrize("parity", [None, False, True])
def test_operators_with_boundary_curves(
    parity: bool | None, libraries_refuse: None
) -> None:
    solver = EllipticBoundary(resolution=(8, 8), distribution=CornerCuts())
    drawn = solver.sample(np.random.default_rng(0))
    roles = {"inputs": ("source", "inside"), "boundary": CURVE}
    batch = {
        role: torch.from_numpy(np.stack([drawn[n] for n in names])[None]).float()
        for role, names in roles.items()
    }
    batch["outputs"] = torch.randn(1, 1, 8, 8)
    data = DataShape(2, 1, (8, 8), (False,) * 2, (1.0,) * 2, CURVE)
    options: dict[str, Any] = {"hidden_channels": 8, "n_layers": 1, "n_heads": 2}
    options |= {"transformer_layers": 1, "parity": bool(parity)}
    if parity is None:
        options = {"operator": "unet", "model": SMALL["unet"]}
    name = "embedded" if parity is None else "beno"
    model = build_operator(name, data, options)
    model.prepare(batch)
    answer = model(Inputs(batch["inputs"][:0], boundary=batch["boundary"][:0]))
    assert answer.shape == (0, 1, 8, 8)


def test_hypino(libraries_refuse: None) -> None:
    model = HyPINO(PRESETS["tiny"])
    whole = model(torch.zeros(2, 5), torch.zeros(2, 5, 32, 32))
    none = model(torch.zeros(0, 5), torch.zeros(0, 5, 32, 32))
    for a, b in zip(none, whole, strict=True):
        assert a.shape == b[:0].shape


def test_regression_by_gaussian_processes(libraries_refuse: None) -> None:
    x = torch.randn(6, 2, dtype=torch.float64)
    theta = torch.zeros(3, 5, dtype=torch.float64)
    assert variance(theta, x, x[:0]).shape == (3, 0)


@pytest.mark.parametrize(
    "name", ["relative_l2", "mse", "nrmse", "vrmse", "relative_h1"]
)
def test_errors_of_predictions(name: str, libraries_refuse: None) -> None:
    fields = torch.randn(0, 2, 8, 8)
    grid = Grid((1.0, 1.0), (True, False))
    assert getattr(functional, name)(fields, fields, grid).shape == (0,)


def test_attention_of_nothing_has_the_shape_of_attention() -> None:
    q, k, v = (torch.randn(3, 2, n, 4) for n in (5, 6, 6))
    assert attend(q[:0], k[:0], v[:0]).shape == attend(q, k, v)[:0].shape


CASES = {  # parameters that make a solver small
    "airfoil": {"resolution": (9, 45)},
    "burgers": {"resolution": (32,)},
    "darcy": {"resolution": (9, 9)},
    "darcy-parametric": {},
    "darcy-source": {"resolution": (9, 9)},
    "darcy-mesh": {},
    "elastic-cantilever": {},
    "elliptic-boundary": {},
    "helmholtz-scattering": {},
    "hyperelastic-cell": {},
    "hyperelastic-cell-strain": {},
    "bracket-3d": {"resolution": (9, 1, 2)},
    "channel-bumps": {},
    "cylinder-wake": {"resolution": (8, 8)},
    "hypino-heat": {},
    "manufactured": {"resolution": (32, 32)},
    "navier-stokes": {"resolution": (32, 32), "backend": "numpy"},
    "navier-stokes-viscosity": {"resolution": (32, 32), "backend": "torch"},
    "pipe": {},
    "quasi-geostrophic": {"resolution": (32, 32)},
    "fisher": {},
}
NEED_FEM = {
    "darcy-mesh", "bracket-3d", "cylinder-wake", "hyperelastic-cell",
    "hyperelastic-cell-strain", "channel-bumps", "pipe",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.fem if n in NEED_FEM else ()) for n in CASES],
)
def test_solvers(name: str, libraries_refuse: None) -> None:
    solver = opkit.load_case(name).build_solver()
    solver = with_parameters(solver, **CASES[name])
    if name == "quasi-geostrophic":  # drawing one spins up for a minute
        shapes = {"initial_potential_vorticity": (2, 32, 32)}
    else:
        one = solver.sample(np.random.default_rng(0))
        shapes = {k: np.shape(v) for k, v in one.items()}
    if isinstance(solver, Parametric):
        shapes |= solver.parameters()
    inputs = {k: np.zeros((0, *shape)) for k, shape in shapes.items()}
    solution = solver.solve(inputs)
    assert solution.outputs and all(len(v) == 0 for v in solution.outputs.values())
    assert solution.error.shape == (0,)
    assert solver.residual(inputs, solution.outputs).shape == (0,)
