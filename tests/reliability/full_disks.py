"""Every verb that writes, on a disk that is full at ten places.

The system's limit on the size of a file stands for the disk: it needs no rights, and
the processes that opkit starts inherit it. Sizes run from 1 byte, where the smallest
file of a verb is refused, to just under its largest. Each verb runs in a fork of a
process that has loaded the libraries. Generation on meshes is left out: MPI's shared
memory is a file to the limit, though none on the disk, and its shards are written as
those of other cases are.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hostile_others
import numpy as np
import planted

SERVER = """
import json, os, resource, select, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks: torch has one thread
import numpy, h5py, torch, xarray, meshio, matplotlib
import opkit.cli, opkit.train, opkit.surrogate, opkit.report, opkit.export.main
import opkit.hypino.solution, opkit.figures.plots, opkit.evaluate
matplotlib.use("Agg")
torch.set_num_threads(1)

def child(limit, words, out, err):
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv[1:] = words
    if limit is not None:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    code = 0
    try:
        opkit.cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    limit, words = json.loads(line)
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        child(limit, words, out[1], err[1])
    os.close(out[1])
    os.close(err[1])
    texts = {out[0]: b"", err[0]: b""}
    open_ = set(texts)
    while open_:
        for end in select.select(list(open_), [], [])[0]:
            got = os.read(end, 65536)
            texts[end] += got
            if not got:
                open_.remove(end)
    os.close(out[0])
    os.close(err[0])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([code, texts[err[0]].decode(errors="replace")]), flush=True)
"""
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
        again: the command line that goes on with what was left.
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
    "import": Verb(
        "import i.h5 --train a.npz --input a=a:sample,x --output b=b:sample,x"
    ),
    "export-data, The Well": Verb("export-data d.h5 well --to well"),
    "export-data, PDEBench": Verb("export-data d.h5 bench --to pdebench"),
    "export-data, Zarr": Verb("export-data d.h5 zarr --to zarr"),
    "train": Verb(TRAIN, ("run2",), "--resume"),
    "tune": Verb(
        TRAIN.replace("train d.h5 -o run2", "tune d.h5 -o run2 --trials 1")
        + " --set 'search={training.learning_rate: {low: 1e-4, high: 1e-2}}'",
        ("run2",),
        "--resume",
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
    "export, pt2": Verb("export run --to pt2 -o x.pt2"),
    "export, AOTInductor": Verb("export run --to aoti -o y.pt2"),
    "export, ONNX": Verb("export run --to onnx -o x.onnx"),
}


class Opkit:
    """Command lines in forks of one process.

    Args:
        folder: where they run.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(planted.ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, words: str, limit: int | None = None) -> tuple[int, str]:
        """Return exit code, negative for a signal, and standard error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = [limit, shlex.split(words)]
        print(json.dumps(request), file=self._process.stdin, flush=True)
        code, text = json.loads(self._process.stdout.readline())
        return code, text

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


def prepare(folder: Path) -> None:
    """Make what the verbs read: data, a trained run, arrays, a case."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(40, 200)) for name in "ab"}
    np.savez(folder / "a.npz", allow_pickle=False, **arrays)
    (folder / "q.yaml").write_text(case_with_quantities())
    opkit = Opkit(folder)
    run = TRAIN.replace("run2", "run")
    for words in (f"generate case q.yaml -o d.h5 -q {SMALL}", run):
        code, text = opkit(words)
        assert code == 0, (words, text)
    opkit.close()


def case_with_quantities() -> str:
    """Darcy flow of which the mean pressure is wanted."""
    return hostile_others.GOOD + "quantities: {level: {kind: mean, of: pressure}}\n"


def limits(sizes: list[int], count: int) -> list[int]:
    """So many sizes: half of them by equal ratios, half by equal steps."""
    most = max(sizes)
    few = count // 2
    ratios = np.geomspace(1, 0.5 * most, count - few).astype(int)
    steps = np.linspace(0.5 * most, most - 1, few + 1)[1:].astype(int)
    return [int(s) for s in (*ratios, *steps)]


def battery(
    folder: Path, count: int, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Run each verb under so many limits and count what came of it."""
    prepare(folder)
    opkit = Opkit(folder)
    for name, verb in VERBS.items():
        if not only or name in only:
            yield name, _one(opkit, folder, verb, count)
    opkit.close()


def _one(opkit: Opkit, folder: Path, verb: Verb, count: int) -> dict[str, int]:
    counts = dict.fromkeys(
        ("offsets", "one line, code 2", "not needed", "crashed", "left something",
         "went on"), 0
    )  # fmt: skip
    before = tree(folder)
    code, text = opkit(verb.words)
    assert code == 0, (verb.words, text)
    whole = tree(folder)
    new = {k: v for k, v in whole.items() if v is not None and before.get(k) != v}
    assert new, verb.words
    restore(folder, before)
    for limit in limits([len(v) for v in new.values()], count):
        code, text = opkit(verb.words, limit)
        counts["offsets"] += 1
        counts["crashed"] += code not in (0, 2)
        lines = [line for line in text.splitlines() if line.strip()]
        typed = code == 2 and len(lines) == 1 and "Traceback" not in text
        counts["one line, code 2"] += typed
        after = tree(folder)
        counts["not needed"] += code == 0
        if code == 0:
            left = set(after) != set(whole)
        else:
            left = any(
                before.get(k, b"-") != v and not k.startswith(verb.kept or "\0")
                for k, v in after.items()
            ) or any(".tmp-" in k for k in after)
            left |= not set(before) <= set(after)
        counts["left something"] += left
        if (code == 2 and not typed) or code not in (0, 2) or left:
            odd = sorted(k for k in after if before.get(k, b"-") != after[k])
            print(verb.words, limit, code, text[-600:], odd, file=sys.stderr)
        if verb.again:
            code, text = opkit(f"{verb.words} {verb.again}")
            if code:  # nothing was there yet
                code, text = opkit(verb.words)
            done = code == 0 and set(tree(folder)) == set(whole)
            counts["went on"] += done
            if not done:
                odd = sorted(set(tree(folder)) ^ set(whole))
                print("again", verb.words, limit, code, text[-600:], odd)
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
        elif not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
