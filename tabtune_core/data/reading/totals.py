"""Finds rows that sum up others: totals, means and deviations at the end of a table, a total in its first row,
subtotals between rows.

In: the frame, its columns and the cells of the file. Out: where such rows are, and what they show.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

import duckdb
import numpy as np
import pandas as pd

from tabtune_core.data.findings import Column, shorten
from tabtune_core.data.reading.batched_queries import quoted
from tabtune_core.data.reading.sql import counts, first_row

SUM = (
    r"(grand |sub-?)?totals?|total general|total "
    r"général|totale|totaal|totalt|sums?|suma|summa|summen?|gesamt(summe)?|insgesamt|somme|"
    "razem|celkem|toplam"
)
MEAN = "averages?|avg|means?|mittelwert|durchschnitt|moyenne|promedio"
TOTAL = re.compile(rf"((overall|all|column) )?({SUM}|{MEAN}|[∑Σ])(?P<of> ?\(.*|: .*| [:\u2013-] .*)?", re.IGNORECASE)
"""The name of a total; what it is of may follow."""
MEAN_NAME = re.compile(MEAN, re.IGNORECASE)
SPREAD = re.compile(
    r"%? ?r?(sd|sem?|cv|std)( dev)?\.?( ?%)?|(st(d|andard)?\.? ?|standard)(dev(iation)?|error|abweichung)\.?|"
    r"(geometric mean|median|min(imum)?|max(imum)?|variance|count|n)\.?",
    re.IGNORECASE,
)
"""Names of rows beside a mean."""
FEWEST_ADDED = 3
"""Fewest nonzero numbers above a total: two may add up to a third by chance."""
FEWEST_BESIDE_A_WORD = 8
"""The same, of all columns, if the total has a name in any language."""
MOST_TOTALS = 8
"""Most totals at the end of a table, or rows with such a name."""
INSIDE = rf"\b(sub)?({SUM})\b|[∑Σ]|итого|всего|[小合总]计|[小合]計|[소합총]계"
"""What the name of a subtotal contains."""
MOST_LABELS, MOST_NAMED, MOST_STARTS = 10, 5_000, 50
"""Most columns that may name subtotals, rows with such names, and totals before a subtotal after which it may begin."""
TYPED = ("number", "date", "datetime", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The totals of a table."""

    last: list[str]
    """Descriptions of those at its end, the last row first."""
    others: list[int]
    """Numbers of the other rows that are totals, from 0."""
    described: str
    """The first of these."""


def find_totals(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame, *, below: int
) -> Totals:
    """Finds the totals above ``below`` rows of notes."""
    end = len(frame) - below
    others = _subtotals(connection, columns, frame.iloc[:end])
    last = _last_totals(connection, columns, frame, end=end, without=others)
    others = [place for place in others if place < end - len(last)]
    if described := _first_total(connection, columns, frame.iloc[: end - len(last)]):
        return Totals(last=last, others=[0, *filter(None, others)], described=described)
    cells = _cells(connection, others[0], len(frame)) if others else ()
    shown = [place for place, cell in enumerate(cells) if cell is not None]
    return Totals(last=last, others=others, described=_described(columns, cells, shown))


def _cells(connection: duckdb.DuckDBPyConnection, place: int, rows: int) -> tuple[str | None, ...]:
    """Returns the cells of one of the ``rows``, which is searched from the nearer end."""
    order, offset = ("DESC", rows - 1 - place) if 2 * place > rows else ("", place)
    return first_row(connection, f"SELECT * FROM cells ORDER BY rowid {order} LIMIT 1 OFFSET {offset}")


def _described(columns: Sequence[Column], cells: Sequence[str | None], places: Sequence[int]) -> str:
    return ", ".join(f"{columns[place].name!r} is {shorten(str(cells[place]))!r}" for place in places[:3])


