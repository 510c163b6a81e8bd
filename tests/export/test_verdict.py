"""Files say what a check says: range, novelty, error bound; and give derivatives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

import opkit
from opkit.elements.sparse import SparseMatrix
from opkit.errors import BundleError
from opkit.export.compare import verdict_gaps
from opkit.export.targets import TARGETS
from opkit.export.trace import RowSums, lower
from opkit.export.verdict import SIGNIFICANCE, VerdictProgram, power_by_products
from opkit.operators.inputs import Inputs
from opkit.surrogate.checks.novelty import power_by_fft


@pytest.fixture(scope="module")
def inputs(darcy) -> np.ndarray:
    """Twenty test inputs, and what the training never saw: scaled, shifted, smooth."""
    a = darcy.permeability[:20].astype(np.float32)
    strange = [3 * a[:2], a[:2] + 5, np.full_like(a[:1], 6.0)]
    return np.concatenate([a, *strange])


def values_of(judged, x: torch.Tensor) -> dict[str, np.ndarray]:
    checked = judged(x.numpy(), check=True)
    return {
        "error_bound": checked.error_bound,
        "usual": checked.resembles_training(),
        "novelty": checked.novelty,
        "p_value": checked.p_value,
        "range": checked.by_variable["range"]["permeability"][:, None],
    }


def same(names, found, expected) -> None:
    assert list(expected) == list(names)
    for name, tensor in zip(names, found, strict=True):
        # float32 outputs of float64 arithmetic on float32 inputs
        np.testing.assert_allclose(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_the_verdict_is_that_of_a_check(darcy, inputs):
    judged = darcy.load().without_solver()
    x = torch.from_numpy(inputs)[:, None]
    module = lower(judged.model, Inputs(x), judged.config)
    program = VerdictProgram(module.model, module.roles, judged.calibration)
    found = [tensor.numpy() for tensor in program(x)]
    names = [entry.name for entry in program.entries]
    same(names, found, values_of(judged, x))
    usual = found[names.index("usual")]
    assert usual[:20].mean() > 0.7 and not usual[20:].any()


def test_rounding_may_turn_the_verdict_of_inputs_on_the_edge(darcy, inputs):
    """Inputs whose p-value is the level of significance, to one calibration sample."""
    judged = darcy.load().without_solver()
    x = torch.from_numpy(inputs)[:, None]
    module = lower(judged.model, Inputs(x), judged.config)
    program = VerdictProgram(module.model, module.roles, judged.calibration)
    names = [entry.name for entry in program.entries]
    checked = judged(x.numpy(), check=True)
    share = 1 / (checked.samples + 1)
    level = max(SIGNIFICANCE, share)
    p = np.stack(list(checked.p_values[name] for name in ("novelty", "range")))
    edge = (np.abs(p - level) <= share).any(0)
    assert edge.any() and not edge.all()

    def turned(rows: np.ndarray) -> float:
        def exported(tensors):
            found = list(program(*tensors))
            usual = found[names.index("usual")].clone()
            usual[rows] = 1 - usual[rows]
            found[names.index("usual")] = usual
            return found

        gaps = verdict_gaps(judged, exported, program.entries, Inputs(x), None)
        return gaps["usual"]

    assert turned(np.flatnonzero(edge)) == 0
    assert turned(np.flatnonzero(~edge)[:1]) == 1


def with_residual(surrogate):
    """Say that the residual is part of the scale of errors; here σ was 1."""
    calibration = surrogate.calibration
    record = calibration.record
    assert not any(record.powers.values())
    powers = {**record.powers, "residual": 1.0}
    record = record.model_copy(update={"powers": powers})
    surrogate.calibration = replace(calibration, record=record)
    return surrogate


def test_errors_measured_again_are_those_of_the_calibration(darcy):
    first = darcy.load().calibration
    judged = with_residual(darcy.load()).without_solver()
    assert judged.without_solver() is judged
    again = judged.calibration
    assert set(again.checks) == {"novelty", "range"}
    assert again.record.samples == first.record.samples
    # the same samples in batches of another size: float32 arithmetic
    np.testing.assert_allclose(again.errors, first.errors, rtol=1e-4)
    np.testing.assert_allclose(again.points, first.points, rtol=1e-4)
    checked = judged(darcy.permeability, check=True, coverage=0.9)
    assert checked.residual is None
    gap = checked.prediction - darcy.pressure
    error = np.linalg.norm(gap.reshape(400, -1), axis=1)
    error /= np.linalg.norm(darcy.pressure.reshape(400, -1), axis=1)
    # 39 calibration samples: coverage is Beta(36, 4), 0.9 with a spread of 0.047
    assert 0.75 < np.mean(error <= checked.error_bound) <= 1


def test_bounds_without_a_solver_need_the_data(darcy):
    surrogate = with_residual(darcy.load())
    surrogate.source = None
    with pytest.raises(BundleError, match="data=FILE"):
        surrogate.without_solver()
    assert surrogate.without_solver(darcy.data).calibration.record.samples == 39


@pytest.mark.parametrize("shape", [(9,), (8, 5), (4, 3, 6)])
def test_energies_by_products_are_those_by_fft(shape):
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    # both sum a few hundred terms in float64
    torch.testing.assert_close(
        power_by_products(x), power_by_fft(x), rtol=0, atol=1e-14
    )


def test_sums_along_rows_are_products_with_the_matrix():
    dense = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 4, 5]], np.float32)
    matrix = SparseMatrix(scipy.sparse.csr_array(dense))
    x = torch.randn(4, 2, 3)
    expected = torch.einsum("rc,cab->rab", torch.from_numpy(dense), x)
    torch.testing.assert_close(RowSums(matrix)(x), expected)
    torch.testing.assert_close(matrix(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["pt2", "onnx"])
def test_files_hold_verdict_and_derivatives(darcy, inputs, tmp_path: Path, to: str):
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    several = TARGETS[to].several
    path = tmp_path / f"model{TARGETS[to].suffix}"
    report = opkit.export(darcy.run, to, path, derivatives=several)
    judged = darcy.load().without_solver()
    names = [field.name for field in report.verdict]
    x = torch.from_numpy(inputs)[:, None]
    with torch.no_grad():
        found = TARGETS[to].open(path, "verdict")((x,))
    same(names, [tensor.numpy() for tensor in found], values_of(judged, x))
    if not several:
        return
    assert report.programs == ("model", "verdict", "jvp", "vjp")
    one, v, w = x[:1], torch.randn(1, 1, 17, 17), torch.randn(1, 1, 17, 17)
    (forth,) = TARGETS[to].open(path, "jvp")((one, v))
    (back,) = TARGETS[to].open(path, "vjp")((one, w))
    expected = torch.func.jvp(judged.predict, (one,), (v,))[1]
    assert (forth - expected).norm() < 1e-5 * expected.norm()
    # (N' v, w) = (v, N'ᵀ w), both sums of 289 float32 products
    product = (forth * w).sum()
    assert abs(product - (back * v).sum()) < 1e-5 * forth.norm() * w.norm()
    # torch alone opens the prediction, as before
    prediction = torch.export.load(path).module()(one)
    torch.testing.assert_close(prediction, judged.predict(one), rtol=1e-5, atol=1e-6)
