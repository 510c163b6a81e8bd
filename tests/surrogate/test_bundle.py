"""Bundles: what is written is read, and what is damaged or newer is refused."""

import json
import os
import random

import pytest
import torch

from opkit.case.recipe import Recipe
from opkit.errors import BundleError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.record import BundleConfig, Channels, Provenance, Shape


def config(**changes: object) -> BundleConfig:
    plain = BundleConfig(
        operator="fno",
        options={"n_modes": [4, 4]},
        shape=Shape(
            in_channels=1,
            out_channels=1,
            shape=(8, 8),
            periodic=(True, False),
            extent=(1, 2),
        ),
        axes=("y", "x"),
        inputs=(Channels(name="a", units="1", channels=1),),
        outputs=(Channels(name="u", units="m", channels=1),),
        case={"name": "darcy", "version": 1},
        recipe=Recipe(operator="fno"),
        provenance=Provenance(
            data="a.h5",
            data_hash="00",
            train_samples=3,
            validation_samples=1,
            validation_source="train",
            seed=0,
            epochs=1,
            best_epoch=1,
            best_validation=0.1 + 0.2,
            parameters=4,
            seconds=1.0,
            environment={},
            command="opkit train",
        ),
    )
    return plain.model_copy(update=changes)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a": torch.randn(3, 4, generator=generator),
        "c": torch.randn(2, 5, dtype=torch.complex64, generator=generator),
        "n": torch.arange(4),
    }


def test_round_trip_keeps_every_bit_and_complex_tensors(tmp_path, weights):
    bundle.write(tmp_path / "b", config(), weights, "# card\n")
    stored_config, tensors = bundle.read(tmp_path / "b")
    assert set(tensors) == set(weights)
    for name, tensor in weights.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert stored_config.provenance.best_validation == 0.1 + 0.2
    assert stored_config.complex_tensors == ("c",)
    assert (tmp_path / "b" / "card.md").read_text() == "# card\n"


def test_a_run_directory_leads_to_its_bundle_and_nothing_is_an_error(tmp_path, weights):
    bundle.write(tmp_path / "run" / "bundle", config(), weights, "")
    assert bundle.read(tmp_path / "run")[0].operator == "fno"
    with pytest.raises(BundleError, match=str(tmp_path / "elsewhere")):
        bundle.read(tmp_path / "elsewhere")


def test_every_flipped_bit_is_noticed(tmp_path, weights):
    folder = tmp_path / "b"
    bundle.write(folder, config(), weights, "")
    draw = random.Random(0)
    for name in (bundle.WEIGHTS, bundle.CONFIG):
        good = (folder / name).read_bytes()
        for _ in range(100):
            position, bit = draw.randrange(len(good)), draw.randrange(8)
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            (folder / name).write_bytes(bad)
            try:
                _, tensors = bundle.read(folder)
            except BundleError:
                continue
            # white space of the JSON text may change without a change of content
            assert name == bundle.CONFIG
            assert json.loads(bad) == json.loads(good)
            assert torch.equal(tensors["a"], weights["a"])
        (folder / name).write_bytes(good)
        for size in (0, 1, len(good) // 2, len(good) - 2):
            (folder / name).write_bytes(good[:size])
            with pytest.raises(BundleError):
                bundle.read(folder)
        (folder / name).write_bytes(good)
    assert bundle.read(folder)


def test_newer_format_asks_for_an_upgrade_and_older_ones_migrate(
    tmp_path, weights, monkeypatch
):
    folder = tmp_path / "b"
    bundle.write(folder, config(), weights, "")
    monkeypatch.setattr(bundle, "FORMAT", 0)
    with pytest.raises(BundleError, match="upgrade"):
        bundle.read_config(folder)
    present = config().format_version
    monkeypatch.setattr(bundle, "FORMAT", present + 1)
    with pytest.raises(BundleError, match="no longer read"):
        bundle.read_config(folder)

    def migrate(data: dict) -> dict:
        return {**data, "format_version": present + 1, "axes": ["z", "x"]}

    migration = bundle.Migration(migrate)
    monkeypatch.setitem(bundle.MIGRATIONS, present, migration)
    assert bundle.read_config(folder).axes == ("z", "x")


def test_weights_that_are_not_finite_are_refused(tmp_path, weights):
    weights["a"][0, 0] = float("nan")
    bundle.write(tmp_path / "b", config(), weights, "")
    with pytest.raises(BundleError, match="a is not finite"):
        bundle.read(tmp_path / "b")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format_version": "1"}', "[" * 100_000, "\x00", '"x"']
)
def test_what_is_not_a_bundle_is_refused_in_one_line(tmp_path, text):
    (tmp_path / bundle.CONFIG).write_text(text)
    with pytest.raises(BundleError) as caught:
        bundle.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pickle_in_place_of_weights_is_never_run(tmp_path, weights):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    bundle.write(tmp_path / "b", config(), weights, "")
    torch.save(Evil(), tmp_path / "b" / bundle.WEIGHTS)
    with pytest.raises(BundleError, match="SHA-256"):
        bundle.read(tmp_path / "b")
    assert not (tmp_path / "canary").exists()
