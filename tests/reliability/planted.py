"""A folder of data from elsewhere that is also a trap: modules named like ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parents[2]
SETTINGS = {
    ".numba_config.yaml": "cache_dir: .\ncache_locator_classes: evil.Locator\n",
    ".petscrc": "-dll_prepend ./evil.so\n",
    "petscrc": "-dll_prepend ./evil.so\n",
    "dolfinx_jit_options.json": '{"cffi_extra_compile_args": ["-fplugin=./evil.so"]}',
    "ffcx_options.json": '{"language": "evil"}',
    "matplotlibrc": "backend: module://evil\ntext.usetex: True\n",
    "setup.cfg": "[global]\ncommand_packages = evil\n",
}
LIBRARY = """#include <stdio.h>
__attribute__((constructor)) static void run(void) { fclose(fopen("%s/library", "w")); }
"""
ENTRY_POINTS = "[opkit.solvers]\nevil = evil:X\n[opkit.cases]\nevil = evil:X\n"


class Trap:
    """A folder whose modules write their name into a canary file when they run.

    Args:
        folder: to be made; the canaries and a start script lie beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._canaries = folder.with_name(folder.name + ".canaries")
        self._script = folder.with_name(folder.name + ".bin") / "opkit"
        for folder_to_make in (folder, self._canaries, self._script.parent):
            folder_to_make.mkdir()
        self._script.write_text(
            "import sys\nfrom opkit.cli import main\n"
            "if __name__ == '__main__':\n    sys.exit(main())\n"
        )
        code = (
            f"open({str(self._canaries)!r} + '/' + __name__, 'a').close()\n"
            "raise SystemExit(f'{__name__} of the folder ran')\n"
        )
        names = {*sys.stdlib_module_names, *packages_distributions()}
        names |= {"evil", "sitecustomize", "usercustomize", "toy_heat", "opkit"}
        for name in names:
            if name.isidentifier():
                (folder / f"{name}.py").write_text(code)
        for package in ("opkit", "numpy", "h5py", "multiprocessing"):
            (folder / package).mkdir()
            (folder / package / "__init__.py").write_text(code)
        for name, text in SETTINGS.items():
            (folder / name).write_text(text)
        self._compile(folder / "evil.so")
        plugin = folder / "evil-1.0.dist-info"
        plugin.mkdir()
        (plugin / "METADATA").write_text("Name: evil\nVersion: 1.0\n")
        (plugin / "entry_points.txt").write_text(ENTRY_POINTS)

    def _compile(self, library: Path) -> None:
        """Make a library that leaves a canary when it is loaded; without cc, none."""
        if compiler := which("cc"):
            source = library.with_suffix(".c")
            source.write_text(LIBRARY % self._canaries)
            words = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
            subprocess.run(words, check=True)

    def opkit(
        self, *words: str, path: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in the folder, as its console script does.

        Args:
            words: of the command line.
            path: entries of PYTHONPATH after opkit's own.
        """
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *path]),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }
        return subprocess.run(
            [sys.executable, str(self._script), *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def ran(self) -> list[str]:
        """Names of the planted modules that ran."""
        return sorted(file.name for file in self._canaries.iterdir())
