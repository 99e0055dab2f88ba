"""Reads numbers and dates in the digits of other scripts, such as Arabic-Indic, Devanagari or full-width ones, or with
no-break spaces.

Part of the fourth step of reading. Only columns with such digits or spaces, or with invisible letters as right-to-left
texts have, take this way; their words stay as they are.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import replace

import duckdb

from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.names import WITHOUT_WIDTH
from tabtune_core.data.reading.words import Typed

SPACES = "\u00a0\u2007\u2009\u202f"
"""No-break and thin spaces, as JavaScript and Java write them before units, currencies and PM."""
SIGNS = str.maketrans(f"٫٬٪．，－＋％／：{SPACES}", ".,%.,-+%/:    ")  # noqa: RUF001
"""The signs of such numbers and dates."""
CELL = re.compile(r"'(?:[^']|'')*'|\bcell\b")


def other_digits(connection: duckdb.DuckDBPyConnection) -> dict[int, str]:
    """Returns the digits of other scripts, the ``SPACES`` and the invisible letters in each column of ``batch`` that
    has some.
    """
    letters = rf"regexp_extract_all(cell, '[^\P{{Nd}}0-9]|[{SPACES}]|{WITHOUT_WIDTH.pattern}')"
    found = f"SELECT DISTINCT place, unnest({letters}) AS digit FROM batch WHERE strlen(cell) > length(cell)"
    return dict(
        connection.execute(
            f"SELECT place, string_agg(digit, '' ORDER BY digit) FROM ({found}) GROUP BY place"
        ).fetchall()
    )


def ascii_digits(text: str) -> str:
    """Returns a text with digits, signs and spaces of other scripts as ASCII ones, without invisible letters.

    >>> list(map(ascii_digits, ("٥٣٫٧", "－１２", "५३.७\u00a0cm²\u200e")))
    ['53.7', '-12', '53.7 cm²']
    """
    return text if text.isascii() else _as_ascii(text).strip()


def _as_ascii(text: str) -> str:
    seen = WITHOUT_WIDTH.sub("", text).translate(SIGNS)
    return "".join(letter if (digit := unicodedata.decimal(letter, None)) is None else str(digit) for letter in seen)


def in_ascii(work: Asking[Typed], digits: Collection[str]) -> Asking[Typed]:
    """Runs the work on a column with its cells as ``ascii_digits`` writes them; a column that stays words keeps its
    own.
    """
    letters = "".join(
        sorted({*digits, *map(chr, SIGNS)}, key=lambda letter: not _as_ascii(letter))
    )  # those to drop come last
    translated = f"nullif(trim(translate(cell, {quoted(letters)}, {quoted(_as_ascii(letters))})), '')"

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
