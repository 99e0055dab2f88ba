"""The demo workspace: unpacked from ``workspace.zip``, which ``docs/make_demo.py`` makes, and deleted at the end."""

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
"""File in the workspace: where and when its sweeps were measured, and which one continues."""
RANKS = (4, 8, 16)
"""Ranks of the runs that are queued at the start."""


@contextmanager
def demo_workspace() -> Iterator[Path]:
    """Unpacks the recorded workspace and queues ``RANKS`` in the sweep that continues; at the end deletes it."""
    with scratch_folder() as folder:
        home = folder / "demo"
        with zipfile.ZipFile(PACKED) as packed:
            packed.extractall(home)
        store = RunStore(home)
        (first,) = (run for run in store.runs(about(home)["going"]) if run.settings.strategy == "peft")
        for rank in RANKS:
            store.duplicate(first.id, first.settings.changed(rank=rank))
        try:
            yield home
        finally:
            stop = ["worker", "--stop", "--home", str(home)]
            subprocess.run([sys.executable, "-m", "tabtune_core", *stop], check=False, capture_output=True)


def about(home: Path) -> Mapping[str, str]:
    """Returns facts of the demo and the ids of its sweeps ``finished`` and ``going``; empty if ``home`` is no demo."""
    try:
        return dict(json.loads((home / ABOUT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
