"""Bundles: a trained operator as ``model.safetensors``, ``config.json``, ``card.md``.

Nothing in a bundle is executed, unpickled or imported. ``config.json`` carries the
SHA-256 of the weights and of itself; complex tensors are stored as (…, 2) reals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from opkit.base.explain import explain
from opkit.base.files import appearing_folder, make_folder, read_regular, write_bytes
from opkit.errors import BundleError
from opkit.surrogate.bundle.record import FORMAT, BundleConfig
from opkit.zoo import bundle_of, is_name

MAX_CONFIG = 64 * 2**20
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.md"
HYPERNETWORK = "hypino.safetensors"
"""What a run of a hypernetwork holds instead; `opkit.hypino` reads it."""


Record = dict[str, Any]
"""``config.json``, without its digest."""
Tensors = dict[str, Tensor]


def _without_calibration(data: Record) -> Record:
    return {**data, "format_version": 2, "calibration": None}


def _checks_by_name(data: Record) -> Record:
    """Format 2 spelled out two checks, and tested ranges without recording it."""
    data = {**data, "format_version": 3}
    old = data.get("calibration")
    if not isinstance(old, dict):
        return data
    target = old.get("residual", "")
    checks = {
        "novelty": "Mahalanobis distance of features of the input",
        "range": "distance from the range of the training inputs, 5% to spare",
    }
    powers = {"novelty": old.get("novelty_power", 0.0), "range": 0.0}
    unavailable = {}
    if target:
        checks["residual"] = f"residual of the PDE, by {target}"
        powers["residual"] = old.get("residual_power", 0.0)
    else:
        unavailable["residual"] = old.get("no_residual", "")
    gone = ("residual", "no_residual", "residual_power", "novelty_power")
    record = {key: value for key, value in old.items() if key not in gone}
    record |= {"checks": checks, "powers": powers, "unavailable": unavailable}
    return {**data, "calibration": record}


def _tensors_by_check(config: BundleConfig, tensors: Tensors) -> Tensors:
    """Name tensors by check; readings that format 2 did not store have no samples.

    Format 2 took every value out of range for strange, as if no calibration sample had
    one: their readings are 0.
    """
    record = config.calibration
    if record is None:
        return tensors
    names = {
        "calibration.mean": "calibration.novelty.mean",
        "calibration.whiten": "calibration.novelty.whiten",
        "calibration.novelty": "calibration.novelty.scores",
    }
    tensors = {names.get(name, name): tensor for name, tensor in tensors.items()}
    zeros = torch.zeros(record.samples, dtype=torch.float64)
    tensors["calibration.range.scores"] = zeros
    if "residual" in record.checks:
        tensors["calibration.residual.scores"] = zeros[:0]
    return tensors


def _same_tensors(config: BundleConfig, tensors: Tensors) -> Tensors:
    del config
    return tensors


def _to_format_3(data: Record) -> Record:
    """Name checks; say that rollouts were trained without the initial state."""
    data = _checks_by_name(data)
    recipe = data.get("recipe")
    if not isinstance(recipe, dict):
        return data
    return {**data, "recipe": {**recipe, "initial": False}}


def _to_format_4(data: Record) -> Record:
    """Format 3 knew no parameters per sample."""
    return {**data, "format_version": 4}


@dataclass(frozen=True)
class Migration:
    """How a bundle becomes one of the next format.

    Args:
        record: maps the record; what is malformed passes, validation refuses it.
        tensors: maps the tensors, given the record in the present format.
    """

    record: Callable[[Record], Record]
    tensors: Callable[[BundleConfig, Tensors], Tensors] = _same_tensors


MIGRATIONS: dict[int, Migration] = {
    1: Migration(_without_calibration),
    2: Migration(_to_format_3, _tensors_by_check),
    3: Migration(_to_format_4),
}
"""By the format they start from."""


def write(
    folder: Path, config: BundleConfig, weights: Mapping[str, Tensor], card: str
) -> None:
    """Write a bundle; an earlier one is there until the new one is whole.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    make_folder(folder.parent)
    real, names = to_real(weights)
    data = safetensors.torch.save(real)
    digest = hashlib.sha256(data).hexdigest()
    config = config.model_copy(
        update={"weights_sha256": digest, "complex_tensors": names}
    )
    with appearing_folder(folder) as new:
        (new / WEIGHTS).write_bytes(data)
        (new / CARD).write_bytes(card.encode())
        (new / CONFIG).write_bytes(_seal(config.model_dump(mode="json")))


def rewrite_config(folder: Path, config: BundleConfig) -> None:
    """Replace ``config.json`` of a bundle whose weights stay."""
    write_bytes(folder / CONFIG, _seal(config.model_dump(mode="json")))


