"""A surrogate of bound states, its proved bounds, and the solver, on schroedinger-1d.

    python -m benchmarks.quantum_wells FOLDER [--operator pod-gp] [--seeds 3]

For each seed of data and weights: the relative L2 error of every energy over the test
samples, that of the densities, and the processor seconds of training; the share of the
tested energies that lie in their proved interval, and by how much the interval is wider
than the error; seconds per sample of solver, proof and surrogate in batches of 64. At
the end first-order perturbation of the empty well, E_n ≈ ((n + 1)π)² + 2 ∫ V sin².
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.catalogue import load_case
from opkit.datasets.read import DataFile
from opkit.solvers.quantum_well import QuantumWell

CASE = "schroedinger-1d"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--operator", default="pod-gp")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    print("| seed | E_0 | E_1 | E_2 | E_3 | densities 0 to 3 | training |", end="")
    print(" enclosed | bound / error | solve | prove | predict |")
    print("|---" * 12 + "|")
    for seed in range(options.seeds):
        name = f"{options.operator} {' '.join(options.set)} {seed}"
        row = rows.row(name, lambda s=seed, n=name: one(options, s, n))
        energies = " | ".join(percent(e) for e in row["energies"])
        densities = ", ".join(percent(e) for e in row["densities"])
        seconds = " | ".join(
            f"{1e3 * row[k]:.2f} ms" for k in ("solve", "prove", "predict")
        )
        print(
            f"| {seed} | {energies} | {densities} | {row['training']:.0f} s | "
            f"{row['enclosed']} | {row['median']:.2f}, {row['most']:.1f} | {seconds} |"
        )
    print(f"first order from the empty well: {percent(perturbed(options.folder))} E_0")
    print_machine(rows)


def one(options: argparse.Namespace, seed: int, name: str) -> Row:
    """Train with one seed, and measure."""
    data = data_file(load_case(CASE), options.folder / f"{seed}.h5", seed)
    run = options.folder / name.replace(" ", "_").replace("/", "_")
    surrogate, training = trained(data, run, options.operator, options.set, seed)
    solver = load_case(CASE).build_solver()
    assert isinstance(solver, QuantumWell)
    inputs, true = tested(data)
    predicted = {name: np.asarray(values) for name, values in surrogate(inputs).items()}
    low, high = solver.enclosures(inputs, predicted)["energies"]
    off = np.abs(predicted["energies"] - true["energies"])
    # energies are stored in float64
    inside = (low <= true["energies"]) & (true["energies"] <= high)
    wider = np.maximum(high - predicted["energies"], 0) / off
    few = {name: values[:64] for name, values in inputs.items()}
    claimed = {name: values[:64] for name, values in predicted.items()}
    return {
        "energies": [
            relative(predicted["energies"][:, n], true["energies"][:, n])
            for n in range(solver.states)
        ],
        "densities": [
            relative(predicted[f"density_{n}"], true[f"density_{n}"])
            for n in range(solver.states)
        ],
        "training": training,
        "enclosed": f"{int(inside.sum())} of {inside.size}",
        "median": float(np.median(wider)),
        "most": float(wider.max()),
        "solve": seconds(lambda: solver.solve(few)),
        "prove": seconds(lambda: solver.enclosures(few, claimed)),
        "predict": seconds(lambda: surrogate(few)),
    }


def tested(data: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of the test samples, by name."""
    with DataFile(data) as file:
        index = file.indices("test")
        everything = {v.name: file.read(v.name, index) for v in file.header.variables}
    inputs = {"potential": everything.pop("potential")}
    return inputs, everything


def perturbed(folder: Path) -> float:
    """Relative L2 error of E_0 of first-order perturbation theory."""
    inputs, true = tested(folder / "0.h5")
    wave = np.sin(np.pi * np.linspace(0, 1, inputs["potential"].shape[1])) ** 2
    first = np.pi**2 + (inputs["potential"] * wave).sum(1) / wave.sum()
    return relative(first, true["energies"][:, 0])


def relative(found: Any, true: Any) -> float:
    """|found - true| / |true| over all samples."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds per sample of a batch of 64, least of five."""
    times = []
    for _ in range(5):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times) / 64


def percent(value: float) -> str:
    return f"{100 * value:.2f} %"


if __name__ == "__main__":
    main()
