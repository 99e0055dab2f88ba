"""What the steps of reading share: what is asked, the limits, and the progress, shown to the person who waits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabtune_core.data.findings import ReadingChoices

if TYPE_CHECKING:
    import duckdb

CHUNK_BYTES = 1 << 20
Tell = Callable[[str, int, int], None]
"""Is called with the stage, the amount done and the whole amount, 0 where not known; may raise an error to stop."""


def untold(stage: str, done: int, whole: int) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True)
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

    >>> in_words("Looking at columns", 400, 5000), in_words("Unpacking megabytes", 12, 0), in_words("Decoding", 0, 0)
    ('Looking at columns: 400 of 5,000', 'Unpacking megabytes: 12', 'Decoding')
    """
    return f"{stage}: {done:,} of {whole:,}" if whole else f"{stage}: {done:,}" if done else stage
