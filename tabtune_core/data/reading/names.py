"""Cleans the names of files and columns: any name becomes a short line that can be printed everywhere.

A file's name is only shown to people; no path is ever made of it.
"""

import re
import unicodedata
from pathlib import Path

MOST_LETTERS = 120
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that change the writing direction: with them, "csv.exe" can read as "exe.csv"."""

UNSEEN = re.compile(f"{DIRECTIONS.pattern}|[\u00ad\u200b\u2060\ufeff]")
"""These marks and letters of zero width, except the two joiners, which Persian and emoji need."""


def shown_name(name: str) -> str:
    r"""Returns a file's name without line breaks, control letters, direction marks and bytes that are not UTF-8, cut if it is long.

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
    r"""Returns a column's name in one line, without invisible letters, which could make two columns look alike.

    >>> column_name(" a\n b\x9b "), column_name("\ufeffage\u200b"), column_name("\u202enoitide")
    ('a b', 'age', 'noitide')
    """
    line = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in UNSEEN.sub("", name))
    return " ".join(line.split())


def shown_path(path: Path) -> str:
    """Returns a path as it is shown in a message."""
    return shown_name(str(path))


def _from_system(name: str) -> bool:
    """True if every undecodable character stands for one byte of a file name."""
    return all("\udc80" <= letter <= "\udcff" for letter in name if "\ud800" <= letter <= "\udfff")


def _without_surrogates(name: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", name)
