"""Files with bytes changed, cut, doubled and swapped are read, or refused with one of our own errors."""

import gzip
import io
import random

import pandas as pd
import pytest
from damaged import damage_bytes

from tabtune_core.data.table import read_table
from tabtune_core.errors import TableError

FRAME = pd.DataFrame(
    {"a": range(30), "b": [f"w{i % 3}" for i in range(30)], "c": [["x", None, '"q"'][i % 3] for i in range(30)]}
)
CSV = FRAME.to_csv(index=False).encode()
TIMES = 20


def parquet():
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("data", [CSV, gzip.compress(CSV), parquet()], ids=["csv", "gzip", "parquet"])
def test_a_damaged_file_is_read_or_refused_with_our_own_error(data):
    rng, refused = random.Random(0), 0
    for _ in range(TIMES):
        try:
            assert len(read_table(damage_bytes(data, rng, data), limit_bytes=10_000_000).columns) > 1
        except TableError as error:
            refused += 1
            assert not any(word in str(error) for word in ("duckdb", "Error:", "pyarrow"))
    assert refused, "some files must be refused, or nothing is tested"
