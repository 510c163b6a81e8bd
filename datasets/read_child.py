"""The child process of `read`: open an opkit data file under limits.

    python -m opkit.datasets.read_child FILE

Ends with 0 if the file is sound, with 2 and one line on standard error if not.
"""

from __future__ import annotations

import sys

from opkit.base.sandbox import answer, limit_this_process


def main(name: str) -> int:
    """Open and audit one data file."""
    limit_this_process()
    from opkit.datasets.read import DataFile

    return answer(name, lambda: DataFile(name, trusted=True).close())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
