"""What must hold once nothing is running: each check adds its findings to the round's failures."""

import contextlib
import fcntl
import math
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import safetensors

from soaking.lab import patience, wait_until
from tabtune_core.errors import TabTuneError
from tabtune_core.execution.service import FRESH_SECONDS
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_folder import ADAPTER_FILE, STATES
from tabtune_core.store.run_row import ENDED, RANKED, Run
from tabtune_core.store.uploaded_adapters import check_package

if TYPE_CHECKING:
    from soaking.rounds import Round

STILL_SECONDS = 120.0
"""Seconds without any change on an idle machine after which work counts as stuck."""
INTERMEDIATE = (STATES, "*.partial", "tmp*")
"""Files and folders that an ended run or job no longer needs; an interrupted run keeps its states."""
BROWSER = re.compile(r"playwright|chrom|\.com\.google")
"""Parts of the names of the browser's processes and temporary files, which persist between rounds."""
KEPT = re.compile(BROWSER.pattern + "|torchinductor_")
"""Parts of the names of allowed temporary files, which include torch's folder of compiled code."""


COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ERROR = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b.*", re.MULTILINE)
OURS = re.compile(r"(?:dashboard|tabtune_core)/[\w/]+\.py(?::\d+|\", line \d+)")


def going(round_: "Round") -> list[str]:
    """Runs, jobs and commands that have not ended."""
    lab, store = round_.lab, round_.lab.store
    rows = [f"run {run.id} {run.status}" for run in store.runs() if run.status not in ENDED]
    rows += [f"job {job.id} {job.kind} {job.status}" for job in store.jobs() if job.status not in JOB_ENDED]
    return rows + [f"command {' '.join(command.args[3:6])}" for command in lab.commands if command.poll() is None]


def mark(round_: "Round") -> tuple[object, ...]:
    """A value that changes as long as something happens: an event, a second of computing, a changed row."""
    seconds = 0.0
    for process in round_.lab.at_work():
        with contextlib.suppress(psutil.Error):
            seconds += sum(process.cpu_times()[:2])
    with closing(sqlite3.connect(round_.lab.home / "runs.sqlite", timeout=30)) as connection:
        last = connection.execute("SELECT MAX(seq) FROM events").fetchone()[0]
    return last, round(seconds), tuple(going(round_))


def end_by_force(round_: "Round") -> None:
    """Ends stuck work, so that the soak can continue."""
    lab = round_.lab
    for process in [*lab.commands, *lab.at_work(), *filter(None, [lab.worker])]:
        process.kill()
    for run in lab.store.runs():
        lab.store.finish(run.id, "interrupted", error="stuck")
    for job in lab.store.jobs():
        lab.store.finish_job(job.id, "interrupted", error="stuck")


def settle(round_: "Round") -> None:
    """Waits until every run, job and command has ended; stuck ones are reported and ended by force."""
    lab = round_.lab
    while found := going(round_):
        before = mark(round_)
        if not wait_until(lambda before=before: not going(round_) or mark(round_) != before, STILL_SECONDS):
            round_.fail("stuck", "; ".join(found))
            end_by_force(round_)
    for command in lab.commands:
        if command.wait() and not lab.disturbed and not round_.asked:
            round_.fail("command", f"ended with status {command.returncode}; see commands.log")
    lab.commands.clear()
    if lab.server is None or lab.server.poll() is not None:
        round_.fail("server", "the dashboard ended by itself")
        lab.start()


def note_new_runs(round_: "Round") -> None:
    """Remembers queued runs, so that a lost row is noticed."""
    for run in round_.lab.store.runs():
        if run.id not in round_.known:
            round_.known.add(run.id)
            round_.open.add(run.id)


def rows_of_runs(round_: "Round") -> None:
    """Checks that no run is lost and that each ended run has what its status promises."""
    note_new_runs(round_)
    rows = {run.id: run for run in round_.lab.store.runs()}
    for lost in round_.known - rows.keys() - round_.deleted:
        round_.fail("lost", f"run {lost} has no row any more")
    for run in rows.values():
        if run.id in round_.open:
            check_run(round_, run)
    round_.asked.clear()
    round_.open.clear()
    for job in round_.lab.store.jobs(status="failed"):
        if job.id not in round_.told_jobs and "unexpected" in (job.error or ""):
            round_.fail("job failed", f"{job.kind}: {job.error}")
        round_.told_jobs.add(job.id)


