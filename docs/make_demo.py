"""Makes the workspace that ``python -m dashboard --demo`` opens, from real sweeps: the tutorial's, and the first runs
of a slower one.

``python docs/make_demo.py`` runs them in a temporary workspace (minutes, on a CPU) and writes
``dashboard/demo/workspace.zip``, with the commit, the date and the machine.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import closing
from pathlib import Path

from dashboard.demo.workspace import ABOUT, PACKED
from tabtune_core.execution.lock import ensure_worker, worker_of
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.runs import RunStore

DOCS = Path(__file__).parent
TABLE = "--target shell --model tabicl-mini"
SWEEPS = {
    "going": "--ranks 2 --learning-rates 0.0005 --steps 200 --no-full-fine-tuning",
    "finished": "--ranks 2 4 8 --steps 100",
}
"""The second is the tutorial's.

The pages open on the newest, so the other one, in which the demo queues more runs, is measured first.
"""
KEPT = ("datasets/*/*", "runs/*/*", "jobs/*/*")


def measure(home: Path, table: Path) -> dict[str, str]:
    """The sweeps, by what the demo makes of them; of the tutorial's also scores by the rank that is kept."""
    subprocess.run([sys.executable, DOCS / "examples" / "quantiles.py", table], check=True)
    ids = {}
    for name, axes in SWEEPS.items():
        command = [sys.executable, "-m", "tabtune_core", "sweep", table, *TABLE.split(), *axes.split(), "--home", home]
        subprocess.run(command, check=True)
        ids[name] = RunStore(home).sweeps()[0].id
    store = RunStore(home)
    ended = [run for run in store.runs(ids["finished"]) if run.status == "finished"]
    largest = max((run for run in ended if run.settings.strategy == "peft"), key=lambda run: run.settings.lora.rank)
    store.add_job("rank_curve", {"run": largest.id})
    ensure_worker(home, exit_when_idle=True)
    while any(job.status not in JOB_ENDED for job in store.jobs()):
        time.sleep(1)
    assert {job.status for job in store.jobs()} == {"finished"}, "the curve was not made"
    while worker_of(home) is not None:
        time.sleep(0.1)
    return ids


def about() -> dict[str, str]:
    """Where and from what it was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=DOCS, check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": time.strftime("%d %b %Y"),
        "commit": commit,
        "machine": f"{os.cpu_count()} {platform.machine()} processors",
    }


def pack(home: Path, facts: dict[str, str]) -> None:
    """The files of a workspace that a person looks at, its database in one piece."""
    with closing(sqlite3.connect(home / "runs.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM INTO ?", (str(home / "packed.sqlite"),))
    PACKED.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(PACKED, "w", zipfile.ZIP_LZMA) as file:
        file.writestr(ABOUT, json.dumps(facts, indent=2))
        file.write(home / "packed.sqlite", "runs.sqlite")
        for path in sorted(path for pattern in KEPT for path in home.glob(pattern)):
            if path.is_file():
                file.write(path, path.relative_to(home))
    (home / "packed.sqlite").unlink()


def main() -> None:
    """Makes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a new workspace to keep; a temporary one unless given")
    parser.add_argument("--machine", help="what to say of the machine, in place of its number of processors")
    options = parser.parse_args()
    facts = about() | ({"machine": options.machine} if options.machine else {})
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder) / "home"
        pack(home, facts | measure(home, Path(folder) / "quantiles.csv"))


if __name__ == "__main__":
    main()
