"""The JSON header of a data file, held against a model before anybody reads it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opkit.base.explain import explain
from opkit.errors import DataError

Text = Annotated[str, Field(max_length=65536)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Open(BaseModel):
    """What else a case says is held against `opkit.case` where a solver is built."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class VariableRecord(_Strict):
    """One variable."""

    name: Text
    role: Literal["input", "output", "points"]
    dims: list[Text]
    shape: list[Annotated[int, Field(ge=0, le=2**40)]]
    dtype: Literal["float32", "float64"]
    units: Text
    long_name: Text
    scale: Literal["linear", "log"] = "linear"


class AxisRecord(_Strict):
    """What is said about one axis; its values are data."""

    units: Text
    long_name: Text
    calendar: Text = ""
    periodic: bool = False


class _Solver(_Open):
    target: Text = ""
    parameters: dict[str, Any] = {}


class _Side(_Open):
    kind: Text = ""


class _Field(_Open):
    name: Text
    dims: list[Text] = []
    units: Text = ""
    long_name: Text = ""


class CaseRecord(_Open):
    """The part of a case that is read without building it."""

    name: Text = ""
    version: int = 0
    title: Text = ""
    equation: Text = ""
    references: list[Text] = []
    solver: _Solver = _Solver()
    geometry: dict[str, Any] = {}
    boundary: dict[str, _Side] = {}
    distribution: dict[str, Any] = {}
    inputs: list[_Field] = []
    outputs: list[_Field] = []
    parameters: dict[str, dict[str, Any]] = {}
    samples: dict[str, int] = {}
    recipes: dict[str, dict[str, Any]] = {}


class ShapesRecord(_Strict):
    """What the meshes of a ragged file have in common."""

    dimension: int
    corners: Annotated[int, Field(ge=0, le=64)]
    facet_corners: Annotated[int, Field(ge=0, le=64)]
    parts: list[Text] = Field(max_length=10_000)
    weights: Literal["cells", "equal"]


class HeaderRecord(_Strict):
    """The whole header."""

    schema_version: int
    case: CaseRecord
    variables: list[VariableRecord] = Field(min_length=1, max_length=1000)
    coordinates: dict[str, AxisRecord]
    seed: Annotated[int, Field(ge=0)] | None
    provenance: dict[str, Any]
    boundary_parts: list[Text] | None = None
    files: dict[Text, Text] = Field(default_factory=dict)
    ragged: Literal[True] | None = None
    shapes: ShapesRecord | None = None


def checked(data: Any, origin: str) -> dict[str, Any]:
    """Return a header's data if every value is of the type that its readers expect.

    Args:
        data: parsed JSON.
        origin: name of the file for messages.

    Raises:
        DataError: naming the value that is not.
    """
    try:
        record = HeaderRecord.model_validate(data)
    except ValidationError as error:
        reason = explain(error, HeaderRecord)
        raise DataError(f"{origin}: the header is damaged: {reason}") from None
    except RecursionError:
        raise DataError(f"{origin}: the header is nested too deeply") from None
    if "name" in record.case.model_fields_set and record.case.version < 1:
        raise DataError(f"{origin}: the header's case has a name and no version")
    if (record.ragged is None) != (record.shapes is None):
        raise DataError(f"{origin}: the header has only one of ragged and shapes")
    return record.model_dump(exclude_unset=True)
