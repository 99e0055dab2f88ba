"""Dashboards for benchmarks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = "from dashboard import start as dashboard\ndashboard.main()"
NO_WORKER = """
from dashboard import start as dashboard
from tabtune_core.execution import lock
lock.ensure_worker = dashboard.ensure_worker = lambda home, **more: None
dashboard.main()
"""
"""The dashboard without a worker: its queued runs stay queued."""


@contextmanager
def served(home: Path, port: int, program: str = DASHBOARD, tree: Path = ROOT) -> Iterator[int]:
    """Serves a workspace from this or another source tree; yields the process id."""
    command = [sys.executable, "-c", program, "--home", str(home), "--port", str(port), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with subprocess.Popen(
        command, cwd=tree, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            next(line for line in server.stdout or () if "LoRA Lab is at" in line)
            yield server.pid
        finally:
            server.terminate()
