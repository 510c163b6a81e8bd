"""Each number of a case and of a recipe replaced by numbers that are none.

A case is shown and then generates two samples; a recipe trains for an epoch. Each
command line does its work or ends in one line, without gigabytes of memory. Work that
a number asks for, such as a million time steps, is stopped after its time and counted
as busy.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import full_disks
import headers
import yaml

CASES = Path(__file__).parents[2] / "cases"
SECONDS, MEBIBYTES = 30, 2500
ADDRESSES = 12 << 30
"""Bytes of address space that a command line may take, libraries included."""
OTHERS = (
    float("nan"), float("inf"), float("-inf"), 1e308, -1, 0, 10**19, 1e-308, 10**400,
    "text", True, None, [],
)  # fmt: skip


def numbers(data: Any) -> list[tuple[Any, ...]]:
    """Return the path of every number in nested lists and dicts."""

    def value(at: tuple[Any, ...]) -> Any:
        found = data
        for key in at:
            found = found[key]
        return found

    every = ((at, value(at)) for at in headers.places(data))
    return [
        at
        for at, v in every
        if (isinstance(v, int | float) and not isinstance(v, bool)) or is_float(v)
    ]


def is_float(value: Any) -> bool:
    """Whether a value is what YAML 1.1 takes for text, such as 1e-6."""
    return isinstance(value, str) and bool(re.fullmatch(r"-?\d+(\.\d*)?e-?\d+", value))


def replaced(data: Any, at: tuple[Any, ...], other: Any) -> Any:
    """Return a copy with another value at a path."""
    key, *rest = at
    new = dict(data) if isinstance(data, dict) else list(data)
    new[key] = replaced(data[key], tuple(rest), other) if rest else other
    return new


def battery(
    folder: Path, count: int, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Replace so many numbers of each kind.

    Args:
        folder: an empty one.
        count: of numbers that generation and training meet; of cases that are shown
            it is four times as many.
        seed: of the choice.
        only: kinds; all by default.
    """
    work = folder / "numbers"
    work.mkdir()
    opkit = forked.Opkit(work, ["prlimit", f"--as={ADDRESSES}"])
    full_disks.prepare(work, opkit)
    kinds = {
        "cases shown": (_cases("cases show case.yaml"), 4 * count),
        "cases generated": (
            _cases("generate case case.yaml -o g.h5 -q --samples 2"), count
        ),
        "cases checked": (
            _cases("check-solver case.yaml --resolution 8 --samples 2"), count
        ),
        "recipes": (_recipes(), count),
        "options": (_options(), count),
    }  # fmt: skip
    before = full_disks.tree(work)
    for kind, (lines, many) in kinds.items():
        if only and kind not in only:
            continue
        rng = random.Random(f"{seed} {kind}")
        counts = dict.fromkeys(
            ("numbers", "did their work", "one line", "busy", "untyped or crashed",
             "over 2.5 GB"), 0
        )  # fmt: skip
        every = list(lines)
        for what, case, words in rng.sample(every, min(many, len(every))):
            if case is not None:
                text = yaml.dump(replaced(*case), Dumper=yaml.CSafeDumper)
                (work / "case.yaml").write_text(text)
            ended = opkit(words, seconds=SECONDS)
            counts["numbers"] += 1
            counts["did their work"] += ended.code == 0
            counts["one line"] += ended.typed
            counts["busy"] += ended.hung
            untyped = not (ended.code == 0 or ended.typed or ended.hung)
            counts["untyped or crashed"] += untyped
            counts["over 2.5 GB"] += ended.mebibytes > MEBIBYTES
            if untyped or ended.hung or ended.mebibytes > MEBIBYTES:
                said = (ended.code, ended.hung, ended.mebibytes, ended.err[-900:])
                print(what, words, *said, file=sys.stderr, flush=True)
            full_disks.restore(work, before)
        yield kind, counts
    opkit.close()


Lines = Iterator[tuple[str, tuple[Any, tuple[Any, ...], Any] | None, list[str]]]
"""What a number is, the case with its place and another value, and the words."""


