"""Finds rows that sum up others: totals, means and deviations at the end of a table.

In: the frame, its columns and the cells of the file. Out: what each such row is and shows.
"""

import re
from collections.abc import Sequence
from itertools import takewhile

import duckdb
import numpy as np
import pandas as pd

from tabtune_core.data.findings import Column, shorten
from tabtune_core.data.reading.batched_queries import quoted
from tabtune_core.data.reading.sql import counts, first_row

SUM = (
    r"(grand |sub-?)?totals?|total general|total général|totale|totaal|totalt|sums?|suma|summa|summen?|gesamt(summe)?|insgesamt|somme|"
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
TYPED = ("number", "date", "datetime", "time")


def last_totals(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame, *, below: int) -> list[str]:
    """Describes the totals above ``below`` rows of notes, the last first. Deviations and such count beside a mean of more rows."""
    told = (_total(connection, columns, frame, below=below + row) for row in range(MOST_TOTALS))
    found = [*takewhile(lambda one: one[1], told)]
    if not any(MEAN_NAME.search(name) for name, _ in found) or 2 * len(found) > len(frame) - below:
        found = [*takewhile(lambda one: not SPREAD.fullmatch(one[0]), found)]
    return [description for _, description in found]


def _total(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], frame: pd.DataFrame, *, below: int) -> tuple[str, str]:
    """Returns the name, if any, and the description of the last row above ``below`` rows if it is a total: its name says so, or its
    numbers add up, and it has no word, a word that occurs only there or, beside an empty cell, words that all rows that it adds have.
    """
    if len(frame) < below + 2:
        return "", ""
    last, above = frame.iloc[-1 - below], frame.iloc[: len(frame) - 1 - below]
    cells = first_row(connection, f"SELECT * FROM cells ORDER BY rowid DESC LIMIT 1 OFFSET {below}")
    read = [column.kind in TYPED and pd.notna(last[column.name]) for column in columns]
    words = [place for place, cell in enumerate(cells) if cell is not None and columns[place].kind != "ignored" and not read[place]]
    once = counts(connection, *(f"count(*) FILTER (c{place} = {quoted(cells[place])})" for place in words)) if words else ()
    new = [place for place, rows in zip(words, once, strict=True) if rows == 1]
    labels = [place for place in new if _is_name(connection, place, cells[place])]
    filled = [column.name for column, is_read in zip(columns, read, strict=True) if is_read and column.kind == "number"]
    if not labels and not (_adds_in_most(above, last, filled) if new else _adds_in_all(above, last, filled, words, sum(read))):
        return "", ""
    told = dict(zip((column.name for column in columns), map(str, cells), strict=True))
    shown = [*(columns[place].name for place in labels or new), *filled][:3]
    return told[shown[0]] if new else "", ", ".join(f"{name!r} is {shorten(told[name])!r}" for name in shown)


def _is_name(connection: duckdb.DuckDBPyConnection, place: int, cell: str) -> bool:
    """Whether a cell names a total or what stands beside one; if it says of what, few cells of its column may begin like that."""
    found = TOTAL.fullmatch(cell.strip(" :."))
    if not found or not found["of"]:
        return bool(found or SPREAD.fullmatch(cell.strip(" :.")))
    head = quoted(cell.strip(" :.")[: found.start("of")])
    return counts(connection, f"count(*) FILTER (starts_with(c{place}, {head}))")[0] <= MOST_TOTALS


def _adds_in_most(above: pd.DataFrame, last: pd.Series, filled: Sequence[str]) -> bool:
    """Whether more than half of the numbers of a row are sums, and of many numbers."""
    added = [*filter(None, (_added(above[name], last[name]) for name in filled))]
    return 2 * len(added) > len(filled) and sum(added) >= FEWEST_BESIDE_A_WORD


def _adds_in_all(above: pd.DataFrame, last: pd.Series, filled: Sequence[str], words: Sequence[int], values: int) -> bool:
    """Whether all ``values`` of a row are sums, over the rows with the same ``words`` if it has some and a cell is empty only there."""
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
