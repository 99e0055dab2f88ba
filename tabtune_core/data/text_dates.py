"""Texts of a frame as dates and times of day, in every format that a file's may have.

Beside ``values``. In: texts, and what is known of their column. Out: its kind, whether its day stands first, and the moments.
"""

import os
from collections.abc import Sequence
from datetime import time
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from tabtune_core.data.findings import Kind
from tabtune_core.data.reading.batched_queries import answered
from tabtune_core.data.reading.dates import MEANS, as_date, may_be_dates
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.reading.words import Typed


def kind_of_texts(texts: Sequence[str]) -> Typed | None:
    """A kind of dates or times where nearly all of these different texts are some, as in a file; None for any others."""
    found = _read(texts, None, None)[0] if may_be_dates(texts) else None
    return found if found and found.kind in MEANS else None


def moments_of(texts: Sequence[str], *, day_first: bool | None = None) -> list[Any]:
    """The moment of each text, None where it is none."""
    return _read(texts, "datetime", day_first)[1]


def times_of(texts: Sequence[str]) -> list[time | None]:
    """The time of day of each text, None where it has none."""
    return _read(texts, "time", None)[1]


def _read(texts: Sequence[str], asked: Kind | None, day_first: bool | None) -> tuple[Typed | None, list[Any]]:
    different = list(dict.fromkeys(texts))
    if not different:
        return None, []
    with _database(os.getpid()).cursor() as connection:
        cells = pa.table({"place": [0] * len(different), "number": range(len(different)), "cell": pa.array(different, pa.string())})
        connection.register("batch", cells)
        (typed,) = answered(connection, [as_date("", different, day_first, asked=asked)], [different])
        if typed is None or typed.kind not in MEANS:
            return None, []
        values = connection.sql(f"SELECT {typed.value} FROM batch ORDER BY number").fetchall()
    read = {text: value for text, (value,) in zip(different, values, strict=True)}
    return typed, [read[text] for text in texts]


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """The one of this process, since to open one takes longer than to read a column. A process that is forked opens its own."""
    return connect()
