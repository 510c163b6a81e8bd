"""Operators on domains with boundary data, trained on four corners, tested on 4 to 0.

    python -m benchmarks.beno train beno --seconds 1800 --out FOLDER
    python -m benchmarks.beno table FOLDER
    python -m benchmarks.beno figure FOLDER --out figure.png

One row a call of ``train``: 900 samples of the case ``elliptic-boundary`` with four
corners cut, 100 test samples for each number of corners. Every row has the same loop:
AdamW on the mean relative L2 error, a warm-up of 50 steps, then a cosine in time down
to 0, where time is processor time of one thread. ``--case`` takes another case, such as
elliptic-boundary-neumann. ``table`` prints all rows found; MAE is over cells inside.
``figure`` draws one new sample each of four, two and no corners with what the rows beno
and fno make of it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from opkit.case import load_case
from opkit.case.data import draw
from opkit.operators.beno.beno import superposition_error
from opkit.operators.interface import build_operator
from opkit.operators.layers.boundary_curve import CURVE
from opkit.operators.shapes import DataShape

SMALL_PARITY = {
    "parity": True,
    "hidden_channels": 32,
    "n_layers": 6,
    "transformer_layers": 1,
    "n_heads": 2,
    "mlp_layers": 1,
}
FNO = {"n_modes": [12, 12], "hidden_channels": 32, "n_layers": 4}
# operator, its options, batch size, learning rate
ROWS: dict[str, tuple[str, dict[str, Any], int, float]] = {
    "beno": ("beno", {}, 16, 2e-3),
    "beno-parity": ("beno", SMALL_PARITY, 4, 1e-3),
    "fno": ("embedded", {"operator": "fno", "model": FNO}, 16, 2e-3),
    "unet": (
        "embedded",
        {"operator": "unet", "model": {"hidden_channels": 24}},
        16,
        1e-3,
    ),
}
CORNERS = (4, 3, 2, 1, 0)
Data = dict[str, Tensor]


def data(case_name: str, corners: int, indices: range, resolution: int = 32) -> Data:
    """Samples of seed 0 by role: inputs, boundary, outputs."""
    overrides = (f"distribution.corners={corners}", f"resolution={resolution}")
    solver = load_case(case_name, overrides).build_solver()
    drawn = [draw(solver, 0, i, "float32") for i in indices]
    fields = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}
    fields |= solver.solve(fields).outputs
    roles = {
        "inputs": ("source", "inside"),
        "boundary": CURVE,
        "outputs": ("potential",),
    }
    return {
        role: torch.from_numpy(np.stack([fields[n] for n in names], 1)).float()
        for role, names in roles.items()
    }


def build(row: str, shape: DataShape) -> torch.nn.Module:
    """The operator of a row with the weights of seed 0."""
    name, options, _, _ = ROWS[row]
    torch.manual_seed(0)
    return build_operator(name, shape, options)


def relative_l2(u: Tensor, exact: Tensor) -> Tensor:
    """Per sample; both are 0 outside."""
    return (u - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)


def fit(model: torch.nn.Module, samples: Data, row: str, seconds: float) -> int:
    """Train for so many processor seconds; return the number of steps."""
    _, _, batch, rate = ROWS[row]
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    random = torch.Generator().manual_seed(0)
    start, steps, count = time.process_time(), 0, len(samples["inputs"])
    while True:
        for chosen in torch.randperm(count, generator=random).split(batch):
            spent = (time.process_time() - start) / seconds
            if spent >= 1:
                return steps
            factor = min(1.0, (steps + 1) / 50) * 0.5 * (1 + math.cos(math.pi * spent))
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            u = model(samples["inputs"][chosen], samples["boundary"][chosen])
            loss = relative_l2(u, samples["outputs"][chosen]).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            steps += 1
            if steps % 100 == 0:
                print(f"{spent:.2f} step {steps} {loss.item():.4f}", flush=True)


def score(u: Tensor, samples: Data) -> dict[str, float]:
    """Mean relative L2 error, its worst, and the mean absolute error inside."""
    exact, inside = samples["outputs"], samples["inputs"][:, 1:]
    error = relative_l2(u, exact)
    absolute = (u - exact).abs().flatten(1).sum(1) / inside.flatten(1).sum(1)
    return {
        "relative_l2": error.mean().item(),
        "worst": error.max().item(),
        "mae": absolute.mean().item(),
    }


def predict(model: torch.nn.Module, samples: Data) -> Tensor:
    """In batches of twenty."""
    with torch.no_grad():
        pairs = zip(
            samples["inputs"].split(20), samples["boundary"].split(20), strict=True
        )
        return torch.cat([model(x, b) for x, b in pairs])


def train_row(row: str, case_name: str, seconds: float, out: Path) -> None:
    """Train a row, score it, and write FOLDER/ROW.json and its weights."""
    torch.set_num_threads(1)
    training = data(case_name, 4, range(900))
    shape = DataShape(2, 1, (32, 32), (False,) * 2, (1.0,) * 2, CURVE)
    model = build(row, shape)
    model.prepare(training)  # type: ignore[operator]
    steps = fit(model.train(), training, row, seconds)
    model.eval()
    tests = {c: data(case_name, c, range(900, 1000)) for c in CORNERS}
    mean = training["outputs"].mean(0)
    result = {
        "row": row,
        "case": case_name,
        "seconds": seconds,
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "scores": {c: score(predict(model, t), t) for c, t in tests.items()},
        "mean": {c: score(mean * t["inputs"][:, 1:], t) for c, t in tests.items()},
        "superposition": superposition_error(
            model, tests[4]["inputs"][:20], tests[4]["boundary"][:20]
        )
        .mean()
        .item(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{row}.json").write_text(json.dumps(result))
    save_file(model.state_dict(), out / f"{row}.safetensors")
    print(json.dumps(result))


def table(folder: Path) -> None:
    """Print every row found, and the mean predictor."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    print(f"| operator | parameters | steps | s | {' | '.join(map(str, CORNERS))} |")
    print("|---|---|---|---|" + "---|" * len(CORNERS))
    rows = [
        (r["row"], f"{r['parameters']:,}", r["steps"], r["seconds"], r["scores"])
        for r in results
    ]
    rows.append(("mean predictor", "", "", "", results[0]["mean"]))
    for name, size, steps, seconds, scores in rows:
        cells = [
            f"{s['relative_l2']:.4f} / {1e3 * s['mae']:.1f}" for s in scores.values()
        ]
        print(f"| {name} | {size} | {steps} | {seconds} | {' | '.join(cells)} |")
    for r in results:
        print(f"superposition error of {r['row']}: {r['superposition']:.1e}")


