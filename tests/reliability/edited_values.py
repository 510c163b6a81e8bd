"""Change stored numbers of a data file, all digests made right, and call verbs on it.

Checksums tell what was damaged on its way. They do not tell a file that somebody wrote
so: its offsets, cells, coordinates, splits and values are numbers like others, and
every one of them may be anything.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import h5py
import numpy as np

SECONDS = 120
INTEGERS = (-1, 0, 1, 2, 3, 7, 127, -128, 2**31 - 1, 2**31, 2**62, -(2**63))
FLOATS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e308, 1e39, -1e39, 5e-324, 1e-300)
PLAIN = "training.epochs=1 --set training.batch_size=2"
EXPORTS = ("well", "pdebench", "zarr", "vtu")


def fields(path: Path) -> None:
    """Fields and numbers on a grid, and a series."""
    import opkit

    rng = np.random.default_rng(0)
    arrays = {
        "a": (("sample", "y", "x"), rng.random((6, 4, 5))),
        "p": (("sample",), rng.random(6)),
        "f": (("sample", "time"), rng.random((6, 3))),
        "u": (("sample", "time", "y", "x"), rng.random((6, 3, 4, 5))),
    }
    options = {"inputs": ["a", "p", "f"], "outputs": ["u"], "axes": {"time": (0, 1)}}
    split = {"validation": 0.34}
    opkit.save(arrays, path, **options, split=split)  # type: ignore[arg-type]


def moved(path: Path) -> None:
    """A mapped grid: where its points lie differs per sample."""
    import opkit

    s, t = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 4))
    points = np.stack(
        [np.stack([s * (1 + 0.1 * k), t + 0.1 * k * s], -1) for k in range(6)]
    )
    arrays = {
        "places": (("sample", "y", "x", "component"), points),
        "u": (("sample", "y", "x"), points[..., 0] ** 2),
    }
    opkit.save(
        arrays, path, [], ["u"], points=["places:sample,y,x,component"],
        split={"validation": 0.34},
    )  # fmt: skip


def mesh(path: Path) -> None:
    """Fields on one mesh."""
    import opkit

    at, cells = _squares(3)
    rng = np.random.default_rng(0)
    values = rng.random((6, len(at)))
    arrays = {"k": (("sample", "node"), values), "u": (("sample", "node"), values**2)}
    split = {"validation": 0.34}
    opkit.save(arrays, path, ["k"], ["u"], mesh=(at, cells), split=split)


def ragged(path: Path) -> None:
    """Meshes per sample, with a boundary, a number, a series and a field."""
    import opkit

    splits = {"train": 4, "validation": 2}
    opkit.save_meshes(
        map(_plate, range(6)), path, ["load", "f=f:time"], ["u"], splits=splits,
        parts=["left", "right"], axes={"time": (0, 1)},
    )  # fmt: skip


def cloud(path: Path) -> None:
    """A cloud of points per sample."""
    import opkit

    def sample(k: int) -> dict[str, Any]:
        at, _ = _squares(2 + k % 3)
        return {"points": at * (1 + k), "u": at[:, 0], "load": 1.0 + k}

    splits = {"train": 4, "validation": 2}
    opkit.save_meshes(map(sample, range(6)), path, ["load"], ["u"], splits=splits)


def _squares(n: int) -> tuple[Any, Any]:
    line = np.linspace(0, 1, n + 1)
    at = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    low = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    right, up = low + 1, low + n + 1
    cells = np.concatenate(
        [np.stack([low, right, up + 1], 1), np.stack([low, up + 1, up], 1)]
    )
    return at, cells


def _plate(k: int) -> dict[str, Any]:
    n = 2 + k % 3
    at, cells = _squares(n)
    left = np.arange(n + 1) * (n + 1)
    sides = [np.stack([s[:-1], s[1:]], 1) for s in (left, left + n)]
    return {
        "points": at * (1 + k), "cells": cells, "u": at[:, 0], "load": 1.0 + k,
        "f": np.linspace(0, k, 3), "facets": np.concatenate(sides),
        "facet_part": np.repeat([0, 1], n),
    }  # fmt: skip


TRANSOLVER = (
    "--operator transolver --set model.hidden_channels=8 --set model.n_layers=1 "
    "--set model.n_heads=2 --set model.n_slices=4"
)
FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "fields, numbers, series": (
        fields, "--operator fno --set model.n_modes=[2,2] --set model.n_layers=1 "
        "--set model.hidden_channels=4"
    ),
    "mapped grid": (moved, TRANSOLVER),
    "mesh": (mesh, TRANSOLVER),
    "meshes per sample": (ragged, TRANSOLVER),
    "clouds per sample": (cloud, TRANSOLVER),
}  # fmt: skip


def changed(path: Path, rng: random.Random) -> str:
    """Change some numbers of one array, and make all digests right.

    Returns:
        What was changed.
    """
    with h5py.File(path, "r+") as file:
        name = rng.choice(sorted(set(file) - {"sha256", "mesh"}))
        values = file[name][...]
        if not values.size:
            return f"nothing of {name}"
        if values.dtype.names is not None or values.dtype.kind not in "iuf":
            return f"nothing of {name}"
        flat = values.reshape(-1)
        several = range(rng.choice((1, 1, 3)))
        where = np.array([rng.randrange(flat.size) for _ in several])
        if rng.random() < 0.1:
            where = np.arange(flat.size)
        how = rng.randrange(3)
        if how == 0:
            other: Any = flat[rng.randrange(flat.size)]
        elif how == 1:
            with np.errstate(over="ignore"):
                other = flat[where] + np.asarray(rng.choice((-1, 1)), flat.dtype)
        else:
            other = rng.choice(INTEGERS if flat.dtype.kind in "iu" else FLOATS)
        with np.errstate(over="ignore"):
            flat[where] = np.asarray(other).astype(flat.dtype)
        file[name][...] = values
    seal(path)
    return f"{name}{where[:3]} = {np.asarray(flat[where[0]])}"


def seal(path: Path) -> None:
    """Make the digests of samples and of the file those of what it holds.

    Where the header or the offsets cannot be read any more there are none to be made.
    """
    from opkit.datasets.digest import content_digest, sample_digest
    from opkit.datasets.ragged import part_names
    from opkit.datasets.read import DataFile
    from opkit.errors import OpkitError

    with contextlib.suppress(OpkitError, ValueError, IndexError):
        with DataFile(path, trusted=True) as data:
            header, numbers = data.header, data.diagnostics()
            names = [v.name for v in header.variables]
            if header.shapes is not None:
                names += part_names(header.shapes)
                samples = [data._read_sample(k, names) for k in range(len(data))]
            else:
                read = data.read_samples(names, np.arange(len(data)))
                samples = [{n: v[k] for n, v in read.items()} for k in range(len(data))]
            index = data.index
        digests = np.stack(
            [
                np.frombuffer(
                    sample_digest(s, {n: float(v[k]) for n, v in numbers.items()}),
                    np.uint8,
                )
                for k, s in enumerate(samples)
            ]
        )
        with h5py.File(path, "r+") as file:
            file["sha256"][...] = digests
            file.attrs["content_hash"] = np.bytes_(
                content_digest(header, index, digests)
            )


def battery(
    folder: Path, count: int, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Change each kind of file so many times, and call one verb on each."""
    opkit = forked.Opkit(folder)
    for kind, (make, operator) in FILES.items():
        if only and kind not in only:
            continue
        rng = random.Random(f"{seed} {kind}")
        sound = folder / "sound.h5"
        sound.unlink(missing_ok=True)
        make(sound)
        train = f"-q {operator} --set {PLAIN}"
        shutil.rmtree(folder / "run", ignore_errors=True)
        ended = opkit(f"train sound.h5 -o run {train}")
        assert ended.code == 0, ended
        verbs = [
            "inspect x.h5", "validate x.h5", f"train x.h5 -o run2 {train}",
            "predict run x.h5 -o p.h5", "evaluate run --data x.h5",
            *(f"export-data x.h5 out --to {format}" for format in EXPORTS),
        ]  # fmt: skip
        yield kind, _changes(folder, opkit, verbs, count, rng)
    opkit.close()


def _changes(
    folder: Path, opkit: forked.Opkit, verbs: list[str], count: int, rng: random.Random
) -> dict[str, int]:
    counts = dict.fromkeys(
        ("files", "did their work", "one line", "untyped or crashed", "hung",
         "over 2.5 GB"), 0
    )  # fmt: skip
    before = set(folder.iterdir())
    for number in range(count):
        edited = shutil.copy(folder / "sound.h5", folder / "x.h5")
        what = changed(Path(edited), rng)
        words = verbs[number % len(verbs)]
        ended = opkit(words, seconds=SECONDS)
        counts["files"] += 1
        untyped = forked.tally(counts, ended)
        if untyped or ended.mebibytes > forked.MEBIBYTES:
            print(what, "|", words, ended.code, ended.err[-1500:], file=sys.stderr)
        for left in set(folder.iterdir()) - before:
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
    return counts