def check_run(round_: "Round", run: Run) -> None:
    """Checks one run that ended since the last check."""
    about = f"{run.name} {run.id}"
    round_.outcomes[run.status] += 1
    if run.status == "failed" or (run.status == "interrupted" and not round_.lab.disturbed):
        round_.fail(f"run {run.status}", f"{about}: {run.error}")
    if run.status == "cancelled" and run.id not in round_.asked and not round_.by_command(run):
        round_.fail("cancelled", f"{about}: nobody asked for it")
    if run.status in RANKED and run.result is None:
        round_.fail("result", f"{about} is {run.status} and has no result")
    steps = [stored.event.step for stored in round_.lab.store.events(run.id, ["StepDone"])]
    if steps != list(range(1, len(steps) + 1)):
        round_.fail("events", f"{about}: steps {steps[:5]} ... {steps[-5:]} are not 1, 2, 3 ...")
    if run.status in RANKED and run.settings.strategy == "peft":
        package = round_.lab.store.run_dir(run.id) / ADAPTER_FILE
        try:
            check_package(package)
        except (TabTuneError, OSError, safetensors.SafetensorError) as error:
            round_.fail("adapter", f"{about}: {error}")
        if run.result and not run.result.adapter_verified:
            round_.fail("adapter", f"{about}: not verified")


def database(round_: "Round") -> None:
    """Checks that the database is intact and every event has its run."""
    with closing(sqlite3.connect(round_.lab.home / "runs.sqlite", timeout=30)) as connection:
        for (said,) in connection.execute("PRAGMA integrity_check").fetchall():
            if said != "ok":
                round_.fail("database", said)
        if found := connection.execute("PRAGMA foreign_key_check").fetchall():
            round_.fail("database", f"rows that point nowhere: {found[:5]}")


def left_processes(round_: "Round") -> list[str]:
    """Checks for processes that belong to nothing that is running."""
    lab, worker = round_.lab, round_.lab.worker
    wanted = {lab.server.pid, *(process.pid for process in lab.helpers()), *([worker.pid] if worker else [])}
    found = []
    for process in lab.marked():
        with contextlib.suppress(psutil.Error):
            told = " ".join(process.cmdline())
            if process.pid not in wanted and not BROWSER.search(told):
                found.append(f"{process.pid} {told[:160]} (parent {process.ppid()})")
    return found


def left_files(round_: "Round") -> list[str]:
    """Checks for files that no row and no live process needs."""
    lab, store = round_.lab, round_.lab.store
    sockets, worker = Path("/proc/net/unix").read_text(), lab.worker
    found = [path for path in lab.temporary.iterdir() if not KEPT.search(path.name) and str(path) not in sockets]
    interrupted = {run.id for run in store.runs(status="interrupted")}
    for kind, ids in (("runs", {run.id for run in store.runs()}), ("jobs", {job.id for job in store.jobs()})):
        for folder in (lab.home / kind).glob("*"):
            names = () if folder.name in interrupted else INTERMEDIATE
            found += [folder] if folder.name not in ids else [path for name in names for path in folder.rglob(name)]
    found += [*lab.home.glob("*/incoming-*"), *lab.home.glob("inputs/*")]
    swept = worker.create_time() - FRESH_SECONDS if worker else 0.0  # the next worker removes what a kill leaves behind
    return [str(path.relative_to(lab.home.parent)) for path in found if not is_in_use(path) and made(path) < swept]


def made(path: Path) -> float:
    """The time of its last change in unix seconds; infinity if it is gone."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return math.inf


def is_in_use(path: Path) -> bool:
    """Whether a live process holds the lock of a scratch folder."""
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False


def nothing_left(round_: "Round") -> None:
    """Waits until nothing is left; reports each remaining item once."""
    for kind, look in (("process left", left_processes), ("file left", left_files)):
        wait_until(lambda look=look: not set(look(round_)) - round_.told_left, 5)
        for what in set(look(round_)) - round_.told_left:
            round_.told_left.add(what)
            round_.fail(kind, what)


def logs(round_: "Round") -> None:
    """Reports every traceback in the logs of the worker and the server, with its error and its last line of our code."""
    for path in (round_.lab.home / "worker.log", round_.lab.log):
        text = path.read_bytes() if path.exists() else b""
        new = COLOURS.sub("", text[round_.read.get(path, 0) :].decode("utf-8", "replace"))
        round_.read[path] = len(text)
        for trace in new.split("Traceback")[1:]:
            error, ours = ERROR.search(trace), OURS.findall(trace)
            round_.fail(
                "trace",
                f"{path.name}: {error[0] if error else trace[-200:]} ({ours[-1] if ours else 'not in our code'})",
            )


def figures(round_: "Round") -> dict[str, float]:
    """Resident MB and open files of the server and the worker, and the workspace's files per run."""
    lab = round_.lab
    told: dict[str, float] = {}
    for name, process in (("dashboard", lab.server), ("worker", lab.worker)):
        if process is not None:
            told |= {
                f"{name}_pid": process.pid,
                f"{name}_mb": round(process.memory_info().rss / 1e6, 1),
                f"{name}_files": process.num_fds(),
            }
    files, runs = sum(len(names) for _, _, names in os.walk(lab.home)), len(lab.store.runs())
    return told | {"files_per_run": round(files / max(runs, 1), 1), "runs": runs, "patience": round(patience())}


CHECKS: tuple[Callable[["Round"], None], ...] = (rows_of_runs, database, nothing_left, logs)
