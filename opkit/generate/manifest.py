"""The manifest: one JSON line for each finished shard, with its SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opkit.base.files import (
    append_regular,
    file_digest,
    read_regular,
    refusals,
    sync,
    write_bytes,
)
from opkit.datasets.header import canonical
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.generate.planning import Plan
from opkit.generate.shard import Shard

NAME, LOCK = "manifest.jsonl", "lock"
_OWN = re.compile(rf"{NAME}|{LOCK}|shard-\d+\.(h5|at|at-\d+)|\..*\.tmp-.*", re.DOTALL)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds anything but what a generation leaves.

    Files that are not taken over are deleted, and a folder of that name may be another
    one's, or a link to it.

    Raises:
        DataError: it is a link, or something else is there.
    """
    if folder.is_symlink():
        raise DataError(f"{folder}: is a link: put the folder itself there")
    for entry in os.scandir(folder):
        own = _OWN.fullmatch(entry.name)
        if not own or entry.is_dir(follow_symlinks=False):
            raise DataError(
                f"{entry.path}: is not of a generation, which would delete it: move it"
            )


def fingerprint(
    plan: Plan, gzip: int, picked: Sequence[int] | None = None, ranks: int = 1
) -> str:
    """Digest everything that decides the content and the partition into shards.

    The header has the content of files that the case names.
    """
    description = plan.header.describe()
    del description["provenance"]
    description["shards"] = [plan.samples, plan.shard_samples, gzip]
    if ranks > 1:
        description["ranks"] = ranks
    if picked is not None:
        description["picked"] = list(picked)
    return hashlib.sha256(canonical(description).encode()).hexdigest()


class Manifest:
    """The list of finished shards in a folder.

    Args:
        folder: where shards and manifest lie.
        mark: from `fingerprint`.
        picked: numbers of the random streams, where they are not those of the rows.
    """

    def __init__(
        self, folder: Path, mark: str, picked: Sequence[int] | None = None
    ) -> None:
        self._path = folder / NAME
        self.mark, self.picked = mark, picked
        self.shards: dict[str, Shard] = {}

    def create(self) -> None:
        """Start an empty manifest."""
        write_bytes(self._path, self._line({"fingerprint": self.mark}))

    def resume(self) -> None:
        """Take over every shard that is intact, listed or not, and delete the others.

        A shard whose worker or parent died before it was listed is read in full and
        adopted; temporary files are deleted.

        Raises:
            DataError: the folder belongs to another case, seed or number of samples.
        """
        listed: dict[str, Shard] = {}
        lines = []
        with refusals(self._path):
            if self._path.exists():
                lines = read_regular(self._path).split(b"\n")
        for number, line in enumerate(lines):
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):
                if number == 0:
                    break  # of which case it is, each shard says itself
                continue  # the last line may be cut short
            first = {"fingerprint": self.mark}
            if number == 0 and data not in (first, self._sealed(first)):
                raise DataError(
                    f"{self._path.parent}: made for another case, seed or number of "
                    "samples, or a file that the case names has changed since: resume "
                    "with the same ones, or delete it"
                )
            if number and (listed_one := self._read(data)) is not None:
                listed[listed_one.name] = listed_one
        for file in sorted(self._path.parent.iterdir()):
            if file.suffix == ".h5" and not file.name.startswith("."):
                intact = self._judge(file, listed.get(file.name))
                if intact is not None:
                    self.shards[file.name] = intact
                    continue
            if file.name not in (NAME, LOCK):
                file.unlink()
        content = self._line({"fingerprint": self.mark})
        for shard in self.shards.values():
            content += self._line(asdict(shard))
        write_bytes(self._path, content)

    def add(self, shard: Shard) -> None:
        """List a finished shard."""
        append_regular(self._path, self._line(asdict(shard)))
        sync(self._path)
        self.shards[shard.name] = shard

    def _judge(self, file: Path, listed: Shard | None) -> Shard | None:
        if not file.is_file():
            return None
        digest = file_digest(file)
        if listed is not None:
            return listed if listed.sha256 == digest else None
        try:
            with DataFile(file, trusted=True) as shard:
                if shard.header.provenance.get("fingerprint") != self.mark:
                    return None
                for _ in shard.verify():
                    pass
                index, error = shard.index, shard.diagnostics()["error"]
        except DataError:
            return None
        first = int(index[0])
        if self.picked is not None:
            first = list(self.picked).index(first)
        last = first + len(index)
        return Shard(file.name, first, last, digest, float(error.max()))

    @classmethod
    def _line(cls, data: dict[str, Any]) -> bytes:
        return (json.dumps(cls._sealed(data)) + "\n").encode()

    @staticmethod
    def _sealed(data: dict[str, Any]) -> dict[str, Any]:
        """Add a digest of the line, which a damaged one does not have."""
        return {**data, "line": hashlib.sha256(canonical(data).encode()).hexdigest()}

    @classmethod
    def _read(cls, data: Any) -> Shard | None:
        """Take a line if it is intact; a shard that none lists is read in full."""
        if not isinstance(data, dict):
            return None
        plain = {key: value for key, value in data.items() if key != "line"}
        if cls._sealed(plain) != data:
            return None
        try:
            return Shard(**plain)
        except TypeError:  # sealed by somebody, with other keys
            return None
