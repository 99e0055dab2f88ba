"""Finds rows that do not belong to the table: units or further names below the header, a total or notes at the end.

Runs after the columns are typed. In: the frame, its columns and the cells of the file. Out: findings, and questions
whose answers change how these rows are read.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import duckdb
import pandas as pd

from tabtune_core.data.findings import Column, Finding, Question, Told, not_asked, shorten
from tabtune_core.data.reading.sql import counts, first_row
from tabtune_core.data.reading.totals import FEWEST_ADDED, Totals, find_totals
from tabtune_core.wording import few

UNIT = re.compile(r"[^\d<>≤≥~+.,-][^\n]{0,20}")
"""A unit of measure: a short word, not a number and not a bound such as "<5"."""
LETTER = re.compile(r"[^\W\d_]")
MOST_MARKS = 20
"""Most different units in one question."""
MOST_HEADER_ROWS = 4
"""Number of rows after the first line that may hold names."""
REPAIRED, FEWEST_REPAIRED = ("duplicate-names", "empty-names"), 2
"""Findings on names that a line of groups of columns leaves, and their least number if one line of names follows it."""
NOTE = re.compile(
    r"(sources?|notes?|data from|(last )?updated|generated|exported|quelle|stand|fuente|nota)\b.*[:,].*|\(?\d+ "
    r"rows?\b.*|[©*].*|"
    r".*(©|\(c\)|copyright) .*",
    re.IGNORECASE,
)
"""A note below a table, even if a comma splits it into two cells."""
LINE = re.compile(r"[\W_]{3,}")
"""Marks that separate a table and its notes."""
MOST_NOTES, MOST_NOTE_CELLS = 100, 100_000
"""Most rows of notes, and most cells of the rows that are looked at; 10 rows at least."""


def with_units_row(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame, told: Told
) -> Told:
    """Adds a finding and a question about a first row of units: words in number columns that occur only there.

    Returns all of both.
    """
    findings, questions = told
    first = first_row(connection, "SELECT * FROM cells LIMIT 1")
    asked = {word for question in questions if question.code == "mixed-numbers" for word in question.options}
    places = [
        place
        for place, (column, cell) in enumerate(zip(columns, first, strict=True))
        if cell is not None and (column.kind == "number" or (column.kind in ("category", "text") and cell in asked))
    ]
    units = [str(first[place]) for place in places]
    if (
        not units
        or not all(map(UNIT.fullmatch, units))
        or any(isinstance(value, float) and value == value for value in frame.iloc[0])
    ):
        return told
    same = [f"count(*) FILTER (c{place} = (SELECT c{place} FROM cells LIMIT 1))" for place in places[:MOST_MARKS]]
    if max(counts(connection, *same)) > 1:
        return told
    marks = tuple(dict.fromkeys(units))
    shown = ", ".join(map(repr, marks[:3])) + (", ..." if len(marks) > 3 else "")
    message = (
        f"The first row has words where all others have numbers ({shown}), as a row of units has; it is read "
        "as a row of the table."
    )
    if len(marks) > MOST_MARKS:
        return [
            Finding("warning", "units-row", f"{message} Delete it in the file if it does not belong there."),
            *findings,
        ], questions
    question = Question(
        "units-row", f"{message} If these words are units, say so and they are read as missing.", "missing_marks", marks
    )
    answered = [other for other in questions if other.code == "mixed-numbers" and set(other.options) <= {*marks}]
    return (
        [Finding("warning", "units-row", message), *not_asked(findings, answered)],
        [question, *(other for other in questions if other not in answered)],
    )


def with_header_lines(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[Column],
    frame: pd.DataFrame,
    told: Told,
    *,
    mixed: Collection[int],
) -> Told:
    """Adds a finding and a question about further header lines: rows with words in three of four columns of numbers (or
    of numbers and words that are asked about, at the places ``mixed``), and numbers in none, or a second line with the
    names that the first lacks. Returns all of both.

    The question replaces those about the words of each column.
    """
    findings, questions = told
    asked = {word for question in questions if question.field == "missing_marks" for word in question.options}
    first = connection.execute(f"SELECT * FROM cells LIMIT {MOST_HEADER_ROWS}").fetchall()
    numbers = [
        place
        for place, column in enumerate(columns)
        if column.kind == "number" or (place in mixed and asked.intersection(row[place] for row in first))
    ]
    odd = [
        bool(is_missing and (column.missing == 1 or (place in numbers and cell)))
        or (place in numbers and cell in asked)
        for place, (column, cell, is_missing) in enumerate(zip(columns, first[0], frame.iloc[0].isna(), strict=True))
    ]
    named = _names_of_unnamed(columns, first[0], odd)
    otherwise = (
        _header_lines(2, named, "line 2 has words ({}, ...) where the first has no name", told) if named else told
    )
    if len(numbers) < max(FEWEST_ADDED, len(columns) / 3):
        return otherwise
    words = [[cells[place] for place in numbers if cells[place]] for cells in first]
    shown = frame.iloc[: len(first), numbers]
    unread = shown.isna() | shown.isin(asked)
    worded = [row for row, found in enumerate(words) if 4 * len(found) >= 3 * len(numbers) and unread.iloc[row].all()]
    repaired = sum(finding.code in REPAIRED for finding in findings)
    if not any(len(set(filter(LETTER.search, words[row]))) > 1 for row in worded) or (
        worded[-1] == 0 and repaired < FEWEST_REPAIRED
    ):
        return otherwise  # such as "**" or "n/k" in each column, or units below names of their own
    lines = worded[-1] + 2
    index = [cell for cell in first[lines - 1] if cell] if len(first) >= lines else []
    unnamed = all(
        columns[place].name == f"column_{place + 1}" and not first[lines - 2][place] for place in range(len(index))
    )
    if index and unnamed and all(map(LETTER.search, index)) and not any(first[lines - 1][len(index) :]):
        lines += 1  # the names of an index, as pandas writes them
    return _header_lines(
        lines, words[worded[-1]], f"line {worded[-1] + 2} has words ({{}}, ...) where all others have numbers", told
    )


def _names_of_unnamed(columns: Sequence[Column], first: Sequence[str | None], odd: Sequence[bool]) -> list[str]:
    """Returns the words of the first row below columns without a name, if there are several, each has one, and that row
    is ``odd`` (has no value in a column with no other gap, or a word among numbers) in two other columns.
    """
    unnamed = [column.name == f"column_{place + 1}" for place, column in enumerate(columns)]
    words = [
        cell for cell, is_unnamed in zip(first, unnamed, strict=True) if is_unnamed and cell and LETTER.search(cell)
    ]
    others = sum(is_odd and not is_unnamed for is_odd, is_unnamed in zip(odd, unnamed, strict=True))
    return words if 1 < len(words) == sum(unnamed) and others > 1 else []


def _header_lines(lines: int, words: Sequence[str], reason: str, told: Told) -> Told:
    """Replaces what was told about the words of further header lines by one finding and one question."""
    findings, questions = told
    because = reason.format(", ".join(map(repr, words[:3])))
    message = f"The first {lines} lines look like lines of names: {because}. Only the first is read as names."
    question = Question(
        "header-lines", f"{message} If all of them hold names, say so.", "header_lines", ("1", str(lines))
    )
    kept = [
        finding for finding in findings if finding.code not in ("bad-cells", "missing-marks", "units-row", *REPAIRED)
    ]
    return [Finding("warning", "header-lines", message), *kept], [
        question,
        *(one for one in questions if one.field != "missing_marks"),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class OddRows:
    """Rows of a table that do not belong to it."""

    notes: list[str | None]
    """The first cells of the notes at the end."""
    totals: Totals

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame) -> Self:
        """Finds the notes at the end, the totals above them and all other totals."""
        most = max(10, min(MOST_NOTES, MOST_NOTE_CELLS // len(columns)))
        ends = connection.execute(f"SELECT * FROM cells ORDER BY rowid DESC LIMIT {most}").fetchall()
        notes = [row[0] for row in ends[: _notes(ends, frame)][::-1]]
        return cls(notes=notes, totals=find_totals(connection, columns, frame, below=len(notes)))

    def sums(self, rows: int) -> list[int]:
        """Returns the numbers of the totals of a table with so many rows, from 0."""
        end = rows - len(self.notes)
        return [*self.totals.others, *range(end - len(self.totals.last), end)]

    def told(self, questions: Sequence[Question], skipped: int) -> Told:
        """Returns findings about these rows, and all questions with those about leaving them out, besides the last
        ``skipped`` rows, which are left out already.
        """
        found, asked, notes, last = [], [], len(self.notes), len(self.totals.last)
        if notes:
            first = shorten(
                next((note for note in self.notes if note and not LINE.fullmatch(note)), self.notes[0]) or ""
            )
            message = (
                f"The last row looks like a note below a table ({first!r}). It is read as a row of the table."
                if notes == 1
                else f"The last {notes} rows look like notes below a table ({first!r}, ...). They are read as rows "
                "of the table."
            )
            found.append(Finding("warning", "note-rows", message))
        if last:
            where, more = " above the notes" if notes else "", f", and {last - 1} more above it" if last > 1 else ""
            message = f"The last row{where} looks like a total of the others ({self.totals.last[0]}){more}. "
            message += "They are read as rows of the table." if more else "It is read as a row of the table."
            found.append(Finding("warning", "total-row", message))
        if found:
            numbers = dict.fromkeys((skipped, *range(skipped + notes, skipped + notes + last + 1)))
            said, now = " ".join(finding.message for finding in found), f" in all (now {skipped})" if skipped else ""
            message = f"{said} If the table ends before, say how many rows to leave out at its end{now}."
            asked.append(Question("last-rows", message, "skip_last", tuple(map(str, numbers))))
        if others := [str(place + 1) for place in self.totals.others]:
            message = (
                f"Row {others[0]} looks like a total of other rows ({self.totals.described}). It is read as a row of "
                "the table."
                if len(others) == 1
                else f"Rows {few(others, 5)} look like totals of other rows ({self.totals.described}, ...). They are "
                "read like the others."
            )
            found.append(Finding("warning", "total-row", message))
            message += " If that is so, say that totals are left out; those at the end of the table are left out, too."
            asked.append(Question("total-rows", message, "drop_totals", ("false", "true")))
        return found, [*questions, *asked]


def _notes(ends: Sequence[tuple[str | None, ...]], frame: pd.DataFrame) -> int:
    """Counts the rows at the end with a phrase, or a label that ends with a colon and what it labels, in their first
    cell and nothing else, if no row above is like that; below a drawn line, with a word.

    ``ends`` are the cells of the last rows, the last row first.
    """
    notes, below = 0, _below_lines(ends, frame)
    labels = [phrase is not None and phrase.endswith(":") and not any(others) for phrase, *others in ends]
    for phrase, *others in ends[: len(frame) - 1] if frame.shape[1] > 2 else ():
        value, more = frame.iloc[:, 0].iloc[-1 - notes], sum(cell is not None for cell in others)
        of_its_kind = not isinstance(value, str) and pd.notna(value)  # such as a date without values
        labelled = any(labels[notes + 1 : notes + 2])
        if below[notes]:
            notes += 1
            continue
        if phrase is None or of_its_kind or not (labelled or labels[notes] or re.search(r"\w\W+\w", phrase)):
            break
        if NOTE.fullmatch(phrase):
            more = frame.iloc[-1 - notes, 1:].notna().sum() - 1  # a comma may split it
        if more > (labelled and _are_new_words(others, frame.iloc[: -1 - notes, 1:])):
            break
        notes += 1
    above = frame.iloc[: len(frame) - notes]
    alike = above.iloc[:, 0].isin([row[0] for row in ends[:notes] if row[0]]).any()
    return 0 if not notes or alike or above.iloc[:, 1:].isna().all(axis=1).any() else notes


def _below_lines(ends: Sequence[tuple[str | None, ...]], frame: pd.DataFrame) -> list[bool]:
    """Whether a row is a line drawn with marks, or one with one or two words in its first cells is below such a line."""  # noqa: E501
    found, below = [], False
    for place, cells in reversed([*enumerate(ends)]):
        filled = [cell for cell in cells if cell is not None]
        drawn = bool(filled) and all(map(LINE.fullmatch, filled))
        worded = below and len(filled) <= 2 < len(cells) and cells[0] is not None
        below = drawn or (worded and all(isinstance(value, str) or pd.isna(value) for value in frame.iloc[-1 - place]))
        found.append(below)
    return found[::-1]


def _are_new_words(cells: Sequence[str | None], above: pd.DataFrame) -> bool:
    """Whether cells have no digits and do not recur in the rows above."""
    words = [cell for cell in cells if cell is not None]
    return not any(re.search(r"\d", word) for word in words) and not above.isin(words).any(axis=None)
