"""A slice of a case's recipe: data, training for some time, errors; it goes on again.

    python -m benchmarks.gpu_recipe darcy fno --seconds 150 --device cuda --json FILE

The data are made once, in runs/gpu-recipes (`--folder`), by the case's solver, on the
device. Training ends at the first end of an epoch after the time is up, and the next
call goes on from the last checkpoint (one in 30 s) as long as the folder is there: a
lent machine keeps it while it is warm. The errors of the test split are measured when
all epochs are done, those of the validation split always. With ``--device cpu`` all is
tiny: that is the rehearsal.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from opkit.case import load_case
from opkit.generate import generate
from opkit.train import Epoch, Event, Started, train

TINY = {"darcy": 21, "navier-stokes-1e-5": 32}
"""Grid points along an axis in the rehearsal."""
TINY_RECIPE = {
    "fno": ["model.n_modes=[3,3]", "model.hidden_channels=4", "model.n_layers=1"],
    "lsm": ["model.hidden_channels=8", "model.n_scales=2"],
    "hypino-base": [
        "model.preset=tiny",
        "stream.problems=16",
        "stream.points=32",
        "stream.boundary_points=16",
        "training.batch_size=8",
        "training.compile=false",
    ],
}


class TimeIsUpError(Exception):
    """Raised at the end of an epoch, when the time is up."""


class Clock:
    """Collects the epochs and ends training when the time is up."""

    def __init__(self, until: float) -> None:
        self.until, self.epochs = until, list[dict[str, Any]]()
        self.total, self.first, self.parameters = 0, 0, 0

    def __call__(self, event: Event) -> None:
        """Take note of an event of training."""
        if isinstance(event, Started):
            self.total, self.first = event.epochs, event.epoch
            self.parameters = event.parameters
        if isinstance(event, Epoch):
            self.epochs.append(
                {
                    "epoch": event.epoch,
                    "validation": event.validation,
                    "seconds": event.seconds,
                    "samples_per_second": event.samples_per_second,
                }
            )
            if time.monotonic() > self.until and event.epoch < event.epochs:
                raise TimeIsUpError


def data(case: str, folder: Path, small: bool, device: str) -> tuple[Path, float]:
    """The data file of a case, and the seconds that making it took."""
    path = folder / f"{case}.h5"
    begin = time.monotonic()
    if path.exists():
        return path, 0.0
    overrides = [f"solver.parameters.device={device}"]
    samples = None
    if small:
        overrides, samples = [f"resolution={TINY[case]}"], 12
    generate(load_case(case, overrides), path, seed=1, samples=samples)
    return path, time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("recipe")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu-recipes"))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    small = options.device == "cpu"
    folder = options.folder / ("tiny" if small else "full")
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"case": options.case, "recipe": options.recipe}

    def keep(**facts: Any) -> None:
        record.update(facts)
        options.json.write_text(json.dumps(record, indent=1))

    source: Path = Path(options.case)
    if options.case != "manufactured":  # which draws its problems as it goes
        source, seconds = data(options.case, folder, small, options.device)
        keep(generation_s=seconds)
    run = folder / f"{options.case}-{options.recipe}"
    resume = run.exists()
    more = [*TINY_RECIPE[options.recipe], "training.epochs=2"] if small else []
    clock = Clock(until)
    begin, finished = time.monotonic(), True
    try:
        result = train(
            source,
            run,
            operator=options.recipe,
            overrides=[] if resume else more,
            device=options.device,
            resume=resume,
            progress=clock,
        )
        scores = [score.__dict__ for score in result.scores]
    except TimeIsUpError:
        finished, scores = False, []
    keep(
        parameters=clock.parameters,
        epochs=clock.total,
        done=clock.epochs[-1]["epoch"] if clock.epochs else clock.first,
        seconds=time.monotonic() - begin,
        finished=finished,
        best_validation=min((e["validation"] for e in clock.epochs), default=None),
        curve=clock.epochs[:: max(1, len(clock.epochs) // 50)],
        scores=scores,
    )
    print(json.dumps({k: v for k, v in record.items() if k != "curve"}, default=str))


if __name__ == "__main__":
    main()
