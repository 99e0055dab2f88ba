"""Time and memory of reading grow linearly with the bytes of a file; damaged files are read or refused."""

import gzip
import io
import random
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from damaged import damage_bytes, resident

from tabtune_core.data.table import read_table
from tabtune_core.errors import TableError

HEAD = b"a,b,y\n"
ROWS = b"".join(b"%d,%d,%s\n" % (i, i % 7, b"yes" if i % 3 else b"no") for i in range(1_000))
SHAPES = {
    "a late line of many cells": lambda size: HEAD + ROWS + b"1," * (size // 2) + b"\n" + ROWS,
    "a first line of many cells": lambda size: b"1," * (size // 2) + b"\n" + HEAD + ROWS,
    "a line of quotes": lambda size: HEAD + b'"' * size + b"\n" + ROWS,
    "a quote that stays open": lambda size: HEAD + ROWS + b'"' + b"x\n" * (size // 2),
    "a long cell of lines": lambda size: HEAD + ROWS + b'1,2,"' + b"x\n" * (size // 2) + b'"\n' + ROWS,
    "many lines of a cell too many": lambda size: HEAD + ROWS * (size // 9_000) + b"1,2,3,4\n" * (size // 16),
    "many broken quotes": lambda size: HEAD + ROWS * (size // 9_000) + b'1,"2"x,3\n' * (size // 18),
    "many blank lines": lambda size: HEAD + ROWS + b"\n" * size,
    "many columns": lambda size: b"\n".join(
        b",".join(b"%d" % (i * k) for i in range(size // 200)) for k in range(1, 9)
    ),
    "columns of one name": lambda size: b"\n".join(
        [b",".join([b"a"] * (size // 200)), *[b",".join([b"1"] * (size // 200))] * 8]
    ),
}
SIZE, TIMES = 100_000, 4


def cost(data: bytes) -> tuple[float, int]:
    """Returns the CPU seconds of reading ``data`` and the bytes by which it raised the peak memory."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, began = resident("VmRSS"), time.process_time()
    with suppress(TableError):
        read_table(data)
    return time.process_time() - began, resident("VmHWM") - before


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Loads the packages first, so that no measurement includes them."""
    cost(HEAD + ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cost_grows_linearly_with_the_bytes_of_a_file(shape):
    small, large = shape(SIZE), shape(SIZE * TIMES)
    seconds, _ = cost(small)
    longer, memory = cost(large)
    assert longer < 1 + seconds * TIMES * 2
    assert memory < 300_000_000 + 40 * len(large)


TOKENS = [b"a", b",", b"\n", b'"', b"\x00"]


@pytest.mark.parametrize("first", TOKENS)
def test_the_smallest_files_end_in_a_sentence(first):
    for rest in product([b"", *TOKENS], repeat=2):
        with pytest.raises(TableError, match=r"^(The|A quote) [^\n]*\.$"):
            read_table(first + b"".join(rest), fewest=3)


FRAME = pd.DataFrame({"a": range(30), "b": ["u", "v", "w"] * 10, "c": ["x", None, '"q"'] * 10})
CSV = FRAME.to_csv(index=False).encode()
DAMAGES = 20


def parquet():
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("data", [CSV, gzip.compress(CSV), parquet()], ids=["csv", "gzip", "parquet"])
def test_a_damaged_file_is_read_or_refused_with_our_own_error(data):
    rng, refused = random.Random(0), 0
    for _ in range(DAMAGES):
        try:
            assert len(read_table(damage_bytes(data, rng, data), limit_bytes=10_000_000).columns) > 1
        except TableError as error:
            refused += 1
            assert not any(word in str(error) for word in ("duckdb", "Error:", "pyarrow"))
    assert refused, "some files must be refused, or nothing is tested"
