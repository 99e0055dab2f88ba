"""Files that are odd, huge or endless once they unpack, each read in a process of its own: what it ends in, seconds and memory.

``python tests/benchmarks/reading_bounds.py`` prints Markdown, ``--write`` writes it into the documentation; names after it choose
files, ``--list`` shows them. About ten minutes.
"""

import argparse
import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tabtune_core.data.table import read_table
from tabtune_core.errors import TableError

ROWS = b"".join(b"%d,%d,%s\n" % (i, i % 7, b"yes" if i % 3 else b"no") for i in range(1_000))
HEAD = b"a,b,y\n"


def write(*parts: bytes) -> Callable[[Path], Path]:
    """A maker of a file with these bytes."""

    def make(path: Path) -> Path:
        with path.open("wb") as out:
            for part in parts:
                out.write(part)
        return path

    return make


def wide_csv(path: Path) -> Path:
    """60 rows x 4,999 columns of numbers."""
    numbers = np.random.default_rng(0).normal(size=(60, 4_999)).round(3)
    pd.DataFrame(numbers).add_prefix("x").to_csv(path, index=False)
    return path


def wide_numbers(path: Path) -> Path:
    """5,000 rows x 2,000 columns of numbers, of which every tenth is one of categories."""
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=5_000).round(3) if i % 10 else rng.choice(["red", "green", "blue"], 5_000) for i in range(2_000)}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def long_table(path: Path) -> Path:
    """1,000,000 rows x 17 columns: ten of numbers, four of words, two of times with an offset, one of classes."""
    rng, rows = np.random.default_rng(0), 1_000_000
    numbers = {f"n{i}": rng.normal(size=rows).round(3) for i in range(10)}
    words = {f"w{i}": rng.choice([f"word {j}" for j in range(5 * 4**i)], rows) for i in range(4)}
    times = pd.Series(pd.date_range("2020-01-01", periods=rows, freq="min").strftime("%Y-%m-%dT%H:%M:%S+02:00"))
    frame = pd.DataFrame({**numbers, **words, "begun": times, "ended": times.shift(-60), "y": rng.choice(["yes", "no"], rows)})
    frame.to_csv(path, index=False)
    return path


def wide_words(path: Path) -> Path:
    """200 rows x 4,000 columns, a third of them words and a third dates."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=200).astype(str)
    kinds = (lambda: rng.normal(size=200), lambda: rng.choice(["a", "b", "c"], 200), lambda: days)
    pd.DataFrame({f"x{i}": kinds[i % 3]() for i in range(4_000)}).to_csv(path, index=False)
    return path


def large_parquet(path: Path) -> Path:
    """130,000 rows x 501 columns."""
    numbers = np.random.default_rng(0).integers(0, 2_000, size=(130_000, 501)).astype(np.float32) / 8
    pd.DataFrame(numbers).add_prefix("x").to_parquet(path)
    return path


def dictionary(path: Path) -> Path:
    """180,000 rows of one word of 50,000 letters: 9 GB in a megabyte."""
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(180_000, dtype=np.int32)), pa.array(["y" * 50_000]))
    pq.write_table(pa.table({"a": word, "b": pa.array(range(180_000))}), path)
    return path


def gzipped(path: Path) -> Path:
    """Equal rows, 865 MB in some megabytes."""
    with gzip.open(path, "wb", compresslevel=6) as out:
        out.write(HEAD)
        for _ in range(865_000_000 // (len(ROWS) * 80)):
            out.write(ROWS * 80)
    return path


def short_rows(path: Path) -> Path:
    """Thirty million rows of two digits."""
    return write(b"a,y\n", b"1,2\n3,4\n5,6\n" * 10_000_000)(path)


def pipe(path: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    """A folder."""
    path.mkdir()
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "60 rows x 4,999 columns": wide_csv,
    "5,000 rows x 2,000 columns": wide_numbers,
    "1,000,000 rows x 17 columns": long_table,
    "200 rows x 4,000 columns of words, dates, numbers": wide_words,
    "Parquet of 130,000 x 501": large_parquet,
    "Parquet, 9 GB of dictionary words": dictionary,
    "gzip of 865 MB": gzipped,
    "30 million rows": short_rows,
    "a cell of 50 MB": write(HEAD, ROWS, b"1,2,", b"x" * 50_000_000, b"\n", ROWS),
    "a first line of 100 MB": write(b"x," * 50_000_000),
    "a later line of 100 MB": write(HEAD, ROWS, b"x," * 50_000_000, b"\n", ROWS),
    "20 MB of blank lines first": write(b"\n" * 20_000_000, HEAD, ROWS),
    "blank lines alone, 20 MB": write(b"\n" * 20_000_000),
    "quotes never closed": write(HEAD, b'"a,1,no\n' * 1_000_001),
    "a byte order mark before each line": write(*[b"\xef\xbb\xbf1,2,no\n"] * 5_000),
    "/proc/self/mem": lambda path: Path("/proc/self/mem"),
    "/dev/zero": lambda path: Path("/dev/zero"),
    "a pipe": pipe,
    "a folder": folder,
}


def read(path: Path) -> None:
    """The cell of one process: reads, and prints what came of it."""
    began, cpu = time.perf_counter(), time.process_time()
    try:
        table = read_table(path)
        found = (
            f"{len(table.frame):,} rows x {len(table.columns):,}; {', '.join(sorted({one.code for one in table.findings})) or 'no finding'}"
        )
    except TableError as error:
        found = str(error)
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    print(f"{time.process_time() - cpu:.1f}\t{time.perf_counter() - began:.1f}\t{peak / 1000:,.0f}\t{found}")


def main() -> None:
    """Makes each file, reads it and prints a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="files to read (default: all)")
    parser.add_argument("--list", action="store_true", help="names the files")
    parser.add_argument("--write", action="store_true", help="write the table into the documentation")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(FILES))
        return
    from named_machine import machine  # imports torch, which would count as memory of the one that reads
    from published import markdown_table, write_block

    lines = []
    for name in asked.names or FILES:
        with tempfile.TemporaryDirectory() as home:
            path = FILES[name](Path(home) / "table")
            done = subprocess.run([sys.executable, __file__, "--cell", str(path)], capture_output=True, text=True, timeout=1_800)
            lines.append([name, *(done.stdout.strip().split("\t") if done.returncode == 0 else ["", "", "", done.stderr[-200:]])])
            print(lines[-1], file=sys.stderr, flush=True)
    text = f"{markdown_table(['File', 'CPU s', 'Seconds', 'Peak MB', 'Ends in'], lines)}\n\n{machine()}."
    print(text)
    if asked.write:
        write_block("reading-bounds", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        read(Path(sys.argv[2]))
    else:
        main()
