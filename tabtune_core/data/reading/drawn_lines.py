"""Erases the lines that programs draw between rows.

Part of the second step of reading. In: a UTF-8 file, rewritten in place. Out: findings.
"""

import re
from collections.abc import Callable
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


def erase_rules(path: Path, delimiter: str | None) -> list[Finding]:
    """Empties the lines that a program draws between rows and that in which it counts them, and removes the bars around rows.

    Does so only where bars or blanks part the columns, and outside quotes; returns what was found.
    """
    if delimiter not in (None, "|", " "):
        return []
    with path.open(encoding="utf-8") as text:
        start = text.read(HEAD_CHARACTERS)
    lines = [line.strip() for line in start.split("\n")[: None if len(start) < HEAD_CHARACTERS else -1]]
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


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Writes a file with each line changed."""
    whole = path.with_name("before.csv")
    path.rename(whole)
    with whole.open(encoding="utf-8", newline="\n") as lines, path.open("w", encoding="utf-8", newline="\n") as kept:
        kept.writelines(map(change, lines))
    whole.unlink()