def _cases(words: str) -> Lines:
    for path in sorted(CASES.glob("*.yaml")):
        data = yaml.safe_load(path.read_text())
        for at in numbers(data):
            if words.startswith("cases") or at[0] not in ("recipes", "samples"):
                for other in OTHERS:
                    what = f"{path.stem} {at} {other}"[:200]
                    yield what, (data, at, other), words.split()


SMALL = {
    "fno": {"n_modes": [2, 2], "hidden_channels": 4, "n_layers": 1},
    "tfno": {"n_modes": [2, 2], "hidden_channels": 4, "n_layers": 1},
    "unet": {"hidden_channels": 4},
}
"""Options of operators that are small."""
GRID = "fno"


def _recipes() -> Lines:
    from opkit.case.recipe import Recipe
    from opkit.operators.interface import acceptance, operator_class

    for operator, accepts in acceptance().items():
        if "grid" not in accepts.geometries or 2 not in accepts.dimensions:
            continue
        small: dict[str, Any] = SMALL.get(operator, {})
        own = operator_class(operator).Options(**small).model_dump()
        base = Recipe(operator=operator, model=own).model_dump(mode="json")
        base["training"] |= {"epochs": 1, "batch_size": 4}
        base["training"] |= dict.fromkeys(("clip_norm", "ema", "patience"), 0.5)
        places = [at for at in numbers(base) if operator == GRID or at[0] == "model"]
        for at in places:
            for other in OTHERS:
                words = ["train", "d.h5", "-o", "run2", "-q", "--operator", operator]
                settings = {f"model.{k}": v for k, v in small.items()}
                settings |= {"training.epochs": 1, "training.batch_size": 4}
                name = ".".join(str(k) for k in at if isinstance(k, str))
                value = other
                if isinstance(at[-1], int):  # of a list
                    listed = base[at[0]][at[1]]
                    value = replaced(listed, tuple(at[2:]), other)
                settings[name] = value
                for key, v in settings.items():
                    written = yaml.safe_dump(v, default_flow_style=True, width=9999)
                    words += ["--set", f"{key}={written.split(chr(10))[0]}"]
                yield f"{operator} {name} {value}"[:200], None, words


LINES = {
    "generate": "generate case darcy -o g.h5 -q --resolution 9 --samples 4",
    "predict": "predict run d.h5 -o p.h5",
    "check-solver": "check-solver darcy --resolution 9",
    "assimilate": "assimilate advection-diffusion --cycles 2 --members 3 --steps 5",
    "discover": "discover kuramoto-sivashinsky --wrong title=x --pairs 4 --steps 2",
    "solve": "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --cells 40",
    "export": "export run --to pt2",
    "plot": "plot run",
    "evaluate": "evaluate run --pays --samples 2 --repeats 1 --budget 2",
    "tune": "tune d.h5 -o t -q --trials 1 --set training.epochs=1",
    "train": "train d.h5 -o run2 -q --set training.epochs=1",
    "modes": "modes d.h5",
    "report": "report run -o r.html --no-solver",
    "inspect": "inspect d.h5",
    "validate": "validate d.h5",
    "serve": "serve nowhere",
    "export-data": "export-data d.h5 zarr --to zarr",
    "import": "import i.h5 --train a.npz --input a=a:sample,x --output b=b:sample,x",
}
"""A command line of each verb that has options with numbers."""


def _options() -> Lines:
    import shlex

    import typer

    from opkit.cli import app

    group: Any = typer.main.get_command(app)
    texts = ("--at", "--hole", "--source", "--batch", "--tolerance", "--every")
    for verb, line in LINES.items():
        for option in group.commands[verb].params:
            name = option.opts[0]
            kind = str(option.type_descriptor.annotation)
            if "int" not in kind and "float" not in kind and name not in texts:
                continue
            for other in (*OTHERS[:-3], "", "1e999", "0x10", "1_0"):
                if name.startswith("-"):
                    words = [*shlex.split(line), name, f"{other}"]
                    yield f"{verb} {name} {other}"[:200], None, words
