"""Odd things in the place of each file that a verb reads, and of each that it writes.

Pipes, devices, links, folders, files without permission or end stand where a run
directory, a bundle, a data file, a mesh, or an output is. Every verb is called with
each: it does its work without the file, or ends in one line within its time.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import forked
import full_disks

ROWS = ("odd names", "odd files to read", "odd files to replace", "closed folders",
        "odd files in a run")  # fmt: skip
SECONDS = 300
MEBIBYTES = 2500
"""What a verb may take, with the libraries."""


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _closed(path: Path) -> None:
    path.write_bytes(b"closed")
    path.chmod(0)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


ODD: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "a brace": lambda path: path.write_bytes(b"{"),
    "a list": lambda path: path.write_bytes(b"[[1, null], {}]\n"),
    "pipe": _pipe,
    "device": _link("/dev/zero"),
    "full device": _link("/dev/full"),
    "the root": _link("/"),
    "loop": _loop,
    "dangling": _link("/nowhere/at/all"),
    "process": _link("/proc/self/environ"),
    "1 TiB": _huge,
    "folder": _folder,
    "closed": _closed,
}
PAYS = "--pays --samples 2 --repeats 1 --budget 2"
TWIN = "assimilate advection-diffusion --cycles 2 --members 3 --filter etkf --steps 5"
READERS = {
    "runs": "runs .",
    "report": "report run -o r.html --no-solver",
    "evaluate": "evaluate run",
    "predict": "predict run d.h5 -o p.h5",
    "plot": "plot run",
    "export": "export run --to pt2",
    "train --resume": "train --resume run -q --set training.epochs=5",
    "train --continue": "train d.h5 --continue run -o run2 -q --set training.epochs=1",
    "generate --where-uncertain": "generate case darcy -o u.h5 -q --samples 4 --pool 8 "
    "--resolution 9 --where-uncertain run",
    "solve --model": "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --model run",
    "serve": "serve run --port 0",
    "plot --animate": "plot run --animate",
    "export, ONNX": "export run --to onnx",
    "export --derivatives": "export run --to pt2 --derivatives",
    "evaluate --pays": f"evaluate run {PAYS}",
    "assimilate --run": f"{TWIN} --run run",
}
"""Verbs that read the run directory ``run``."""
INPUTS = {
    "inspect": "inspect {}",
    "validate": "validate {}",
    "import": "import i.h5 --train {} --input a=a:sample,x --output b=b:sample,x",
    "import, ragged": "import i.h5 --train {}.vtu --input load=load --output u=u",
    "export-data": "export-data {} zarr --to zarr",
    "train": "train {} -o run2 -q",
    "train --data": "train d.h5 --data {} -o run2 -q --set training.epochs=1",
    "train --resume": "train --resume {} -q",
    "train --continue": "train d.h5 --continue {} -o run2 -q",
    "tune": "tune {} -o run2 -q --trials 1",
    "evaluate": "evaluate {}",
    "evaluate --data": "evaluate run --data {}",
    "predict, run": "predict {} d.h5 -o p.h5",
    "predict": "predict run {} -o p.h5",
    "predict, .npz": "predict run {}.npz -o p.h5",
    "predict, .npy": "predict run {}.npy -o p.npy",
    "predict, .nc": "predict run {}.nc -o p.h5",
    "plot --data": "plot run --data {}",
    "runs": "runs {}",
    "report": "report {} -o r.html",
    "report --data": "report run --data {} -o r.html --no-solver",
    "export": "export {} --to pt2",
    "export --data": "export run --data {} --to pt2",
    "modes": "modes {}",
    "assimilate": "assimilate {}.yaml --cycles 1",
    "discover": "discover {}.yaml --wrong title=x",
    "generate": "generate case {}.yaml -o g.h5 -q",
    "check-solver": "check-solver {}.yaml",
    "cases show": "cases show {}.yaml",
    "solve --model": "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --model {}",
    "mesh": "inspect {}.msh",
    "mesh, inp": "inspect {}.inp",
    "serve": "serve {} --port 0",
    "plot": "plot {}",
    "plot --animate": "plot {} --animate",
    "plot --animate --data": "plot run --animate --data {}",
    "export, ONNX": "export {} --to onnx",
    "export, AOTInductor": "export {} --to aoti",
    "export --derivatives": "export {} --to pt2 --derivatives",
    "evaluate --pays": f"evaluate {{}} {PAYS}",
    "evaluate --pays --data": f"evaluate run --data {{}} {PAYS}",
    "assimilate --run": f"{TWIN} --run {{}}",
    "discover, data": "discover {}.h5 --wrong title=x --pairs 4",
    "discover --model": "discover t.h5 --model {}.py:f --pairs 4",
    "generate --where-uncertain": "generate case darcy -o u.h5 -q --samples 4 --pool 8 "
    "--resolution 9 --where-uncertain {}",
    "zoo": "zoo {}",
    "predict, zoo": "predict zoo:{} d.h5 -o p.h5",
    "predict, .csv": "predict run {}.csv -o p.csv",
    "predict, .mat": "predict run {}.mat -o p.h5",
    "predict, .pt": "predict run {}.pt -o p.h5",
}
"""Verbs with a place for what they read."""
OUTPUTS = {
    "generate": "generate case darcy -o {}.h5 -q --samples 4 --resolution 9",
    "import": "import {}.h5 --train a.npz --input a=a:sample,x --output b=b:sample,x",
    "export-data": "export-data d.h5 {} --to zarr",
    "export-data, The Well": "export-data d.h5 {} --to well",
    "export-data, vtu": "export-data ragged.h5 {} --to vtu",
    "train": "train d.h5 -o {} -q --set training.epochs=1",
    "tune": "tune d.h5 -o {} -q --trials 1 --set training.epochs=1",
    "predict": "predict run d.h5 -o {}.nc",
    "predict, .npy": "predict run d.h5 -o {}.npy",
    "inspect --plot": "inspect d.h5 --plot {}.png",
    "report": "report run -o {}.html --no-solver",
    "assimilate": "assimilate advection-diffusion --cycles 1 --members 2 "
    "--filter etkf --steps 5 -o {}.nc",
    "new": "new case {}",
    "new --out": "new case rod-and-more --out {}",
    "export": "export run --to pt2 -o {}.pt2",
    "solve --out": "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 -o {}.npz",
    "solve --figure": "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --figure {}.png",
    "train --continue": "train d.h5 --continue run -o {} -q --set training.epochs=1",
    "export, ONNX": "export run --to onnx -o {}.onnx",
    "evaluate --figure": f"evaluate run {PAYS} --figure {{}}.png",
    "new, operator": "new operator {}",
}
"""Verbs with a place for what they write."""
NAMES = ("n" * 220, "n" * 300, "\udcff\udcfe", "a\nb\x1b[2J", "[/b]", " ", "~", "")
"""Long names, names that are not UTF-8, or that a terminal or rich would obey."""
FORCED = ("assimilate", "import", "predict", "predict, .npy", "inspect --plot",
          "report", "solve --out", "solve --figure")  # fmt: skip


@dataclass
class Count:
    """Command lines, and what came of them."""

    tried: int = 0
    did: int = 0
    refused: int = 0
    untyped: int = 0
    hung: int = 0
    memory: int = 0
    harmed: int = 0

    def row(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "command lines": self.tried,
            "did their work": self.did,
            "one line": self.refused,
            "untyped or crashed": self.untyped,
            "hung": self.hung,
            "over 2.5 GB": self.memory,
            "harmed what was there": self.harmed,
        }


def unprivileged() -> list[str]:
    """Words that start a process from which files can be closed, also as root."""
    if os.getuid() or shutil.which("setpriv") is None:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


class Places:
    """Command lines among odd things.

    Args:
        folder: an empty one.
        share: of the command lines that are tried, chosen at random.
        seed: of the choice.
    """

    def __init__(self, folder: Path, share: float = 1, seed: int = 0) -> None:
        self.share, self.seed = share, seed
        self.folder = folder / "odd"
        self.folder.mkdir(parents=True)
        self.opkit = forked.Opkit(self.folder, unprivileged())
        full_disks.prepare(self.folder, self.opkit)
        states = "generate case advection-diffusion -o t.h5 --samples 4 --resolution 32"
        assert self.opkit(f"{states} -q").code == 0
        (self.folder / "keep.txt").write_text("mine")
        self.before = full_disks.tree(self.folder)
        self.restore()

    def restore(self) -> None:
        """Bring the folder back to what it was."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            name = str(path.relative_to(self.folder))
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                path.unlink()
            elif name not in self.before:
                path.rmdir() if path.is_dir() else path.unlink()
            elif path.is_dir() and self.before[name] is not None:
                shutil.rmtree(path)
            elif path.is_file() and self.before[name] is None:
                path.unlink()
            elif path.is_file() and path.stat().st_size > 1 << 30:
                path.unlink()  # too much to compare
        full_disks.restore(self.folder, self.before)

    def some(self, *lists: Sequence[Any]) -> list[tuple[Any, ...]]:
        """A share of all combinations, in their order."""
        every = list(itertools.product(*lists))
        many = min(len(every), math.ceil(self.share * len(every)))
        chosen = random.Random(self.seed).sample(range(len(every)), many)
        return [every[k] for k in sorted(chosen)]

    def call(self, words: str | list[str], count: Count, what: str) -> None:
        """Run a command line and count what came of it."""
        serves = words[:5] == "serve" or words[0] == "serve"
        until = "http://" if serves else ""
        ended = self.opkit(words, seconds=SECONDS, until=until)
        if serves and ended.hung and "http://" in ended.out + ended.err:
            ended = replace(ended, code=0, hung=False)  # it listened until it was ended
        count.tried += 1
        count.did += ended.code == 0
        count.refused += ended.typed
        wrong = []
        if ended.hung:
            count.hung += 1
            wrong.append("hung")
        elif (ended.code != 0 and not ended.typed) or "Traceback" in ended.err:
            count.untyped += 1
            wrong.append("untyped")
        if ended.mebibytes > MEBIBYTES:
            count.memory += 1
            wrong.append(f"{ended.mebibytes} MiB")
        if "\x1b" in ended.out + ended.err:
            wrong.append("controls")
            count.untyped += 1
        if wrong:
            said = (wrong, ended.code, ended.err[-700:])
            print(what, "|", words, *said, file=sys.stderr, flush=True)

    def of_runs(self, names: list[str], odd: list[str], verbs: list[str]) -> Count:
        """Put odd things in the place of files of a run directory."""
        count = Count()
        for name, kind, verb in self.some(names, odd, verbs):
            path = self.folder / "run" / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            ODD[kind](path)
            self.call(READERS[verb], count, f"{kind} in run/{name}")
            self.restore()
        return count

    def of_inputs(self, odd: list[str], verbs: list[str]) -> Count:
        """Give odd things to read."""
        count = Count()
        for verb, kind in self.some(verbs, odd):
            place = INPUTS[verb].partition("{}")[2].split()[:1] or [""]
            suffix = place[0] if place[0].startswith(".") else ""
            ODD[kind](self.folder / f"thing{suffix}")
            self.call(INPUTS[verb].replace("{}", "thing"), count, kind)
            self.restore()
        return count

    def of_names(self, verbs: dict[str, str]) -> Count:
        """Read and write under odd names; nothing is there."""
        count = Count()
        for template, name in self.some(list(verbs.values()), NAMES):
            words = [w.replace("{}", name) for w in shlex.split(template)]
            self.call(words, count, "name")
            self.restore()
        return count

    def of_outputs(self, odd: list[str], verbs: list[str]) -> Count:
        """Have odd things stand where the output is to be."""
        count = Count()
        for verb, kind, force in self.some(verbs, odd, ("", " --force")):
            if force and verb not in FORCED:
                continue
            words = OUTPUTS[verb].replace("{}", "thing")
            suffix = OUTPUTS[verb].partition("{}")[2].split(" ")[0]
            path = self.folder / f"thing{suffix}"
            ODD[kind](path)
            if kind == "to another":
                path.symlink_to("keep.txt")
            self.call(words + force, count, kind)
            there = self.folder / "keep.txt"
            if not there.exists() or there.read_text() != "mine":
                count.harmed += 1
                print("harmed", kind, words, force, file=sys.stderr)
            self.restore()
        return count

    def of_closed_folders(self, verbs: dict[str, str]) -> Count:
        """Write where nothing may be written: in the folder, or in the run."""
        count = Count()
        folders = (self.folder, self.folder / "run", self.folder / "run/bundle")
        for closed, words in self.some(folders, list(verbs.values())):
            closed.chmod(0o555)
            self.call(words.replace("{}", "thing"), count, f"closed {closed.name}")
            closed.chmod(0o755)
            self.restore()
        return count

    def close(self) -> None:
        """End the process."""
        self.opkit.close()


