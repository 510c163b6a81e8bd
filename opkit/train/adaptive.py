"""A surrogate that learns from its own use.

Each query is predicted; where the prediction may be off by more than tolerated, the
case's solver answers, and its answer is kept. When enough have come, training goes on
with them, and the new bundle takes the place of the old one between two queries.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from opkit.base.files import append_regular, make_folder, read_regular, refusals
from opkit.base.show import Shown
from opkit.datasets.read import DataFile
from opkit.errors import OpkitError, OpkitInputError
from opkit.surrogate.checks.calibration import COVERAGE
from opkit.surrogate.checks.fallback import Solved
from opkit.surrogate.surrogate import Surrogate, load
from opkit.train.loop.events import Event
from opkit.train.loop.recipes import first_data
from opkit.train.main import train

LOG = "retrainings.jsonl"


@dataclass(frozen=True)
class Retraining:
    """One training with what was kept.

    Args:
        run: run directory of the new bundle.
        weights: SHA-256 of its weights; empty where training failed.
        queries: samples asked for until training began.
        store_samples: samples in the store then.
        seconds: that training took.
        problem: why it failed; empty where it did not.
    """

    run: str
    weights: str
    queries: int
    store_samples: int
    seconds: float
    problem: str = ""


@dataclass(frozen=True, repr=False)
class AdaptiveRecord(Shown):
    """What was asked for and done since the object was made.

    Args:
        queries: samples asked for.
        accepted: of them, predictions that were good enough.
        fallbacks: of them, those that the solver answered.
        stored: of these, those that the store did not hold before.
        retrainings: in their order.
        versions: SHA-256 of the weights in use, the first and each that followed.
    """

    queries: int = 0
    accepted: int = 0
    fallbacks: int = 0
    stored: int = 0
    retrainings: tuple[Retraining, ...] = ()
    versions: tuple[str, ...] = ()

    def _facts(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "accepted": self.accepted,
            "fallbacks": self.fallbacks,
            "stored": self.stored,
            "retrainings": len(self.retrainings),
            "failed": sum(bool(r.problem) for r in self.retrainings) or None,
            "version": self.versions[-1][:8] if self.versions else None,
        }


class Adaptive:
    """A surrogate that falls back, keeps what was solved, and is trained again.

    Threads may ask it at the same time: each query is answered by one bundle, from
    prediction to check, and a new bundle is taken by the queries that begin after it.
    One object, in one process, trains into a folder; a store may serve several.

    Args:
        run: run directory to begin with; its data are trained with again.
        store: data file that keeps what was solved; made where it is missing.
        tolerance: see `Surrogate.solve`.
        enough: new samples in the store after which training goes on.
        folder: of the run directories that come; ``RUN-adaptive`` where not given. If
            it holds some, the newest is gone on from.
        background: train in a thread of its own, while queries go on; otherwise the
            query that brought the last sample trains before it returns.
        coverage: see `Surrogate.solve`.
        significance: see `Surrogate.solve`.
        quantity: see `Surrogate.solve`.
        overrides: settings of the recipe, such as ``"training.epochs=5"``.
        seed: of training.
        device: of surrogate and training, ``"cpu"`` or ``"cuda"``.

    Raises:
        OpkitInputError: no run directory, or its data are gone.
        BundleError: its bundle is missing or damaged.
    """

    def __init__(
        self,
        run: str | Path,
        store: str | Path,
        tolerance: float,
        *,
        enough: int = 32,
        folder: str | Path | None = None,
        background: bool = False,
        coverage: float = COVERAGE,
        significance: float = 0.05,
        quantity: str | None = None,
        overrides: Sequence[str] = (),
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if enough < 1:
            raise OpkitInputError(f"enough={enough}: give a number from 1")
        first = Path(run)
        self.data = first_data(first)
        self.store, self.tolerance, self.enough = Path(store), tolerance, enough
        self.folder = Path(folder or first.with_name(f"{first.name}-adaptive"))
        self._options: dict[str, Any] = {
            "coverage": coverage,
            "significance": significance,
            "quantity": quantity,
        }
        self._training: dict[str, Any] = {
            "overrides": tuple(overrides),
            "seed": seed,
            "device": device,
        }
        self._device = device
        past = self._past()
        self._run = Path(past[-1].run) if past else first
        self._surrogate = load(self._run, device)
        self._lock = threading.Lock()  # of all below
        self._counts = {"queries": 0, "accepted": 0, "fallbacks": 0, "stored": 0}
        self._retrainings: list[Retraining] = []
        self._versions = [self._surrogate.config.weights_sha256]
        before = past[-1].store_samples if past else 0
        self._waiting = max(_samples(self.store) - before, 0)
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "adaptive") if background else None
        self._future: Future[None] | None = None

    def __enter__(self) -> Adaptive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate that answers now."""
        return self._surrogate

    @property
    def record(self) -> AdaptiveRecord:
        """What was asked for and done until now."""
        with self._lock:
            return AdaptiveRecord(
                **self._counts,
                retrainings=tuple(self._retrainings),
                versions=tuple(self._versions),
            )

    def solve(
        self,
        inputs: Any,
        tolerance: float | None = None,
        *,
        steps: int | None = None,
        static: Any = None,
    ) -> Solved:
        """Predict, and solve and learn where the prediction may be off.

        Args:
            inputs: as for `Surrogate.solve`.
            tolerance: another one than the object's.
            steps: of a rollout.
            static: as for a rollout.

        Raises:
            Exception: what `Surrogate.solve` raises. A training that fails raises
                nothing: the old bundle stays, and the record says why.
        """
        surrogate = self._surrogate  # one bundle for the whole query
        answer = surrogate.solve(
            inputs,
            self.tolerance if tolerance is None else tolerance,
            steps,
            static,
            store=self.store,
            **self._options,
        )
        with self._lock:
            accepted = int((answer.action == "accepted").sum())
            self._counts["queries"] += len(answer.action)
            self._counts["accepted"] += accepted
            self._counts["fallbacks"] += len(answer.action) - accepted
            self._counts["stored"] += answer.stored
            self._waiting += answer.stored
            begin = self._waiting >= self.enough and not self._busy
            self._busy |= begin
        if begin:
            self._begin()
        return answer

    def wait(self) -> None:
        """Wait until no training is in progress in the background."""
        future = self._future
        if future is not None:
            future.result()

    def close(self) -> None:
        """Wait for a training in the background, and end its thread."""
        if self._thread is not None:
            self._thread.shutdown()
        self.wait()

    def _begin(self) -> None:
        if self._thread is None:
            self._retrain()
        else:
            self._future = self._thread.submit(self._retrain)

    def _retrain(self) -> None:
        """Train, and put the new bundle in place of the old one."""
        run = self.folder / f"version-{_next(self.folder):03d}"
        begun = time.perf_counter()
        surrogate, problem, count = None, "", 0
        try:
            with self._lock:
                queries = self._counts["queries"]
                self._waiting = 0
            count = _samples(self.store)
            make_folder(self.folder)
            train(
                self.data,
                run,
                start=self._run,
                more=[self.store],
                progress=_silent,
                **self._training,
            )
            surrogate = load(run, self._device)
        except OpkitError as error:
            problem = " ".join(str(error).split())
        finally:
            with self._lock:
                self._busy = False
                if surrogate is not None:
                    self._surrogate, self._run = surrogate, run
                    self._versions.append(surrogate.config.weights_sha256)
        retraining = Retraining(
            str(run),
            "" if surrogate is None else surrogate.config.weights_sha256,
            queries,
            count,
            time.perf_counter() - begun,
            problem,
        )
        with self._lock:
            self._retrainings.append(retraining)
        self._note(retraining)

    def _note(self, retraining: Retraining) -> None:
        path = self.folder / LOG
        if not self.folder.is_dir():  # it could not be made, as the record says
            return
        with refusals(path):
            append_regular(path, (json.dumps(asdict(retraining)) + "\n").encode())

    def _past(self) -> list[Retraining]:
        """Return the trainings of earlier objects whose bundles are there."""
        path = self.folder / LOG
        if not path.is_file():
            return []
        past = []
        with refusals(path):
            lines = read_regular(path).decode(errors="replace").splitlines()
        for line in lines:
            try:
                retraining = Retraining(**json.loads(line))
            except (ValueError, TypeError):  # torn by a full disk or a kill
                continue
            # the folder may have moved
            here = self.folder / Path(retraining.run).name
            if not retraining.problem and here.is_dir():
                past.append(replace(retraining, run=str(here)))
        return past


def _silent(_: Event) -> None:
    """Show nothing, also in a notebook."""


def _samples(store: Path) -> int:
    if not store.exists():
        return 0
    with DataFile(store) as file:
        return len(file)


def _next(folder: Path) -> int:
    numbers = [int(path.name.rpartition("-")[2]) for path in _versions(folder)]
    return max(numbers, default=0) + 1


def _versions(folder: Path) -> list[Path]:
    paths = folder.glob("version-*") if folder.is_dir() else []
    return [path for path in paths if path.name.rpartition("-")[2].isdigit()]
