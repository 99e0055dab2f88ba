"""A text file that is larger than may be read becomes one of some of its lines, drawn at random.

Before the first step of reading, where a person asks for a sample of the rows. In: a file of any size. Out: one within the limit, in one
pass and little memory.
"""

import random
from pathlib import Path

from tabtune_core.data.findings import Finding
from tabtune_core.data.reading.decoding import BYTE_ORDER_MARKS, is_packed, is_parquet, read_head, wide_encoding
from tabtune_core.data.reading.progress import Tell, untold
from tabtune_core.errors import TableError

FIRST_LINES = 20
"""Kept as they are: titles, names and units stand there."""
SLACK = 0.9
"""Of the limit: what is drawn varies around its share."""
TIMES_THE_ROWS = 4
"""So many lines are drawn for each row asked for, as the first lines may be longer than others; reading then draws the rows of them."""
LONGEST_LINE_BYTES = 1 << 24


def thin(source: Path, target: Path, *, rows: int, limit_bytes: int, tell: Tell = untold) -> Finding:
    """Writes the first lines of ``source`` and a share of the others, the same ones each time, to ``target``; returns what to say of it.

    It is enough to draw ``rows`` rows of. A line within quotes goes with the one before it. Raises TableError for a file that is not made
    of lines of single bytes.
    """
    head, size = read_head(source), source.stat().st_size
    wide = wide_encoding(head) is not None or any(head.startswith(mark) for mark, name in BYTE_ORDER_MARKS if name != "utf-8-sig")
    if is_parquet(head) or is_packed(head) or wide or b"\n" not in head:
        raise TableError(
            f"The file has {size:,} bytes and the limit is {limit_bytes:,}. A sample of so large a file is drawn only of plain text in "
            "lines: unpack it, or save it as CSV in UTF-8, and add that file."
        )
    enough = TIMES_THE_ROWS * rows * len(head) / head.count(b"\n")
    share, chance = min(SLACK * limit_bytes, enough) / size, random.Random(0)
    quoted, kept, written, read = False, True, 0, 0
    with source.open("rb") as stream, target.open("wb") as out:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE_BYTES), b"")):
            if not quoted:
                kept = number < FIRST_LINES or chance.random() < share
            quoted ^= line.count(b'"') % 2 == 1
            read += len(line)
            if kept and written + len(line) <= limit_bytes:
                written += out.write(line)
            if number % 100_000 == 0:
                tell("Drawing lines, megabytes", read // 1_000_000, size // 1_000_000)
    message = f"The file has {size:,} bytes, more than the {limit_bytes:,} that are read: one line in {1 / share:,.1f} was drawn at random."
    return Finding("info", "thinned", message)
