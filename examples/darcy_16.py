"""A surrogate for Darcy data that another group made, beside their own FNO's error.

-∇·(a ∇u) = 1 on the unit square, u = 0 on the boundary, a two-phase: 1,000 training and
50 test samples on 16x16 points, which are every 26th cell centre of a 421x421 grid.

The files ``darcy_train_16.pt`` and ``darcy_test_16.pt`` are part of neuraloperator's
source repository (neuralop/data/datasets/data, MIT licence; Li et al. 2021 made them).
They are not part of opkit. About a minute on two CPU threads:

    python examples/darcy_16.py FOLDER_WITH_THE_TWO_FILES [runs/darcy-16]
"""

import sys
import time
from pathlib import Path

from opkit.datasets.importers.convert import FieldMap, import_data
from opkit.figures.run import draw
from opkit.train import Epoch, Event, train

# Sub-sampling left out the last boundary: centres of cells 0, 26, ..., 390 of 421.
CELLS, STRIDE, POINTS = 421, 26, 16
CENTRES = [(STRIDE * i + 0.5) / CELLS for i in range(POINTS)]
BOUNDARY = [0.5 / STRIDE, (CELLS - 0.5 - STRIDE * (POINTS - 1)) / STRIDE]  # in spacings

RECIPE = [
    "model.n_modes=[8, 8]",
    "model.hidden_channels=32",
    "model.n_layers=2",
    "model.padding=0",
    "model.coefficient_channels=64",
    "model.coefficient_radius=3",
    f"model.boundary={BOUNDARY}",
    "training.epochs=24",
    "training.batch_size=20",
    "training.learning_rate=5e-3",
    "training.weight_decay=1e-2",
    "training.holdout=0.05",
    "training.symmetries=[transpose]",  # the square's one symmetry that the points have
]


def main(source: Path, run: Path) -> float:
    """Import, train, draw; return the relative L2 error on the test samples."""
    fields = [
        FieldMap("permeability", "x", "input", ("sample", "y", "x")),
        FieldMap("pressure", "y", "output", ("sample", "y", "x")),
    ]
    data = run.with_name(f"{run.name}.h5")
    data.parent.mkdir(parents=True, exist_ok=True)
    import_data(
        {"train": source / "darcy_train_16.pt", "test": source / "darcy_test_16.pt"},
        data,
        fields,
        coordinates={"y": CENTRES, "x": CENTRES},
    )
    begin = time.perf_counter()
    result = train(data, run, operator="elliptic-fno", overrides=RECIPE, progress=show)
    seconds = time.perf_counter() - begin
    for row in result.scores:
        print(f"{row.predictor:>10}: relative L2 {row.relative_l2:.4f} on {row.split}")
    print(f"trained in {seconds:.0f} s; figures:", *(p.name for p in draw(run)))
    return result.scores[0].relative_l2


def show(event: Event) -> None:
    if isinstance(event, Epoch) and event.epoch % 5 == 0:
        print(f"epoch {event.epoch}: validation {event.validation:.4f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(
        Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "runs/darcy-16")
    )
