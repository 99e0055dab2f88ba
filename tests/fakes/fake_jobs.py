"""Stands in for tabtune_core.execution.jobs without torch; the kind of the job says what it does."""

import os
import signal
import subprocess
import time

from tabtune_core.errors import AdapterError


def run_job(kind, *, home, folder, arguments):
    """Leaves a file, then does what its kind says."""
    (folder / "left.txt").write_text("here")
    if kind == "refused":
        raise AdapterError("There is no such adapter. Choose another.")
    if kind == "greedy":
        raise RuntimeError("Failed to execute even with minimum batch size 1. Error: CUDA out of memory.")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind in ("predict", "rank_curve", "waiting"):
        (folder / "helper").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        while not (home / "go_on").exists():
            time.sleep(0.02)
    return {"twice": 2 * arguments["number"]}
