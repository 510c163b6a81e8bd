"""Build the site: ``python docs/site/build.py [--fast] [FOLDER]``.

Pages of docs/, pages made from the code (cases, operators, command line, keys), and the
tutorials with what they print are put together in build/site-source; Sphinx makes HTML
of them that opens from a folder; every warning is an error. ``--fast`` leaves
the tutorials as they are written, and does not run them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import command_line
import keys
import operators
import tutorials
import zoo

import cases

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "build" / "site-source"
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "datasets/SPEC.md": "reference/file-format.md",
}
"""Files outside docs/ that have a page of their own."""
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)*)([^):#]+)(#[^)]*)?\)")


def generated(run: bool) -> Iterator[tuple[str, str | bytes]]:
    """Yield name and content of every page or picture that is no file of docs/."""
    yield from cases.pages()
    yield from operators.pages()
    yield from tutorials.pages(run)
    yield "reference/command-line.md", command_line.page()
    yield "reference/case-keys.md", keys.case_page()
    yield "reference/recipe-keys.md", keys.recipe_page()
    yield "reference/zoo.md", zoo.page()
    for source, page in MOVED.items():
        if page != "index.md":
            text = (ROOT / source).read_text("utf-8")
            yield page, relinked(text, Path(source).parent, Path(page).parent)


def relinked(text: str, folder: Path, new: Path) -> str:
    """Point links of a file of the repository to the pages of the site.

    Args:
        text: Markdown.
        folder: of the file in the repository.
        new: of its page in the site.
    """

    def point(link: re.Match[str]) -> str:
        words, up, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = (ROOT / folder / up / target).resolve()
        try:
            name = path.relative_to(ROOT).as_posix()
        except ValueError:
            return link[0]
        page = MOVED.get(name)
        if page is None and name.startswith("docs/") and name.endswith(".md"):
            page = name.removeprefix("docs/")
        if page is None:
            return link[0] if name.startswith("docs/") else f"{words} (`{name}`)"
        back = "../" * len(new.parts)
        return f"[{words}]({back}{page}{anchor})"

    return LINK.sub(point, text)


def assemble(run: bool = True) -> Path:
    """Write all sources of the site into build/site-source and return it."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    docs = ROOT / "docs"
    skipped = shutil.ignore_patterns("site", "__pycache__", "tutorials")
    shutil.copytree(docs, SOURCE, ignore=skipped)
    (SOURCE / "tutorials").mkdir()
    shutil.copy(docs / "tutorials" / "index.md", SOURCE / "tutorials")
    shutil.copy(docs / "site" / "conf.py", SOURCE)
    shutil.copytree(docs / "site" / "static", SOURCE / "static")
    for page in docs.glob("*.md"):
        text = relinked(page.read_text("utf-8"), Path("docs"), Path())
        (SOURCE / page.name).write_text(text, "utf-8")
    for name, content in generated(run):
        target = SOURCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SOURCE


def build(folder: Path, run: bool = True) -> None:
    """Write the site's HTML into a folder.

    Raises:
        CalledProcessError: Sphinx found an error or gave a warning.
    """
    source = assemble(run)
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    cache = ROOT / "build" / "site-doctrees"
    subprocess.run([*sphinx, "-d", str(cache), str(source), str(folder)], check=True)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--fast"]
    target = Path(words[0]) if words else ROOT / "build" / "site"
    try:
        build(target, run="--fast" not in sys.argv)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(f"{target / 'index.html'}: open it in a browser")
