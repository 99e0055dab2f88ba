"""Files on disk as a download button takes them."""

from pathlib import Path
from typing import Any

SMALL_BYTES = 5_000_000


def data_of(path: Path) -> Any:
    """What a download button takes: a large file is read when somebody downloads it, not when the page is drawn.

    A small one is read at once: its address stays the same when the page is drawn again, which a click may run into.
    """
    return path.read_bytes() if path.stat().st_size <= SMALL_BYTES else lambda: path.open("rb")
