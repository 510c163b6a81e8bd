"""A training step of opkit against neuraloperator's own Trainer.

    python -m benchmarks.training [--rounds 6] [--points 64 85] [--device cuda]

The same FNO with the same weights (AdamW, relative L2 loss in physical units, batches
of 16, Gaussian normalisation of inputs and outputs) trains on the same random data in
both; epochs of the two are interleaved in one process and medians compared. The
overhead of opkit's loop is the part of an epoch's time that is spent outside the model
and loss, the backward pass, and the optimiser's step, each timed inside the loop.
Accuracy: the mean losses of the first epoch, which differ by
the order of the batches; at odd sizes neuraloperator 2.0.0 also places modes
differently (see tests/operators/test_fno.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import neuralop
import torch
from neuralop.data.transforms.data_processors import DefaultDataProcessor
from neuralop.data.transforms.normalizers import UnitGaussianNormalizer
from neuralop.losses import LpLoss
from neuralop.training import Trainer
from torch.utils.data import DataLoader, Dataset

from opkit.case.recipe import Recipe
from opkit.datasets.agreement import Stated
from opkit.operators.layers.spectral_conv import neuralop_state_dict
from opkit.operators.shapes import DataShape
from opkit.surrogate.bundle.normalise import Moments, PhysicalModel
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import Event
from opkit.train.fields.model import build_physical_model
from opkit.train.fields.setup import TrainingSetup
from opkit.train.fields.task import FieldTask
from opkit.train.loop.batches import Memory
from opkit.train.loop.devices import make_fabric
from opkit.train.loop.guards import LossGuard
from opkit.train.loop.loop import Loop

BATCH, STEPS, WIDTH, MODES, LAYERS = 16, 4, 32, 24, 4
RATE, DECAY = 1e-4, 1e-4


class Pairs(Dataset[dict[str, torch.Tensor]]):
    """The data as neuraloperator's Trainer wants them."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


def make_problem(points: int, modes: int, width: int) -> TrainingSetup:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, BATCH * STEPS, 1, points, points, generator=generator)
    recipe = Recipe.model_validate(
        {
            "operator": "fno",
            "model": {
                "n_modes": [modes, modes],
                "hidden_channels": width,
                "n_layers": LAYERS,
            },
            "training": {
                "batch_size": BATCH,
                "learning_rate": RATE,
                "weight_decay": DECAY,
                "schedule": "constant",
            },
        }
    )
    samples = Memory({"inputs": x, "outputs": y})
    return TrainingSetup(
        recipe=recipe,
        shape=DataShape(1, 1, (points, points), (True, True), (1.0, 1.0)),
        axes=("y", "x"),
        inputs=(),
        outputs=(),
        boundary=(),
        static=(),
        parameters=(),
        series=(),
        times=(),
        train=samples,
        validation=samples,
        selection=samples,
        calibration=samples,
        validation_source="train",
        case={},
        data=Path(),
        data_hash="",
        stated=Stated({}, {}),
    )


def make_model(problem: TrainingSetup) -> PhysicalModel:
    from opkit.surrogate.bundle.record import Channels

    one = (Channels(name="a", units="1", channels=1),)
    described = TrainingSetup(**{**problem.__dict__, "inputs": one, "outputs": one})
    model = build_physical_model(described, 0)
    samples = problem.train
    assert isinstance(samples, Memory)
    for normaliser, role in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        moments = Moments()
        moments.add(samples.fields[role])
        normaliser.fit(moments)
    return model


class Watch:
    """Adds up the seconds spent in the calls it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same call, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            result = call(*arguments, **options)
            self.seconds += time.perf_counter() - begin
            return result

        return timed


def opkit_epoch(
    problem: TrainingSetup,
    folder: Path,
    watch: Watch,
    events: list[Event],
    device: str,
) -> Callable[[], float]:
    fabric = make_fabric(problem.recipe, device)
    model, run = make_model(problem), RunDirectory(folder)
    loop = Loop(
        fabric, FieldTask(model, problem), model, run, seed=0, progress=events.append
    )
    for owner, name in (
        (loop.task, "errors"),
        (fabric, "backward"),
        (loop.optimiser, "step"),
    ):
        setattr(owner, name, watch.over(getattr(owner, name)))
    return lambda: loop._train(1, LossGuard())


def neuralop_epoch(
    problem: TrainingSetup, device: str, modes: int, width: int
) -> Callable[[], float]:
    samples = problem.train
    assert isinstance(samples, Memory)
    x, y = samples.fields["inputs"], samples.fields["outputs"]
    # opkit's coordinates are i / n and so are those of this embedding
    model = neuralop.models.FNO(
        n_modes=(modes, modes),
        in_channels=1,
        out_channels=1,
        hidden_channels=width,
        n_layers=LAYERS,
    )
    ours = make_model(problem).operator
    model.load_state_dict(neuralop_state_dict(ours), strict=False)
    normalisers = []
    for field in (x, y):
        normaliser = UnitGaussianNormalizer(dim=[0, 2, 3])
        normaliser.fit(field)
        normalisers.append(normaliser)
    model = model.to(device)
    processor = DefaultDataProcessor(*normalisers).to(device)
    trainer = Trainer(model=model, n_epochs=1, data_processor=processor, device=device)
    trainer.optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    trainer.scheduler = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer, factor=1)
    trainer.regularizer = None
    loader = DataLoader(Pairs(x, y), batch_size=BATCH, shuffle=False)
    loss = LpLoss(d=2, p=2, reduction="sum")
    return lambda: float(trainer.train_one_epoch(0, loader, loss)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--points", type=int, nargs="+", default=[64, 85])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--modes", type=int, default=MODES)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    device, width, modes = arguments.device, arguments.width, arguments.modes
    figures = []
    warnings.filterwarnings("ignore", message=".*unexpected keyword.*")
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}, FNO width {width}, "
        f"modes {modes}, {LAYERS} layers, batch {BATCH}, medians of {arguments.rounds} "
        f"epochs of {STEPS} steps"
    )
    for points in arguments.points:
        problem = make_problem(points, modes, width)
        with tempfile.TemporaryDirectory() as folder:
            watch, events = Watch(), []
            epochs = {
                "opkit": opkit_epoch(problem, Path(folder), watch, events, device),
                "neuraloperator": neuralop_epoch(problem, device, modes, width),
            }
            first = {name: epoch() for name, epoch in epochs.items()}  # also warms up
            seconds: dict[str, list[float]] = {name: [] for name in epochs}
            overheads, names = [], list(epochs)
            for turn in range(arguments.rounds):
                # the order changes: what ran before matters to caches and the heap
                for name in names if turn % 2 else reversed(names):
                    watch.seconds = 0.0
                    begin = time.perf_counter()
                    epochs[name]()
                    if device == "cuda":
                        torch.cuda.synchronize()
                    spent = time.perf_counter() - begin
                    seconds[name].append(spent)
                    if name == "opkit":
                        overheads.append(1 - watch.seconds / spent)
        median = {k: statistics.median(v) / STEPS for k, v in seconds.items()}
        for name, value in median.items():
            print(
                f"{points:4d} x {points:<4d} {name:15s} {value * 1e3:8.1f} ms a step, "
                f"first loss {first[name]:.6f}"
            )
        overhead = statistics.median(overheads)
        print(
            f"{points:4d} x {points:<4d} neuraloperator / opkit "
            f"{median['neuraloperator'] / median['opkit']:.2f}x, overhead of the loop "
            f"{overhead:.2%} (up to {max(overheads):.2%})"
        )
        figures.append({"points": points, "seconds": median, "overhead": overhead})
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
