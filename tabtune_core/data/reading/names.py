"""Cleans the names of files and columns: any name becomes a short line that can be printed everywhere.

A file's name is only shown to people; no path is ever made of it.
"""

import re
import unicodedata

MOST_LETTERS = 120
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that change the writing direction: with them, "csv.exe" can read as "exe.csv"."""
UNSEEN = re.compile(f"{DIRECTIONS.pattern}|[\u00ad\u200b\u2060\ufeff]")
"""These marks, letters of zero width (except the two joiners, which Persian and emoji need), and the soft hyphen."""


def shown_name(name: str) -> str:
    r"""Returns a file's name without line breaks, control letters, direction marks and bytes that are not UTF-8.

    >>> shown_name("a\nb\x1b[31m.csv"), shown_name("caf\udce9.csv"), shown_name("\u202evsc.exe"), shown_name("\n")
    ('a b [31m.csv', 'caf�.csv', 'vsc.exe', 'table')
    """
    line = _one_line(DIRECTIONS.sub("", re.sub("[\ud800-\udfff]", "\ufffd", name))) or "table"
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 21]}…{line[-20:]}"


def column_name(name: str) -> str:
    r"""Returns a column's name in one line, without invisible letters, which could make two columns look alike.

    >>> column_name(" a\n b\x9b "), column_name("\ufeffage\u200b"), column_name("\u202enoitide")
    ('a b', 'age', 'noitide')
    """
    return _one_line(UNSEEN.sub("", name))


def _one_line(text: str) -> str:
    """Puts a blank for each run of blanks, line breaks and control letters."""
    control = ("Cc", "Zl", "Zp")
    return " ".join("".join(" " if unicodedata.category(letter) in control else letter for letter in text).split())
