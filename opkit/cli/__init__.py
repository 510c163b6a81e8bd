"""The command line: one file a group of verbs; each verb imports what it needs."""

from __future__ import annotations

import sys
import warnings

import typer

from opkit.cli import (
    cases as registry,
)
from opkit.cli import (
    check_solver,
    doctor,
    export,
    report,
    solve,
    train,
)
from opkit.cli import (
    data as files,
)
from opkit.cli import (
    generate as data,
)
from opkit.cli import (
    surrogates as learn,
)

app = typer.Typer(
    name="opkit",
    help="From a partial differential equation to a surrogate in a pipeline.",
    epilog="--debug, anywhere, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
for module in (
    registry, check_solver, data, files, train, learn, export, report, solve, doctor
):  # fmt: skip
    module.register(app)


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    """From a partial differential equation to a surrogate in a pipeline."""
    if show:
        from opkit import __version__

        print(__version__)


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    from opkit.errors import OpkitError, OpkitInputError

    warnings.showwarning = _show_warning
    try:
        app(args=arguments, prog_name="opkit")
    except OpkitError as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, OpkitInputError) else 1)
    except KeyboardInterrupt:
        if debug:
            raise
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"Warning: {message}", file=sys.stderr)
