"""Export a surrogate: trace, write, execute, compare, and only then give it a name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from opkit.base.files import folder_beside, publish, read_regular, refusals
from opkit.errors import BundleError, DataError, ExportError, OpkitInputError
from opkit.export import report
from opkit.export.compare import (
    cycled,
    derivative_gaps,
    difference_of,
    real_inputs,
    verdict_gaps,
)
from opkit.export.derivatives import FORMS
from opkit.export.report import Derivative, Field, Report, VerdictField
from opkit.export.targets import Names, Target, target
from opkit.export.trace import trace
from opkit.export.verdict import Entry, entries_of
from opkit.operators.inputs import Inputs
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.surrogate import Surrogate
from opkit.zoo import is_name

INTERFACE = "2"
"""Version of the metadata that programs in C read; see export/native/opkit.h."""
UNPAIRED = re.compile("[\ud800-\udfff]")
"""What Python makes of the bytes of a name that is not UTF-8."""
MOST = 1_000_000
"""Samples of a batch, which are traced and compared."""
VERDICT = 1e-5
"""What a verdict may differ by from a check's, of its size or of 1."""


def export(
    run: str | Path,
    to: str,
    out: str | Path | None = None,
    batch: int | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
    verdict: bool = True,
    derivatives: bool = False,
) -> Report:
    """Write a surrogate as a file that runs without opkit, in physical units.

    The file is executed on samples of the surrogate's data and compared with it before
    it gets its name; the report goes beside it as ``<file>.json``. Autoregressive
    surrogates give one step: history in, next frame out. Beside the prediction the file
    gives the verdict of a check that asks no solver (`Surrogate.without_solver`): a
    further program ``verdict``, in ONNX further outputs.

    Args:
        run: run directory or bundle.
        to: ``"pt2"`` (torch.export), ``"aoti"`` (compiled by AOTInductor), ``"onnx"``.
        out: file to make; ``model.pt2``, ``model-aoti.pt2`` or ``model.onnx`` in the
            run directory where not given, or the working directory for ``zoo:NAME``.
        batch: the one batch size to take; any where not given.
        data: data file to compare on; the run's own where not given.
        device: ``"cpu"`` or ``"cuda"``, where the file will run.
        verdict: also write error bound, novelty and range, where the bundle has a
            calibration; on a CPU.
        derivatives: also write the programs ``jvp`` and ``vjp``, products with the
            Jacobian and its transpose.

    Raises:
        BundleError: the bundle or its data file is missing or damaged.
        DataError: the file exists, or cannot be written.
        ExportError: the operator cannot be written so, or the outputs differ.
        MissingExtraError: a package of the extra ``export`` is not installed.
        OpkitInputError: unknown target or device.
    """
    kind, run = target(to), Path(run)
    if device not in kind.devices:
        raise OpkitInputError(
            f"--to {to} runs on {' or '.join(kind.devices)}, not on {device!r}"
        )
    if batch is not None and not 1 <= batch <= MOST:
        raise OpkitInputError(
            f"batch {batch}: give a number from 1 to {MOST:,}, or dynamic"
        )
    if derivatives and not kind.several:
        raise OpkitInputError(
            f"a file of {to} holds one program: use --to pt2 or aoti with derivatives"
        )
    path = _path(run, kind, out)
    loaded = surrogate.load(run, device)
    kind.require()
    if loaded.config.shape.ragged:
        raise ExportError(
            f"operator {loaded.config.operator} is given samples that have a mesh or "
            "cloud each, of several lengths, which are laid one after another outside "
            "the tensor program: call it through opkit.load"
        )
    samples = real_inputs(run, loaded.config, Path(data) if data else None)
    inputs, outputs = report.fields(loaded.config, samples, batch)
    judged, no_verdict = _judged(loaded, device) if verdict else (None, "not asked for")
    entries = () if judged is None else entries_of(judged.checker.calibration)
    seconds: dict[str, float] = {}
    with folder_beside(path) as folder, refusals(path):
        start = time.perf_counter()
        programs = trace(loaded, samples, batch, judged, derivatives, not kind.several)
        seconds["trace"] = time.perf_counter() - start
        start = time.perf_counter()
        temporary = folder / path.name
        metadata = _metadata(loaded.config, inputs, outputs, entries, tuple(programs))
        further = [] if kind.several else [entry.name for entry in entries]
        names = Names(
            [field.name for field in inputs], [*(f.name for f in outputs), *further]
        )
        kind.write(programs, temporary, names, metadata)
        seconds["write"] = time.perf_counter() - start
        start = time.perf_counter()
        opened = kind.open(temporary, "model")
        difference = difference_of(loaded, opened, samples, batch)
        judgements = _verdict(judged, kind, temporary, entries, samples, batch)
        products = _derivatives(loaded, kind, temporary, programs, samples, batch)
        seconds["check"] = time.perf_counter() - start
        if not difference.relative_l2 <= difference.tolerance:
            raise ExportError(
                f"the {to} file's outputs differ from the surrogate's by "
                f"{difference.relative_l2:.1e} (relative L2), above "
                f"{difference.tolerance:.1e}: not kept, use another --to"
            )
        content = temporary.read_bytes()
        result = Report(
            file=path.name,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            target=to,
            device=device,
            operator=loaded.config.operator,
            case=_identity(loaded.config),
            bundle_sha256=loaded.config.weights_sha256,
            history=loaded.model.history,
            inputs=inputs,
            outputs=outputs,
            difference=difference,
            seconds=seconds,
            versions=report.versions(kind.packages),
            programs=tuple(programs),
            verdict=judgements,
            no_verdict=no_verdict,
            derivatives=products,
        )
        beside = folder / _report_of(path).name
        beside.write_text(result.model_dump_json(indent=1) + "\n")
        publish(beside, _report_of(path), replace=_is_report(_report_of(path)))
        try:
            publish(temporary, path, replace=False)
        except OSError:
            _report_of(path).unlink()
            raise
    return result


