"""The workspace of the demo: recorded, unpacked into a folder of its own, and gone when the dashboard ends.

In: ``workspace.zip``, which ``docs/make_demo.py`` makes from real sweeps. Out: a folder, in which the second sweep goes on with runs that
are queued here and trained by this machine's worker.
"""

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tabtune_core.scratch import scratch_folder
from tabtune_core.store.runs import RunStore

PACKED = Path(__file__).with_name("workspace.zip")
ABOUT = "demo.json"
"""In the workspace: where and when its sweeps were measured, and which one goes on."""
RANKS = (4, 8, 16)
"""Of the runs that are queued at the start."""


@contextmanager
def demo_workspace() -> Iterator[Path]:
    """A workspace as recorded, with runs queued; what runs in it ends with the block, and then the folder goes."""
    with scratch_folder() as folder:
        home = folder / "demo"
        with zipfile.ZipFile(PACKED) as packed:
            packed.extractall(home)
        go_on(home)
        try:
            yield home
        finally:
            stop = ["worker", "--stop", "--now", "--home", str(home)]
            subprocess.run([sys.executable, "-m", "tabtune_core", *stop], check=False, capture_output=True)


def go_on(home: Path) -> None:
    """Queues more ranks in the sweep that goes on."""
    store = RunStore(home)
    (first,) = (run for run in store.runs(about(home)["going"]) if run.settings.strategy == "peft")
    for rank in RANKS:
        store.duplicate(first.id, dataclasses.replace(first.settings, lora=dataclasses.replace(first.settings.lora, rank=rank)))


def about(home: Path) -> Mapping[str, str]:
    """``date``, ``commit`` and ``machine`` of the measurement, ids of the ``finished`` sweep and of that ``going`` on; empty elsewhere."""
    try:
        facts: dict[str, str] = json.loads((home / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return facts
