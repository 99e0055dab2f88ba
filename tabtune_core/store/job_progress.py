"""How far a job is: a small file in its folder, which its process writes and a page reads."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tabtune_core.files.whole import write_text

FILE = "progress.json"
SECONDS = 0.3
"""Between two writings of what is counted, for which no page looks more often."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done of what."""

    done: int
    total: int
    unit: str
    """Of both, in the plural: ``rows``."""

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.done / self.total)

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}"


@dataclass(slots=True)
class Counted:
    """Tells the parts that are done as they are done, however small they are."""

    folder: Path
    total: int
    unit: str
    done: int = 0
    _told: float = field(default=-SECONDS, repr=False)

    def add(self, parts: int) -> None:
        """``parts`` more are done."""
        self.done += parts
        if time.monotonic() - self._told >= SECONDS:
            write_progress(self.folder, self.done, self.total, self.unit)
            self._told = time.monotonic()


def write_progress(folder: Path, done: int, total: int, unit: str) -> None:
    """Says that ``done`` of ``total`` parts are done; a reader never sees half a file."""
    write_text(folder / FILE, json.dumps(asdict(Progress(done, total, unit))))


def read_progress(folder: Path) -> Progress | None:
    """What was said last; None where nothing was said yet, or it cannot be read."""
    try:
        told = Progress(**json.loads((folder / FILE).read_text()))
        return told if told.total > 0 and told.done >= 0 else None
    except (OSError, ValueError, TypeError):
        return None
