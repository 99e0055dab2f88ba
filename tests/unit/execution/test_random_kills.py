"""Processes of a workspace are killed at random, round after round: nothing is lost, stuck or left behind. Linux only.

Every round queues a job, three runs that save states and a race of three rates, and sends two to four signals.
"""

import collections
import contextlib
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest
from fakes.fake_experiment import EVALUATED_EVERY, JOURNAL, STEPS, train_steadily
from worker_program import TESTS, free_port, queue, start_worker, wait_until

from tabtune_core.execution.lock import worker_of
from tabtune_core.execution.service import sweep_up
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import STATES
from tabtune_core.store.runs import RunStore

MARK = "LORA_LAB_KILLS"
GOING = ("queued", "running", "waiting", "interrupted")
RACE = {1e-5: ("outrun", 20), 2e-3: ("finished", STEPS), 1e-4: ("outrun", 30)}
"""Learning rates -> how they end and after how many steps."""
TARGETS = {"run": 10, "worker": 2, "forkserver": 2, "set aside": 2, "dashboard": 1, "all": 1}
"""Weights of the targets among those present; a dashboard needs seconds to start again, a worker one."""
HOW = ("KILL", "KILL", "TERM", "STOP")
MOST_LEFT = {"dashboard": 1, "worker": 1, "forkserver": 1}
DASHBOARD = """
import sys
from dashboard import start as pages
from tabtune_core.execution import lock
from worker_program import start_worker
pages.ensure_worker = lock.ensure_worker = lambda home, **_: start_worker(home, "parallel=2")
pages.main(sys.argv[1:])
"""


class Lab:
    """A workspace, its dashboard and workers, and the signals sent to them; all processes inherit the mark."""

    def __init__(self, folder, chance, mark):
        self.home, self.chance, self.mark = folder / "workspace", chance, mark
        self.store, self.server, self.workers = RunStore(self.home), None, []
        self.resumed = set()

    def launch(self):
        flags = ["--home", str(self.home), "--port", str(free_port()), "--no-browser"]
        with (self.home.parent / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-c", DASHBOARD, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=TESTS.parent,
            )

    def marked(self):
        """All live processes started here, without this one."""
        marked = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get(MARK) == self.mark and process.pid != os.getpid()
                marked += [process] if mine and process.status() != psutil.STATUS_ZOMBIE else []
        return marked

    def processes(self):
        """The live processes of this workspace by kind."""
        seen = collections.defaultdict(list)
        for process in self.marked():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                seen[kind_of(process)].append(process)
        return seen

    def keep(self):
        """Starts a dashboard (which ensures a worker) and a worker if they are missing; resumes interrupted runs."""
        for run in self.store.runs(status="interrupted"):
            self.store.resume(run.id)
            self.resumed.add(run.id)
        if self.server is None or self.server.poll() is not None:
            self.launch()
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        if worker_of(self.home) is None and not self.workers:
            flags = self.chance.choice(([], ["no-resume"]))
            self.workers.append(start_worker(self.home, "parallel=2", *flags))

    def attack(self):
        """Sends one signal to one present process, or to all."""
        there = {kind: held for kind, held in self.processes().items() if kind in TARGETS and held}
        there["all"] = [process for held in there.values() for process in held]
        (target,), how = self.chance.choices([*there], [TARGETS[kind] for kind in there]), self.chance.choice(HOW)
        hit = self.chance.sample(there[target], len(there[target]) if target == "all" else 1)
        print(how, target)
        for number in ("SIGSTOP", "SIGCONT") if how == "STOP" else (f"SIG{how}",):
            for process in hit:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.Signals[number])
            time.sleep(self.chance.uniform(0.0, 1.0) if number == "SIGSTOP" else 0.0)


