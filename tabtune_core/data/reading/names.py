"""Names of files and columns as they are kept and shown: whatever a file holds becomes one short line that prints everywhere.

Beside the path. A file's name is for people alone; no path is ever made of it.
"""

import re
import unicodedata
from pathlib import Path

MOST_LETTERS = 120
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of writing: with them, "csv.exe" can read as "exe.csv"."""

UNSEEN = re.compile(f"{DIRECTIONS.pattern}|[\u00ad\u200b\u2060\ufeff]")
"""Those, and letters of zero width; the two joiners stay, which Persian and emoji need."""


def shown_name(name: str) -> str:
    r"""A file's name without line breaks, control letters, marks of direction and bytes that are not UTF-8; cut where it is long.

    >>> shown_name("a\nb\x1b[31m.csv"), shown_name("caf\udce9.csv"), shown_name("\u202evsc.exe"), shown_name("\n")
    ('a b [31m.csv', 'caf�.csv', 'vsc.exe', 'table')
    """
    known = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _from_system(name) else _without_surrogates(name)
    line = DIRECTIONS.sub("", known)
    line = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in line)
    line = " ".join(line.split()) or "table"
    if len(line) <= MOST_LETTERS:
        return line
    return f"{line[: MOST_LETTERS - 21]}…{line[-20:]}"


def column_name(name: str) -> str:
    r"""A column's name in one line, without invisible letters: with them, two columns could look alike.

    >>> column_name(" a\n b\x9b "), column_name("\ufeffage\u200b"), column_name("\u202enoitide")
    ('a b', 'age', 'noitide')
    """
    line = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in UNSEEN.sub("", name))
    return " ".join(line.split())


def shown_path(path: Path) -> str:
    """A path as it stands in a sentence."""
    return shown_name(str(path))


def _from_system(name: str) -> bool:
    """True if every undecodable character stands for one byte of a file name."""
    return all("\udc80" <= letter <= "\udcff" for letter in name if "\ud800" <= letter <= "\udfff")


def _without_surrogates(name: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", name)