def figure(folder: Path, out: Path) -> None:
    """Draw samples, the potential, and the errors of two rows."""
    from matplotlib import pyplot as plt

    shape = DataShape(2, 1, (32, 32), (False,) * 2, (1.0,) * 2, CURVE)
    models = {row: build(row, shape).eval() for row in ("beno", "fno")}
    for row, model in models.items():
        model.load_state_dict(load_file(folder / f"{row}.safetensors"))
    titles = ["source, boundary values", "potential", "BENO", "|error|, BENO"]
    titles.append("|error|, FNO")
    canvas, axes = plt.subplots(3, 5, figsize=(14, 8), layout="constrained")
    for line, corners in zip(axes, (4, 2, 0), strict=True):
        sample = data("elliptic-boundary", corners, range(905, 906))
        source, inside = sample["inputs"][0].numpy()
        x, y, value = (sample["boundary"][0, i].numpy() for i in range(3))
        predictions = {
            row: predict(model, sample)[0, 0] for row, model in models.items()
        }
        exact = sample["outputs"][0, 0]
        errors = [(u - exact).abs().numpy() for u in predictions.values()]
        fields = [source, exact.numpy(), predictions["beno"].numpy(), *errors]
        top = float(max(exact.abs().max(), np.abs(value).max()))
        worst = float(max(e.max() for e in errors))
        limits = [(-np.abs(source).max(), np.abs(source).max())]
        limits += [(-top, top)] * 2 + [(0.0, worst)] * 2
        for k, (axis, field, (low, high)) in enumerate(
            zip(line, fields, limits, strict=True)
        ):
            shown = np.where(inside > 0, field, np.nan)
            colours = "magma" if k > 2 else "RdBu_r"
            image = axis.imshow(
                shown,
                origin="lower",
                extent=(0, 1, 0, 1),
                cmap=colours,
                vmin=low,
                vmax=high,
            )
            canvas.colorbar(image, ax=axis, shrink=0.75)
            axis.set(xticks=[], yticks=[], xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
            for side in axis.spines.values():
                side.set_visible(False)
            if corners == 4:
                axis.set_title(titles[k])
        line[0].scatter(
            x, y, c=value, s=14, cmap="PuOr_r", vmin=-top, vmax=top, clip_on=False
        )
        scores = [
            relative_l2(u[None], exact[None]).item() for u in predictions.values()
        ]
        line[0].set_ylabel(f"{corners} corners cut")
        for axis, error in zip(line[3:], scores, strict=True):
            axis.set_xlabel(f"relative L2 {error:.3f}")
    canvas.savefig(out, dpi=110)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train")
    training.add_argument("row", choices=ROWS)
    training.add_argument("--case", default="elliptic-boundary")
    training.add_argument("--seconds", type=float, default=1800)
    training.add_argument("--out", type=Path, default=Path("beno-rows"))
    printing = verbs.add_parser("table")
    printing.add_argument("folder", type=Path)
    drawing = verbs.add_parser("figure")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--out", type=Path, default=Path("beno.png"))
    options = parser.parse_args()
    if options.verb == "table":
        table(options.folder)
    elif options.verb == "figure":
        figure(options.folder, options.out)
    else:
        train_row(options.row, options.case, options.seconds, options.out)


if __name__ == "__main__":
    main()
