"""Rollouts: the same by frames and as an array, in constant memory."""

import gc
import itertools

import numpy as np
import pytest
import torch

from opkit.errors import OpkitInputError


def test_frames_are_the_rollout_one_after_the_other(flow):
    s = flow.load()
    x = flow.permeability
    whole = s.rollout(x, 5)
    assert whole.shape == (len(x), 5, 1, 32, 32)
    for k, frame in enumerate(s.frames(x, 5)):
        assert isinstance(frame, np.ndarray)
        np.testing.assert_array_equal(frame, whole[:, k])
    assert k == 4
    endless = itertools.islice(s.frames(torch.from_numpy(x)), 5)
    np.testing.assert_array_equal(torch.stack(list(endless), 1), whole)
    # a rollout goes on from its own last frames
    again = s.rollout(whole[:, :2], 3)
    np.testing.assert_allclose(again, whole[:, 2:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(s(x), whole[:, 0], rtol=1e-5, atol=1e-6)


def test_single_samples_and_dicts(flow):
    s = flow.load()
    x = flow.permeability
    expected = s.rollout(x, 2)
    one = s.rollout(x[0], 2)
    assert one.shape == (2, 1, 32, 32)
    np.testing.assert_allclose(one, expected[0], rtol=1e-5, atol=1e-6)
    named = s.rollout({"vorticity": x[:, :, 0]}, 2)["vorticity"]
    np.testing.assert_array_equal(named, expected[:, :, 0])


def test_an_axis_that_is_missing_is_named(flow):
    # the message left the channels out, and what it asked for was refused
    with pytest.raises(OpkitInputError, match=r"give \(\[batch,\] history, channel, y"):
        flow.load().rollout(flow.permeability[0, :, 0], 2)


def live_bytes() -> int:
    return sum(t.nbytes for t in gc.get_objects() if type(t) is torch.Tensor)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_steps(flow):
    s = flow.load()
    x = torch.from_numpy(flow.permeability)
    peaks = []
    for steps in (4, 40):
        gc.collect()
        peaks.append(max(live_bytes() for _ in s.frames(x, steps)))
    frame = x[:, 0].nbytes
    # nothing is kept but the window of two frames: not even one frame more
    assert peaks[1] < peaks[0] + frame
    assert peaks[1] > live_bytes()  # the measure sees the window


def test_bad_rollouts_are_refused(flow, darcy):
    s = flow.load()
    x = flow.permeability
    with pytest.raises(OpkitInputError, match="expected 2"):
        s.rollout(x[:, :1], 3)
    with pytest.raises(OpkitInputError, match="no static fields"):
        s.rollout(x, 3, static=np.zeros((len(x), 1, 32, 32)))
    broken = x.copy()
    broken[0, 0, 0, 0, 0] = np.inf
    with pytest.raises(OpkitInputError, match="NaN or infinity"):
        next(s.frames(broken, 3))
    with pytest.raises(OpkitInputError, match="autoregressive"):
        darcy.load().frames(darcy.permeability, 3)
