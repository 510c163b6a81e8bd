"""Manifests: one flipped bit means the same result or a refusal."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from opkit.case.record import Case
from opkit.errors import BundleError, DataError
from opkit.generate import generate, run
from opkit.generate.manifest import NAME, Manifest
from opkit.train.loop import checkpoint

FLIPS = 100
SAID = ("name", "first", "last", "sha256", "worst")
Heat = Callable[..., Case]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """The content with one bit changed."""
    new = bytearray(content)
    new[rng.randrange(len(new))] ^= 1 << rng.randrange(8)
    return bytes(new)


def same(one: Any, other: Any) -> bool:
    """Whether nested states are equal, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", [checkpoint.MANIFEST, "epoch-000007.safetensors"])
def test_a_flipped_bit_of_a_checkpoint(tmp_path: Path, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        "weights": {"a": torch.randn(5, 3, generator=generator)},
        "moments": [torch.randn(4, generator=generator).to(torch.complex64), 0.25],
        "rows": [3, 1, 2],
        "recipe": "fno",
    }
    checkpoint.save(tmp_path, 7, state)
    content, rng = (tmp_path / name).read_bytes(), random.Random(name)
    outcomes = []
    for _ in range(FLIPS):
        (tmp_path / name).write_bytes(flipped(content, rng))
        try:
            loaded = checkpoint.load(tmp_path)
        except BundleError as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
            continue
        assert loaded is not None
        assert loaded[0] == 7 and same(loaded[1], state)
        outcomes.append("same")
    assert outcomes.count("refused") > FLIPS // 2


@pytest.fixture
def parts(heat: Heat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shards of a generation and their manifest."""
    with monkeypatch.context() as patch:
        patch.setattr(run.shutil, "rmtree", lambda *_, **__: None)
        generate(heat(), tmp_path / "a.h5", samples=96)
    (tmp_path / "a.h5").unlink()
    return tmp_path / "a.h5.parts"


@pytest.mark.parametrize("what", ["manifest", "shards"])
def test_a_flipped_bit_of_a_generation(parts: Path, what: str) -> None:
    """What is taken over is what was solved; anything else is solved again."""
    rng, kept = random.Random(what), parts.with_name("kept")
    parts.rename(kept)
    lines = (kept / NAME).read_text().splitlines()
    mark = json.loads(lines[0])["fingerprint"]
    solved = {s["name"]: s for s in map(json.loads, lines[1:])}
    assert len(solved) > 1
    taken = refused = 0
    for _ in range(FLIPS):
        shutil.copytree(kept, parts)
        name = NAME if what == "manifest" else rng.choice(sorted(solved))
        (parts / name).write_bytes(flipped((parts / name).read_bytes(), rng))
        manifest = Manifest(parts, mark)
        try:
            manifest.resume()
        except DataError:
            refused += 1
        for shard in manifest.shards.values():
            line = solved[shard.name]
            assert {key: asdict(shard)[key] for key in SAID} == {
                key: line[key] for key in SAID
            }
            assert what == "manifest" or shard.name != name
            taken += 1
        shutil.rmtree(parts)
    assert taken > 0 and refused < FLIPS / 2


def test_shards_of_another_case_stay_out_whatever_the_first_line_says(
    parts: Path,
) -> None:
    lines = (parts / NAME).read_bytes().splitlines(keepends=True)
    (parts / NAME).write_bytes(b"\x00" + b"".join(lines)[1:])
    manifest = Manifest(parts, "another")
    manifest.resume()
    assert manifest.shards == {}
