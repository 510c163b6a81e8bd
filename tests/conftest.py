"""One thread for each test process: `make test` runs two of them on two cores."""

import os
from importlib.util import find_spec

import pytest

pytest_plugins = [
    "fixtures.heat",
    "fixtures.pipelines",
    "fixtures.stranger",
    "fixtures.surrogates",
    "fixtures.training",
]

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_runtest_setup(item):
    if item.get_closest_marker("fem") is None:
        return
    for name in ("dolfinx", "mpi4py", "meshio"):
        if find_spec(name) is None:
            pytest.skip(f"no {name}: pip install 'opkit[fem]'")


@pytest.fixture(scope="session")
def provenance():
    """Make the record of a training run, with some of its facts changed."""

    def make(**facts):
        from opkit.surrogate.bundle.record import Provenance

        return Provenance(
            **{
                "data": "data.h5",
                "data_hash": "",
                "train_samples": 1,
                "validation_samples": 1,
                "validation_source": "train",
                "seed": 0,
                "epochs": 1,
                "best_epoch": 1,
                "best_validation": 1.0,
                "parameters": 1,
                "seconds": 0.0,
                "environment": {},
                "command": "",
                **facts,
            }
        )

    return make
