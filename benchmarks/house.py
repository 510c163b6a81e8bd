"""Count rooms, floors and circles of a checkout; compare the timings of two.

    python -m benchmarks.house CHECKOUT [CHECKOUT ...]       # counts, a column each
    python -m benchmarks.house --timings BEFORE AFTER        # medians of 5, interleaved

Every import statement counts, late ones inside functions too; those for types alone
(``if TYPE_CHECKING``) do not, except in the ``__init__`` of a package, where they say
what the package hands on when a name is first used. Rooms are the packages and loose
modules directly in ``opkit/``; its own ``__init__``, the face, is none.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROUNDS = 5
Graph = Mapping[str, set[str]]

TASKS = """
import json, statistics, sys, time
from pathlib import Path
import numpy as np
import opkit
from opkit.generate import generate
from opkit.train import train

folder, start = Path(sys.argv[1]), time.perf_counter
case = opkit.load_case("darcy", ("resolution=43",))
generate(case, folder / "warm.h5", samples=14, workers=1)
t = start()
generate(case, folder / "darcy.h5", seed=1, samples=140, workers=1)
seconds = {"generation": start() - t}
overrides = ["training.epochs=4", "training.batch_size=16", "subsample=1"]
train(folder / "darcy.h5", folder / "run", operator="fno-demo", overrides=overrides)
rows = (folder / "run" / "metrics.csv").read_text().split()
column = rows[0].split(",").index("samples_per_second")
speed = statistics.median(float(row.split(",")[column]) for row in rows[2:])
seconds["training"] = 16 / speed  # validation and checkpoints are not in it
surrogate = opkit.load(folder / "run")
x = np.random.default_rng(0).choice([3.0, 12.0], (16, 43, 43))
surrogate(x)
calls = []
for _ in range(20):
    t = start()
    surrogate(x)
    calls.append(start() - t)
seconds["prediction"] = statistics.median(calls)
print(json.dumps(seconds))
"""
HELP = "import sys; sys.argv = ['opkit', '--help']; from opkit.cli import main; main()"
ROWS = {
    "generation": "generation of 140 samples of darcy, 43 x 43, one worker",
    "training": "one training step of fno-demo on 16 of them (mean of an epoch)",
    "prediction": "one prediction of 16 samples",
    "help": "`opkit --help`",
}


def modules_of(root: Path) -> dict[str, Path]:
    """Return dotted name to file of every module of the package, links followed."""
    modules = {}
    for folder, folders, names in os.walk(root / "opkit", followlinks=True):
        folders[:] = [f for f in folders if f != "__pycache__"]
        for name in names:
            path = Path(folder) / name
            if path.suffix == ".py":
                parts = path.relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                modules[".".join(parts)] = path
    if not modules:
        raise SystemExit(f"{root}: no package opkit there: name a checkout")
    return modules


def imports_of(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name or "") of every import statement of a file."""
    package = path.name == "__init__.py"
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if node in skipped:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            if not package:
                skipped |= {n for part in node.body for n in ast.walk(part)}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                base = module.split(".")[
                    : len(module.split(".")) - node.level + package
                ]
                origin = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield origin, alias.name


