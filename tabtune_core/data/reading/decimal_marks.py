"""Decides in which columns of a file a comma is the decimal mark, and asks where the file does not tell.

Part of the fourth step of reading. "1.234" and "1,234" alone may be a decimal number or have thousands.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import duckdb
import pandas as pd

from tabtune_core.data.findings import Finding, Question, Told
from tabtune_core.data.reading.batched_queries import among, quoted
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.number_formats import GROUPED, MONEY, SURE_COMMA, SURE_POINT, ZERO_POINT
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.row_marks import LEAST_SURE, mark_of_rows
from tabtune_core.data.reading.sql import counts
from tabtune_core.data.reading.words import Typed

BARE_NUMBER = re.compile(r"^[^\d+-]+|\D+$")
"""What stands around a number, such as a currency or a unit."""
COMMA_BETWEEN = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(,\d{3})+(?![\d.,])")
COMMA_DECIMAL = re.compile(r"(?<!\d)(0,\d{3}|\d*,(\d{1,2}|\d{4,}|\d{3}[eE][+-]?\d+))(?!\d)")
SURE_COMMA_BETWEEN = re.compile(r"\d,\d{2,3}[.,]\d")
LEAST_NEAR_THOUSANDS = 100
"""A column with a whole number of this size or more may have thousands in new rows."""


@dataclass(slots=True)
class DecimalMarks:
    """What is known about the decimal marks of a file, and what its columns of numbers show."""

    known: dict[str, bool]
    """Whether a comma is decimal, by column, from an earlier reading."""
    follows: bool
    """Whether ``known`` holds for this file."""
    by_comma: bool
    """Whether a comma is more likely decimal than between thousands."""
    pointed: bool
    """Whether "1.234" is 1234 in columns whose kind nobody chose."""
    asks: bool
    """Whether this is a text from a person, in which points may separate thousands."""
    decided: bool
    """Whether the file holds a comma that must be decimal, and commas were expected to be."""
    kinds: Collection[str]
    """The columns whose kind the person chose."""
    doubts: dict[str, str] | None = field(default_factory=dict)
    """A cell of each column whose points may separate thousands; None if some point must be decimal."""
    seen: dict[str, tuple[bool | None, list[str]]] = field(default_factory=dict)
    """For each column of numbers, whether its comma was read as decimal, and its cells with a comma or point."""

    @classmethod
    def of(cls, cells: Cells, job: Job, *, own: bool | None, guided: bool) -> tuple[Self, list[Finding]]:
        """Returns what is known before the columns are typed, and what to tell the person; the arguments are those of
        ``finish``.
        """
        connection, choices, to_predict = job.connection, job.choices, job.fewest == 1
        known, told = dict(choices.decimal_commas), list[Finding]()
        anywhere = ", ".join(f"c{place}" for place in range(len(cells.names)))
        # the point of "12.500" alone is ambiguous; cells such as "9,5" beside it decide
        with_sign = quoted(rf"(?m)^(({MONEY}|%) ?)?{SURE_COMMA} ?({MONEY}|%)?$")
        sure_comma = f"count(*) FILTER (regexp_matches(concat_ws(chr(10), {anywhere}), {with_sign}))"
        sure = (choices.delimiter == ";" or (not own and bool(known))) and counts(connection, sure_comma)[0] > 0
        follows = own or (sure and not (to_predict and own is None))
        if to_predict and own is not None:
            numbers = {name for name, kind in choices.kinds if kind == "number"}
            comma, told = mark_of_rows(connection, cells, numbers, known, dict(choices.units).values())
            known, follows = (known, follows) if comma is None else (dict.fromkeys(numbers, comma), True)
        by_comma, asks = choices.delimiter == ";" or guided, own is not None and not to_predict
        pointed = guided or (sure and by_comma)
        marks = cls(known, bool(follows), by_comma, pointed, asks, sure, dict(choices.kinds))
        return marks, told

    def comma_first(self, name: str) -> bool:
        """Whether a decimal comma is tried before a comma between thousands in the column ``name``."""
        return self.known.get(name, self.by_comma)

    def decimal_comma(self, name: str, sample: Sequence[str]) -> bool | None:
        """Returns whether the column ``name`` has decimal commas, None if it is not known."""
        if self.follows and name in self.known:
            return self.known[name]
        has_points = any("." in cell for cell in sample) and not any(map(ZERO_POINT.fullmatch, sample))
        return True if self.pointed and name not in self.kinds and has_points else None

    def see(
        self,
        connection: duckdb.DuckDBPyConnection,
        names: Sequence[str],
        typed: Sequence[Typed],
        samples: Sequence[Sequence[str]],
    ) -> None:
        """Takes note of the columns of ``batch``, as they were typed."""
        for name, kind, sample in zip(names, typed, samples, strict=True):
            if kind.kind == "number":
                self.seen[name] = (kind.decimal_comma, [cell for cell in sample if "," in cell or "." in cell])
        if self.asks and self.doubts is not None:
            found = _doubtful_points(connection, typed, samples, semicolons=self.by_comma)
            self.doubts = (
                None if found is None else self.doubts | {names[place]: shown for place, shown in found.items()}
            )

    @property
    def decisive(self) -> bool:
        """Whether sure decimal commas tell how other numbers are meant: not too few for that, and no comma must
        separate thousands.
        """
        sure = sum(
            COMMA_DECIMAL.search(cell) is not None for decimal, cells in self.seen.values() if decimal for cell in cells
        )
        others = (cell for decimal, cells in self.seen.values() if decimal is False for cell in cells)
        enough = sure > LEAST_SURE * sum(len(cells) for _, cells in self.seen.values())
        return self.asks and self.doubts is not None and enough and not any(map(SURE_COMMA_BETWEEN.search, others))

    @property
    def undecided(self) -> bool:
        """Whether columns would be read in another way if sure decimal commas decided."""
        others = (name for name, (decimal, cells) in self.seen.items() if cells and not decimal)
        return not self.by_comma and any(name not in self.known for name in others)

    def raised(self) -> Told:
        """Returns the findings and questions about points and commas that may separate thousands."""
        if not self.asks:
            return [], []
        points, questions = points_question(self.doubts) if self.doubts else ([], [])
        if not self.decided:
            points += commas_finding({name: cells for name, (decimal, cells) in self.seen.items() if decimal})
        return points, questions

    def recorded(self, frame: pd.DataFrame, *, decisive: bool) -> dict[str, bool]:
        """Returns ``ReadingChoices.decimal_commas`` of the typed table."""
        commas = {name: decimal for name, (decimal, _) in self.seen.items() if decimal is not None}
        if not decisive:
            return commas
        # 1.234 in new rows is 1234 in whole numbers, too, unless the person said otherwise
        whole = (
            name
            for name, (_, cells) in self.seen.items()
            if not cells and frame[name].abs().max() >= LEAST_NEAR_THOUSANDS
        )
        return (
            dict.fromkeys(whole, True) | {name: False for name in self.seen if self.known.get(name) is False} | commas
        )


def _doubtful_points(
    connection: duckdb.DuckDBPyConnection, typed: Sequence[Typed], samples: Sequence[Sequence[str]], *, semicolons: bool
) -> dict[int, str] | None:
    """Returns a cell of each number column of ``batch`` whose points may all separate thousands, or None if some point
    must be decimal.

    Without ``semicolons`` between cells, a column is in doubt only if it also holds numbers without a point: 1.652
    beside 607.
    """
    pointed = {
        place: [cell for cell in samples[place] if "." in cell]
        for place, kind in enumerate(typed)
        if kind.kind == "number" and not kind.decimal_comma
    }
    if any(SURE_POINT.fullmatch(BARE_NUMBER.sub("", cell)) for cells in pointed.values() for cell in cells):
        return None
    places = [place for place, cells in pointed.items() if cells and typed[place].decimal_comma is None]
    if not places:
        return {}
    number = f"regexp_replace(cell, {quoted(BARE_NUMBER.pattern)}, '', 'g')"
    values = f"(SELECT place, cell, {number} AS number FROM batch WHERE {among(places)})"
    rows = connection.execute(
        f"SELECT place, max(cell) FILTER (contains(number, '.')) FROM {values} WHERE number != '' GROUP BY place "
        f"HAVING bool_and(regexp_full_match(number, {quoted(GROUPED)})) AND bool_or(contains(number, '.')) "
        f"AND ({semicolons} OR bool_or(NOT contains(number, '.')))"
    )
    return dict(rows.fetchall())


def points_question(doubts: Mapping[str, str]) -> tuple[list[Finding], list[Question]]:
    """Asks in which columns points separate thousands; ``doubts`` are the columns, each with a cell."""
    listed = ", ".join(f"{shown!r} in {name!r}" for name, shown in [*doubts.items()][:3]) + (
        ", ..." if len(doubts) > 3 else ""
    )
    message = f"All points in numbers have three digits after them, such as {listed}. They were read as decimal points."
    question = Question("point", f"{message} If they separate thousands, say so.", "decimal_commas", tuple(doubts))
    return [Finding("warning", "point", message)], [question]


def commas_finding(commas: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Warns if all numbers with a decimal comma may have thousands; ``commas`` are the columns, each with its cells
    that hold a comma.
    """
    shown = {name: next(filter(COMMA_BETWEEN.search, cells), None) for name, cells in commas.items()}
    doubts = [f"{cell!r} in {name!r}" for name, cell in shown.items() if cell]
    if not doubts or any(COMMA_DECIMAL.search(cell) for cells in commas.values() for cell in cells):
        return []
    listed = ", ".join(doubts[:3]) + (", ..." if len(doubts) > 3 else "")
    message = (
        f"All commas in numbers have three digits after them, such as {listed}. They were read as decimal commas. "
    )
    way_out = (
        "If they separate thousands, remove the column from 'Columns with decimal commas' under Reading choices; "
        "on the command line, use --thousands-comma."
    )
    return [Finding("warning", "comma", message + way_out)]
