"""The program under test: a server, its worker and their processes, on their own workspace.

All of its processes inherit the mark and the folder for temporary files, so that leftovers can be recognised.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from tabtune_core.execution.identity import found
from tabtune_core.execution.lock import worker_of
from tabtune_core.store.runs import RunStore

ROOT = Path(__file__).parents[2]
MARK = "LORA_LAB_SOAK"
SECONDS = 60.0
"""Seconds that starting, ending and cleaning up may take on an idle machine; see ``patience``."""


def patience(seconds: float = SECONDS) -> float:
    """``seconds`` on an idle machine, and more on a busy one."""
    return seconds * (2 + os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    """Waits for a condition; returns whether it came true in time."""
    deadline = time.monotonic() + patience(seconds)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Lab:
    """The program as a context manager, which leaves no process behind."""

    program: tuple[str, ...] = ("-m", "dashboard")
    """The server's arguments after Python."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary, self.log = folder / "workspace", folder / "tmp", folder / "server.log"
        for path in (self.home, self.temporary):
            path.mkdir(parents=True, exist_ok=True)
        self.mark = secrets.token_hex(8)
        os.environ.update({MARK: self.mark, "TMPDIR": str(self.temporary), "TABTUNE_HOME": str(self.home)})
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        tempfile.tempdir = None
        self.store = RunStore(self.home)
        self.server: psutil.Popen | None = None
        self.commands: list[subprocess.Popen] = []
        """Processes of the command line that run at the same time."""
        self.disturbed = False
        """Whether this round ended or suspended a process, so that interruptions are not faults."""
        self.address = ""

    def __enter__(self) -> "Lab":
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        for _ in range(3):  # a worker may be starting another process
            for process in self.marked():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(self.marked(), timeout=5)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def launch(self) -> None:
        """Starts the dashboard as a person does; it starts the worker."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, *self.program, "--home", str(self.home), "--port", str(port), "--no-browser"]
        with self.log.open("ab") as log:
            self.server = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        self.address = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Launches the dashboard and waits until it answers."""
        self.launch()
        if not wait_until(self.healthy):
            raise RuntimeError(f"The server did not answer at {self.address}; see {self.log}.")

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=5).status == 200
        except OSError:
            return False

    def end_server(self, number: signal.Signals) -> None:
        """Ends the dashboard, with its tabs open."""
        assert self.server is not None
        self.disturbed = True
        self.server.send_signal(number)
        if not wait_until(lambda: self.server.poll() is not None):
            self.server.kill()
            self.server.wait()
            raise AssertionError(f"The server did not end after signal {number.name}.")

    def command(self, *arguments: str) -> None:
        """Starts a command; ``settle`` waits for its end."""
        with (self.home.parent / "commands.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "tabtune_core", *arguments, "--home", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        self.commands.append(started)

    @property
    def worker(self) -> psutil.Process | None:
        """The worker's process, or None."""
        holder = worker_of(self.home)
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(holder.pid) if holder is not None and holder.pid else None
        return None

    def helpers(self) -> list[psutil.Process]:
        """The worker's forkserver and resource tracker."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [] if (worker := self.worker) is None else worker.children()
        return []

    def forkserver(self) -> psutil.Process | None:
        """The process from which runs and jobs are forked."""
        for process in self.helpers():
            with contextlib.suppress(psutil.Error):
                if "forkserver" in " ".join(process.cmdline()):
                    return process
        return None

    def at_work(self) -> list[psutil.Process]:
        """The processes of runs and jobs by the store, without the worker."""
        rows = [*self.store.runs(status="running"), *self.store.jobs(status="running")]
        alive = {row.pid for row in rows if found(row.pid, row.identity) == "alive"}
        own, working = self.worker, []
        for pid in sorted(alive):
            with contextlib.suppress(psutil.NoSuchProcess):
                if own is None or pid != own.pid:
                    working.append(psutil.Process(pid))
        return working

    def marked(self) -> list[psutil.Process]:
        """All live processes started here, without this one."""
        belonging = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    process.environ().get(MARK) == self.mark
                    and process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    belonging.append(process)
        return belonging
