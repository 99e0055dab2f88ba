"""Finds the decimal mark of rows to predict, where it is another one than that of the adapter's table.

Part of the fourth step of reading. In: ``cells`` with the rows, and how the columns of the table were read. "1.234" and
"1,234" alone may be a decimal number or have thousands; a point or comma that must be decimal, in any column of
numbers, tells how such cells are meant.
"""

import re
from collections.abc import Collection, Mapping

import duckdb

from tabtune_core.data.findings import Finding
from tabtune_core.data.reading.batched_queries import quoted
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.number_formats import APOSTROPHE, GAP, POWER
from tabtune_core.data.reading.sql import first_row

POINT_MARK = r"\."


def _sure(decimal: str, between: str) -> str:
    """Returns a pattern for a number whose mark must be decimal; ``between`` may separate its thousands."""
    grouped = rf"\d{{1,3}}({between}\d{{3}})+{decimal}\d+"
    return rf"[+-]?(\d*{decimal}(\d{{1,2}}|\d{{4,}}){POWER}|{grouped}|\d{decimal}\d+[eE][+-]?\d{{1,3}})"


ZERO = r"[+-]?0{mark}\d{{3}}"
"""Surely a decimal number, except in a column with commas between thousands, which some programs fill with zeros."""
POINT = f"({_sure(POINT_MARK, f'(,|{GAP}|{APOSTROPHE})')}|{ZERO.format(mark=POINT_MARK)})"
COMMA, ZERO_COMMA = _sure(",", rf"(\.|{GAP})"), ZERO.format(mark=",")
EITHER = r"[+-]?[1-9]\d{{0,2}}{mark}\d{{3}}"
LEAST_SURE = 0.2
"""Least number of sure marks per number with two meanings that they change; a single typing error must not change all
others.
"""


def mark_of_rows(
    connection: duckdb.DuckDBPyConnection,
    cells: Cells,
    numbers: Collection[str],
    commas: Mapping[str, bool],
    units: Collection[str],
) -> tuple[bool | None, list[Finding]]:
    """Returns whether all of the rows have decimal commas, None where they are read as the table was, and what to tell
    the person.

    The rows decide if sure marks contradict their own column, are not too few, and none is of the other kind.
    ``numbers`` are the number columns; ``commas`` and ``units`` are those of ``ReadingChoices``.
    """
    with_commas, others, unknown = (
        ", ".join(
            f"c{place}" for place, name in enumerate(cells.names) if name in numbers and commas.get(name) in known
        )
        for known in ((True,), (False, None), (None,))
    )
    after = f"([ \u00a0]*({'|'.join(['%', *map(re.escape, sorted(set(units)))])}))?"
    terms = [
        f"flatten(list(regexp_extract_all(concat_ws(chr(10), '', {columns}), {quoted(f'(?m)^{pattern}{after}$')})))"
        if columns
        else "[]"
        for columns, pattern in (
            *((with_commas, pattern) for pattern in (POINT, EITHER.format(mark=POINT_MARK), COMMA)),
            *((others, pattern) for pattern in (COMMA, EITHER.format(mark=","), POINT)),
            (unknown, ZERO_COMMA),
        )
    ]
    wrong_points, points, right_commas, wrong_commas, either, right_points, zeros = first_row(
        connection, f"SELECT {', '.join(terms)} FROM cells"
    )
    wrong_commas = [*wrong_commas, *zeros]
    point, comma = (
        max(found, default="") for found in ([*wrong_points, *right_points], [*right_commas, *wrong_commas])
    )
    enough = len(wrong_points) >= LEAST_SURE * len(points) and len(wrong_commas) >= LEAST_SURE * len(either)
    of_both = len({*commas.values()}) > 1
    if (wrong_points or wrong_commas) and enough and not of_both and not (point and comma):
        return bool(comma), []
    if not (wrong_points or wrong_commas or (points and point and not comma)):
        return None, []
    shown = f"decimal points, such as {point!r}," * bool(point) + " and " * bool(point and comma)
    shown += f"decimal commas, such as {comma!r}," * bool(comma)
    message = (
        f"The rows have {shown} unlike columns of the adapter's table. Numbers with two meanings, such as "
        "1.234 or 1,234, were read "
    )
    way_out = (
        "as their column was written in the table. Write all numbers with the decimal mark of the table, and "
        "predict again."
    )
    return None, [Finding("warning", "mixed-decimal-marks", message + way_out)]