def graph_of(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return module to modules that it imports.

    A name out of a package is taken from the module that the package has it from.
    """
    statements = {m: list(imports_of(p, m)) for m, p in modules.items()}
    hands_on = {
        (m, name): (origin, name)
        for m, path in modules.items()
        if path.name == "__init__.py"
        for origin, name in statements[m]
        if name and origin != m
    }

    def resolved(origin: str, name: str) -> str:
        for _ in range(9):
            if name and f"{origin}.{name}" in modules:
                return f"{origin}.{name}"
            if (origin, name) not in hands_on:
                break
            origin, name = hands_on[origin, name]
        return origin

    graph: dict[str, set[str]] = {}
    for module, pairs in statements.items():
        targets = {resolved(origin, name) for origin, name in pairs}
        graph[module] = {t for t in targets if t in modules and t != module}
    return graph


def circles_of(graph: Graph) -> list[list[str]]:
    """Return groups of nodes that reach one another (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            cut = stack.index(node)
            groups.append(sorted(stack[cut:]))
            del stack[cut:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return [group for group in groups if len(group) > 1]


def floors_of(graph: Graph) -> dict[str, int]:
    """Return node to floor: one above the highest node that it needs.

    The nodes of a circle share a floor.
    """
    group = {n: circle[0] for circle in circles_of(graph) for n in circle}
    merged: dict[str, set[str]] = {}
    for node, others in graph.items():
        own = group.get(node, node)
        needs = {group.get(o, o) for o in others} - {own}
        merged.setdefault(own, set()).update(needs)
    floors: dict[str, int] = {}

    def floor(node: str) -> int:
        if node not in floors:
            floors[node] = 1 + max((floor(o) for o in merged[node]), default=0)
        return floors[node]

    return {node: floor(group.get(node, node)) for node in graph}


def rooms_of(graph: Graph) -> dict[str, set[str]]:
    """Return room to rooms that its modules need; without the face."""
    rooms: dict[str, set[str]] = {}
    for module, others in graph.items():
        if module != "opkit":
            own = module.split(".")[1]
            needs = {o.split(".")[1] for o in others if o != "opkit"}
            rooms.setdefault(own, set()).update(needs - {own})
    return rooms


def counts(root: Path) -> dict[str, str]:
    """Count what the table shows, of one checkout."""
    modules = modules_of(root)
    graph = graph_of(modules)
    files = {m: p for m, p in modules.items() if p.name != "__init__.py"}
    lengths = [len(p.read_text().splitlines()) for p in files.values()]
    folders: dict[str, int] = {}
    for path in files.values():
        folder = path.parent.relative_to(root).as_posix()
        folders[folder] = folders.get(folder, 0) + 1
    largest = max(folders, key=lambda folder: folders[folder])
    floors = floors_of(rooms_of(graph))
    circles = circles_of({m: o - {"opkit"} for m, o in graph.items()})
    users: dict[str, int] = dict.fromkeys(files, 0)
    for module, others in graph.items():
        for other in others & users.keys():
            users[other] += modules[module].name != "__init__.py"
    up = sum("opkit" in others for others in graph.values())
    return {
        "loose modules in the root": str(folders.get("opkit", 0)),
        "modules in the largest folder": f"{folders[largest]} (`{largest}`)",
        "modules / lines": f"{len(files)} / {sum(lengths)}",
        "rooms": str(len(floors)),
        "floors (longest chain of rooms)": str(max(floors.values())),
        "modules that import the face": str(up),
        "circles of modules": f"{len(circles)}"
        + "".join(f" ({', '.join(c)})" for c in circles).replace("opkit.", ""),
        "circles of rooms": str(len(circles_of(rooms_of(graph)))),
        "modules with one user": str(sum(n == 1 for n in users.values())),
        "shorter than 60 / 100 lines": " / ".join(
            str(sum(n < limit for n in lengths)) for limit in (60, 100)
        ),
        "lines, median / longest": f"{statistics.median(lengths):g} / {max(lengths)}",
    }


def timed(root: Path) -> dict[str, float]:
    """Run the tasks in child processes on one checkout; seconds."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [sys.executable, "-c", TASKS, folder],
            cwd=root, env=environment, capture_output=True, text=True,
        )  # fmt: skip
    if answer.returncode:
        raise SystemExit(f"{root}: {answer.stderr[-2000:]}")
    seconds: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    clock = (
        "import subprocess, sys, time; t = time.perf_counter()\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True, "
        "capture_output=True)\nprint(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", clock, HELP]
    seconds["help"] = float(
        subprocess.run(
            command, cwd=root, env=environment, capture_output=True, check=True
        ).stdout
    )
    return seconds


def main() -> None:
    """Print the table, a column for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="+", type=Path)
    parser.add_argument("--timings", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    roots = [path.resolve() for path in arguments.checkouts]
    if not arguments.timings:
        columns = [counts(root) for root in roots]
        names = {name: name for name in columns[0]}
    else:
        rounds = [[timed(root) for root in roots] for _ in range(arguments.rounds)]
        columns, names = [], ROWS
        for place in range(len(roots)):
            times = {row: [r[place][row] for r in rounds] for row in ROWS}
            columns.append(
                {
                    row: f"{statistics.median(values):.4g} s "
                    f"({min(values):.4g} to {max(values):.4g})"
                    for row, values in times.items()
                }
            )
    print("| | " + " | ".join(root.name for root in roots) + " |")
    print("|---" * (len(roots) + 1) + "|")
    for row, name in names.items():
        print(f"| {name} | " + " | ".join(column[row] for column in columns) + " |")
    if arguments.timings:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(
            f"\nmedians of {arguments.rounds} (least to most), "
            f"1 thread of {os.cpu_count()}, load {load}"
        )


if __name__ == "__main__":
    main()
