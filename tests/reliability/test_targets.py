"""Outputs replace nothing unasked, appear whole, and leave nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from opkit.base import files
from opkit.case.record import Case
from opkit.datasets.exporters.convert import export_data
from opkit.datasets.importers.convert import FieldMap, import_data
from opkit.datasets.read import DataFile
from opkit.errors import BundleError, DataError, OpkitInputError
from opkit.generate import generate
from opkit.surrogate.bundle.run_directory import COLUMNS, RunDirectory
from opkit.train import train
from opkit.train.loop import checkpoint

Heat = Callable[..., Case]


def test_a_target_that_exists_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    target.write_text("mine")
    with pytest.raises(DataError, match="--force"):
        files.check_target(target)
    files.check_target(target, force=True)
    files.check_target(tmp_path / "new.npz")


@pytest.mark.parametrize("link", ["same", "hard", "symbolic", "dots"])
def test_a_target_that_is_an_input_is_always_refused(tmp_path: Path, link: str) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "b.h5"
    source.write_text("data")
    if link == "same":
        target = source
    elif link == "dots":
        target = tmp_path / ".." / tmp_path.name / "a.h5"
    elif link == "hard":
        target.hardlink_to(source)
    else:
        target.symlink_to(source)
    with pytest.raises(DataError, match="read as input"):
        files.check_target(target, [None, source], force=True)


def test_folders_pipes_and_dangling_links_are_no_targets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("absent")
    with pytest.raises(DataError, match="is a folder"):
        files.check_target(tmp_path, force=True)
    with pytest.raises(DataError, match="not a regular file"):
        files.check_target(tmp_path / "pipe", force=True)
    with pytest.raises(DataError, match="exists already"):
        files.check_target(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"[Nn]ot a directory"):
        files.make_folder(tmp_path / "file" / "inside")


def test_no_folder_is_made_in_the_root() -> None:
    with pytest.raises(DataError, match="root of the file system"):
        files.make_folder(Path("/opkit-no-such-folder/run"))
    assert not Path("/opkit-no-such-folder").exists()


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with (
        pytest.raises(DataError, match="exists already"),
        files.appearing(target, replace=False) as temporary,
    ):
        temporary.write_text("late")
        target.write_text("first")
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_generate_does_not_replace_a_file_that_came_meanwhile(
    heat: Heat, tmp_path: Path
) -> None:
    out = tmp_path / "a.h5"

    def come(_: object) -> None:
        out.write_text("another one's")

    with pytest.raises(DataError, match="exists already"):
        generate(heat(), out, progress=come)
    assert out.read_text() == "another one's"


def test_without_renameat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems: the same outcome, if not in one step."""
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    target = tmp_path / "a"
    with files.appearing(target, replace=False) as temporary:
        temporary.write_text("x")
    with pytest.raises(DataError, match="exists"):
        files.write_bytes(target, b"y", replace=False)
    test_a_folder_takes_the_place_of_another(tmp_path / "folders")


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    """All new files at once; files that the new folder lacks stay."""
    old = tmp_path / "bundle"
    old.mkdir(parents=True)
    (old / "config").write_text("1")
    (old / "mine").write_text("stays")
    with files.appearing_folder(old) as new:
        (new / "config").write_text("2")
        assert (old / "config").read_text() == "1"
    assert (old / "config").read_text() == "2"
    assert (old / "mine").read_text() == "stays"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    with pytest.raises(DataError, match="exists"), files.appearing_folder(old, False):
        pass
    with pytest.raises(ZeroDivisionError), files.appearing_folder(old) as new:
        (new / "config").write_text("3")
        raise ZeroDivisionError
    assert (old / "config").read_text() == "2"


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from opkit.base.files import temporary_beside\n"
        "a = temporary_beside(Path(sys.argv[1]))\n"
        "a.write_text('x'); b = temporary_beside(Path(sys.argv[1])); b.mkdir()\n"
        "(b / 'part').write_text('y'); os.kill(os.getpid(), 9)"
    )
    name = "é" * 120  # 240 bytes: a temporary name is no longer than a name may be
    subprocess.run([sys.executable, "-c", code, tmp_path / name], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    mine = files.temporary_beside(tmp_path / "a")
    mine.write_text("")
    others = tmp_path / ".a.tmp-00000000-1-1-00000000"  # of another machine
    others.write_text("")
    files.sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {mine, others}


KILLED = """
import os, sys
import numpy as np
import opkit.datasets.write as write
def kill(*_, **__): os.kill(os.getpid(), 9)
{patch}
{call}
"""
WRITERS = {
    "import": (
        "write.Writer.finish = kill",
        "from opkit.datasets.importers.convert import import_data, FieldMap\n"
        "maps = [FieldMap.parse('a=a:sample,x', 'input'),"
        " FieldMap.parse('b=b:sample,x', 'output')]\n"
        "import_data('a.npz', 'out.h5', maps)",
    ),
    "export-data": (
        "import opkit.datasets.exporters.well as well; well._boundary = kill",
        "from opkit.datasets.exporters.convert import export_data\n"
        "export_data('data.h5', 'out', 'well')",
    ),
}


@pytest.mark.parametrize("verb", WRITERS)
def test_a_killed_writer_leaves_nothing_after_the_next_start(
    heat: Heat, tmp_path: Path, verb: str
) -> None:
    values = np.random.default_rng(0).normal(size=(4, 8))
    np.savez(tmp_path / "a.npz", a=values, b=values, allow_pickle=False)
    generate(heat(), tmp_path / "data.h5")
    patch, call = WRITERS[verb]
    code = KILLED.format(patch=patch, call=call)
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, cwd=tmp_path, check=False).returncode == -9
    assert any(p.name.startswith(".") for p in tmp_path.iterdir())
    files._swept.clear()
    maps = [
        FieldMap.parse("a=a:sample,x", "input"),
        FieldMap.parse("b=b:sample,x", "output"),
    ]
    import_data(tmp_path / "a.npz", tmp_path / "next.h5", maps)
    assert not any(p.name.startswith(".") for p in tmp_path.iterdir())


