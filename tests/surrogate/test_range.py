"""The range of training inputs: what is beyond it, by how much, in which variable."""

from pathlib import Path

import numpy as np
import torch

import opkit
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.normalise import Normaliser
from opkit.surrogate.checks.interface import Pairs
from opkit.surrogate.checks.range import Range, beyond

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "bundles"


def normaliser(low: list[float], high: list[float]) -> Normaliser:
    result = Normaliser(len(low))
    result.low.copy_(torch.tensor(low))
    result.high.copy_(torch.tensor(high))
    return result


def test_the_farthest_value_counts_in_units_of_the_range_less_five_percent():
    x = torch.ones(4, 1, 8, 6)
    x[1, 0, 3, 3] = 2.4  # a fifth of the range [0, 2] too high
    x[2, 0, 0, 0] = 2.05  # within the margin of 0.1
    x[3, 0, 0, 0], x[3, 0, 1, 1] = -3.0, 2.4  # one and a half times the range too low
    excess = beyond(x, normaliser([0.0], [2.0]))
    # float32
    np.testing.assert_allclose(excess[:, 0], [0, 0.15, 0, 1.45], rtol=1e-6)


def test_a_channel_that_never_varied_has_no_margin():
    x = torch.full((2, 2, 5), 3.0)
    x[1, 1, 2] = 3.25
    excess = beyond(x, normaliser([0.0, 3.0], [9.0, 3.0]))
    np.testing.assert_array_equal(excess, [[0, 0], [0, 0.25]])


def test_readings_name_the_variable_and_take_the_largest():
    context = opkit.load(GOLDEN / "fno-rolling-static").calibration.context
    model, config = context.model, context.config
    low, high = model.inputs.low, model.inputs.high
    middle = ((low + high) / 2).view(1, 1, -1, *(1,) * len(config.axes))
    inputs = middle.expand(3, model.history, -1, *config.shape.shape).clone()
    inputs[1] += 0.8 * (high - low).view_as(middle)[0]  # 0.3 beyond the upper end
    static = ((model.static.low + model.static.high) / 2).view(1, -1, 1)
    static = static.expand(3, -1, *config.shape.shape).clone()
    static[2] -= 1.5 * (model.static.high - model.static.low)[:, None]
    reading = Range(context).score(Pairs(Inputs(inputs, static=static), inputs))
    (name,) = [v.name for v in config.inputs]
    expected = {name: [0, 0.25, 0], "static": [0, 0, 0.95]}
    assert reading.by_variable.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(reading.by_variable[key], values, atol=1e-5)
    np.testing.assert_allclose(reading.values, [0, 0.25, 0.95], atol=1e-5)
