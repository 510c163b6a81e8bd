"""One residual for everything that evolves in time: the largest change of a record."""

import warnings

import numpy as np
import pytest

import opkit
from opkit.solvers.records import largest_change, re_advanced, relative_change

FLOWS = {
    "burgers": ("resolution=32", "solver.parameters.records=4"),
    "navier-stokes": ("resolution=16", "solver.parameters.records=4"),
    "quasi-geostrophic": ("resolution=16", "solver.parameters.records=4"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_one_wrong_record_of_four_counts_in_full(name: str) -> None:
    """A mean over records would halve it, and hide one among hundreds."""
    case = opkit.load_case(name, FLOWS[name])
    solver = case.build_solver()
    rng = np.random.default_rng(0)
    if name == "quasi-geostrophic":  # its own law takes minutes to spin up
        waves = rng.normal(size=(2, 2, 16, 16)) * 1e-6
        kept = solver.model().mask  # what is dropped would count in the residual
        waves = np.fft.irfft2(np.fft.rfft2(waves) * kept, (16, 16))
        inputs = {
            "initial_potential_vorticity": waves - waves.mean((2, 3), keepdims=True)
        }
    else:
        drawn = [solver.sample(rng) for _ in range(2)]
        inputs = {key: np.stack([d[key] for d in drawn]) for key in drawn[0]}
    outputs = dict(solver.solve(inputs).outputs)
    # re-advancing from a record is what solve did: up to its own tolerance the same
    assert (solver.residual(inputs, outputs) < 1e-5).all()
    field = outputs[case.outputs[0].name] = outputs[case.outputs[0].name].copy()
    field[1, -1] *= 1.25
    residual = solver.residual(inputs, outputs)
    assert residual[0] < 1e-5
    assert residual[1] == pytest.approx(0.25 / 1.25, rel=1e-4)


def test_known_changes() -> None:
    initial = np.array([[4.0, 0.0], [0.0, 8.0]])
    records = np.stack([initial / 2, initial / 4, initial / 8], axis=1)
    assert re_advanced(initial, records, lambda u: u / 2).tolist() == [0.0, 0.0]
    records[0, 1] = [1.0, 1.0]  # is (1, 0) by advancing; the next is then off as well
    # |(0, 1)| / |(1, 1)|, and |(0.5, 0.5) - (0.5, 0)| / 0.5 = 1, the larger
    assert re_advanced(initial, records, lambda u: u / 2).tolist() == [1.0, 0.0]
    records[0, 2] = [0.5, 0.5]
    np.testing.assert_allclose(
        re_advanced(initial, records, lambda u: u / 2), [np.sqrt(0.5), 0.0], rtol=1e-15
    )


def test_only_some_records() -> None:
    change = largest_change(lambda k: k, lambda a, b: np.array([b, -a]), [3, 1])
    assert change.tolist() == [3, 0]


def test_relative_change_of_layers_and_of_nothing() -> None:
    u = np.zeros((3, 2, 2))
    u[0] = 3.0
    other = u.copy()
    other[0, 0, 0], other[1, 0, 0], other[2, 0, 0] = 6.0, 2.0, np.nan
    # 3 of norm 6; a distance where the reference is zero; not a number
    assert relative_change(other, u).tolist() == [0.5, 2.0, np.inf]


def test_what_has_blown_up_is_far_without_a_warning() -> None:
    u = np.ones((1, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values, reference in ((1e200 * u, u), (u, 1e200 * u), (np.inf * u, u)):
            assert relative_change(values, reference).tolist() == [np.inf]
