"""Make the zoo: ``python -m benchmarks.zoo [NAME ...] [--work FOLDER]``.

For each name a data file is generated, an operator is trained on it, and its bundle
replaces the one in ``opkit/zoo``. Cases, settings and seeds stand below; the card of a
bundle records them with the law of the data, the errors and the versions.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from opkit.case import load_case
from opkit.generate import generate
from opkit.train import train
from opkit.zoo import FOLDER

SEED = 1


@dataclass(frozen=True)
class Exhibit:
    """What one bundle of the zoo is made from.

    Args:
        case: its name.
        samples: how many, drawn with `SEED`.
        operator: a recipe of the case, or an operator.
        changes: overrides of the case.
        settings: overrides of the recipe.
    """

    case: str
    samples: int
    operator: str
    changes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


ZOO = {
    "channel-bumps": Exhibit(
        "channel-bumps",
        300,
        "pod-gp",
        settings=("subsample=2", "model.modes=8"),
    ),
    "darcy": Exhibit(
        "darcy",
        800,
        "fno",
        ("resolution=43",),
        (
            "subsample=1",
            "model.n_modes=[10, 10]",
            "model.hidden_channels=16",
            "training.epochs=30",
            "training.batch_size=10",
            "training.learning_rate=3e-3",
            "training.schedule=onecycle",
            "training.symmetries=[flip_x, flip_y, transpose]",
        ),
    ),
    "burgers": Exhibit(
        "burgers",
        1000,
        "fno",
        ("resolution=256",),
        (
            "subsample=1",
            "model.hidden_channels=32",
            "training.epochs=60",
            "training.learning_rate=3e-3",
            "training.schedule=onecycle",
        ),
    ),
}


def make(name: str, work: Path, workers: int = 2) -> Path:
    """Generate, train and put the bundle in its place; return its folder.

    Args:
        name: of the bundle.
        work: folder for data and run, which stay there.
        workers: processes that solve.
    """
    exhibit = ZOO[name]
    data, run = work / f"{name}.h5", work / name
    if not data.exists():
        case = load_case(exhibit.case, exhibit.changes)
        generate(case, data, seed=SEED, samples=exhibit.samples, workers=workers)
    shutil.rmtree(run, ignore_errors=True)
    result = train(
        data,
        run,
        operator=exhibit.operator,
        overrides=exhibit.settings,
        seed=SEED,
        device="cpu",
    )
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(result.bundle, target))


def main() -> None:
    """Make the bundles that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ZOO, []], default=list(ZOO))
    parser.add_argument("--work", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    for name in chosen.names:
        folder = make(name, chosen.work, chosen.workers)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{name}: {size / 1e6:.2f} MB in {folder}", flush=True)


if __name__ == "__main__":
    main()
