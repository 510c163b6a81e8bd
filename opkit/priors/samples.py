"""What fields must be before a prior looks at them."""

from __future__ import annotations

from torch import Tensor

from opkit.errors import OpkitInputError


def refuse_not_finite(values: Tensor, name: str = "values") -> None:
    """Refuse samples that hold NaN or infinity.

    Args:
        values: (sample, ...).
        name: of them, for the message.

    Raises:
        OpkitInputError: names the first such sample.
    """
    finite = values.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise OpkitInputError(
            f"the {name} of sample {first} are not finite: leave such samples out"
        )
