"""Tables of the documents from what the stages on a GPU left.

    python -m benchmarks.gpu_tables FOLDER [--docs docs]

FOLDER holds stage-*.json of `benchmarks/gpu.sh`, of one day or of several: later files
override measurements of the same name. Each document has lines ``<!-- gpu:NAME -->``
and ``<!-- /gpu:NAME -->``; what stands between them is replaced. A table whose stage
left nothing stays as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Results = Mapping[str, Any]
"""Name of a measurement to its result, of the stage's newest files."""


class StageResults:
    """What the files of one stage say.

    Args:
        records: contents of its files, oldest first.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.machine = records[-1]["machine"]
        self.entries: dict[str, Mapping[str, Any]] = {}
        for record in records:
            for entry in record["measurements"]:
                known = self.entries.get(entry["name"])
                if known is None or "result" in entry or "result" not in known:
                    self.entries[entry["name"]] = entry

    def results(self, word: str) -> dict[str, Any]:
        """Results of the measurements whose names begin with a word."""
        return {
            name: entry["result"]
            for name, entry in self.entries.items()
            if name.startswith(word) and "result" in entry
        }

    def where(self) -> str:
        """One line: the card and the versions."""
        m = self.machine
        card = m["gpu"] or f"{m['cores']} cores, no GPU"
        small = " Tiny sizes: a rehearsal, no figures." if m["tiny"] else ""
        cuda = f", CUDA {m['cuda']}" if m["cuda"] else ""
        versions = f"torch {m['torch']}{cuda}, triton {m['triton']}"
        return f"{card}, {versions}, {m['date']}.{small}"

    def missing(self) -> str:
        """One line: what was not measured, and why; nothing if all was."""
        parts = []
        for name, entry in self.entries.items():
            if entry["status"] != "done":
                reason = entry["reason"]
                last = reason if isinstance(reason, str) else (reason or ["?"])[-1]
                parts.append(f"{name} ({entry['status']}: {last[:80]})")
        return f"Not measured: {'; '.join(parts)}." if parts else ""


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: Any, digits: int = 3) -> str:
    """A number of so many digits; a dash for None."""
    return "-" if value is None else f"{value:.{digits}g}"


def pair(
    entry: Mapping[str, Any], suffix: str, over: Mapping[str, Any] | None = None
) -> str:
    """Forward / forward and backward, or the ratio to another contender's."""
    keys = [f"{kind}_{suffix}" for kind in ("forward", "both")]
    if any(k not in entry or (over is not None and k not in over) for k in keys):
        return "-"
    values = [entry[k] if over is None else over[k] / entry[k] for k in keys]
    return " / ".join(number(v) for v in values)


def accuracy(stage: StageResults) -> str:
    rows = []
    for result in stage.results("kernels").values():
        for row in result:
            errors = row["errors"]
            rows.append(
                [
                    "x".join(map(str, row["grid"])),
                    "x".join(map(str, row["modes"])),
                    row["backend"],
                    row["precision"],
                    *(f"{errors[k]:.1e}" for k in ("y", "dx", "dW")),
                    "yes" if row["repeats"] else "NO",
                ]
            )
    head = ("grid", "modes", "backend", "precision", "y", "dx", "dW", "bit for bit")
    tests = stage.results("tests").get("tests", "not run")
    return f"{table(head, rows)}\n\n`pytest -m gpu`: {tests}"


def layers(stage: StageResults) -> str:
    rows = []
    for result in stage.results("row").values():
        for row in result["rows"]:
            base = row["contenders"]["neuraloperator"]
            for name, entry in row["contenders"].items():
                rows.append(
                    [
                        row["label"],
                        name,
                        pair(entry, "ms"),
                        pair(entry, "ms", base),
                        pair(entry, "graph_ms"),
                        pair(entry, "graph_ms", base),
                        pair(entry, "share"),
                        f"{entry['error']:.1e}",
                        number(entry.get("saved_mb")),
                    ]
                )
    head = (
        "batch, channels, grid, k",
        "layer",
        "ms",
        "ratio",
        "graphs, ms",
        "ratio",
        "share of bandwidth",
        "error",
        "saved MB",
    )
    return table(head, rows)


def steps(stage: StageResults) -> str:
    rows = []
    for result in stage.results("step").values():
        for row in result["rows"]:
            for name, entry in row["contenders"].items():
                rows.append(
                    [
                        f"{row['size']}^2, {row['batch']}",
                        row["amp"],
                        name,
                        number(entry["ms"]),
                        f"{entry['ratio']:.2f}",
                        number(entry["saved_mb"]),
                    ]
                )
    head = ("grid, batch", "autocast", "model", "ms a step", "ratio", "saved MB")
    text = table(head, rows)
    loops = [
        [
            f"{row['points']}^2",
            *(number(1e3 * row["seconds"][k]) for k in ("neuraloperator", "opkit")),
            f"{row['seconds']['neuraloperator'] / row['seconds']['opkit']:.2f}",
            f"{row['overhead']:.1%}",
        ]
        for result in stage.results("training loop").values()
        for row in result
    ]
    head = ("grid", "neuraloperator's Trainer, ms a step", "opkit", "ratio", "overhead")
    return f"{text}\n\n{table(head, loops)}"


