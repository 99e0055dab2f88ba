"""The result of a source."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fetched:
    """A table that was fetched as a file."""

    path: Path
    name: str
    """Name shown to people; never part of a path."""
    target: str = ""
    """The column to predict, where the source names one."""