def test_a_folder_of_a_killed_export_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from opkit.base.files import folder_beside\n"
        "with folder_beside(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'a.pt2').write_text('x'); os.kill(os.getpid(), 9)"
    )
    words = [sys.executable, "-c", code, tmp_path / "a.pt2"]
    assert subprocess.run(words, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with files.folder_beside(tmp_path / "b.pt2") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert not list(tmp_path.iterdir())


def test_import_and_export_refuse_their_inputs(heat: Heat, tmp_path: Path) -> None:
    path = generate(heat(), tmp_path / "data.h5")
    content = path.read_bytes()
    maps = [FieldMap("a", "a", "input"), FieldMap("b", "b", "output")]
    with pytest.raises(DataError, match="read as input"):
        import_data(path, path, maps, force=True)
    with pytest.raises(DataError, match="exists"):
        export_data(path, path, "well")
    assert path.read_bytes() == content
    with DataFile(path) as file:
        assert all(True for _ in file.verify())


def test_one_process_trains_in_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create({"recipe": {}})
    code = (
        "import sys; from pathlib import Path\n"
        "from opkit.errors import DataError\n"
        "from opkit.surrogate.bundle.run_directory import RunDirectory\n"
        "try:\n"
        "    with RunDirectory(Path(sys.argv[1])).held(): print('held')\n"
        "except DataError as error: print(error)\n"
    )

    def other() -> str:
        process = subprocess.run(
            [sys.executable, "-c", code, run.path], capture_output=True, text=True
        )
        return process.stdout

    with run.held():
        assert "another process trains there" in other()
        with run.held(mine=False):
            pass
    assert other() == "held\n"


def test_a_generation_deletes_nothing_of_others(heat: Heat, tmp_path: Path) -> None:
    """What is not taken over is deleted: only what a generation leaves."""
    mine = tmp_path / "home"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    parts = tmp_path / "a.h5.parts"
    parts.symlink_to(mine)
    with pytest.raises(DataError, match="is a link"):
        generate(heat(), tmp_path / "a.h5", resume=True)
    parts.unlink()
    mine.rename(parts)
    with pytest.raises(DataError, match=r"thesis.txt: is not of a generation"):
        generate(heat(), tmp_path / "a.h5", resume=True)
    assert [p.name for p in parts.iterdir()] == ["thesis.txt"]
    (parts / "thesis.txt").unlink()
    (parts / "shard-000000.at").write_text("torn")
    assert generate(heat(), tmp_path / "a.h5", resume=True).exists()


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_lines_for_a_run_go_nowhere_else(tmp_path: Path, link: str) -> None:
    run, mine = RunDirectory(tmp_path / "run"), tmp_path / ".bashrc"
    run.create({"recipe": {}})
    mine.write_text("mine")
    log = run.path / "log.jsonl"
    log.symlink_to(mine) if link == "symbolic" else log.hardlink_to(mine)
    with pytest.raises(DataError, match=r"log.jsonl: (is a link|has several names)"):
        run.log("resumed")
    assert mine.read_text() == "mine"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["log.jsonl", "metrics.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_run_of_strangers_whose_records_are_no_files(
    tmp_path: Path, name: str, kind: str
) -> None:
    """A pipe without a reader would be waited for, for ever."""
    run = RunDirectory(tmp_path / "run")
    run.create({"recipe": {}})
    path = run.path / name
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    row = dict.fromkeys(COLUMNS, 1.0)
    write = {"log.jsonl": lambda: run.log("resumed")}
    write["metrics.csv"] = lambda: run.add_metrics(row)
    with pytest.raises(DataError, match=name):
        write[name]()
    assert run.events() == [] and run.metrics() == []
    path.unlink()
    write[name]()
    assert len(run.events() or run.metrics()) == 1


KILLS = """
import json, os, shutil, sys
from pathlib import Path
import torch
from opkit.surrogate.bundle import files as bundle

torch.set_num_threads(1)
run, folder = Path(sys.argv[1]), Path(sys.argv[2])
config, before = bundle.read(run)
twice = {k: 2 * w for k, w in before.items()}

def write(copy, step):
    calls = 0

    def die(name):
        real = getattr(os, name)

        def call(*a, **k):
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), 9)
            return real(*a, **k)

        setattr(os, name, call)

    for name in ("mkdir", "fsync", "rename", "scandir", "listdir"):
        die(name)
    bundle.write(copy / "bundle", config, twice, "card")

outcomes = []
for step in range(1, 40):
    copy = Path(shutil.copytree(run, folder / str(step)))
    pid = os.fork()
    if not pid:
        write(copy, step)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    weights = bundle.read(copy)[1]
    # all of them: a weight of zeros is what twice it is
    old = all(torch.equal(w, before[name]) for name, w in weights.items())
    new = all(torch.equal(w, twice[name]) for name, w in weights.items())
    outcomes.append([ended, "old" if old else "new" if new else "mixed"])
    if ended == 0:
        break
print(json.dumps(outcomes))
"""


def test_a_bundle_killed_while_it_is_written_again_is_the_old_one(
    tmp_path: Path,
) -> None:
    """At each of the steps of writing: kill a fork, then read."""
    golden = Path(__file__).parents[1] / "data" / "golden" / "bundles" / "fno"
    run = tmp_path / "run"
    shutil.copytree(golden, run / "bundle")
    words = [sys.executable, "-c", KILLS, run, tmp_path]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    outcomes = json.loads(done.stdout)
    assert len(outcomes) > 8 and outcomes[-1] == [0, "new"]
    assert {ended for ended, _ in outcomes[:-1]} == {-9}
    assert {state for _, state in outcomes} == {"old", "new"}


def test_a_run_of_strangers_takes_and_deletes_nothing_elsewhere(tmp_path: Path) -> None:
    """Folders of a run that are links to a folder of mine."""
    mine, run = tmp_path / "home", tmp_path / "run"
    mine.mkdir()
    run.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for name in ("checkpoints", "bundle"):
        (run / name).symlink_to(mine)
    with pytest.raises(BundleError, match="checkpoints: is a link"):
        checkpoint.save(run / "checkpoints", 1, {"rows": [1]})
    with (
        pytest.raises(DataError, match="bundle: is a link"),
        files.appearing_folder(run / "bundle") as new,
    ):
        (new / "config").write_text("")
    checkpoint.save(mine, 1, {"rows": [1]})
    checkpoint.save(mine, 2, {"rows": [1]})
    left = {"thesis.txt", "manifest.json", "epoch-000002.safetensors"}
    assert {p.name for p in mine.iterdir()} == left


def test_loops_of_links_are_one_line(tmp_path: Path) -> None:
    """`Path.resolve` raises a RuntimeError at them."""
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert files.real(loop) == tmp_path.resolve() / "loop"
    maps = [FieldMap("a", "a", "input"), FieldMap("b", "b", "output")]
    with pytest.raises(DataError, match="loop"):
        import_data(loop, tmp_path / "out.h5", maps)
    with pytest.raises(DataError, match="loop"):
        DataFile(loop)
    with pytest.raises(OpkitInputError):
        train(loop, tmp_path / "run", device="cpu")
    checkpoint.save(tmp_path, 7, {"rows": [1]})
    path = tmp_path / "epoch-000007.safetensors"
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(BundleError, match="damaged"):
        checkpoint.load(tmp_path)
