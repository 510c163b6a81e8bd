"""List the bundles of the zoo with their figures, and their cards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opkit.base.files import read_regular, refusals
from opkit.surrogate.bundle import files
from opkit.zoo import PREFIX, bundle_of, names


@dataclass(frozen=True)
class ZooEntry:
    """One bundle of the zoo in a listing.

    Args:
        name: as in ``zoo:NAME``.
        case: of its data.
        operator: that was trained.
        grid: points along each axis.
        error: relative L2 on the test samples, at the training resolution.
        bytes: of its weights.
    """

    name: str
    case: str
    operator: str
    grid: tuple[int, ...]
    error: float
    bytes: int


def list_zoo() -> list[ZooEntry]:
    """Return all bundles of the zoo by name.

    Raises:
        BundleError: one is damaged.
    """
    return [_entry(name) for name in names()]


def card(name: str) -> str:
    """Return the card of a bundle of the zoo, with or without the prefix.

    Raises:
        BundleError: there is none of that name, or its record is damaged.
        DataError: the card cannot be read.
    """
    path = Path(PREFIX + name.removeprefix(PREFIX))
    files.read_config(path)
    file = bundle_of(path) / files.CARD
    with refusals(file):
        return read_regular(file).decode()


def _entry(name: str) -> ZooEntry:
    path = Path(PREFIX + name)
    config = files.read_config(path)
    weights = bundle_of(path) / files.WEIGHTS
    with refusals(weights):
        size = weights.stat().st_size
    return ZooEntry(
        name,
        str(config.case.get("name", "imported data")),
        config.operator,
        config.shape.shape,
        config.scores[0].relative_l2,
        size,
    )
