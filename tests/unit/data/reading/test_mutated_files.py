"""Files with bytes changed, cut, doubled and swapped: they are read, or refused with an error of ours."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.table import read_table
from tabtune_core.errors import TableError

FRAME = pd.DataFrame({"a": range(30), "b": [f"w{i % 3}" for i in range(30)], "c": [["x", None, '"q"'][i % 3] for i in range(30)]})
CSV = FRAME.to_csv(index=False).encode()


def parquet():
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    return buffer.getvalue()


def mutated(data, rng):
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place, other = rng.integers(0, len(changed), 2)
        match rng.integers(0, 4):
            case 0:
                changed[place] = rng.choice(np.frombuffer(b'\x00\xff",;\n\r\t\x80\xfe1', dtype=np.uint8))
            case 1:
                changed[place] = rng.integers(0, 256)
            case 2:
                del changed[place : place + rng.integers(1, 20)]
            case _:
                changed[place:place] = changed[other : other + rng.integers(1, 40)]
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "times", "noticed"), [(CSV, 15, False), (gzip.compress(CSV), 40, True), (parquet(), 40, True)], ids=["csv", "gzip", "parquet"]
)
def test_a_damaged_file_is_read_or_refused_in_our_words(data, times, noticed):
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(times):
        try:
            assert len(read_table(mutated(data, rng), limit_bytes=10_000_000).columns) > 1
        except TableError as error:
            refused += 1
            assert not any(word in str(error) for word in ("duckdb", "Error:", "Exception", "pyarrow"))
    assert (refused > 0) is noticed, "a CSV tolerates much; of the others some must be damaged, or nothing is tested"