def kind_of(process):
    """The kind of a process by its command line, its parent's and its session, which a run leads."""
    command = " ".join(process.cmdline())
    if "resource_tracker" in command:
        return "tracker"
    if "multiprocessing.forkserver" not in command:
        return "dashboard" if DASHBOARD in command else "worker"
    parent = process.parent()
    if "multiprocessing.forkserver" not in " ".join(parent.cmdline() if parent else ()):
        return "forkserver" if os.getsid(process.pid) != process.pid else "run"
    return "set aside" if os.getsid(process.pid) == parent.pid else "run"


def unsettled(lab):
    """Queued, running or interrupted work; else surplus processes."""
    lab.keep()
    runs = [run for run in lab.store.runs() if run.status in GOING]
    jobs = [job for job in lab.store.jobs() if job.status in ("queued", "running")]
    wrong = [f"{one.id} is {one.status} (process {one.pid})" for one in (*runs, *jobs)]
    there = {} if wrong else {kind: len(held) for kind, held in lab.processes().items() if kind != "tracker"}
    return wrong + [f"left: {number} {kind}" for kind, number in there.items() if number > MOST_LEFT.get(kind, 0)]


def check_beginnings(journal):
    """Checks that each process of a run began at the last saved state; returns the steps after which they began."""
    began, saved = [], 0
    for kind, step in (line.split() for line in journal.read_text().splitlines()):
        if kind == "began":  # it may be killed between saving and recording that
            assert int(step) in (saved, saved + EVALUATED_EVERY), f"began after {step} although {saved} was saved"
            began.append(int(step))
        saved = int(step)
    return began


def one_round(lab, undisturbed, scores):
    run_ids = queue(lab.store, "steady", "steady", "steady")
    racing = [RunSettings(dataset="d", target="racing").changed(learning_rate=rate) for rate in RACE]
    _, race_ids = lab.store.add_sweep(racing, halving=True)
    lab.store.add_job("double", {"number": 1})
    for _ in range(lab.chance.randint(2, 4)):
        deadline = time.monotonic() + lab.chance.choice((0.0, 20.0, 20.0))  # or signals would mostly hit starting ones
        lab.keep()
        while lab.store.runs(status="queued") and not lab.store.runs(status="running") and time.monotonic() < deadline:
            time.sleep(0.1)
            lab.keep()
        time.sleep(lab.chance.uniform(0.0, 1.0))
        lab.attack()
    with closing(sqlite3.connect(lab.home / "runs.sqlite")) as database:
        assert [row[0] for row in database.execute("PRAGMA integrity_check")] == ["ok"]
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not unsettled(lab))
    assert unsettled(lab) == []
    for run_id in run_ids:
        assert [stored.event for stored in lab.store.events(run_id, ["StepDone", "Evaluated"])] == undisturbed
        run = lab.store.run(run_id)
        assert (run.status, run.result.test) == ("finished", scores)
        assert set(run.result.resumed_steps) <= set(check_beginnings(lab.store.run_dir(run_id) / JOURNAL))
    for run_id, (status, steps) in zip(race_ids, RACE.values(), strict=True):
        done = [stored.event.step for stored in lab.store.events(run_id, ["StepDone"])]
        assert done == list(range(1, len(done) + 1))
        if lab.resumed.isdisjoint(race_ids):  # a race does not wait for a run that a person has to resume
            assert (lab.store.run(run_id).status, len(done)) == (status, steps)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_after_random_kills_every_run_ends_like_an_undisturbed_one_and_nothing_is_left(tmp_path, monkeypatch, seed):
    monkeypatch.setenv(MARK, secrets.token_hex(8))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS, TESTS / "fakes", TESTS.parent))))
    lab, undisturbed = Lab(tmp_path, random.Random(seed), os.environ[MARK]), []
    scores = train_steadily(tmp_path, undisturbed.append).test
    try:
        for _ in range(6):
            one_round(lab, undisturbed, scores)
        for process in [*lab.processes()["dashboard"], *lab.processes()["worker"]]:
            process.terminate()
        wait_until(lambda: not lab.marked())
    finally:
        for process in lab.marked():
            process.kill()
    sweep_up(lab.store)  # as the next worker does
    assert list(lab.home.glob(f"runs/*/{STATES}")) == []
