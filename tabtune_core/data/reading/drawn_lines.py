"""Erases the lines that programs draw between rows.

Part of the second step of reading. In: a UTF-8 file, rewritten in place. Out: findings.
"""

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

from tabtune_core.data.findings import Finding
from tabtune_core.data.reading.misfits import Lines

HEAD_CHARACTERS = 1 << 18
RULE = re.compile(r"[ |+:]*[-=]{3}[-=|+: ]*")
"""A line that a program draws between rows, of dashes and bars."""
PARTED = re.compile(r".*[-=] ?[|+ ] ?:?[-=].*")
"""A drawn line in which bars or blanks part the columns."""
ROWS_TOLD = re.compile(r"\(\d+ rows?( affected)?\)|\d+ rows? in set.*")
"""The line in which such programs count the rows."""
FIELDS = re.compile(r"\d{1,4}[sdn](\t\d{1,4}[sdn])+")
"""The line below the names in which the USGS tells the width and kind of each column: a string, a date or a number."""


def erase_rules(path: Path, delimiter: str | None) -> list[Finding]:
    """Empties the lines that a program draws between rows, that in which it counts them and that which tells the widths
    of the columns, and removes the bars around rows.

    Does so only where tabs, bars or blanks part the columns, and outside quotes; returns what was found.
    """
    if delimiter not in (None, "|", " ", "\t"):
        return []
    with path.open(encoding="utf-8") as text:
        start = text.read(HEAD_CHARACTERS)
    lines = [line.strip() for line in start.split("\n")[: None if len(start) < HEAD_CHARACTERS else -1]]
    if fields := erase_fields(path, lines):
        return fields
    drawn = [line for line in lines if RULE.fullmatch(line)]
    rows = [line for line in lines if "|" in line and not RULE.fullmatch(line)]
    framed = bool(rows) and all(re.fullmatch(r"\|.*\|", line) for line in rows)
    if not drawn or not (framed or any(map(PARTED.fullmatch, drawn))):
        return []
    erased, inside, number = Lines(), False, 0

    def bare(line: str) -> str:
        nonlocal inside, number
        text, within = line.strip(), inside
        inside, number = inside ^ (line.count('"') % 2 == 1), number + 1
        if within:
            return line
        if RULE.fullmatch(text) or ROWS_TOLD.fullmatch(text):
            erased.add(number)
            return "\n"
        return f"{text[1:-1]}\n" if framed and re.fullmatch(r"\|.*\|", text) else line

    rewrite(path, bare)
    return [Finding("info", "drawn-lines", f"Drawn between rows, or counting them, and left out: {erased}.")]


def erase_fields(path: Path, lines: list[str]) -> list[Finding]:
    """Empties the line of FIELDS below as many names; ``lines`` are the first of the file."""
    found = [place for place, line in enumerate(lines) if FIELDS.fullmatch(line)]
    if len(found) != 1 or lines[found[0] - 1].count("\t") != lines[found[0]].count("\t"):
        return []
    told, numbers = lines[found[0]].split("\t")[0], count(0)
    rewrite(path, lambda line: "\n" if next(numbers) == found[0] else line)
    return [
        Finding(
            "info",
            "drawn-lines",
            f"Telling the width of each column ({told!r}, ...), and left out: Line {found[0] + 1}.",
        )
    ]


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Writes a file with each line changed."""
    whole = path.with_name("before.csv")
    path.rename(whole)
    with whole.open(encoding="utf-8", newline="\n") as lines, path.open("w", encoding="utf-8", newline="\n") as kept:
        kept.writelines(map(change, lines))
    whole.unlink()
