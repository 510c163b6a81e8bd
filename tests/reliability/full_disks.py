"""Every verb that writes, on a disk that is full at ten places.

Two disks stand for it. A small file system in memory, in a mount namespace of its own,
refuses what goes beyond its size (ENOSPC), to whoever writes: verbs, what they start,
and the temporary files of libraries, which lie there too. Where the machine allows no
such namespace, and for the smallest files, the system's limit on the size of a file
(EFBIG) needs no rights, and the processes that opkit starts inherit it.

Offsets run from nothing to just under what the verb takes at its most. Each verb runs
in a fork of a process that has loaded the libraries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import hostile_others
import numpy as np
import own_files

SMALL = "--set resolution=9 --set samples.train=8 --set samples.validation=2"
TRAIN = (
    "train d.h5 -o run2 -q --set subsample=1 --set model.n_modes=[2,2] "
    "--set model.hidden_channels=4 --set model.n_layers=1 --set training.epochs=4 "
    "--set training.batch_size=4"
)


@dataclass(frozen=True)
class Verb:
    """A command line that writes.

    Args:
        words: of it.
        kept: what an attempt may leave, to be gone on with.
        again: what goes on with what was left: further words, or a whole command line.
    """

    words: str
    kept: tuple[str, ...] = ()
    again: str = ""


VERBS = {
    "generate": Verb(
        f"generate case darcy -o g.h5 -q {SMALL}", ("g.h5.parts",), "--resume"
    ),
    "generate, two workers": Verb(
        f"generate case darcy -o g.h5 -q -w 2 {SMALL}", ("g.h5.parts",), "--resume"
    ),
    "generate, quantities": Verb(
        f"generate case q.yaml -o g.h5 -q {SMALL}", ("g.h5.parts",), "--resume"
    ),
    "generate, mesh": Verb(
        "generate case darcy-mesh -o g.h5 -q --samples 6 --resolution 4",
        ("g.h5.parts",),
        "--resume",
    ),
    "import": Verb(
        "import i.h5 --train a.npz --input a=a:sample,x --output b=b:sample,x"
    ),
    "export-data, The Well": Verb("export-data d.h5 well --to well"),
    "export-data, PDEBench": Verb("export-data d.h5 bench --to pdebench"),
    "export-data, Zarr": Verb("export-data d.h5 zarr --to zarr"),
    "import, ragged": Verb(
        "import i.h5 --train squares --input load=load --output u=u"
    ),
    "export-data, vtu": Verb("export-data ragged.h5 vtu --to vtu"),
    "train": Verb(TRAIN, ("run2",), "train --resume run2 -q"),
    "tune": Verb(
        TRAIN.replace("train d.h5 -o run2", "tune d.h5 -o run2 --trials 1")
        + " --set 'search={training.learning_rate: {low: 1e-4, high: 1e-2}}'",
        ("run2",),
        "--resume",
    ),
    "train --continue": Verb(
        "train d.h5 --continue run -o run2 -q --set training.epochs=2",
        ("run2",),
        "train --resume run2 -q",
    ),
    "predict, .h5": Verb("predict run d.h5 -o p.h5"),
    "predict, .nc": Verb("predict run d.h5 -o p.nc"),
    "predict, .npz": Verb("predict run d.h5 -o p.npz"),
    "predict, .npy": Verb("predict run d.h5 -o p.npy"),
    "evaluate --pays": Verb(
        "evaluate run --pays --samples 2 --repeats 1 --budget 2 --figure e.png"
    ),
    "plot": Verb("plot run", ("run/figures",), "--json"),
    "report": Verb("report run -o r.html --no-solver"),
    "inspect --plot": Verb("inspect d.h5 --plot i.png"),
    "solve --out": Verb(
        "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --steps 3 --lbfgs 0 -o s.npz"
    ),
    "solve --figure": Verb(
        "solve u_xx+u_yy=f -b 'u = 0 on all' --source 1 --steps 3 --lbfgs 0 "
        "--figure s.png"
    ),
    "assimilate": Verb(
        "assimilate advection-diffusion --cycles 2 --members 3 --filter etkf "
        "--steps 5 -o s.nc --json"
    ),
    "new": Verb("new plugin rod-and-more"),
    "export, pt2": Verb("export run --to pt2 -o x.pt2"),
    "export, AOTInductor": Verb("export run --to aoti -o y.pt2"),
    "export, ONNX": Verb("export run --to onnx -o x.onnx"),
}
LOADED = "import numpy as np, opkit; s = opkit.load('run'); x = 1 + np.eye(9)"
PYTHON = {
    "opkit.save": "import numpy as np, opkit; a = np.ones((40, 200)); "
    "opkit.save({'a': (('sample', 'x'), a), 'b': (('sample', 'x'), a)}, 's.h5', "
    "inputs=['a'], outputs=['b'])",
    "opkit.save_meshes": "import own_files; from pathlib import Path; "
    "own_files.make_ragged(Path('s.h5'))",
    "solve(store=)": f"{LOADED}; s.solve(x, exact=True, store='q.h5')",
    "solve(store=), a second time": f"{LOADED}; s.solve(x, exact=True, store='old.h5')",
}
"""Functions of Python that write."""
LOCKS = (".q.h5.lock", ".old.h5.lock")  # empty, and stay
VERBS |= {name: Verb(code, LOCKS) for name, code in PYTHON.items()}
DISK = 64 << 20
CACHES = ("torchinductor",)
"""Beginnings of names of temporary folders that libraries keep for the next time."""
Words = str | list[str]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


def prepare(folder: Path, opkit: forked.Opkit) -> None:
    """Make what the verbs read: data, a trained run, arrays, meshes, a case.

    Args:
        folder: where the command lines run.
        opkit: runs them.
    """
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(40, 200)) for name in "ab"}
    np.savez(folder / "a.npz", allow_pickle=False, **arrays)
    (folder / "q.yaml").write_text(case_with_quantities())
    (folder / "squares").mkdir()
    for k in range(4):
        _square(k).write(folder / "squares" / f"{k}.vtu")
    own_files.make_ragged(folder / "ragged.h5")
    run = TRAIN.replace("run2", "run")
    store = f"{LOADED}; s.solve(2 * x, exact=True, store='old.h5')"
    for words in (f"generate case q.yaml -o d.h5 -q {SMALL}", run, ["-c", store]):
        ended = opkit(words)
        assert ended.code == 0, (words, ended)


def _square(k: int) -> Any:
    import meshio

    points = np.array([[0, 0, 0], [1 + k, 0, 0], [1 + k, 1, 0], [0, 1, 0.0]])
    cells = [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))]
    return meshio.Mesh(points, cells, {"u": points[:, 0], "load": points[:, 1]})


def case_with_quantities() -> str:
    """Darcy flow of which the mean pressure is wanted."""
    return hostile_others.GOOD + "quantities: {level: {kind: mean, of: pressure}}\n"


def limits(most: int, count: int) -> list[int]:
    """So many sizes: half of them by equal ratios, half by equal steps."""
    few = count // 2
    ratios = np.geomspace(1, 0.5 * most, count - few).astype(int)
    steps = np.linspace(0.5 * most, most - 1, few + 1)[1:].astype(int)
    return [int(s) for s in (*ratios, *steps)]


class Limited:
    """The machine's own disk, with the system's limit on the size of a file.

    Args:
        work: folder where the command lines run.
    """

    def __init__(self, work: Path) -> None:
        self.work, self.opkit = work, forked.Opkit(work)

    def most(self, words: Words) -> tuple[forked.Ended, int]:
        """Run a command line, and return the size of the largest file that it made."""
        before = tree(self.work)
        ended = self.opkit(words)
        new = [
            len(v) for k, v in tree(self.work).items() if v and v != before.get(k, b"-")
        ]
        return ended, max(new, default=0)

    def run(self, words: Words, offset: int) -> forked.Ended:
        """Run a command line with so many bytes to a file."""
        return self.opkit(words, limit=max(offset, 1))

    def left(self) -> list[str]:
        """Nothing is known of files outside the folder."""
        return []


class Disk:
    """A small file system in memory, over the folder's own place.

    Args:
        work: folder on it where the command lines run.
    """

    def __init__(self, work: Path) -> None:
        base = work.parent
        mount = f"mount -t tmpfs -o size={DISK} tmpfs {base} && cd {base} && "
        before = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
        before += [f'{mount} mkdir {work} tmp && cd {work} && exec "$@"', "sh"]
        self.opkit = forked.Opkit(work, before, {"TMPDIR": str(base / "tmp")})
        assert self.opkit("--version").code == 0
        self.root = Path(f"/proc/{self.opkit.pid}/root{base}")
        self.work = self.root / work.name

    @staticmethod
    def can_be(folder: Path) -> bool:
        """Whether this machine lets one mount it."""
        mount = f"mount -t tmpfs tmpfs {folder}"
        words = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]
        try:
            return not subprocess.run(
                words, capture_output=True, check=False
            ).returncode
        except OSError:
            return False

    def _used(self) -> int:
        state = os.statvfs(self.root)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def most(self, words: Words) -> tuple[forked.Ended, int]:
        """Run a command line, and return the most that it took of the disk."""
        before = most = self._used()
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.002):
                most = max(most, self._used())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            result = self.opkit(words)
        finally:
            ended.set()
            watcher.join()
        self._clear()
        page = os.statvfs(self.root).f_frsize
        return result, most - before - page + 1

    def run(self, words: Words, offset: int) -> forked.Ended:
        """Run a command line with so many bytes free, rounded up to pages."""
        ballast = self.root / "ballast"
        state = os.statvfs(self.root)
        free = -(-offset // state.f_frsize) * state.f_frsize
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, state.f_bfree * state.f_frsize - free)
        try:
            return self.opkit(words)
        finally:
            ballast.unlink()

    def left(self) -> list[str]:
        """Files among the temporary ones, which are removed."""
        return self._clear()

    def _clear(self) -> list[str]:
        temporary = self.root / "tmp"
        names = [str(p.relative_to(temporary)) for p in temporary.rglob("*")]
        for path in temporary.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [n for n in names if not n.startswith(CACHES)]


def battery(
    folder: Path, count: int, only: tuple[str, ...] = (), disk: bool = False
) -> Iterator[tuple[str, dict[str, int]]]:
    """Run each verb under so many limits and count what came of it.

    Args:
        folder: an empty one.
        count: of limits.
        only: verbs; all by default.
        disk: whether a disk is full, and not the size of files limited.
    """
    work = folder / "disk" / "work"
    work.mkdir(parents=True)
    place = Disk(work) if disk else Limited(work)
    prepare(place.work, place.opkit)
    for name, verb in VERBS.items():
        if not only or name in only:
            yield name, _one(place, verb, count)
    place.opkit.close()


def _one(place: Limited | Disk, verb: Verb, count: int) -> dict[str, int]:
    counts = dict.fromkeys(
        ("offsets", "one line, code 2", "not needed", "crashed", "left something",
         "went on"), 0
    )  # fmt: skip
    folder, before = place.work, tree(place.work)
    words: Words = ["-c", verb.words] if verb.words in PYTHON.values() else verb.words
    ended, most = place.most(words)
    assert ended.code == 0, (words, ended)
    whole = tree(folder)
    assert whole != before and most, words
    restore(folder, before)
    for limit in limits(most, count):
        ended = place.run(words, limit)
        counts["offsets"] += 1
        counts["crashed"] += ended.code not in (0, 2)
        counts["one line, code 2"] += ended.typed and ended.code == 2
        counts["not needed"] += ended.code == 0
        after = tree(folder)
        left = place.left()
        if ended.code == 0:
            left += sorted(set(after) ^ set(whole))
        else:
            left += [
                k
                for k, v in after.items()
                if before.get(k, b"-") != v and not k.startswith(verb.kept or "\0")
            ]
            left += [k for k in after if ".tmp-" in k] + list(set(before) - set(after))
        counts["left something"] += bool(left)
        if left or (ended.code != 0 and not (ended.typed and ended.code == 2)):
            print(words, limit, ended, left, file=sys.stderr)
        if verb.again:
            whole_line = not verb.again.startswith("-")
            line = verb.again if whole_line else f"{verb.words} {verb.again}"
            first = ended = place.opkit(line)
            if ended.code:  # nothing was there yet
                ended = place.opkit(words)
            done = ended.code == 0 and set(tree(folder)) == set(whole)
            counts["went on"] += done
            if not done:
                odd = sorted(set(tree(folder)) ^ set(whole))
                print("again", words, limit, first.err, ended, odd, file=sys.stderr)
            place.left()
        restore(folder, before)
    if not verb.again:
        del counts["went on"]
    return counts


def restore(folder: Path, before: dict[str, bytes | None]) -> None:
    """Bring a folder back to what it was."""
    for name in tree(folder):
        path = folder / name
        if name not in before and (path.exists() or path.is_symlink()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in before.items():
        path = folder / name
        if content is None:
            path.mkdir(exist_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
