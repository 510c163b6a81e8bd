"""Exceptions of opkit.

`OpkitInputError` and its children mean: the input is at fault, the message is one line
and names the remedy, and the command line ends with exit code 2. `SolverError` and its
children mean: a solver refused to hand out a wrong answer.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class OpkitError(Exception):
    """Base class of every exception opkit raises on purpose.

    Attributes:
        sample: number in its batch of the sample at fault, where known.
    """

    sample: int | None = None

    def __str__(self) -> str:
        """Return the message, which begins with the sample where it is known."""
        message = super().__str__()
        if self.sample is None:
            return message
        return f"sample {self.sample} of the batch: {message}"


class OpkitInputError(OpkitError, ValueError):
    """The user's input is wrong; the message names what and the remedy."""


class CaseError(OpkitInputError):
    """A case is unknown, malformed, or does not fit what it is used for."""


class DataError(OpkitInputError):
    """A data file is damaged, hostile, of another format, or of another case."""


class BundleError(OpkitInputError):
    """A bundle or checkpoint is missing, damaged, or of a newer format."""


class ExportError(OpkitInputError):
    """A surrogate cannot be exported so, or the exported file's outputs differ."""


class MissingExtraError(OpkitInputError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


class SolverError(OpkitError, ArithmeticError):
    """A solver could not reach its promised accuracy.

    Args:
        message: what happened, in one line.
        seed: (seed, sample index) of the sample at fault, where known.
        sample: its number in the batch, where known.
    """

    def __init__(
        self,
        message: str,
        seed: tuple[int, int] | None = None,
        sample: int | None = None,
    ) -> None:
        super().__init__(message)
        self.seed = seed
        self.sample = sample

    def __str__(self) -> str:
        """Return the message, followed by the seed where it is known.

        The seed then names the sample; its number in a batch is left out.
        """
        if self.seed is None:
            return super().__str__()
        return f"{self.args[0]} (seed, sample: {self.seed})"


class Interrupted(KeyboardInterrupt):
    """The user interrupted; the message says what was kept and how to go on."""


class NotConvergedError(SolverError):
    """An iterative solver stopped above its tolerance."""


class CFLError(SolverError):
    """The time step violates the advective stability limit."""


class NonFiniteError(SolverError):
    """NaN or infinity appeared in a solution."""


class FilterDivergedError(SolverError):
    """A filter lost the system that it followed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, else an empty string."""
    lower = {str(word).lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1)
    return f" Did you mean {lower[close[0]]!r}?" if close else ""


def instead(missing: Iterable[str], given: Iterable[str]) -> str:
    """Return " Did you mean 'x' by 'y'?" where a missing name was misspelt.

    Args:
        missing: names that were not given.
        given: names that were given and that nobody asked for.
    """
    others = [str(name) for name in given]
    for name in missing:
        lower = {word.lower(): word for word in others}
        close = difflib.get_close_matches(name.lower(), list(lower), n=1)
        if close:
            return f" Did you mean {name!r} by {lower[close[0]]!r}?"
    return ""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: dotted name, such as ``"matplotlib.pyplot"``.
        extra: name of opkit's extra that installs it.

    Raises:
        MissingExtraError: the module is not installed, or does not load.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise missing(module, extra, error) from error


EXTRAS = {
    "train": ("torchmetrics", "lightning_fabric", "lightning_utilities", "neuralop"),
    "kernels": ("triton",),
    "plots": ("matplotlib", "cmocean"),
    "fast": ("pyfftw", "numba", "llvmlite", "ducc0"),
    "cluster": ("distributed", "dask", "dask_jobqueue"),
    "fem": (
        "dolfinx",
        "dolfinx_solver",
        "ufl",
        "basix",
        "petsc4py",
        "mpi4py",
        "meshio",
    ),
    "zarr": ("zarr",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "tune": ("optuna",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "serve": ("aiohttp",),
    "control": ("gymnasium",),
}
"""Extra of opkit to the modules that it installs."""


def not_installed(error: BaseException) -> MissingExtraError | None:
    """Return the one-line form of a failed import of a package of an extra."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        for extra, modules in EXTRAS.items():
            if package in modules:
                return missing(package, extra, error)
    return None


def missing(module: str, extra: str, error: Exception) -> MissingExtraError:
    """Return what to raise where an optional module cannot be imported.

    Args:
        module: dotted name.
        extra: name of opkit's extra that installs it.
        error: what the import raised; a package that is there and does not load, such
            as mpi4py without an MPI library, raises ImportError, OSError or
            RuntimeError.
    """
    package = module.partition(".")[0]
    remedy = f'python -m pip install "opkit[{extra}]"'
    if isinstance(error, ModuleNotFoundError):
        absent = (error.name or package).partition(".")[0]
        needs = "" if absent == package else f", which {package} needs,"
        return MissingExtraError(f"{absent}{needs} is not installed: {remedy}")
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return MissingExtraError(
        f"{package} is installed and does not load ({reason}): {remedy}"
    )