ODD_OUTPUTS = {"nothing": ODD["nothing"], "to another": lambda path: None} | {
    k: ODD[k] for k in ("pipe", "full device", "the root", "loop", "dangling", "folder")
}


def files_of_a_run(folder: Path) -> list[str]:
    """Names of all files and folders below a run directory."""
    return [str(p.relative_to(folder)) for p in sorted(folder.rglob("*"))]


def battery(
    folder: Path, share: float = 1, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Try all of it, or a share at random, or of the verbs or rows named alone."""
    rows = [name for name in ROWS if not only or name in only] or list(ROWS)
    verbs = [name for name in only if name not in ROWS]
    readers, inputs, outputs = (
        {k: v for k, v in of_place.items() if not verbs or k in verbs}
        for of_place in (READERS, INPUTS, OUTPUTS)
    )
    places = Places(folder, share, seed)
    names = files_of_a_run(places.folder / "run")
    kinds = list(ODD)
    ODD["to another"] = ODD_OUTPUTS["to another"]
    writers = {k: readers[k] for k in ("plot", "train --resume") if k in readers}
    each = (
        lambda: places.of_names(inputs | outputs),
        lambda: places.of_inputs(kinds, list(inputs)),
        lambda: places.of_outputs(list(ODD_OUTPUTS), list(outputs)),
        lambda: places.of_closed_folders(outputs | writers),
        lambda: places.of_runs(names, kinds, list(readers)),
    )
    for name, row in zip(ROWS, each, strict=True):
        if name in rows:
            yield name, row().row()
    places.close()
