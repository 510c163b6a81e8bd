"""Weights of HyPINO: one flipped bit is refused, or changes nothing."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import opkit.hypino
from opkit.errors import BundleError
from opkit.hypino.weights import SHIPPED, digest
from opkit.operators.hypino.network import PRESETS, HyPINO, HyPINOOptions


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    options = HyPINOOptions(
        resolution=16, channels=16, depths=(1,), heads=(2,), window=4,
        coefficient_features=8, statistics_features=8, target_width=4,
        target_layers=1, head_hidden=16, magnitude_invariant=True,
    )  # fmt: skip
    return HyPINO(options).eval()


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return (
        one.options == other.options
        and a.keys() == b.keys()
        and all(torch.equal(a[name], b[name]) for name in a)
    )


def test_models_are_saved_and_loaded(model, tmp_path):
    path = tmp_path / "model.safetensors"
    opkit.hypino.save(model, path, {"steps": 0})
    assert same(opkit.hypino.load(path), model)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleError, match="not a HyPINO file"):
        opkit.hypino.load(path)
    with pytest.raises(BundleError, match="no regular file"):
        opkit.hypino.load(tmp_path)


def test_one_flipped_bit_is_refused_or_changes_nothing(model, tmp_path):
    path = tmp_path / "model.safetensors"
    opkit.hypino.save(model, path, {"steps": 0})
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    rng = np.random.default_rng(0)
    places = [
        *range(8),
        *rng.choice(np.arange(8, header), 150, replace=False),
        *rng.choice(np.arange(header, len(whole)), 150, replace=False),
    ]
    refused = 0
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            reloaded = opkit.hypino.load(path)
        except BundleError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        assert place < header and same(
            reloaded, model
        )  # the card, or the checksum's name
    assert refused >= 200


def test_the_shipped_weights_carry_their_checksum():
    with safe_open(SHIPPED, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert metadata["sha256"] == digest(metadata["options"], tensors)
    assert same(opkit.hypino.load(SHIPPED), opkit.hypino.load(SHIPPED))


def test_files_from_before_the_checksum_are_held_to_finite_numbers(model, tmp_path):
    path = tmp_path / "old.safetensors"
    tensors = model.state_dict()
    metadata = {"options": model.options.model_dump_json(), "card": "{}"}
    save_file(tensors, path, metadata)
    assert same(opkit.hypino.load(path), model)
    name = next(iter(tensors))
    tensors = {**tensors, name: torch.full_like(tensors[name], torch.nan)}
    save_file(tensors, path, metadata)
    with pytest.raises(BundleError, match="not finite"):
        opkit.hypino.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 100_000}, "shape"),
        ({"target_width": 40_000}, "shape"),
        ({"depths": [10**9], "heads": [2]}, "more layers"),
        ({"depths": [1, 1], "heads": [2, 2]}, "missing or unknown"),
    ],
)
def test_sizes_that_the_file_does_not_hold_are_refused(
    model, tmp_path, changes, message
):
    path = tmp_path / "hostile.safetensors"
    options = {**json.loads(model.options.model_dump_json()), **changes}
    save_file(model.state_dict(), path, {"options": json.dumps(options)})
    with pytest.raises(BundleError, match=message) as caught:
        opkit.hypino.load(path)
    assert "\n" not in str(caught.value)


def test_presets_are_models_without_training():
    assert opkit.hypino.load("tiny").options == PRESETS["tiny"]
