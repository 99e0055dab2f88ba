"""How far reading is, for the person who waits.

Beside every step of reading: each calls what it is given with a stage, what is done and what there is to do.
"""

from typing import Protocol


class Tell(Protocol):
    """Is called with the progress of reading; may raise an error to end it."""

    def __call__(self, stage: str, done: int, whole: int) -> None:
        """``whole`` is in the unit of ``done``: bytes, rows or columns, as the stage says; 0 where it is not known."""


def untold(stage: str, done: int, whole: int) -> None:
    """Reports nothing."""


def in_words(stage: str, done: int, whole: int) -> str:
    """One line of progress.

    >>> in_words("Looking at columns", 400, 5000), in_words("Unpacking megabytes", 12, 0), in_words("Splitting lines into cells", 0, 0)
    ('Looking at columns: 400 of 5,000', 'Unpacking megabytes: 12', 'Splitting lines into cells')
    """
    if whole:
        return f"{stage}: {done:,} of {whole:,}"
    return f"{stage}: {done:,}" if done else stage
