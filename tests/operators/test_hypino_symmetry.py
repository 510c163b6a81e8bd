"""Orientations of the square: exact on networks, and kept by what HyPINO writes."""

import pytest
import torch

import opkit.hypino
from opkit.hypino.refine import write
from opkit.operators.hypino.network import PRESETS, HyPINO
from opkit.operators.hypino.symmetry import Symmetry, symmetries
from opkit.operators.hypino.target import TargetShape, random_target


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HyPINO(PRESETS["tiny"]).eval()


@pytest.mark.parametrize("symmetry", symmetries(elliptic=True))
def test_networks_are_carried_back_exactly(symmetry):
    generator = torch.Generator().manual_seed(0)
    like = torch.zeros((), dtype=torch.float64)
    target = random_target(TargetShape(8, 2), 2, generator, like)
    points = 2 * torch.rand(2, 20, 2, generator=generator, dtype=torch.float64) - 1
    moved = points.flip(-1) if symmetry.exchange else points
    sign = torch.tensor([symmetry.mirror_x, symmetry.mirror_y])
    moved = torch.where(sign, -moved, moved)
    values = symmetry.carry_back(target).value(points)
    torch.testing.assert_close(values, target.value(moved))


def test_a_problem_and_its_solution_move_together():
    # u = x + 3 y² with L u = u_x + u_y + 2 u_yy, carried over and solved there.
    pde = opkit.hypino.PDE("u_xx + 2*u_yy + u_x + u_y = f", "u = x + 3*y^2 on all", "y")
    for symmetry in symmetries(elliptic=True):
        c = torch.tensor([pde.linear.coefficients])
        x = torch.linspace(-1, 1, 32)
        mesh = torch.meshgrid(x, x, indexing="ij")
        u = mesh[1] + 3 * mesh[0] ** 2
        grids = u.expand(1, 5, 32, 32)
        moved_c, moved = symmetry.problem(c, grids)
        a, b = (mesh[1], mesh[0]) if not symmetry.exchange else (mesh[0], mesh[1])
        # The moved field at (x, y) is u at the mirrored, then exchanged, place.
        px = -mesh[1] if symmetry.mirror_x else mesh[1]
        py = -mesh[0] if symmetry.mirror_y else mesh[0]
        a, b = (py, px) if symmetry.exchange else (px, py)
        torch.testing.assert_close(moved[0, 0], a + 3 * b**2)
        # L u at the place, out of derivatives along the new axes.
        along = {"a": 1.0, "b": 6 * b, "bb": 6.0}
        sx, sy = 1 - 2 * symmetry.mirror_x, 1 - 2 * symmetry.mirror_y
        if symmetry.exchange:
            slopes, bends = (sx * along["b"], sy * along["a"]), (along["bb"], 0.0)
        else:
            slopes, bends = (sx * along["a"], sy * along["b"]), (0.0, along["bb"])
        _, c_x, c_y, c_xx, c_yy = moved_c[0].tolist()
        applied = c_x * slopes[0] + c_y * slopes[1] + c_xx * bends[0] + c_yy * bends[1]
        torch.testing.assert_close(applied, 1 + 6 * b + 12)


def test_mirrored_problems_have_mirrored_solutions(model):
    texts = (
        (
            "u_xx + 2*u_yy + u_x = x + y^2",
            "u = 1 on left; u_n = x on bottom; u = 0 on right, top",
        ),
        (
            "u_yy + 2*u_xx + u_y = y + x^2",
            "u = 1 on bottom; u_n = y on left; u = 0 on top, right",
        ),
    )
    fields = []
    x = torch.rand(1, 50, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for text, points in zip(texts, (x, x.flip(-1)), strict=True):
        problem = opkit.hypino.state_problem(opkit.hypino.PDE(*text))
        with torch.no_grad():
            fields.append(write(model, problem).value(points))
    scale = float(fields[0].abs().max())
    # Corners belong to both sides; data there may differ by which comes first.
    assert (fields[0] - fields[1]).abs().max() < 0.02 * scale


def test_time_is_not_mirrored():
    assert symmetries(elliptic=False) == [
        Symmetry(False, False, False),
        Symmetry(False, True, False),
    ]
    assert len(set(symmetries(elliptic=True))) == 8