def _judged(loaded: Surrogate, device: str) -> tuple[Surrogate | None, str]:
    """Return a surrogate whose checks ask no solver, or why there is none."""
    if device != "cpu":
        return None, "verdicts are computed on a CPU"
    try:
        return loaded.without_solver(), ""
    except (BundleError, DataError) as error:
        return None, str(error)


def _verdict(
    judged: Surrogate | None,
    kind: Target,
    path: Path,
    entries: tuple[Entry, ...],
    samples: Inputs,
    batch: int | None,
) -> tuple[VerdictField, ...]:
    """Compare the file's verdict with a check.

    Raises:
        ExportError: they differ.
    """
    if judged is None:
        return ()
    gaps = verdict_gaps(judged, kind.open(path, "verdict"), entries, samples, batch)
    for name, gap in gaps.items():
        if not gap <= VERDICT:
            raise ExportError(
                f"the file's {name} differs from the check's by {gap:.1e}, above "
                f"{VERDICT:.0e}: not kept, export without a verdict"
            )
    return tuple(
        VerdictField(name=e.name, columns=e.columns, means=e.means, gap=gaps[e.name])
        for e in entries
    )


def _derivatives(
    loaded: Surrogate,
    kind: Target,
    path: Path,
    programs: Iterable[str],
    samples: Inputs,
    batch: int | None,
) -> dict[str, Derivative]:
    """Compare the file's derivatives with PyTorch's.

    Raises:
        ExportError: they differ.
    """
    count = batch or 1
    opened = {name: kind.open(path, name) for name in FORMS if name in programs}
    found = {}
    for name, (gap, allowed) in derivative_gaps(
        loaded, opened, cycled(samples, count)
    ).items():
        if not gap <= allowed:
            raise ExportError(
                f"the file's {name} differs from the surrogate's derivative by "
                f"{gap:.1e} (relative L2), above {allowed:.1e}: not kept"
            )
        found[name] = Derivative(samples=count, relative_l2=gap, tolerance=allowed)
    return found


def _path(run: Path, kind: Target, out: str | Path | None) -> Path:
    place = Path() if is_name(run) else run
    path = Path(out) if out is not None else place / kind.default
    if path.suffix != kind.suffix:
        raise OpkitInputError(f"{path}: the file's name must end with {kind.suffix}")
    if out is not None and not path.parent.is_dir():
        raise DataError(f"{path.parent}: no such folder, make it first")
    if UNPAIRED.search(str(path.absolute())):
        raise DataError(f"{path}: torch and onnxruntime open names in UTF-8 only")
    beside = _report_of(path)
    for name in (path, beside):
        if os.path.lexists(name) and not (name == beside and _is_report(beside)):
            raise DataError(f"{name} exists: remove it, or choose another with --out")
    return path


def _report_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _is_report(path: Path) -> bool:
    """Whether a file is the report of an earlier export, which may be replaced."""
    try:
        return (
            f"{Report.model_validate_json(read_regular(path)).file}.json" == path.name
        )
    except (OSError, ValueError):
        return False


def _metadata(
    config: BundleConfig,
    inputs: tuple[Field, ...],
    outputs: tuple[Field, ...],
    entries: tuple[Entry, ...],
    programs: tuple[str, ...],
) -> dict[str, str]:
    """What goes into the file itself: texts by key.

    ``opkit`` is JSON for whoever can read it; the others are words between spaces, or
    lines, for programs in C.
    """
    shapes = {
        f"{field.name}.shape": " ".join(str(n) for n in field.shape)
        for field in (*inputs, *outputs)
    }
    variables = {
        f"{field.name}.variables": "\n".join(
            f"{v.name}\t{v.channels}\t{v.units}" for v in field.variables
        )
        for field in (*inputs, *outputs)
    }
    about = {
        "opkit_version": config.opkit_version,
        "operator": config.operator,
        "case": _identity(config),
        "bundle_sha256": config.weights_sha256,
        "inputs": [field.model_dump(mode="json") for field in inputs],
        "outputs": [field.model_dump(mode="json") for field in outputs],
        "verdict": [asdict(entry) for entry in entries],
        "programs": list(programs),
    }
    return {
        "opkit": json.dumps(about),
        "interface": INTERFACE,
        "torch": str(torch.__version__).partition("+")[0],
        "programs": " ".join(programs),
        "inputs": " ".join(field.name for field in inputs),
        "outputs": " ".join(field.name for field in outputs),
        "verdict": " ".join(entry.name for entry in entries),
        **{
            f"{entry.name}.columns": "\n".join(entry.columns)
            for entry in entries
            if entry.columns
        },
        **shapes,
        **variables,
    }


def _identity(config: BundleConfig) -> str:
    case = config.case
    if "name" not in case:
        return "imported data"
    return f"{case['name']}-v{case.get('version', 0)}"
