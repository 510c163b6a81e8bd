"""One thread while methods are timed, and the numbers of before after it."""

from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info

from opkit.base.threads import one_thread


@pytest.fixture(autouse=True)
def several() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def pools() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info()]


def test_torch_and_blas_run_on_one_thread_and_are_restored_after() -> None:
    before = pools()
    with one_thread():
        assert torch.get_num_threads() == 1
        assert set(pools()) == {1}
    assert torch.get_num_threads() == 3
    assert pools() == before


def test_numbers_are_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="within"), one_thread():
        raise ValueError("within")
    assert torch.get_num_threads() == 3
