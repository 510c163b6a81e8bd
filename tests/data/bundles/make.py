"""Make the golden bundle of this version: python tests/data/bundles/make.py.

A bundle of every released version and format stays here for good; tests load each and
compare its prediction, and the bounds of its error, with those stored beside it.
"""

import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

import opkit
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.write import LIBVER, Writer
from opkit.surrogate.bundle.record import FORMAT
from opkit.train import train

HERE = Path(__file__).parent
N, COUNT = 12, 20


def main() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(COUNT, N, N)).astype(np.float32)
    u = (2 + a + np.roll(a, 1, 1)).astype(np.float32)
    axis = Axis(np.linspace(0, 1, N))
    header = Header(
        case={},
        variables=(
            VariableSpec("permeability", "input", ("y", "x"), (N, N)),
            VariableSpec("pressure", "output", ("y", "x"), (N, N), units="Pa"),
        ),
        coordinates={"y": axis, "x": axis},
        splits={"train": np.arange(16), "test": np.arange(16, COUNT)},
    )
    overrides = [
        "model.n_modes=[4, 4]",
        "model.hidden_channels=4",
        "model.n_layers=2",
        "training.epochs=2",
    ]
    target = HERE / f"{opkit.__version__}-format{FORMAT}"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.h5"
        with h5py.File(data, "w", libver=LIBVER) as file:
            writer = Writer(file, header)
            fields = {"permeability": a, "pressure": u}
            writer.put(slice(0, COUNT), np.arange(COUNT), fields)
            writer.finish()
        run = Path(folder) / "run"
        sys.argv = ["make.py"]
        bundle = train(data, run, operator="fno", overrides=overrides).bundle
        target.mkdir()
        for path in bundle.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    checked = opkit.load(target)(a[-2:], check=True, coverage=0.5)
    np.savez(
        target / "prediction.npz",
        inputs=a[-2:],
        outputs=checked.prediction,
        error_bound=checked.error_bound,
    )


if __name__ == "__main__":
    main()
