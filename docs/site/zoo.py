"""The page of the zoo, out of the cards of its bundles."""

from __future__ import annotations

import re

from tables import code, table

from opkit.surrogate.bundle.zoo_list import card, list_zoo

SEED = "`python -m benchmarks.zoo`"


def page() -> str:
    """Return the page: how to load, the list, and every card."""
    rows = [
        {
            "name": code(f"zoo:{entry.name}"),
            "case": f"[{entry.case}](../cases/{entry.case}.md)",
            "operator": entry.operator,
            "grid": " x ".join(map(str, entry.grid)),
            "relative L2": f"{entry.error:.3g}",
            "MB": f"{entry.bytes / 1e6:.2f}",
        }
        for entry in list_zoo()
    ]
    parts = [
        "# Zoo\n\nTrained surrogates that come with opkit. They are small, for trying "
        "out and for tests; train your own for work. Nothing is downloaded.\n\n"
        "```python\nimport opkit\n\n"
        'surrogate = opkit.load("zoo:channel-bumps")\n```\n\n'
        "On the command line `zoo:NAME` stands wherever a run or bundle is asked for; "
        f"`opkit zoo` lists them. {SEED} in a checkout makes them all again, with the "
        "cases, settings and seeds in that file.\n",
        table(rows),
    ]
    for entry in list_zoo():
        text = re.sub(r"^#", "##", card(entry.name), flags=re.M)
        first, _, rest = text.partition("\n")
        parts.append(f"## zoo:{entry.name}\n{rest}" if first else rest)
    return "\n".join(parts)
