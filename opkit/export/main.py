"""Export a surrogate: trace, write, execute, compare, and only then give it a name."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from opkit.base.files import folder_beside, publish, read_regular, refusals
from opkit.errors import DataError, ExportError, OpkitInputError
from opkit.export import report
from opkit.export.compare import difference_of, real_inputs
from opkit.export.report import Field, Report
from opkit.export.targets import Names, Target, target
from opkit.export.trace import trace
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.record import BundleConfig
from opkit.zoo import is_name


def export(
    run: str | Path,
    to: str,
    out: str | Path | None = None,
    batch: int | None = None,
    data: str | Path | None = None,
    device: str = "cpu",
) -> Report:
    """Write a surrogate as a file that runs without opkit, in physical units.

    The file is executed on samples of the surrogate's data and compared with it before
    it gets its name; the report goes beside it as ``<file>.json``. Autoregressive
    surrogates give one step: history in, next frame out.

    Args:
        run: run directory or bundle.
        to: ``"pt2"`` (torch.export), ``"aoti"`` (compiled by AOTInductor), ``"onnx"``.
        out: file to make; ``model.pt2``, ``model-aoti.pt2`` or ``model.onnx`` in the
            run directory where not given, or the working directory for ``zoo:NAME``.
        batch: the one batch size to take; any where not given.
        data: data file to compare on; the run's own where not given.
        device: ``"cpu"`` or ``"cuda"``, where the file will run.

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
    if batch is not None and batch < 1:
        raise OpkitInputError(f"batch {batch}: give a positive number, or dynamic")
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
    seconds: dict[str, float] = {}
    with folder_beside(path) as folder, refusals(path):
        start = time.perf_counter()
        program = trace(loaded, samples, batch)
        seconds["trace"] = time.perf_counter() - start
        start = time.perf_counter()
        temporary = folder / path.name
        metadata = _metadata(loaded.config, inputs, outputs)
        names = Names([field.name for field in inputs], [f.name for f in outputs])
        kind.write(program, temporary, names, metadata)
        seconds["write"] = time.perf_counter() - start
        start = time.perf_counter()
        difference = difference_of(loaded, kind.open(temporary), samples, batch)
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


def _path(run: Path, kind: Target, out: str | Path | None) -> Path:
    place = Path() if is_name(run) else run
    path = Path(out) if out is not None else place / kind.default
    if path.suffix != kind.suffix:
        raise OpkitInputError(f"{path}: the file's name must end with {kind.suffix}")
    if out is not None and not path.parent.is_dir():
        raise DataError(f"{path.parent}: no such folder, make it first")
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
    config: BundleConfig, inputs: tuple[Field, ...], outputs: tuple[Field, ...]
) -> dict[str, str]:
    """What goes into the file itself: texts by key."""
    shapes = {
        f"{field.name}.shape": " ".join(str(n) for n in field.shape)
        for field in (*inputs, *outputs)
    }
    about = {
        "opkit_version": config.opkit_version,
        "operator": config.operator,
        "case": _identity(config),
        "bundle_sha256": config.weights_sha256,
        "inputs": [field.model_dump(mode="json") for field in inputs],
        "outputs": [field.model_dump(mode="json") for field in outputs],
    }
    return {"opkit": json.dumps(about), **shapes}


def _identity(config: BundleConfig) -> str:
    case = config.case
    if "name" not in case:
        return "imported data"
    return f"{case['name']}-v{case.get('version', 0)}"
