"""Reads odd files and files that are huge once unpacked, each in a process of its own: the result, seconds and memory.

``python tests/benchmarks/reading_bounds.py`` prints Markdown, ``--write`` puts it into the documentation; names choose
files. Takes about ten minutes.
"""

import gzip
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from published import markdown_table, options, publish

from tabtune_core.data.table import read_table
from tabtune_core.errors import TableError

ROWS = b"".join(b"%d,%d,%s\n" % (i, i % 7, b"yes" if i % 3 else b"no") for i in range(1_000))
HEAD = b"a,b,y\n"


def wide_csv(path: Path) -> Path:
    """60 rows x 4,999 columns of numbers."""
    numbers = np.random.default_rng(0).normal(size=(60, 4_999)).round(3)
    pd.DataFrame(numbers).add_prefix("x").to_csv(path, index=False)
    return path


def wide_numbers(path: Path) -> Path:
    """5,000 rows x 2,000 columns: nine of ten columns are numbers, the others categories."""
    rng = np.random.default_rng(0)
    columns = {
        f"x{i}": rng.normal(size=5_000).round(3) if i % 10 else rng.choice(["red", "green", "blue"], 5_000)
        for i in range(2_000)
    }
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def long_table(path: Path) -> Path:
    """1,000,000 rows x 17 columns: ten of numbers, four of words, two of times with a UTC offset, one of classes."""
    rng, rows = np.random.default_rng(0), 1_000_000
    numbers = {f"n{i}": rng.normal(size=rows).round(3) for i in range(10)}
    words = {f"w{i}": rng.choice([f"word {j}" for j in range(5 * 4**i)], rows) for i in range(4)}
    times = pd.Series(pd.date_range("2020-01-01", periods=rows, freq="min").strftime("%Y-%m-%dT%H:%M:%S+02:00"))
    frame = pd.DataFrame(
        {**numbers, **words, "begun": times, "ended": times.shift(-60), "y": rng.choice(["yes", "no"], rows)}
    )
    frame.to_csv(path, index=False)
    return path


def gzipped(path: Path) -> Path:
    """865 MB of equal rows, compressed to a few megabytes."""
    with gzip.open(path, "wb", compresslevel=6) as out:
        out.write(HEAD)
        for _ in range(865_000_000 // (len(ROWS) * 80)):
            out.write(ROWS * 80)
    return path


def short_rows(path: Path) -> Path:
    """Thirty million rows of two digits."""
    path.write_bytes(b"a,y\n" + b"1,2\n3,4\n5,6\n" * 10_000_000)
    return path


def large_cell(path: Path) -> Path:
    """Two thousand rows, with one between them that has a cell of 50 MB."""
    path.write_bytes(HEAD + ROWS + b"1,2," + b"x" * 50_000_000 + b"\n" + ROWS)
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "60 rows x 4,999 columns": wide_csv,
    "5,000 rows x 2,000 columns": wide_numbers,
    "1,000,000 rows x 17 columns": long_table,
    "gzip of 865 MB": gzipped,
    "30 million rows": short_rows,
    "a cell of 50 MB": large_cell,
}


def read(path: Path) -> None:
    """Reads ``path`` and prints the result."""
    began, cpu = time.perf_counter(), time.process_time()
    try:
        table = read_table(path)
        found = (
            f"{len(table.frame):,} rows x {len(table.columns):,}; "
            f"{', '.join(sorted({one.code for one in table.findings})) or 'no finding'}"
        )
    except TableError as error:
        found = str(error)
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    print(f"{time.process_time() - cpu:.1f}\t{time.perf_counter() - began:.1f}\t{peak / 1000:,.0f}\t{found}")


def main() -> None:
    """Writes each file, reads it and prints its row of the table."""
    parser = options(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FILES)} (default: all)")
    asked = parser.parse_args()
    from named_machine import (
        machine,
    )  # not at the top: it imports torch, which would count as memory of the reading process

    lines = []
    for name in asked.names or FILES:
        with tempfile.TemporaryDirectory() as home:
            path = FILES[name](Path(home) / "table")
            done = subprocess.run(
                [sys.executable, __file__, "--cell", str(path)], capture_output=True, text=True, timeout=1_800
            )
            lines.append(
                [name, *(done.stdout.strip().split("\t") if done.returncode == 0 else ["", "", "", done.stderr[-200:]])]
            )
            print(lines[-1], file=sys.stderr, flush=True)
    text = f"{markdown_table(['File', 'CPU s', 'Seconds', 'Peak MB', 'Result'], lines)}\n\n{machine()}."
    publish("reading-bounds", text, write=asked.write)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        read(Path(sys.argv[2]))
    else:
        main()