def read(path: Path) -> tuple[BundleConfig, dict[str, Tensor]]:
    """Read and check a bundle.

    Args:
        path: a bundle, a run directory that holds one under ``bundle/``, or
            ``zoo:NAME``.

    Raises:
        BundleError: missing, damaged, or of a newer format.
    """
    folder = locate(path)
    for last in (False, False, True):
        record = _read_record(folder / CONFIG)
        config = _present(folder / CONFIG, record)
        try:
            data = read_regular(folder / WEIGHTS)
        except OSError as error:
            raise BundleError(
                f"{folder / WEIGHTS}: cannot be read ({error.strerror})"
            ) from None
        if hashlib.sha256(data).hexdigest() == config.weights_sha256:
            break
        if not last and _read_record(folder / CONFIG) != record:
            continue  # training has put a new bundle in its place meanwhile
        raise BundleError(
            f"{folder / WEIGHTS}: damaged (SHA-256 differs from config.json); "
            "copy the bundle again or train again"
        )
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise BundleError(f"{folder / WEIGHTS}: {error}") from None
    weights = from_real(tensors, config.complex_tensors)
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise BundleError(f"{folder / WEIGHTS}: {name} is not finite; train again")
    for step in range(record["format_version"], FORMAT):
        weights = MIGRATIONS[step].tensors(config, weights)
    return config, weights


def locate(path: Path) -> Path:
    """Return the bundle folder of a bundle, run directory or name of the zoo.

    Raises:
        BundleError: there is none; the message says where was looked.
    """
    if is_name(path):
        path = bundle_of(path)
    for folder in (path, path / "bundle"):
        if (folder / CONFIG).is_file():
            return folder
        if (folder / HYPERNETWORK).is_file():
            raise BundleError(
                f"{path} holds a hypernetwork, which maps equations and not fields: "
                "use opkit solve --model, or opkit.hypino.load"
            )
    raise BundleError(
        f"{path}: no bundle ({path / CONFIG} and {path / 'bundle' / CONFIG} do not "
        "exist); give a run directory that finished training, or a bundle"
    )


def read_config(path: Path) -> BundleConfig:
    """Read and check ``config.json`` alone.

    Raises:
        BundleError: missing, damaged, or of a newer format.
    """
    file = locate(path) / CONFIG
    return _present(file, _read_record(file))


def _read_record(file: Path) -> Record:
    """Read a record as it is stored, in its own format."""
    try:
        data = json.loads(read_regular(file, MAX_CONFIG))
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise BundleError(
            f"{file}: damaged (not JSON); copy the bundle again"
        ) from None
    if not isinstance(data, dict) or not isinstance(data.get("format_version"), int):
        raise BundleError(f"{file}: no format_version; this is not a bundle of opkit")
    version = data["format_version"]
    if version > FORMAT:
        raise BundleError(
            f"{file}: format {version} is newer than this opkit reads ({FORMAT}); "
            "upgrade: python -m pip install -U opkit"
        )
    claimed = data.pop("sha256", None)
    if claimed != _digest(data):
        raise BundleError(f"{file}: damaged (SHA-256 differs); copy the bundle again")
    return data


def _present(file: Path, data: Record) -> BundleConfig:
    """Turn a stored record into one of the present format."""
    for step in range(data["format_version"], FORMAT):
        if step not in MIGRATIONS:
            raise BundleError(f"{file}: format {step} is no longer read; use opkit 0.1")
        data = MIGRATIONS[step].record(data)
    try:
        return BundleConfig.model_validate(data)
    except ValidationError as error:
        raise BundleError(f"{file}: {explain(error, BundleConfig)}") from None


def to_real(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Turn complex tensors into (…, 2) reals; also return their names."""
    names = tuple(name for name, tensor in tensors.items() if tensor.is_complex())
    real = {
        name: (torch.view_as_real(t.detach()) if name in names else t.detach())
        .contiguous()
        .cpu()
        .clone()
        for name, t in tensors.items()
    }
    return real, names


def from_real(
    tensors: Mapping[str, Tensor], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Turn the named (…, 2) reals back into complex tensors.

    Raises:
        BundleError: a name is missing or its tensor has no pair axis.
    """
    for name in names:
        if name not in tensors or tensors[name].shape[-1:] != (2,):
            raise BundleError(f"tensor {name} is not a complex tensor; damaged config")
    return {
        name: torch.view_as_complex(t.contiguous()) if name in names else t
        for name, t in tensors.items()
    }


def _digest(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _seal(data: dict[str, Any]) -> bytes:
    plain = json.loads(json.dumps(data))
    return (
        json.dumps({**plain, "sha256": _digest(plain)}, indent=1, sort_keys=True) + "\n"
    ).encode()
