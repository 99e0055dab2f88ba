"""How far a job is: a small file in its folder, which its process writes and a page reads."""

import json
from pathlib import Path

FILE = "progress.json"


def write_progress(folder: Path, done: int, total: int) -> None:
    """Says that ``done`` of ``total`` parts are done; a reader never sees half a file."""
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps({"done": done, "total": total}))
    partial.replace(folder / FILE)


def read_progress(folder: Path) -> float | None:
    """The share that is done, 0 to 1; None where nothing was said yet."""
    try:
        told = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return None
    return float(told["done"] / told["total"])
