"""What the tests of reading share."""

import io
import zipfile

import pandas as pd

from tabtune_core.data.table import ReadingChoices, Table, read_table

PLAIN = "age,city,y\n31,Köln,1.5\n42,Rom,2.5\n53,Rom,-3\n"
EXPECTED = [[31.0, "Köln", 1.5], [42.0, "Rom", 2.5], [53.0, "Rom", -3.0]]


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "."), text)
    return buffer.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def codes(table) -> set[str]:
    return {one.code for one in table.findings} | {one.field for one in table.questions} - {"header"}


def said(table: Table, code: str) -> list[str]:
    return [finding.message for finding in table.findings if finding.code == code]


def one_column(cells, choices=ReadingChoices(), fewest=2):  # noqa: B008 (frozen)
    lines = [f'"{cell}",r{place}' for place, cell in enumerate(cells)]
    return read_table("\n".join(["x,other", *lines]).encode(), choices, fewest=fewest)
