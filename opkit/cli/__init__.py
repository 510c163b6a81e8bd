"""The command line: one file a group of verbs; each verb imports what it needs.

Errors go to stderr in one line: exit code 2 where the input is at fault, 1 where a
solver or training refused to go on, 130 after Ctrl-C. With ``--json`` the line is a
JSON object ``{"error": ..., "kind": ..., "code": ...}`` and warnings are
``{"warning": ...}``; stdout then holds one JSON document, or nothing.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import warnings
from io import TextIOWrapper
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from opkit.base.children import close_folder
from opkit.base.files import why
from opkit.base.visible import one_line
from opkit.cli import (
    assimilate,
    check_solver,
    discover,
    doctor,
    export,
    modes,
    new,
    operators,
    report,
    serve,
    solve,
    train,
    zoo,
)
from opkit.cli import (
    cases as registry,
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

USAGE: Any = typer.BadParameter.__bases__[0]
"""Click's error about the words on the command line, of whichever click typer uses."""
REFUSED = (OSError, UnicodeError, MemoryError, RecursionError)
"""What the system or Python refuses, wherever it happens."""
MOST, MOST_REAL = 10**9, 1e100
"""Of an option that counts, and of one that measures: its cube is still a number."""


class _Stopped(Exception):
    """Ctrl-C, which typer would turn into an exit code without a word."""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a verb; let Ctrl-C through as an exception of our own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Stopped(str(error)) from error


class _Verb(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        """Run the verb, if its numbers are small enough to compute with."""
        options: list[Any] = self.params
        for option in options:
            value = ctx.params.get(option.name or "")
            for number in value if isinstance(value, list) else (value,):
                if not isinstance(number, int | float) or option.name == "seed":
                    continue
                most = MOST if isinstance(number, int) else MOST_REAL
                if not -most <= number <= most:
                    form = "," if isinstance(number, int) else "g"
                    raise typer.BadParameter(
                        f"{number:{form}} is not between {-most:{form}} and "
                        f"{most:{form}}",
                        ctx,
                        option,
                    )
        return super().invoke(ctx)


app = typer.Typer(
    name="opkit",
    cls=_Group,
    help="From a partial differential equation to a surrogate in a pipeline.",
    epilog="--debug, anywhere, shows the traceback of an error. "
    "--json gives errors as JSON too.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
for module in (
    registry,
    check_solver,
    operators,
    data,
    files,
    train,
    learn,
    zoo,
    export,
    report,
    serve,
    solve,
    new,
    assimilate,
    discover,
    modes,
    doctor,
):
    module.register(app)
for command in app.registered_commands:
    command.cls = _Verb
    # lines flow at any width of the terminal
    paragraphs = inspect.getdoc(command.callback) or ""
    command.help = "\n\n".join(" ".join(p.split()) for p in paragraphs.split("\n\n"))


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
    json_ = "--json" in arguments
    from opkit.errors import OpkitError, OpkitInputError, not_installed

    def ended(message: str, kind: str, code: int) -> None:
        print(_line("error", message, json_, kind=kind, code=code), file=sys.stderr)
        sys.exit(code)

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        print(_line("warning", str(message), json_), file=sys.stderr)

    for stream in (sys.stdout, sys.stderr):
        # of a terminal that cannot show a sign, which is no reason to end
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    warnings.showwarning = show_warning
    try:
        close_folder()
        code = app(args=arguments, prog_name="opkit", standalone_mode=False)
    except typer.Abort:
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (_Stopped, KeyboardInterrupt) as error:
        if debug:
            raise
        text = f"Interrupted: {error}" if str(error) else "Interrupted."
        ended(text, "Interrupted", 130)
    except Exception as error:
        if isinstance(error, USAGE):
            if not arguments:
                error.show()  # the help
                sys.exit(2)
            ended(_usage(error), "UsageError", 2)
        absent = not_installed(error)
        refused = isinstance(error, REFUSED) or _out_of_memory(error)
        if not debug and not absent and refused:
            ended(_reason(error), type(error).__name__, 2)
        if debug or not (isinstance(error, OpkitError) or absent):
            raise
        error = absent or error
        code = 2 if isinstance(error, OpkitInputError) else 1
        ended(str(error), type(error).__name__, code)
    sys.exit(code if isinstance(code, int) else 0)


def _line(what: str, message: str, json_: bool, **more: Any) -> str:
    message = one_line(message)
    if json_:
        return json.dumps({what: message, **more}, ensure_ascii=False)
    prefix = "" if message.startswith("Interrupted") else f"{what.capitalize()}: "
    return prefix + message


def _out_of_memory(error: Exception) -> bool:
    """Whether torch got no memory, of the machine or of a GPU."""
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(w in str(error) for w in words)


def _reason(error: Exception) -> str:
    """Say what the system or Python refused; --debug shows where."""
    if isinstance(error, OSError):
        name = "a file" if error.filename is None else os.fsdecode(error.filename)
        return f"{name}: {why(error)}"
    if isinstance(error, MemoryError) or _out_of_memory(error):
        return "out of memory: smaller data, batches or resolution need less"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply"
    return "text that is not UTF-8"


def _usage(error: Any) -> str:
    """Say in one line what is wrong with the words, and where help is."""
    reason = " ".join(error.format_message().split()).rstrip(".")
    option = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
    if option:
        from opkit.case.recipe import Training

        if option in Training.model_fields:
            reason = f"No such option: write it as --set training.{option}=VALUE"
    context = error.ctx
    path = "opkit" if context is None else context.command_path
    return f"{reason}: `{path} --help` shows what it takes"
