"""Sphinx: Markdown pages (MyST), docstrings, formulas as MathML, nothing fetched."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import opkit

project = "opkit"
copyright = "2026, the opkit developers"
version = release = opkit.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # pages made of docstrings begin where they begin
html_theme = "furo"
html_title = f"opkit {release}"
html_static_path = ["static"]
html_css_files = ["opkit.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
default_role = "code"
nitpicky = False


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Element) -> None:
    formula = convert(node.astext(), display="block")
    translator.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


def _plain(app: Any, what: str, name: str, obj: Any, options: Any, lines: Any) -> None:
    """Keep the stars of shapes (batch, *space) and the bars of norms as they are."""
    lines[:] = [re.sub(r"(?<![`*\w])\*(?=\w)|\|", r"\\\g<0>", line) for line in lines]


def setup(app: Any) -> None:
    """Let browsers draw formulas themselves: no script, and no font from elsewhere."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _plain, priority=100)
