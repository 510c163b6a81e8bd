import pytest
import torch

from opkit.base.device import present
from opkit.errors import OpkitInputError


def test_the_processor_is_always_there() -> None:
    assert present("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "meta", "", "cpu:x", "mtia"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(OpkitInputError, match=f"device '{name}': choose cpu") as caught:
        present(name)
    assert "\n" not in str(caught.value)
