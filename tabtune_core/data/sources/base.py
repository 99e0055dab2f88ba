"""What each kind of source gives, and how it is asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tabtune_core.data.reading.progress import Tell


@dataclass(frozen=True, slots=True)
class Fetched:
    """A table as a file."""

    path: Path
    name: str
    """For people; never part of a path."""

    target: str = ""
    """The column to predict, where the source names one."""


class Fetch(Protocol):
    """Brings a table into a folder."""

    def __call__(self, asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
        """``guarded`` is whether private networks are out of reach. Raises TableError."""
