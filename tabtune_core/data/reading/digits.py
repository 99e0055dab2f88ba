"""Reads numbers and dates in the digits of other scripts, such as Arabic-Indic, Devanagari or full-width ones.

Part of the fourth step of reading. Only columns with such digits take this way; their words stay as they are.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import replace

import duckdb

from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.words import Typed

SIGNS = str.maketrans("٫٬٪．，－＋％／：", ".,%.,-+%/:", "\u061c\u200e\u200f")  # noqa: RUF001
"""The signs of such numbers and dates; marks of the direction of writing, which stand before a minus sign, are dropped."""
CELL = re.compile(r"'(?:[^']|'')*'|\bcell\b")


def other_digits(connection: duckdb.DuckDBPyConnection) -> dict[int, str]:
    """Returns the digits of other scripts in each column of ``batch`` that has some."""
    found = r"SELECT DISTINCT place, unnest(regexp_extract_all(cell, '[^\P{Nd}0-9]')) AS digit FROM batch WHERE strlen(cell) > length(cell)"
    return dict(connection.execute(f"SELECT place, string_agg(digit, '' ORDER BY digit) FROM ({found}) GROUP BY place").fetchall())


def ascii_digits(text: str) -> str:
    """Returns a text with digits and signs of other scripts as ASCII ones.

    >>> list(map(ascii_digits, ("٥٣٫٧", "－１２", "५३.७ cm²")))
    ['53.7', '-12', '53.7 cm²']
    """
    if text.isascii():
        return text
    return "".join(letter if (digit := unicodedata.decimal(letter, None)) is None else str(digit) for letter in text.translate(SIGNS))


def in_ascii(work: Asking[Typed], digits: Collection[str]) -> Asking[Typed]:
    """Runs the work on a column with its cells as ``ascii_digits`` writes them; a column that stays words keeps its own."""
    signs = [*sorted(map(chr, SIGNS), key=lambda sign: SIGNS[ord(sign)] is None)]  # those to drop come last
    written = ascii_digits("".join([*digits, *signs]))
    translated = f"translate(cell, {quoted(''.join([*digits, *signs]))}, {quoted(written)})"

    def ascii_cell(sql: str) -> str:
        return CELL.sub(lambda found: translated if found[0] == "cell" else found[0], sql)

    values: tuple[object, ...] | None = None
    while True:
        try:
            ask = work.send(values)  # type: ignore[arg-type]  # None starts the generator
        except StopIteration as end:
            typed: Typed = end.value
            return replace(typed, value=ascii_cell(typed.value)) if typed.value != "cell" else typed
        values = yield Ask(tuple(map(ascii_cell, ask.terms)), ask.of_sample, tuple(map(ascii_cell, ask.parts)))
