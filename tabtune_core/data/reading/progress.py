"""What the steps of reading share: what is asked, the limit of what is unpacked, and the progress, shown to the person
who waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabtune_core.data.findings import ReadingChoices

if TYPE_CHECKING:
    import duckdb

CHUNK_BYTES = 1 << 20
Tell = Callable[[str, int, int], None]
"""Is called by every step of reading with its stage, the amount done and the whole amount, both in the unit of the
stage (bytes, rows or columns); the whole is 0 where not known. It may raise an error to stop reading.
"""


def untold(stage: str, done: int, whole: int) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One reading of a file, for all of its steps."""

    connection: "duckdb.DuckDBPyConnection"
    folder: Path
    """For temporary files."""
    choices: ReadingChoices
    limit_bytes: int
    """Most bytes of the file and of its unpacked content."""
    fewest: int
    """Fewest rows and columns: 1 for rows to predict."""
    tell: Tell


def in_words(stage: str, done: int, whole: int) -> str:
    """Formats the progress as one line.

    >>> in_words("Looking at columns", 400, 5000), in_words("Unpacking megabytes", 12, 0), in_words("Splitting lines into cells", 0, 0)
    ('Looking at columns: 400 of 5,000', 'Unpacking megabytes: 12', 'Splitting lines into cells')
    """  # noqa: E501
    if whole:
        return f"{stage}: {done:,} of {whole:,}"
    return f"{stage}: {done:,}" if done else stage
