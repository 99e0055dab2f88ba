"""Decides."""

import re
from collections.abc import Mapping, Sequence

import duckdb

from tabtune_core.data.findings import Finding, Question
from tabtune_core.data.reading.batched_queries import among, quoted
from tabtune_core.data.reading.number_formats import GROUPED, SURE_POINT
from tabtune_core.data.reading.row_marks import LEAST_SURE
from tabtune_core.data.reading.words import Typed

BARE_NUMBER = re.compile(r"^[^\d+-]+|\D+$")
"""What stands around a number, such as a currency or a unit."""
COMMA_BETWEEN = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(,\d{3})+(?![\d.,])")
COMMA_DECIMAL = re.compile(r"(?<!\d)(0,\d{3}|\d*,(\d{1,2}|\d{4,}|\d{3}[eE][+-]?\d+))(?!\d)")
SURE_COMMA_BETWEEN = re.compile(r"\d,\d{2,3}[.,]\d")


def doubtful_points(
    connection: duckdb.DuckDBPyConnection, typed: Sequence[Typed], samples: Sequence[Sequence[str]], *, semicolons: bool
) -> dict[int, str] | None:
    """Returns a cell of each number column of ``batch`` whose points may all separate thousands, or None if some point must be decimal.

    Without ``semicolons`` between cells, a column is in doubt only if it also holds numbers without a point: 1.652 beside 607.
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
    listed = ", ".join(f"{shown!r} in {name!r}" for name, shown in [*doubts.items()][:3]) + (", ..." if len(doubts) > 3 else "")
    message = f"All points in numbers have three digits after them, such as {listed}. They were read as decimal points."
    question = Question("point", f"{message} If they separate thousands, say so.", "decimal_commas", tuple(doubts))
    return [Finding("warning", "point", message)], [question]


def commas_decide(marked: Mapping[str, tuple[bool | None, Sequence[str]]]) -> bool:
    """Whether sure decimal commas tell how other numbers are meant: they are not too few for that, and no comma must separate thousands.

    ``marked`` are the columns of numbers with a comma or point: whether the comma was read as decimal, and the cells.
    """
    sure = sum(COMMA_DECIMAL.search(cell) is not None for decimal, cells in marked.values() if decimal for cell in cells)
    others = (cell for decimal, cells in marked.values() if decimal is False for cell in cells)
    enough = sure > LEAST_SURE * sum(len(cells) for _, cells in marked.values())
    return enough and not any(map(SURE_COMMA_BETWEEN.search, others))


def commas_finding(commas: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Warns if all numbers with a decimal comma may have thousands; ``commas`` are the columns, each with its cells that hold a comma."""
    shown = {name: next(filter(COMMA_BETWEEN.search, cells), None) for name, cells in commas.items()}
    doubts = [f"{cell!r} in {name!r}" for name, cell in shown.items() if cell]
    if not doubts or any(COMMA_DECIMAL.search(cell) for cells in commas.values() for cell in cells):
        return []
    listed = ", ".join(doubts[:3]) + (", ..." if len(doubts) > 3 else "")
    message = f"All commas in numbers have three digits after them, such as {listed}. They were read as decimal commas. "
    way_out = (
        "If they separate thousands, remove the column from 'Columns with decimal commas' under Reading choices; "
        "on the command line, use --thousands-comma."
    )
    return [Finding("warning", "comma", message + way_out)]
