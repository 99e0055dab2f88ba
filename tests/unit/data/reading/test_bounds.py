"""The size of a file is limited while it unpacks, and a file that cannot be read is refused in one sentence."""

import errno
import io
import os
from dataclasses import asdict
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabtune_core.data.datasets import add_dataset, list_datasets
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading import cells, sql, text_rows
from tabtune_core.data.reading.sql import hold_cells, translated
from tabtune_core.data.table import read_table
from tabtune_core.errors import LayoutError, TableError
from tabtune_core.files.plain_values import restored

LIMIT = 1_000_000
N = 4_000
WORD = "y" * 5_000


def words(kind):
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(N, dtype=np.int32)), pa.array([WORD]))
    return {
        "dictionary": column,
        "plain": pa.array([WORD] * N),
        "binary": pa.array([WORD.encode()] * N),
        "list": pa.array([[WORD]] * N),
    }[kind]


@pytest.mark.parametrize("kind", ["dictionary", "plain", "binary", "list"])
def test_words_of_a_parquet_file_count_at_each_occurrence(tmp_path, kind):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": words(kind), "b": pa.array(range(N))}), path)
    assert path.stat().st_size < LIMIT / 10
    with pytest.raises(
        TableError, match=r"unpacks to 20,0.* bytes or more, and the limit is 1,000,000. Take a sample of the rows"
    ):
        read_table(path, limit_bytes=LIMIT)
    assert len(read_table(path, limit_bytes=30 * LIMIT).frame) == N
    assert 50 < len(read_table(path, ReadingChoices(rows=100), limit_bytes=LIMIT).frame) < 150


def test_cells_beyond_the_memory_limit_of_reading_go_to_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(sql, "CELLS_IN_MEMORY", 300_000)
    with sql.connect(tmp_path) as connection:
        connection.execute("SET memory_limit = '64MB'")
        hold_cells(connection, tmp_path, 100)
        columns = ", ".join(f"(range * {place + 7919} % 100003)::VARCHAR AS c{place}" for place in range(100))
        connection.execute(f"CREATE TABLE cells AS SELECT {columns} FROM range(20000)")
        assert connection.execute("SELECT c3 FROM cells").fetchall() == [
            (str(n * 7922 % 100003),) for n in range(20000)
        ]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (duckdb.OutOfMemoryException("could not allocate block"), "more memory than reading may take"),
        (MemoryError(), "more memory than reading may take"),
        (duckdb.IOException("IO Error: x"), "cannot be read as a table"),
        (duckdb.ConversionException("Could not convert"), "cannot be read as a table"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "to its end .No such file or directory."),
    ],
)
def test_errors_of_the_libraries_are_translated(raised, told):
    with pytest.raises(TableError, match=told) as found, translated():
        raise raised
    assert "block" not in str(found.value)


@pytest.mark.parametrize("raised", [OSError(errno.ENOSPC, "x"), duckdb.IOException("No space left on device")])
def test_a_full_disk_is_not_blamed_on_the_file(raised):
    with pytest.raises(OSError) as found, translated():
        raise raised
    assert found.value.errno == errno.ENOSPC


def test_any_number_of_blank_lines_before_a_table_is_skipped():
    for blank in (b"\n", b"  \t\n", b"\r\n"):
        table = read_table(blank * 300_000 + b"a,y\n1,k\n2,l\n3,k\n")
        assert table.frame.to_dict("list") == {"a": [1.0, 2.0, 3.0], "y": ["k", "l", "k"]}
        assert "starts at line 300001" in " ".join(finding.message for finding in table.findings)
    with pytest.raises(TableError, match="only blank space"):
        read_table(b"\n" * 600_000)


def test_a_path_that_is_not_a_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, told in (
        ("pipe", "a pipe or a device"),
        ("folder", "is a folder"),
        ("none", "There is no file"),
        ("/dev/zero", "a device"),
    ):
        for read in (read_table, lambda path: add_dataset(tmp_path / "home", path, "x")):
            with pytest.raises(TableError, match=told):
                read(tmp_path / name)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.csv", b"a\nb\x1b[31m.csv", "\u202evsc.exe.csv".encode(), b"x" * 250 + b".csv", b"a<b>|c?.csv"]
)
def test_any_file_name_is_kept_as_one_short_line(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name[-200:])
    with open(path, "wb") as out:
        out.write(b"a,y\n1,k\n2,l\n")
    source = Path(os.fsdecode(path))
    kept = add_dataset(tmp_path / "home", source, source.name)
    assert list_datasets(tmp_path / "home") == [kept]
    assert kept.name.isprintable() and kept.name.endswith(".csv") and len(kept.name) <= 120
    kept.name.encode()


ROWS = pd.DataFrame({"a": range(3_000), "y": ["k", "l"] * 1_500})


def as_csv(frame):
    return frame.to_csv(index=False).encode()


def as_parquet(frame):
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_a_table_with_too_many_rows_is_refused_at_once_but_a_sample_of_it_is_read(monkeypatch, write):
    for module in (text_rows, cells):
        monkeypatch.setattr(module, "MAX_ROWS", 1_000)
    with pytest.raises(LayoutError, match=r"has 3,000 rows; at most 1,000 are read. .* --rows on the command line"):
        read_table(write(ROWS))
    sample = read_table(write(ROWS), ReadingChoices(rows=600))
    assert 500 < len(sample.frame) < 700
    assert sample.frame["a"].is_monotonic_increasing and sample.frame["a"].iloc[-1] > 2_900
    assert sample.frame.equals(read_table(write(ROWS), ReadingChoices(rows=600)).frame)
    assert "one in 5.0 of the table" in " ".join(finding.message for finding in sample.findings)
    assert restored(ReadingChoices, asdict(sample.reading)) == sample.reading


def test_a_sample_larger_than_the_table_is_the_whole_table_and_a_sample_of_none_is_refused():
    assert len(read_table(as_csv(ROWS), ReadingChoices(rows=9_000)).frame) == 3_000
    with pytest.raises(LayoutError, match="0 rows were asked for"):
        read_table(as_csv(ROWS), ReadingChoices(rows=0))


@pytest.mark.parametrize("mark", ["a.b", "(x)|[y]", "_\\E#", "50 %", "n'a", "Ä*"])
def test_a_missing_value_mark_is_matched_literally_in_any_case(mark):
    cells = [mark, f" {mark.upper()} ", mark.lower(), f"{mark}1", "aXb", "x"]
    frame = read_table(
        pd.DataFrame({"a": cells, "b": range(6)}).to_csv(index=False).encode(), ReadingChoices(missing_marks=(mark,))
    ).frame
    assert frame["a"].isna().tolist() == [True] * 3 + [False] * 3
