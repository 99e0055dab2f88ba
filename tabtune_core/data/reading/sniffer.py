"""Asks DuckDB's sniffer for the layout of a text file."""

from pathlib import Path

import duckdb

from tabtune_core.data.reading.sql import first_row

SNIFFED_LINES, SNIFFED_CHARACTERS = 20_480, 1 << 22
"""DuckDB's default number of lines, limited in characters for wide tables: its sniffer tries every layout on all of
their cells.
"""


def sniff(
    connection: duckdb.DuckDBPyConnection, path: Path, **given: str | int | list[str]
) -> tuple[str, str, str, bool] | None:
    """Returns the delimiter, quote, escape and header that DuckDB detects; None where it finds no layout."""
    options = {"null_padding": True, "ignore_errors": True, "sample_size": SNIFFED_LINES, "comment": "", **given}
    names = "".join(f", {name}=?" for name in options)
    try:
        query = f"SELECT Delimiter, Quote, Escape, HasHeader FROM sniff_csv(?{names})"
        row = first_row(connection, query, [str(path), *options.values()])
    except duckdb.Error:
        return None
    delimiter, quote, escape = ("" if mark in ("(empty)", "\0") else mark for mark in row[:3])
    return delimiter or ",", quote, escape, row[3]
