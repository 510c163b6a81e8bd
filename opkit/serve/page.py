"""A page in the browser: sliders, prediction, verdict, and the solver beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter

import opkit
from opkit.base.records import Record
from opkit.base.show import grid
from opkit.case.data import draw
from opkit.case.laws import Choice, Parameter
from opkit.errors import (
    BundleError,
    CaseError,
    DataError,
    MissingExtraError,
    OpkitInputError,
)
from opkit.evaluate.run import data_of
from opkit.metrics.functional import relative_l2
from opkit.serve import plain
from opkit.serve.asked import Asked
from opkit.serve.pictures import pictures, places
from opkit.serve.vectors import Part
from opkit.surrogate.adapters.refuse import POINTS

MOST_STORED = 12
"""Samples of the run's data file that can be chosen."""
MOST_SLIDERS = 40
LEAST, LARGEST = 0.005, 0.995
"""Quantiles between which a slider of a law without ends moves."""


class Choose(Record):
    """A sample of the data file, or one drawn from the case's laws by a seed."""

    model_config = ConfigDict(strict=True)

    stored: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None


class Chosen(Record):
    """Inputs by name, and the frames of a rollout."""

    model_config = ConfigDict(strict=True)

    inputs: dict[str, Any]
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None


class Page:
    """What the page asks the server.

    Args:
        asked: the surrogate.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked, self.surrogate = asked, asked.surrogate

    def html(self) -> str:
        """Return the page; every text is escaped."""
        environment = Environment(
            loader=PackageLoader("opkit.serve", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        config = self.surrogate.config
        own = [r for r in config.scores if r.predictor == "surrogate"][:1]
        facts = {
            "nodes": grid(config.shape.shape),
            **{f"relative L2 error, {r.split}": f"{r.relative_l2:.3g}" for r in own},
        }
        return environment.get_template("page.html").render(
            title=f"{config.operator} for {config.case.get('name', 'imported data')}",
            subtitle=str(config.case.get("title", "")),
            equation=str(config.case.get("equation", "")),
            facts=facts,
            version=opkit.__version__,
        )

    @staticmethod
    def script() -> str:
        """Return the script of the page."""
        return files("opkit.serve").joinpath("page.js").read_text("utf-8")

    def setup(self) -> dict[str, Any]:
        """Return the controls, the first inputs, and what else can be chosen."""
        stored = len(self._stored)
        first: dict[str, Any] | None = None
        if stored:
            first = self._row(0)
        elif self._why_not_drawn is None:
            first = self._drawn(0)
        sliders = self._sliders(first)
        if first is None:
            first = self._of_sliders(sliders)
        whole = [p.name for p in self._fields]
        return {
            "sliders": sliders,
            "inputs": _plain(first),
            "fields": whole,
            "stored": stored,
            "drawn": self._why_not_drawn is None,
            "steps": bool(self.surrogate.config.history),
            "checked": self.surrogate.calibration is not None,
            "solver": self._why_no_solver,
        }

    def choose(self, chosen: Choose) -> dict[str, Any]:
        """Return the inputs of a sample.

        Raises:
            OpkitInputError: no such sample.
        """
        if chosen.stored is not None:
            if chosen.stored >= len(self._stored):
                raise OpkitInputError(f"there are {len(self._stored)} stored samples")
            return {"inputs": _plain(self._row(chosen.stored))}
        if self._why_not_drawn is not None:
            raise OpkitInputError(self._why_not_drawn)
        return {"inputs": _plain(self._drawn(chosen.seed or 0))}

    def predict(self, chosen: Chosen) -> dict[str, Any]:
        """Return pictures of inputs and prediction, and the verdict on it."""
        check = self.surrogate.calibration is not None
        begun = time.perf_counter()
        reply, arrays = self._asked(chosen, check)
        seconds = time.perf_counter() - begun
        outputs = self.asked.outputs(_question(chosen))
        return {
            "inputs": pictures(self.surrogate, self._fields, arrays),
            "outputs": pictures(self.surrogate, outputs, reply["outputs"]),
            "places": places(self.surrogate, arrays),
            "verdict": reply.get("verdict"),
            "seconds": seconds,
        }

    def solve(self, chosen: Chosen) -> dict[str, Any]:
        """Return pictures of the solver's answer and of the difference to it."""
        guess, _ = self._asked(chosen, False)
        begun = time.perf_counter()
        true, _ = self._asked(chosen, False, "solver")
        seconds = time.perf_counter() - begun
        outputs = self.asked.outputs(_question(chosen))
        both = [
            {k: np.asarray(v, np.float64) for k, v in reply["outputs"].items()}
            for reply in (guess, true)
        ]
        gap = {name: both[0][name] - both[1][name] for name in both[0]}
        return {
            "outputs": pictures(self.surrogate, outputs, both[1]),
            "differences": pictures(self.surrogate, outputs, gap),
            "relative_l2": self._error(outputs, *both),
            "seconds": seconds,
        }

    @property
    def _fields(self) -> list[Part]:
        """What is drawn of the inputs: neither sliders nor places of nodes."""
        others = ("parameters", POINTS)
        return [part for part in self.asked.inputs if part.role not in others]

    def _asked(
        self, chosen: Chosen, check: bool, level: Any = "surrogate"
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        question = _question(chosen, check=check, level=level)
        reply = plain.answer(self.asked, question)  # refuses what does not fit
        arrays = {k: np.asarray(v, np.float64) for k, v in question.inputs.items()}
        if any(arrays[p.name].shape != p.shape for p in self.asked.inputs):
            raise OpkitInputError(
                "the page shows one sample: leave the batch axis away"
            )
        return reply, arrays

    def _error(
        self, parts: tuple[Part, ...], guess: Mapping[str, Any], true: Mapping[str, Any]
    ) -> float:
        """Return the relative L2 error, as the error bounds mean it."""
        config = self.surrogate.config
        joined = []
        for values in (guess, true):
            rows = []
            for part in parts:
                field = torch.from_numpy(values[part.name])
                field = field[-1] if config.history else field
                flat = config.shape.packing is not None
                space = (-1,) if flat else config.shape.shape
                rows.append(field.reshape(-1, *space))
            whole = torch.cat(rows, 1 if config.shape.packing is not None else 0)
            joined.append(whole[None])
        return float(relative_l2(joined[0], joined[1], self.surrogate.domain)[0])

    @cached_property
    def _laws(self) -> dict[str, Parameter]:
        adapter: TypeAdapter[dict[str, Parameter]] = TypeAdapter(dict[str, Parameter])
        return adapter.validate_python(self.surrogate.config.case.get("parameters", {}))

    def _sliders(self, first: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        sliders: list[dict[str, Any]] = []
        for part in self.asked.inputs:
            if part.role != "parameters":
                continue
            low, middle, high = (v.reshape(-1) for v in self._range(part))
            law = self._laws.get(part.name)
            start = middle if first is None else np.reshape(first[part.name], -1)
            for k in range(part.size):
                sliders.append(
                    {
                        "name": part.name,
                        "component": k if part.shape else None,
                        "label": (law.long_name if law else "") or part.name,
                        "units": part.units,
                        "low": float(low[k]),
                        "high": float(high[k]),
                        "log": law is not None and law.scale == "log",
                        "values": list(law.values) if isinstance(law, Choice) else None,
                        "start": float(start[k]),
                    }
                )
        return sliders[:MOST_SLIDERS]

    def _range(self, part: Part) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return ends of a slider and its middle, of a law or of the stored samples."""
        law = self._laws.get(part.name)
        if law is not None:
            ends = [law.quantile(np.full(part.shape, u)) for u in (LEAST, 0.5, LARGEST)]
            low, high = law.support
            low = np.where(np.isfinite(low), low, ends[0])
            high = np.where(np.isfinite(high), high, ends[2])
            return low, np.asarray(ends[1]), high
        rows = [self._row(k)[part.name] for k in range(len(self._stored))]
        if not rows:
            raise OpkitInputError(
                f"{part.name} has no law, and the run's data file is gone: a page "
                "needs to know its range"
            )
        return np.min(rows, 0), np.median(rows, 0), np.max(rows, 0)

    def _of_sliders(self, sliders: list[dict[str, Any]]) -> dict[str, Any]:
        missing = [p.name for p in self.asked.inputs if p.role != "parameters"]
        if missing:
            raise OpkitInputError(
                f"a page needs some {missing[0]} to begin with: the run's data file is "
                f"gone, and {self._why_not_drawn}"
            )
        return {
            p.name: np.reshape(
                [s["start"] for s in sliders if s["name"] == p.name], p.shape
            )
            for p in self.asked.inputs
        }

    @cached_property
    def _stored(self) -> Any:
        """Samples of the run's data file; none where it is gone."""
        try:
            path = data_of(self.surrogate, None)
            split = self.surrogate.config.split_in(path)
            samples = self.surrogate.samples(path, split)
        except (BundleError, CaseError, DataError):
            return []
        return [samples[k] for k in range(min(len(samples), MOST_STORED))]

    def _row(self, index: int) -> dict[str, Any]:
        sample, arrays = self._stored[index], {}
        for role, variables in self.surrogate.config.by_role.items():
            key = "inputs" if role == "fields" else role
            history = self.surrogate.config.history if role == "fields" else 0
            axis, begin = 1 if history else 0, 0
            for v in variables:
                part = next(p for p in self.asked.inputs if p.name == v.name)
                own = sample[key].narrow(axis, begin, v.channels)
                arrays[v.name] = own.double().numpy().reshape(part.shape)
                begin += v.channels
        if any(part.role == POINTS for part in self.asked.inputs):
            arrays[POINTS] = sample[POINTS].double().numpy()
        return arrays

    @cached_property
    def _why_no_solver(self) -> str | None:
        try:
            _ = self.surrogate.context.case_solver
        except (CaseError, MissingExtraError) as error:
            return str(error)
        if self.surrogate.calibration is None:
            return "the bundle has no calibration"
        return None

    @cached_property
    def _why_not_drawn(self) -> str | None:
        if self.surrogate.config.history > 1:
            return "inputs of several frames are not drawn"
        if self._why_no_solver is not None:
            return f"inputs cannot be drawn: {self._why_no_solver}"
        return None

    def _drawn(self, seed: int) -> dict[str, Any]:
        solver = self.surrogate.context.case_solver
        sample = draw(solver.case, solver.solver, seed, 0, "float32")
        arrays = {}
        for part in self.asked.inputs:
            name = part.name if part.name in sample else f"initial_{part.name}"
            arrays[part.name] = np.asarray(sample[name], np.float64).reshape(part.shape)
        return arrays


def _question(chosen: Chosen, **more: Any) -> plain.Question:
    return plain.Question(inputs=chosen.inputs, steps=chosen.steps, **more)


def _plain(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(values).tolist() for name, values in arrays.items()}
