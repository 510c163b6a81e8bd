"""Run the tutorials and turn them, with what they print and draw, into pages.

A tutorial is a Markdown file in docs/tutorials: blocks of Python share one kernel,
blocks of bash are commands. It runs in an empty folder. What a run leaves is kept in
build/tutorials under the digest of its text and of opkit's version, so that a tutorial
is run again only when it or the version changed; ``python docs/site/tutorials.py NAME``
runs one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

import opkit

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "docs" / "tutorials"
CACHE = ROOT / "build" / "tutorials"
SMALL = re.compile(r"<!-- small: (\{.*?\}) -->\n", re.S)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
PYTHON = """---
jupyter:
  kernelspec: {name: python3, language: python, display_name: Python}
---

"""
"""Says that blocks of bash are the exception, also where one is first."""
SECONDS = 1800
"""Longest time that one block may take, on a machine that others use too."""


def names() -> list[str]:
    """Names of all tutorials."""
    return sorted(path.stem for path in SOURCES.glob("*.md") if path.stem != "index")


def read(name: str, small: bool = False) -> str:
    """Return a tutorial's text, with the small sizes of its head if asked."""
    text = (SOURCES / f"{name}.md").read_text("utf-8")
    head = SMALL.search(text)
    if head is None:
        raise ValueError(f"{name}: the tutorial lacks its line <!-- small: {{...}} -->")
    text = text.replace(head[0], "")
    for full, tiny in json.loads(head[1]).items() if small else ():
        if full not in text:
            raise ValueError(f"{name}: small size for {full!r}, which is not in it")
        text = text.replace(full, tiny)
    return text


def run(text: str) -> nbformat.NotebookNode:
    """Run a tutorial's blocks in an empty folder and return the notebook.

    Raises:
        nbclient.exceptions.CellExecutionError: a block ended with an error.
    """
    notebook = jupytext.reads(PYTHON + text, fmt="md")
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("%%bash"):
            cell.source = cell.source.replace("%%bash", "%%bash -e -o pipefail", 1)
    with TemporaryDirectory() as folder:
        paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join(paths),
            "PYTHONPATH": str(Path(opkit.__file__).parents[1]),
            "COLUMNS": "100",
            "TQDM_DISABLE": "1",
        }
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=environment)
    return notebook


def page(name: str) -> tuple[str, dict[str, bytes], float]:
    """Return a tutorial's page, its pictures by file name, and its processor time.

    The time is that of its kernel and of all commands, in seconds: other work on the
    machine does not count.
    """
    text = read(name)
    digest = hashlib.sha256(f"{opkit.__version__}\n{text}".encode()).hexdigest()[:16]
    cache = CACHE / name / digest
    if not (cache / "page.md").exists():
        start = processor_seconds()
        notebook = run(text)
        seconds = processor_seconds() - start
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = readable(cell.outputs)
        body, resources = MarkdownExporter().from_notebook_node(
            notebook, {"unique_key": f"{name}_files"}
        )
        body = body.replace("```bash\n%%bash -e -o pipefail\n", "```bash\n")
        shutil.rmtree(CACHE / name, ignore_errors=True)
        cache.mkdir(parents=True)
        for picture, content in resources["outputs"].items():
            (cache / Path(picture).name).write_bytes(content)
        (cache / "seconds").write_text(f"{seconds:.0f}")
        (cache / "page.md").write_text(body, "utf-8")
    pictures = {
        path.name: path.read_bytes()
        for path in cache.iterdir()
        if path.suffix in (".png", ".svg", ".jpeg", ".gif")
    }
    seconds = float((cache / "seconds").read_text())
    return (cache / "page.md").read_text("utf-8"), pictures, seconds


def processor_seconds() -> float:
    """Processor time of the processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def readable(outputs: list[Any]) -> list[Any]:
    """Join what was printed into one text, and leave progress bars out."""
    joined: list[Any] = []
    for output in outputs:
        if "<progress" in output.get("data", {}).get("text/html", ""):
            continue
        if output.output_type != "stream":
            joined.append(output)
        elif joined and joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = plain(output.text)
    return joined


def plain(text: str) -> str:
    """Drop colours, and of lines written over one another all but the last."""
    lines = ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def pages(run: bool) -> Iterator[tuple[str, str | bytes]]:
    """Yield the pages and their pictures, or the pages as they are written."""
    for name in names():
        if not run:
            yield f"tutorials/{name}.md", read(name)
            continue
        body, pictures, seconds = page(name)
        note = "\n---\n\n*This page was run from top to bottom: "
        note += f"{seconds:.0f} s of processor time.*\n"
        for picture, content in pictures.items():
            body = body.replace(f"({picture})", f"({name}_files/{picture})")
            yield f"tutorials/{name}_files/{picture}", content
        yield f"tutorials/{name}.md", body + note


if __name__ == "__main__":
    for chosen in sys.argv[1:] or names():
        print(f"{chosen}: {page(chosen)[2]:.0f} s of processor time", flush=True)
