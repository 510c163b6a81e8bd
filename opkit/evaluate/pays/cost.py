"""What a surrogate cost before its first answer, and when that is paid back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from opkit.datasets.header import GENERATION_SECONDS, Header
from opkit.datasets.read import DataFile
from opkit.errors import OpkitInputError
from opkit.evaluate.pays.record import BreakEven, Exact, queries
from opkit.surrogate.bundle.run_directory import data_of_run
from opkit.surrogate.surrogate import Surrogate


def fixed_cost(
    loaded: Surrogate,
    data: Path,
    full: float | None,
    own: float,
    rival: float | None,
    exact: Exact,
) -> BreakEven:
    """Return what has to be paid back, and the queries that do it.

    Args:
        loaded: the surrogate.
        data: file that it was measured on.
        full: seconds of a full solve; stand in where generation stored none.
        own: seconds of the surrogate, one query at a time.
        rival: seconds of the solve that it is held against.
        exact: the exact answer from the prediction.
    """
    record = loaded.config.provenance
    generation, source, note = _generation(loaded, data, full)
    whole = None if generation is None else generation + record.seconds
    warm = exact.seconds if exact.agree else None
    cold = exact.rival_seconds or exact.cold_seconds
    return BreakEven(
        generation_seconds=generation,
        generation=source,
        training_seconds=record.seconds,
        against_exact=queries(whole, full, own),
        against_rival=queries(whole, rival, own),
        as_a_guess=None if warm is None else queries(whole, cold, warm),
        note=note,
    )


def _generation(
    loaded: Surrogate, data: Path, full: float | None
) -> tuple[float | None, Literal["stored", "estimated", "unknown"], str]:
    """Return the seconds that all training data took, where from, and what is missing.

    Where a file does not say so, its samples count as full solves now.
    """
    record = loaded.config.provenance
    missing = [text.rpartition(" ")[0] for text in record.more_data]
    note = f"without {', '.join(missing)}" if missing else ""
    header = _training_data(loaded, data)
    if header is not None:
        stored = header.provenance.get(GENERATION_SECONDS)
        if isinstance(stored, int | float) and stored > 0:
            return float(stored), "stored", note
    if full is None:
        why = "the data file does not say, and there is no solver to time"
        return None, "unknown", why
    count = record.train_samples + record.validation_samples
    samples = count if header is None else header.samples
    guess = f"generation estimated from {samples} full solves"
    return samples * full, "estimated", "; ".join(filter(None, (guess, note)))


def _training_data(loaded: Surrogate, data: Path) -> Header | None:
    """Return the header of the file that the surrogate was trained on; None if gone."""
    content = loaded.config.provenance.data_hash
    places = [data]
    if loaded.source is not None:
        with suppress(OpkitInputError):
            places.append(data_of_run(loaded.source))
    for place in places:
        with DataFile(place) as file:
            if file.content_hash() == content:
                return file.header
    return None
