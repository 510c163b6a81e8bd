"""What a client may ask for: where an answer comes from, and which part of it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opkit.base.explain import explain
from opkit.base.records import Record
from opkit.errors import OpkitInputError
from opkit.surrogate.checks.calibration import COVERAGE

Level = Literal["surrogate", "checked", "solver"]
M = TypeVar("M", bound=BaseModel)


class Settings(Record):
    """Settings of one request.

    Args:
        level: ``surrogate`` predicts; ``checked`` predicts, and solves where the
            prediction may be off by more than the tolerance; ``solver`` solves to the
            solver's own accuracy.
        tolerance: largest relative L2 error, of level ``checked``.
        coverage: probability that error bounds hold.
        steps: frames of a rollout, of a surrogate that makes steps.
        outputs: names of the outputs that are wanted; all where it is left out.
        nodes: places in each output vector that are wanted; all where it is left out.
    """

    model_config = ConfigDict(strict=True)

    level: Level = "surrogate"
    tolerance: Annotated[float, Field(gt=0)] | None = None
    coverage: Annotated[float, Field(gt=0, lt=1)] = COVERAGE
    steps: Annotated[int, Field(ge=1)] | None = None
    outputs: Annotated[list[str], Field(min_length=1)] | None = None
    nodes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = (
        None
    )

    def agree(self) -> None:
        """Refuse settings that exclude each other.

        Raises:
            OpkitInputError: naming both.
        """
        if self.level == "checked" and self.tolerance is None:
            raise OpkitInputError(
                "level checked needs a tolerance: the largest relative L2 error"
            )
        if self.level != "checked" and self.tolerance is not None:
            raise OpkitInputError(
                f"tolerance belongs to level checked, not to level {self.level}"
            )


class Config(Settings):
    """Settings of a request in vectors, ``config`` in the words of UM-Bridge.

    Args:
        bound: whether one more output vector holds the bound of the relative L2 error
            (for each step), of level ``surrogate``, and one more the bound of each
            quantity.
        quantities: names of quantities of interest, a vector each after the outputs.
        step: of central differences, relative to the size of the input: of derivatives
            of level ``solver``.
    """

    bound: bool = False
    quantities: Annotated[list[str], Field(min_length=1)] | None = None
    step: Annotated[float, Field(gt=0, lt=1)] | None = None

    def agree(self) -> None:
        """Refuse settings that exclude each other."""
        super().agree()
        if self.bound and self.level != "surrogate":
            raise OpkitInputError(
                f"bound belongs to level surrogate, not to level {self.level}"
            )


def read(model: type[M], body: bytes | str) -> M:
    """Read a message.

    Args:
        model: what it has to be.
        body: JSON.

    Raises:
        OpkitInputError: no JSON, or another message; one line.
    """
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise OpkitInputError(explain(error, model)) from None
