"""Discovery from trajectories in a data file, with a solver or a user's own model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from opkit.assimilate.steps import solver_step
from opkit.base.arrays import Array
from opkit.case.catalogue import apply_override
from opkit.case.record import parse_case, parse_stored
from opkit.datasets.read import DataFile
from opkit.discover.increments import Discovery, discover
from opkit.discover.library import spectral_library
from opkit.errors import OpkitInputError

Model = Callable[[Array], Array]


def from_file(
    path: Path,
    model: Model | None = None,
    *,
    wrong: Sequence[str] = (),
    pairs: int = 20,
    steps: int | None = None,
    powers: int = 4,
    derivatives: int = 4,
    least: float = 0.01,
    corrections: int = 4,
) -> Discovery:
    """Find what a model lacks of the trajectories in a data file.

    Pairs of records, one interval of the file apart, are chosen evenly.

    Args:
        path: data file with one output in time, on a periodic grid.
        model: states (sample, *space) to those one record interval later; the solver
            of the file's own case where None.
        wrong: what that solver has otherwise, such as ``solver.parameters.x=0``.
        pairs: most pairs of records.
        steps: fixed time steps of the case's solver in an interval.
        powers: of the library.
        derivatives: of the library.
        least: share below which a term is dropped.
        corrections: see `discover`.

    Raises:
        OpkitInputError: no such output, times that are not evenly apart, a grid that is
            not periodic; a model beside ``wrong``, or neither with data without a case.
        DataError: the file cannot be read.
    """
    if pairs < 1:
        raise OpkitInputError(f"pairs {pairs}: give 1 or more")
    with DataFile(path) as file:
        header = file.header
        moving = [v for v in header.outputs if "time" in v.dims and len(v.dims) > 1]
        if len(moving) != 1 or len(header.outputs) != 1:
            raise OpkitInputError(
                f"{path}: discovery needs one output, a field in time: it has "
                f"{', '.join(v.name for v in header.outputs)}"
            )
        state = moving[0]
        if state.dims[0] != "time" or header.mesh is not None or header.ragged:
            raise OpkitInputError(
                f"{path}: {state.name} lies on {', '.join(state.dims)}: discovery is "
                "for fields on one grid"
            )
        times = np.asarray(header.coordinates["time"].values, np.float64)
        gaps = np.diff(times)
        if not len(gaps) or not np.allclose(gaps, gaps[0], rtol=1e-6):
            raise OpkitInputError(
                f"{path}: its {len(times)} times are not evenly apart, or too few: "
                "store two or more"
            )
        stored = dict(header.case)
        axes = state.dims[1:]
        places = [np.asarray(header.coordinates[axis].values) for axis in axes]
        count = len(file) * len(gaps)
        chosen = np.unique(np.linspace(0, count - 1, min(pairs, count)).astype(int))
        series = [file.read(state.name, int(row)) for row in chosen // len(gaps)]
    first = chosen % len(gaps)
    before, after = (
        np.stack([s[k + ahead] for s, k in zip(series, first, strict=True)])
        for ahead in (0, 1)
    )
    periods = _periods(path, stored, axes)
    return discover(
        _model(path, stored, model, wrong, steps, float(gaps[0])),
        before.astype(np.float64),
        after.astype(np.float64),
        float(gaps[0]),
        spectral_library(tuple(places), periods, powers, derivatives),
        least=least,
        corrections=corrections,
    )


def _periods(
    path: Path, stored: dict[str, object], axes: Sequence[str]
) -> tuple[float, ...]:
    if not stored:
        raise OpkitInputError(
            f"{path}: data without a case do not say whether their grid is periodic: "
            "use opkit.discover.discover"
        )
    case = parse_stored(stored, str(path))
    open_axes = [axis for axis in axes if not case.periodic.get(axis, False)]
    if open_axes:
        raise OpkitInputError(
            f"{path}: axis {open_axes[0]} is not periodic: the spectral library needs "
            "that; use opkit.discover.discover with terms of your own"
        )
    extent = {str(axis): ends for axis, ends in case.geometry.extent.items()}
    return tuple(extent[axis][1] - extent[axis][0] for axis in axes)


def _model(
    path: Path,
    stored: dict[str, object],
    model: Model | None,
    wrong: Sequence[str],
    steps: int | None,
    interval: float,
) -> Model:
    if model is not None:
        if wrong:
            raise OpkitInputError("--model and --wrong: give one of them")
        return model
    if not wrong:
        raise OpkitInputError(
            "no model: give --model FILE.py:FUNCTION, or what the solver of the file's "
            "case has otherwise, --wrong KEY=VALUE"
        )
    parse_stored(stored, str(path))  # refuses mesh files that a file names
    data = json.loads(json.dumps(stored))
    for override in (f"solver.parameters.record_interval={interval!r}", *wrong):
        apply_override(data, override)
    return solver_step(parse_case(data, f"the model of {path}"), steps)


def load_model(name: str) -> Model:
    """Load a user's function from ``FILE.py:FUNCTION``.

    The file is run, as ``python FILE.py`` would.

    Raises:
        OpkitInputError: not of that form, no such file or function, or the file fails.
    """
    text, colon, function = name.rpartition(":")
    path = Path(text)
    if not colon or path.suffix != ".py" or not function.isidentifier():
        raise OpkitInputError(f"--model {name}: write it as FILE.py:FUNCTION")
    if not path.is_file():
        raise OpkitInputError(f"--model {name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise OpkitInputError(f"--model {name}: {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code raises what it likes
        raise OpkitInputError(
            f"--model {name}: running {path} failed: {type(error).__name__}: {error}"
        ) from error
    model = vars(module).get(function)
    if not callable(model):
        raise OpkitInputError(
            f"--model {name}: {path} has no function {function!r}: name one"
        )
    found: Model = model
    return found
