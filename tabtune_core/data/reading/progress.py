"""Progress of reading, shown to the person who waits."""

from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""Is called by every step of reading with its stage, the amount done and the whole amount, both in the unit of the stage (bytes, rows or
columns); the whole is 0 where not known. It may raise an error to stop reading."""


def untold(stage: str, done: int, whole: int) -> None:
    """Reports nothing."""


def in_words(stage: str, done: int, whole: int) -> str:
    """Formats the progress as one line.

    >>> in_words("Looking at columns", 400, 5000), in_words("Unpacking megabytes", 12, 0), in_words("Splitting lines into cells", 0, 0)
    ('Looking at columns: 400 of 5,000', 'Unpacking megabytes: 12', 'Splitting lines into cells')
    """
    if whole:
        return f"{stage}: {done:,} of {whole:,}"
    return f"{stage}: {done:,}" if done else stage
