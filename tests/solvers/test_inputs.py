"""Fields that solvers refuse: the same faults in the same words, whoever is asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import opkit
from opkit.errors import OpkitInputError
from opkit.solvers.inputs import check_counts, checked_field

SMALL = {
    "darcy": ("resolution=9",),
    "darcy-mesh": ("resolution=4",),
    "elastic-cantilever": ("resolution=2",),
    "elliptic-boundary": ("resolution=8",),
    "burgers": ("resolution=32",),
    "advection-diffusion": ("resolution=32",),
    "navier-stokes": ("resolution=16", "solver.parameters.records=1"),
    "quasi-geostrophic": ("resolution=16", "solver.parameters.records=1"),
}
Change = Callable[[np.ndarray], Any]
FAULTS: dict[str, tuple[Change, str]] = {
    "flat": (
        lambda a: a.reshape(len(a), -1)[:, :-1],
        r"{name} has shape .*: give {wanted}",
    ),
    "one sample": (lambda a: a[0], r"{name} has shape .*: give {wanted}"),
    "NaN": (
        lambda a: np.where(a == a, np.nan, a),
        "{name} holds NaN or infinity in sample 0 at",
    ),
    "infinite": (lambda a: a + np.inf, "{name} holds NaN or infinity in sample 0 at"),
    "complex": (lambda a: a + 1j, "{name} holds complex128: give real numbers"),
    "text": (lambda a: a.astype(str), "{name} holds <U.*: give real numbers"),
    "masked": (
        lambda a: np.ma.masked_less(a, np.inf),
        "{name} has masked values: fill them",
    ),
}


def one(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A solver and inputs of its shapes; what is refused is refused before solving."""
    case = opkit.load_case(name, SMALL[name])
    solver = case.build_solver()
    if name == "quasi-geostrophic":  # its own law takes minutes to spin up
        return solver, {"initial_potential_vorticity": np.full((1, 2, 16, 16), 1e-6)}
    drawn = solver.sample(np.random.default_rng(0))
    return solver, {key: np.asarray(values)[None] for key, values in drawn.items()}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", SMALL)
def test_every_solver_refuses_alike(case: str, fault: str) -> None:
    solver, inputs = one(case)
    change, message = FAULTS[fault]
    for name, values in inputs.items():
        shape = r"\(batch, " + ", ".join(map(str, values.shape[1:])) + r"\)"
        with pytest.raises(OpkitInputError) as caught:
            solver.solve({**inputs, name: change(values)})
        assert caught.match(message.format(name=name, wanted=shape))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", SMALL)
def test_a_field_that_is_missing_is_named(case: str) -> None:
    solver, inputs = one(case)
    for name in inputs:
        others = {key: values for key, values in inputs.items() if key != name}
        with pytest.raises(OpkitInputError, match=f"^{name} is missing .*: give it"):
            solver.solve(others)


@pytest.mark.parametrize("case", [name for name in SMALL if name != "darcy-mesh"])
def test_outputs_are_looked_at_too(case: str) -> None:
    solver, inputs = one(case)
    specs = opkit.load_case(case, SMALL[case]).outputs
    sizes = {name: len(c.values) for name, c in solver.coordinates().items()}
    if case == "elastic-cantilever":
        sizes["node"] = len(solver.mesh()[0])
    outputs = {v.name: np.zeros((2, *(sizes[d] for d in v.dims))) for v in specs}
    first = specs[0].name
    with pytest.raises(OpkitInputError, match=f"1 samples and {first} 2: give as many"):
        solver.residual(inputs, outputs)
    with pytest.raises(OpkitInputError, match=f"^{first} is missing"):
        solver.residual(inputs, {})


@pytest.mark.parametrize("case", ["darcy", "darcy-mesh", "elastic-cantilever"])
def test_values_that_must_be_positive(case: str) -> None:
    solver, inputs = one(case)
    (name,) = inputs
    field = np.concatenate([inputs[name]] * 3)
    field[(2,) + (1,) * (field.ndim - 1)] = -0.5
    place = ", ".join("1" * (field.ndim - 1))
    message = rf"{name} must be above zero; it is -0.5 in sample 2 at \({place}\)"
    with pytest.raises(OpkitInputError, match=message):
        solver.solve({name: field})


def test_what_passes_is_contiguous_float64() -> None:
    turned = np.arange(12, dtype=np.int16).reshape(2, 3, 2).swapaxes(1, 2)
    field = checked_field({"f": turned}, "f", (2, 3))
    assert field.dtype == np.float64 and field.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(field, turned)
    unmasked = np.ma.array(np.ones((1, 2)), mask=False)
    assert checked_field({"f": unmasked}, "f", (2,)).tolist() == [[1.0, 1.0]]
    assert checked_field({"f": np.zeros((0, 2))}, "f", (2,)).shape == (0, 2)


def test_counts() -> None:
    check_counts(a=np.zeros((2, 3)), b=np.zeros(2))
    with pytest.raises(OpkitInputError, match="a has 2 samples and c 1: give as many"):
        check_counts(a=np.zeros(2), b=np.zeros(2), c=np.zeros(1))