def _last_totals(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[Column],
    frame: pd.DataFrame,
    *,
    end: int,
    without: Sequence[int],
) -> list[str]:
    """Describes the totals before row ``end``, the last first; they do not add the rows ``without``.

    Deviations and such count beside a mean of more rows.
    """
    above = (frame.iloc[:place] for place in range(end - 1, 0, -1))
    if without:  # else no table is copied
        above = (rows.drop(index=[row for row in without if row < len(rows)]) for rows in above)
    told = (
        _total(connection, columns, frame, end - 1 - row, others)
        for row, others in enumerate(islice(above, MOST_TOTALS))
    )
    found = [*takewhile(lambda one: one[1], told)]
    if not any(MEAN_NAME.search(name) for name, _ in found) or 2 * len(found) > end:
        found = [*takewhile(lambda one: not SPREAD.fullmatch(one[0]), found)]
    return [description for _, description in found]


def _first_total(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame) -> str:
    """Describes the first row if most of its numbers are the largest and it is a total of the others."""
    numbers = [column.name for column in columns if column.kind == "number" and pd.notna(frame[column.name].iloc[0])]
    largest = [frame[name].iloc[0] > frame[name].iloc[1:].max() for name in numbers]
    if len(frame) <= FEWEST_ADDED or 2 * sum(largest) <= len(numbers):
        return ""
    name, described = _total(connection, columns, frame, 0, frame.iloc[1:])
    return "" if SPREAD.fullmatch(name) or MEAN_NAME.search(name) else described


def _total(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[Column],
    frame: pd.DataFrame,
    place: int,
    others: pd.DataFrame,
) -> tuple[str, str]:
    """Returns the name, if any, and the description of a row if it is a total of the rows ``others``: its name says so,
    or its numbers add up, and it has no word, a word that occurs only there or, beside an empty cell, words that all
    rows that it adds have.
    """
    row, cells = frame.iloc[place], _cells(connection, place, counts(connection, "count(*)")[0])
    read = [column.kind in TYPED and pd.notna(row[column.name]) for column in columns]
    words = [
        place
        for place, cell in enumerate(cells)
        if cell is not None and columns[place].kind != "ignored" and not read[place]
    ]
    once = (
        counts(connection, *(f"count(*) FILTER (c{place} = {quoted(str(cells[place]))})" for place in words))
        if words
        else ()
    )
    new = [place for place, rows in zip(words, once, strict=True) if rows == 1]
    labels = [place for place in new if _is_name(connection, place, str(cells[place]))]
    filled = [place for place, column in enumerate(columns) if read[place] and column.kind == "number"]
    names = [columns[place].name for place in filled]
    if not labels and not (
        _adds_in_most(others, row, names) if new else _adds_in_all(others, row, names, words, sum(read))
    ):
        return "", ""
    shown = [*(labels or new), *filled]
    return str(cells[shown[0]]) if new else "", _described(columns, cells, shown)


def _is_name(connection: duckdb.DuckDBPyConnection, place: int, cell: str) -> bool:
    """Whether a cell names a total or what stands beside one; if it says of what, few cells of its column may begin
    like that.
    """
    found = TOTAL.fullmatch(cell.strip(" :."))
    if not found or not found["of"]:
        return bool(found or SPREAD.fullmatch(cell.strip(" :.")))
    head = quoted(cell.strip(" :.")[: found.start("of")])
    return counts(connection, f"count(*) FILTER (starts_with(c{place}, {head}))")[0] <= MOST_TOTALS


def _adds_in_most(above: pd.DataFrame, last: pd.Series, filled: Sequence[str]) -> bool:
    """Whether more than half of the numbers of a row are sums, and of many numbers."""
    added = [*filter(None, (_added(above[name], last[name]) for name in filled))]
    return 2 * len(added) > len(filled) and sum(added) >= FEWEST_BESIDE_A_WORD


def _adds_in_all(
    above: pd.DataFrame, last: pd.Series, filled: Sequence[str], words: Sequence[int], values: int
) -> bool:
    """Whether all ``values`` of a row are sums, over the rows with the same ``words`` if it has some and a cell is
    empty only there.
    """
    if words:
        same = above.iloc[:, [*words]].eq(last.iloc[[*words]]).all(axis=1)
        above = above[same]
        if not (last.isna() & above.notna().all()).any():
            return False
    return 0 < values == sum(_added(above[name], last[name]) > 0 for name in filled)


