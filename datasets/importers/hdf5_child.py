"""The child process of importing HDF5: open another group's file under limits.

    python -m opkit.datasets.importers.hdf5_child FILE

Ends with 0 if the file is sound, with 2 and one line on standard error if not.
"""

from __future__ import annotations

import sys
from pathlib import Path

from opkit.base.sandbox import answer, limit_this_process


def main(name: str) -> int:
    """Open and audit one HDF5 file."""
    limit_this_process()
    from opkit.datasets.importers.hdf5 import audited

    return answer(name, lambda: audited(Path(name)).close())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