def solvers(stage: StageResults) -> str:
    rows = [
        [
            row["solver"],
            "x".join(map(str, row["resolution"])),
            row["batch"],
            number(row["cpu_ms_per_sample"]),
            number(row["ms_per_sample"]),
            f"{row['cpu_ms_per_sample'] / row['ms_per_sample']:.1f}",
            f"{row['distance']:.1e}",
        ]
        for result in stage.results("solver").values()
        for row in result
    ]
    head = (
        "solver",
        "grid",
        "batch",
        "CPU, ms a sample",
        "device",
        "ratio",
        "distance",
    )
    return table(head, rows)


def latency(stage: StageResults) -> str:
    rows = [
        [
            f"{row['points']}^2",
            row["form"],
            row["batch"],
            number(row["ms"]),
            number(row["samples_per_second"]),
            number(row["prepared_s"]),
            f"{row['distance']:.1e}",
        ]
        for result in stage.results("latency").values()
        for row in result
    ]
    head = (
        "grid",
        "form",
        "batch",
        "ms a call",
        "samples/s",
        "preparation, s",
        "distance",
    )
    return table(head, rows)


def recipes(stage: StageResults) -> str:
    rows = []
    for result in stage.results("recipe").values():
        errors = [
            f"{score['relative_l2']:.4f} at {'x'.join(map(str, score['resolution']))}"
            for score in result.get("scores", [])
            if score["predictor"] == "surrogate" and score["split"] == "test"
        ]
        rows.append(
            [
                result["case"],
                result["recipe"],
                f"{result['parameters']:,}" if "parameters" in result else "-",
                f"{result.get('done', 0)} of {result.get('epochs', '?')}",
                number(result.get("seconds")),
                number(result.get("best_validation")),
                ", ".join(errors) or "-",
            ]
        )
    head = (
        "case",
        "recipe",
        "parameters",
        "epochs",
        "s, last slice",
        "best validation",
        "test, relative L2",
    )
    return table(head, rows)


def hypino(stage: StageResults) -> str:
    rows = []
    for result in stage.results("problems").values():
        for row in result:
            labelled = "yes" if row["labelled"] else "no"
            rows.append([f"{row['grid']}^2", labelled, number(row["per_second"])])
    drawn = table(("grid", "labelled", "problems drawn per second"), rows)
    return f"{drawn}\n\n{recipes(stage)}"


TABLES: dict[str, tuple[int, str, Callable[[StageResults], str]]] = {
    "accuracy": (1, "kernels.md", accuracy),
    "layers": (2, "kernels.md", layers),
    "steps": (3, "kernels.md", steps),
    "solvers": (4, "tables.md", solvers),
    "latency": (5, "tables.md", latency),
    "recipes": (6, "tables.md", recipes),
    "hypino": (7, "hypino.md", hypino),
}
"""Name between the markers: its stage, its document, its writer."""


def load(folder: Path) -> dict[int, StageResults]:
    """Read every stage-*.json below a folder, the oldest first."""
    records: dict[int, list[tuple[float, Any]]] = {}
    for path in folder.rglob("stage-*.json"):
        record = json.loads(path.read_text())
        entry = (record["machine"].get("time", path.stat().st_mtime), record)
        records.setdefault(record["stage"], []).append(entry)
    return {
        number: StageResults([r for _, r in sorted(entries, key=lambda e: e[0])])
        for number, entries in records.items()
    }


def replaced(text: str, name: str, content: str) -> str:
    """Put content between the markers of a name.

    Raises:
        ValueError: the markers are not there, or not in order.
    """
    begin, end = f"<!-- gpu:{name} -->", f"<!-- /gpu:{name} -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"no lines {begin} and {end}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def write(folder: Path, docs: Path) -> list[str]:
    """Write all tables whose stage left something; return their names."""
    stages, written = load(folder), []
    for name, (number, document, make) in TABLES.items():
        if number not in stages:
            continue
        stage = stages[number]
        parts = [stage.where(), make(stage), stage.missing()]
        content = "\n\n".join(part for part in parts if part)
        path = docs / document
        path.write_text(replaced(path.read_text(), name, f"\n{content}\n"))
        written.append(name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    written = write(options.folder, options.docs)
    print(f"wrote {', '.join(written) or 'nothing: no stage-*.json there'}")


if __name__ == "__main__":
    main()
