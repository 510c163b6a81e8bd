"""Run lines of words as opkit commands in one process; print how each ended as JSON."""

import contextlib
import io
import json
import shlex
import sys

from opkit.cli import main


def ended(line: str) -> dict[str, object]:
    sys.argv = ["opkit", *shlex.split(line)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:
        return {"line": line, "code": None, "said": f"{type(error).__name__}: {error}"}
    return {"line": line, "code": code, "said": err.getvalue()}


for word in sys.stdin.read().splitlines():
    print(json.dumps(ended(word)), flush=True)
