"""Change sound files of every kind at random and read them: typed, or as they were.

Each file is read whole, as `foreign_files` and `own_files` say: other people's as
opkit's child process reads them, the others in a forked process with the limits of
`opkit.base.sandbox`.
"""

from __future__ import annotations

import os
import pickle
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import foreign_files
import own_files
from foreign_files import Kind

from opkit.errors import OpkitError

SECONDS, WALL = 30, 300
"""Of processor time and of wall time, as opkit's own children have."""
Outcome = str
SAME, OTHER, REFUSED = "same", "other values", "refused"
ENDED, UNTYPED, CRASHED, HUNG = "reader ended", "untyped", "crashed", "hung"
OUTCOMES = (SAME, OTHER, REFUSED, ENDED, UNTYPED, CRASHED, HUNG)
TOKENS = (
    b"\0" * 8, b"\xff" * 8, b"nan", b"inf", b"-1", b"9" * 19, b"1e308", b"\x1b[2J",
    b"(", b"]", b'"', b"<", b"\n", b"..", b"/etc/passwd", b"\xed\xa0\x80",
)  # fmt: skip
CHECKED = foreign_files.CHECKED | own_files.CHECKED


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return other bytes: bits, spans, tokens, an end, or numbers of the text."""
    new = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(max(len(new), 1))
        if rng.random() < 0.5:  # heads and directories are where it hurts
            at = rng.choice((at % 512, max(len(new) - 1 - at % 512, 0)))
        at = min(at, max(len(new) - 1, 0))
        way = rng.randrange(6)
        if way == 0 and new:
            new[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            end = at + rng.choice((1, 4, 64))
            new[at:end] = rng.randbytes(min(end, len(new)) - at)
        elif way == 2:
            token = rng.choice(TOKENS)
            new[at : at + len(token)] = token
        elif way == 3:
            new[at:at] = rng.choice(TOKENS)
        elif way == 4:
            del new[at : at + rng.choice((1, 8, 100))]
        elif rng.random() < 0.5:
            del new[at:]
        else:
            there = rng.randrange(max(len(new), 1))
            new[at : at + 32] = new[there : there + 32]
    return bytes(new)


def kinds(canary: Path) -> dict[str, Kind]:
    """Every kind of file that opkit reads from others."""
    return foreign_files.kinds(canary) | own_files.kinds()


def outcome_here(kind: Kind, path: Path, wanted: bytes) -> Outcome:
    """Read in this process; what opkit reads in another may end that one."""
    start = time.monotonic()
    try:
        found = SAME if kind.read(path) == wanted else OTHER
    except OpkitError as error:
        text = str(error)
        contained = "reading it ended" in text or "takes over" in text
        found = ENDED if contained else REFUSED
        if "\n" in text:
            found = UNTYPED
    except BaseException as error:
        print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
        found = UNTYPED
    return HUNG if time.monotonic() - start > WALL + 5 else found


def outcome_forked(kind: Kind, path: Path, wanted: bytes) -> Outcome:
    """Read in a fork under limits."""
    child = os.fork()
    if not child:
        code = OUTCOMES.index(UNTYPED)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = OUTCOMES.index(outcome_here(kind, path, wanted))
        finally:
            sys.stderr.flush()
            os._exit(code)
    until = time.monotonic() + WALL
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG
        time.sleep(0.002)
    if os.WIFSIGNALED(done[1]):
        return HUNG if os.WTERMSIG(done[1]) == signal.SIGXCPU else CRASHED
    return OUTCOMES[os.WEXITSTATUS(done[1])]


def battery(
    folder: Path, count: int, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Read so many changed files of each kind and count what came of them."""
    import torch

    torch.set_num_threads(1)  # forks are not to hang, and not to speak of it
    canary = folder / "canary"
    for name, kind in kinds(canary).items():
        if only and name not in only:
            continue
        rng = random.Random(f"{seed} {name}")
        good, bad = folder / f"good{kind.suffix}", folder / f"bad{kind.suffix}"
        good.unlink(missing_ok=True)  # of another kind with this suffix
        kind.make(good)
        content = good.read_bytes()
        here = kind.read is foreign_files.of_source
        try:
            wanted = kind.read(good) if here else _read_forked(kind, good)
        except OpkitError:  # no sound file: it holds pickles
            wanted = b""
        counts = dict.fromkeys(("files", *OUTCOMES, "canaries"), 0)
        run = outcome_here if here else outcome_forked
        for _ in range(count):
            bad.unlink(missing_ok=True)
            bad.write_bytes(mutated(content, rng))
            counts["files"] += 1
            found = run(kind, bad, wanted)
            if kind.apart and found in (CRASHED, HUNG):
                found = ENDED  # the fork stands for opkit's child, with its limits
            counts[found] += 1
            counts["canaries"] += canary.exists()
            canary.unlink(missing_ok=True)
            if found in (UNTYPED, CRASHED, HUNG) or (
                found == OTHER and name in CHECKED and bad.read_bytes() != content
            ):
                kept = Path(os.environ.get("KEEP", folder)) / f"{found}-{bad.name}"
                kept.write_bytes(bad.read_bytes())
                print(f"{name}: {found}", file=sys.stderr)
        yield name, counts


def _read_forked(kind: Kind, path: Path) -> bytes:
    """What a sound file holds, read in a fork, as the others will be."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            with os.fdopen(write, "wb") as out:
                out.write(pickle.dumps(kind.read(path)))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as found:
        content = found.read()
    os.waitpid(child, 0)
    value: bytes = pickle.loads(content)  # of this program
    return value