def _added(above: pd.Series, last: float) -> int:
    """Returns how many nonzero numbers add up to ``last``; 0 if they do not, or are few."""
    if last == 0 or not np.isclose(above.sum(), last, rtol=1e-9, atol=0):
        return 0
    count = int(np.count_nonzero(above.fillna(0)))
    return count if count >= FEWEST_ADDED else 0


def _subtotals(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame) -> list[int]:
    """Returns the numbers of the rows that sum up those since an earlier total, or else those up to a later one: rows
    with a name of totals, or all rows in which a cell is empty.
    """
    names = [column.name for column in columns if column.kind == "number"]
    seen = [place for place, column in enumerate(columns) if column.kind != "ignored"][:MOST_LABELS]
    if not names:
        return []
    query = (
        "SELECT place FROM (SELECT row_number() OVER () - 1 AS place, "
        f"concat_ws(chr(10), {', '.join(f'c{place}' for place in seen)}) AS words FROM cells) "
        f"WHERE regexp_matches(words, {quoted(INSIDE)}, 'i') ORDER BY place LIMIT {MOST_NAMED + 1}"
    )
    named = [place for (place,) in connection.execute(query).fetchall() if place < len(frame)]
    if 0 < len(named) <= MOST_NAMED and (
        found := _summing(frame[names], named) or _summing(frame[names], named, backwards=True)
    ):
        return found
    for place in seen:
        empty = [*map(int, np.flatnonzero(frame.iloc[:, place].isna())[: MOST_NAMED + 1])]
        if 1 < len(empty) <= min(MOST_NAMED, len(frame) / 3) and _starts_with_a_sum(frame, names, empty[0]):
            found = _summing(frame[names], empty)
            if found == empty:
                return found
    return []


def _starts_with_a_sum(frame: pd.DataFrame, names: Sequence[str], place: int) -> bool:
    """Whether all numbers of a row are sums of those above."""
    filled = [name for name in names if pd.notna(frame[name].iloc[place])]
    return bool(filled) and all(_added(frame[name].iloc[:place], frame[name].iloc[place]) for name in filled)


def _summing(numbers: pd.DataFrame, places: list[int], *, backwards: bool = False) -> list[int]:
    """Returns those of the rows ``places`` with numbers that mostly are sums of the rows since one that was found
    before, without totals; none if few numbers add up to them. ``backwards`` adds up the rows after them.
    """
    step = -1 if backwards else 1
    places = places[::step]
    at = [len(numbers) - 1 - place for place in places] if backwards else places
    columns = [numbers[name].to_numpy(dtype=float, na_value=np.nan)[::step] for name in numbers]
    own = np.stack([column[at] for column in columns], axis=1)
    both = np.stack([np.nan_to_num(own), np.nan_to_num(own) != 0])  # a number, and 1 if it is not 0
    parts = (
        [np.nan_to_num(column).cumsum()[at] for column in columns],
        [(np.nan_to_num(column) != 0).cumsum()[at] for column in columns],
    )
    before = np.stack([np.stack(part, axis=1) for part in parts]) - both
    found: list[int] = []
    starts, taken, added = [0 * both[:, 0]], 0 * both[:, 0], 0.0
    for row, place in enumerate(places):
        now = before[:, row] - taken
        since = now - np.array([starts[0], *starts[1:][-MOST_STARTS:]])
        equal = np.isclose(since[:, 0], own[row], rtol=1e-9, atol=1e-14 * np.abs(before[0, row]))
        terms = (equal * since[:, 1]).sum(axis=1)
        if (fits := np.flatnonzero((2 * equal.sum(axis=1) > (~np.isnan(own[row])).sum()) & (terms > 0))).size:
            found, taken, added = [*found, place], taken + both[:, row], added + terms[fits[-1]]
            starts.append(now)
    enough = added >= max(FEWEST_BESIDE_A_WORD, 2 * len(found)) and 4 * len(found) >= 3 * len(places)
    return sorted(found) if enough else []
