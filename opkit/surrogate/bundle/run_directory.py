"""The run directory: what was asked, where it ran, what happened."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from opkit.base import safe_yaml
from opkit.base.environment import environment
from opkit.base.explain import explain
from opkit.base.files import (
    append_regular,
    locked,
    make_folder,
    open_regular,
    refusals,
    why,
    write_bytes,
)
from opkit.errors import BundleError, DataError, OpkitInputError
from opkit.zoo import is_name

COLUMNS = (
    "epoch",
    "train_loss",
    "validation",
    "learning_rate",
    "seconds",
    "samples_per_second",
)
LOCK = "lock"
MAX_LOG = 256 << 20
RECORDS = ("config.yaml", "environment.json", "log.jsonl", "metrics.csv", LOCK)
FILES = ("model.safetensors", "config.json", "card.md", "hypino.safetensors")
"""Of a bundle."""
FOLDERS = {
    "checkpoints": re.compile(r"manifest\.json|epoch-\d{6,}\.safetensors|\..*\.tmp-.*"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..*|version_\d+|hparams\.yaml"),
    "wandb": re.compile(r".*run-.*|debug.*\.log|settings"),
}
"""What a run has written when its first epoch begins, and the names in its folders."""


class _Asked(BaseModel):
    """Kinds of the values in ``config.yaml``; `Recipe` checks the recipe."""

    model_config = ConfigDict(extra="allow", strict=True)

    recipe: dict[str, Any]
    data: str = ""
    data_hash: str = ""
    seed: int = 0
    device: str = ""
    start: str | None = None
    more: list[str] = []
    more_known: list[str] = []


class RunDirectory:
    """Paths and records of one run.

    ``config.yaml`` what was asked; ``environment.json`` where it ran; ``log.jsonl``
    what happened, one event a line; ``metrics.csv`` one line an epoch; folders
    ``checkpoints/``, ``figures/`` and ``bundle/``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def bundle(self) -> Path:
        """Folder of the bundle."""
        return self.path / "bundle"

    @property
    def figures(self) -> Path:
        """Folder of the figures.

        Raises:
            DataError: it is a link, through which files elsewhere would be replaced.
        """
        return self.own_folder("figures")

    def own_folder(self, name: str) -> Path:
        """Return a folder of the run that files are written to.

        Raises:
            DataError: it is a link, through which files elsewhere would be replaced.
        """
        folder = self.path / name
        if folder.is_symlink():
            raise DataError(f"{folder}: is a link: put the folder itself there")
        return folder

    def create(self, config: dict[str, Any]) -> None:
        """Make a new run directory; one whose first epoch failed is replaced.

        Raises:
            OpkitInputError: it exists and is not empty, or cannot be made.
            DataError: another process trains there.
        """
        if self._failed_at_once():
            with self.held():
                if self._failed_at_once():  # nobody else has begun there meanwhile
                    self.discard()
        try:
            if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
                raise OpkitInputError(
                    f"{self.path} exists: choose another --out, or go on with --resume"
                )
            make_folder(self.path)
            self.checkpoints.mkdir()
        except FileExistsError:
            raise OpkitInputError(
                f"{self.path}: another process starts a run there: choose another --out"
            ) from None
        except OSError as error:
            raise OpkitInputError(f"{self.path}: {why(error)}") from None
        text = json.dumps(environment(), indent=1) + "\n"
        try:
            write_bytes(self.path / "config.yaml", yaml.safe_dump(config).encode())
            write_bytes(self.path / "environment.json", text.encode())
        except DataError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what a run without a finished epoch has written, and nothing else."""
        for name in RECORDS:
            (self.path / name).unlink(missing_ok=True)
        for name, own in FOLDERS.items():
            _clear(self.path / name, own)
        with contextlib.suppress(OSError):  # other files are in it: it stays
            self.path.rmdir()

    def _failed_at_once(self) -> bool:
        events = self.events() if self.path.is_dir() else []
        failed = bool(events) and events[-1].get("event") == "failed"
        return failed and not self.metrics()

    @contextmanager
    def held(self, mine: bool = True) -> Iterator[None]:
        """Let no second process train in the run for the time of the block.

        Args:
            mine: whether this process is the one of several that writes.

        Raises:
            DataError: another process does.
        """
        with locked(self.path / LOCK, "trains there") if mine else nullcontext():
            yield

    def config(self) -> dict[str, Any]:
        """Read ``config.yaml``.

        Raises:
            BundleError: there is none, or it is damaged.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise BundleError(f"{path} does not exist: not a run directory")
        data = safe_yaml.read(path)
        if not isinstance(data, dict) or "recipe" not in data:
            raise BundleError(f"{path}: damaged, no recipe")
        try:
            _Asked.model_validate(data)
        except ValidationError as error:
            raise BundleError(f"{path}: damaged, {explain(error, _Asked)}") from None
        return data

    def log(self, event: str, **values: Any) -> None:
        """Append one event to ``log.jsonl``."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **values})
        path = self.path / "log.jsonl"
        with refusals(path):
            append_regular(path, (line + "\n").encode())

    def events(self) -> list[dict[str, Any]]:
        """Read ``log.jsonl``; a torn last line is left out."""
        events = []
        for line in _text(self.path / "log.jsonl").splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def metrics(self) -> list[dict[str, float]]:
        """Read ``metrics.csv``; a torn last line is left out."""
        rows = []
        names, *lines = _text(self.path / "metrics.csv").splitlines() or [""]
        for line in lines:
            cells = dict(zip(names.split(","), line.split(","), strict=False))
            try:
                row = {name: float(cells[name]) for name in COLUMNS}
            except (ValueError, KeyError):
                continue
            if math.isfinite(row["epoch"]):
                rows.append(row)
        return rows

    def add_metrics(self, row: dict[str, float]) -> None:
        """Append one epoch to ``metrics.csv``; numbers are written exactly."""
        path = self.path / "metrics.csv"
        new = not path.is_file()
        head = ",".join(COLUMNS) + "\n" if new else ""
        with refusals(path):
            append_regular(path, (head + _csv_line(row)).encode())

    def cut_metrics(self, epochs: int) -> None:
        """Drop epochs after the first ``epochs``, before they are done again."""
        rows = [row for row in self.metrics() if row["epoch"] <= epochs]
        text = ",".join(COLUMNS) + "\n" + "".join(_csv_line(row) for row in rows)
        write_bytes(self.path / "metrics.csv", text.encode())


def files_of(run: Path | None) -> list[Path]:
    """Return the files of a run or bundle, which no output may replace."""
    if run is None:
        return []
    names = (*RECORDS, *FILES)
    known = [folder / name for folder in (run, run / "bundle") for name in names]
    with contextlib.suppress(OSError):
        known += (run / "checkpoints").iterdir()
    return [run, *known]


def data_of_run(run: Path) -> Path:
    """Return the data file that a run, or the run around a bundle, was trained on.

    Raises:
        BundleError: it is not known, or gone.
    """
    for folder in () if is_name(run) else (run, run.parent):
        if (folder / "config.yaml").is_file():
            name = RunDirectory(folder).config().get("data")
            if not name:
                break
            path = Path(name)
            if path.is_file():
                return path
            raise BundleError(
                f"{path} is gone: say where the data are, give --data FILE"
            )
    raise BundleError(f"{run} does not say where its data are: give --data FILE")


def _text(path: Path) -> str:
    """Return a log's text; empty if there is none, and without what is not UTF-8."""
    if not path.is_file():
        return ""
    with refusals(path), open_regular(path) as file:
        return file.read(MAX_LOG).decode(errors="replace").replace("\0", "")


def _clear(folder: Path, own: re.Pattern[str]) -> None:
    """Remove files and folders of these names, and the folder if nothing else is in it.

    A link to a folder stays, with what it leads to.
    """
    with contextlib.suppress(OSError):
        if folder.is_symlink():
            return
        for entry in list(folder.iterdir()):
            if not own.fullmatch(entry.name):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        folder.rmdir()


def _csv_line(row: dict[str, float]) -> str:
    cells = [str(int(row["epoch"])), *(repr(float(row[c])) for c in COLUMNS[1:])]
    return ",".join(cells) + "\n"
