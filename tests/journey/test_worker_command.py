"""``loralab worker`` reports and ends the worker."""

import os
import signal

import psutil
import pytest
from worker_program import end, queue, start_worker, wait_for_end, wait_until

from tabtune_core.cli.main import main
from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.lock import is_stopped, worker_of
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.runs import RunStore


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


@pytest.fixture
def worker(store):
    """A worker that executes a run while another is queued."""
    going = start_worker(store.home)
    queue(store, "waiting", "quick")
    wait_until(lambda: store.events(store.runs()[0].id))
    yield going
    end(store, going)


def ask(store, *flags):
    return main(["worker", "--home", str(store.home), *flags])


def test_status_without_a_worker(store, capsys):
    assert ask(store, "--status") == 1
    assert f"The worker of {store.home} is not running." in capsys.readouterr().out


def test_status_names_the_worker_its_run_and_another_version(store, worker, capsys, monkeypatch):
    run = store.runs()[0]
    assert ask(store, "--status") == 0
    said = capsys.readouterr().out
    assert f"is process {worker.pid}, version {worker_of(store.home).version}, since" in said
    assert f"Running: run LoRA r=8 ({run.id}), process {run.pid} on {run.slot} of {os.uname().nodename}." in said
    assert "Queued: 1 run, 0 jobs." in said
    assert "another version" not in said
    with monkeypatch.context() as patch:
        patch.setattr(worker_lock, "code_version", lambda: "other")
        assert ask(store, "--status") == 0
    assert "It is of another version than this program" in capsys.readouterr().out
    (store.home / "worker.lock").write_text(
        f'{{"pid": {worker.pid}, "process_started": 1.0}}'
    )  # in the format of an earlier version
    assert ask(store, "--stop") == 2
    assert f"End it with 'kill {worker.pid}'" in capsys.readouterr().err
    assert worker.poll() is None


def test_jobs_are_listed_with_their_progress_and_can_be_cancelled(store, worker, capsys):
    def jobs(*flags):
        status = main(["jobs", "--home", str(store.home), *flags])
        told = capsys.readouterr()
        return status, told.out, told.err

    going, waiting = (store.add_job("context_curve", {"number": number}) for number in (1, 2))
    wait_until(lambda: (store.job_dir(going) / "left.txt").exists())
    write_progress(store.job_dir(going), 3, 12, "points of the curve")
    status, listed, _ = jobs()
    assert status == 0
    assert [line.split()[:2] for line in listed.splitlines()] == [[waiting, "queued"], [going, "running"]]
    assert listed.splitlines()[1].endswith("context-row curve, 3 of 12 points of the curve")
    status, _, said = jobs("--cancel", waiting, going)
    assert status == 0
    assert f"{waiting} is cancelled" in said
    assert f"{going} is ended by the worker within seconds" in said
    wait_until(lambda: store.job(going).status == "cancelled")
    assert jobs()[1:] == ("", f"No job is queued or running in {store.home}.\n")
    assert len(jobs("--all")[1].splitlines()) == 2
    status, _, said = jobs("--cancel", going)
    assert status == 2
    assert f"Job {going!r} has ended already: it is cancelled." in said


def test_a_suspended_worker_is_reported_as_not_responding_and_continues_later(store, worker, capsys):
    worker.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
    assert ask(store, "--status") == 1
    assert f"'kill -CONT {worker.pid}'" in capsys.readouterr().out
    assert ask(store, "--stop") == 2
    assert f"'kill -CONT {worker.pid}'" in capsys.readouterr().err
    assert start_worker(store.home).wait(timeout=60) == 0, "another one leaves the workspace to it"
    worker.send_signal(signal.SIGCONT)
    (store.home / "go").touch()
    assert [wait_for_end(store, run.id).status for run in store.runs()] == ["finished"] * 2


def test_stop_leaves_the_run_to_the_next_worker(store, worker, capsys):
    run, waiting = store.runs()
    assert ask(store, "--stop") == 0
    said = capsys.readouterr().err
    assert "has ended; no queued run is started" in said
    assert f"Goes on: run LoRA r=8 ({run.id}), process {run.pid} on {run.slot} of {os.uname().nodename}." in said
    assert worker.wait(timeout=60) == 0
    assert is_stopped(store.home)
    assert [store.run(run.id).status, store.run(waiting.id).status] == ["running", "queued"]
    ask(store, "--status")
    assert "was stopped with" in capsys.readouterr().out
    (store.home / "go").touch()
    assert start_worker(store.home, "exit-when-idle").wait(timeout=60) == 0
    assert [one.status for one in store.runs()] == ["finished"] * 2


def test_stop_now_ends_everything(store, worker):
    run, waiting = store.runs()
    assert ask(store, "--stop", "--now") == 0
    assert worker.wait(timeout=60) == 0
    assert [store.run(run.id).status, store.run(waiting.id).status] == ["interrupted", "queued"]
    assert "--stop --now" in store.run(run.id).error
    assert not psutil.pid_exists(run.pid) or psutil.Process(run.pid).status() == psutil.STATUS_ZOMBIE


def test_runs_of_another_executor_are_not_reported_as_ended(tmp_path, capsys):
    store = RunStore(tmp_path)
    queue(store, "quick")
    run = store.claim(4_000_000, None, slot="cpu", executor="ray", node="far")
    assert ask(store, "--stop", "--now") == 1
    said = capsys.readouterr().err
    assert f"Goes on: run LoRA r=8 ({run.id}), on cpu of far, by ray." in said
    assert "To end them: loralab worker --stop --now --executor ray" in said
    assert store.run(run.id).status == "running"


@pytest.mark.parametrize("flags", [["--now"], ["--home", "/proc/version/nowhere"]])
def test_an_impossible_request_is_one_line_and_exit_status_2(tmp_path, capsys, flags):
    assert main(["worker", "--home", str(tmp_path), *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
