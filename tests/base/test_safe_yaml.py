"""The YAML reader: what it reads as what, and what it refuses."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opkit.base import safe_yaml
from opkit.errors import CaseError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2.5E+4", -2.5e4),
        (".5", 0.5),
        ("7", 7),
        ("-0", 0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("'1e-3'", "1e-3"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    read = safe_yaml.parse(f"key: {text}")["key"]
    assert read == value
    assert type(read) is type(value)


BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n"
REFUSED = {
    "alias bomb": (BOMB, "aliases"),
    "merge key": ("a: &a {x: 1}\nb: {<<: *a}\n", "aliases"),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "'a' appears twice"),
    "nested duplicate": ("a: {b: 1, b: 2}\n", "'b' appears twice"),
    "too deep": ("[" * 21 + "]" * 21, "deeper than 20"),
    "far too deep": ("[" * 50_000, "deeper than 20"),
    "python object": ("a: !!python/object/apply:os.system [id]\n", "tag"),
    "python name": ("a: !!python/name:os.system\n", "tag"),
    "own tag": ("a: !include other.yaml\n", "tag"),
    "binary": ("a: !!binary aGVsbG8=\n", "tag"),
    "tag that does not fit": ("a: !!bool maybe\n", "tag"),
    "empty number": ('a: !!float ""\n', "tag"),
    "list as mapping": ("a: !!map [[a]]\n", "tag"),
    "date by tag": ("a: !!timestamp 2026-01-01\n", "tag"),
    "infinity": ("a: .inf\n", "not finite"),
    "overflow": ("a: 1e999\n", "not finite"),
    "nan": ("a: .nan\n", "not finite"),
    "huge integer": ("a: " + "9" * 5000 + "\n", "20 digits"),
    "number as key": ("1: a\n", "keys must be text"),
    "list as key": ("? [1, 2]\n: a\n", "keys must be text"),
    "two documents": ("a: 1\n---\nb: 2\n", "another document"),
    "tab": ("a:\n\t- 1\n", None),
    "unclosed": ("a: [1, 2\n", None),
    "control characters": ("a: \x01\n", None),
    "too long": ("#" * ((1 << 20) + 1), "1 MiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_and_quickly(name: str) -> None:
    text, why = REFUSED[name]
    start = time.monotonic()
    with pytest.raises(CaseError) as caught:
        safe_yaml.parse(text, "file.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("file.yaml: ")
    assert why is None or why in message
    assert time.monotonic() - start < 5


def test_file_faults(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="No such file"):
        safe_yaml.read(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(CaseError, match="UTF-8"):
        safe_yaml.read(tmp_path / "latin.yaml")
    with pytest.raises(CaseError, match="directory"):
        safe_yaml.read(tmp_path)


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        safe_yaml.parse(text)
    except CaseError as error:
        assert "\n" not in str(error)
