"""Neural operators, one a file.

`OPERATORS` is the allow-list of names that recipes and bundles may use.
"""

OPERATORS: dict[str, str] = {
    "fno": "opkit.operators.fno:FNO",
}
