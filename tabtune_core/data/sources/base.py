"""The interface of a source: the call, and its result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tabtune_core.data.reading.progress import Tell


@dataclass(frozen=True, slots=True)
class Fetched:
    """A table that was fetched as a file."""

    path: Path
    name: str
    """Name shown to people; never part of a path."""

    target: str = ""
    """The column to predict, where the source names one."""


class Fetch(Protocol):
    """Fetches a table into a folder."""

    def __call__(self, asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
        """Fetches ``asked``; ``guarded`` forbids private networks. Raises TableError."""
