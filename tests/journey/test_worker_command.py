"""``loralab worker`` reports and ends the worker."""

import os
import signal

import pytest
from worker_program import queue, start_worker, wait_for_end, wait_until, working

from tabtune_core.cli.main import main
from tabtune_core.execution.identity import is_alive
from tabtune_core.execution.lock import is_stopped, worker_of
from tabtune_core.store.jobs import write_progress


@pytest.fixture
def worker(store):
    """A worker that executes a run while another is queued."""
    with working(store) as going:
        queue(store, "waiting", "quick")
        wait_until(lambda: store.events(store.runs()[0].id))
        yield going


def ask(store, *flags):
    return main(["worker", "--home", str(store.home), *flags])


def test_status_names_the_worker_and_its_run(store, capsys):
    assert ask(store, "--status") == 1
    assert f"The worker of {store.home} is not running." in capsys.readouterr().out
    with working(store) as worker:
        queue(store, "waiting", "quick")
        wait_until(lambda: store.events(store.runs()[0].id))
        run = store.runs()[0]
        assert ask(store, "--status") == 0
        output = capsys.readouterr().out
        assert f"is process {worker.pid}, version {worker_of(store.home).version}, since" in output
        assert f"Running: run LoRA r=8 ({run.id}), process {run.pid} on {run.slot} of {os.uname().nodename}." in output
        assert "Queued: 1 run, 0 jobs." in output


def test_jobs_are_listed_with_their_progress_and_can_be_cancelled(store, worker, capsys):
    def jobs(*flags):
        status = main(["jobs", "--home", str(store.home), *flags])
        output = capsys.readouterr()
        return status, output.out, output.err

    going, waiting = (store.add_job("context_curve", {"number": number}) for number in (1, 2))
    wait_until(lambda: (store.job_dir(going) / "left.txt").exists())
    write_progress(store.job_dir(going), 3, 12, "points of the curve")
    status, listed, _ = jobs()
    assert status == 0
    assert [line.split()[:2] for line in listed.splitlines()] == [[waiting, "queued"], [going, "running"]]
    assert listed.splitlines()[1].endswith("context-row curve, 3 of 12 points of the curve")
    status, _, output = jobs("--cancel", waiting, going)
    assert status == 0
    assert f"{waiting} is cancelled" in output and f"{going} is ended by the worker within seconds" in output
    wait_until(lambda: store.job(going).status == "cancelled")
    assert jobs()[1:] == ("", f"No job is queued or running in {store.home}.\n")
    assert len(jobs("--all")[1].splitlines()) == 2
    status, _, output = jobs("--cancel", going)
    assert status == 2
    assert f"Job {going!r} has ended already: it is cancelled." in output


def test_a_suspended_worker_is_reported_as_not_responding_and_continues_later(store, worker, capsys):
    worker.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
    for flag, status in (("--status", 1), ("--stop", 2)):
        assert ask(store, flag) == status
        assert f"'kill -CONT {worker.pid}'" in "".join(capsys.readouterr())
    assert start_worker(store.home).wait(timeout=60) == 0, "another one leaves the workspace to it"
    worker.send_signal(signal.SIGCONT)
    (store.home / "go").touch()
    assert [wait_for_end(store, run.id).status for run in store.runs()] == ["finished"] * 2


def test_stop_ends_the_run_and_the_next_worker_resumes_it(store, worker, capsys):
    run, _ = store.runs()
    assert ask(store, "--stop") == 0
    output = capsys.readouterr().err
    assert "has ended; no queued run is started" in output and "Queued: 2 runs." in output
    assert worker.wait(timeout=60) == 0
    assert is_stopped(store.home) and not is_alive(run.pid, run.identity)
    assert [one.status for one in store.runs()] == ["queued"] * 2
    ask(store, "--status")
    assert "was stopped with" in capsys.readouterr().out
    (store.home / "go").touch()
    assert start_worker(store.home, "exit-when-idle").wait(timeout=60) == 0
    assert [one.status for one in store.runs()] == ["finished"] * 2


def test_an_impossible_request_is_one_line_and_exit_status_2(capsys):
    assert main(["worker", "--home", "/proc/version/nowhere"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
